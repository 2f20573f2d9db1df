"""Counts and densities of the predicted nuclei, in the crop or a region drawn free-hand; where the model doubts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtWidgets import QCheckBox, QFileDialog, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui import canvas
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.widgets import Heading, plain_table

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.masks.instances import Nuclei

DOUBT = "doubt"


class CountsAndDoubt(QWidget):
    """The table under the thresholds.

    Parameters
    ----------
    viewer : napari.Viewer
    model : StudioModel
    """

    def __init__(self, viewer: Any, model: StudioModel) -> None:
        super().__init__()
        self.viewer, self.model = viewer, model
        self._prediction: Prediction | None = None
        self._nuclei: Nuclei | None = None
        self._table: Any = None
        self.inside = QCheckBox("Only inside the region drawn last")
        self.inside.setToolTip("Draw a polygon in a Shapes layer (napari's own tools), then tick this")
        self.table: QTableWidget = plain_table(["Class", "Nuclei", "per mm²"], stretch=0)
        self.save = QPushButton("Save counts as CSV…")
        self.doubt = QCheckBox("Show where the model doubts")
        self.doubt.setToolTip("Bright where the two heads disagree on whether there is a nucleus, or are undecided")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.doubt, Heading("Counts"), self.inside, self.table, self.save):
            box.addWidget(widget)
        self.inside.toggled.connect(lambda _: self.refresh())
        self.save.clicked.connect(self._save)
        self.doubt.toggled.connect(self._show_doubt)

    def take(self, prediction: Prediction, nuclei: Nuclei) -> None:
        """Count these nuclei; keep the doubt layer in step with the prediction."""
        again = prediction is not self._prediction
        self._prediction, self._nuclei = prediction, nuclei
        self.refresh()
        if again and self.doubt.isChecked():
            self._show_doubt(on=True)

    def refresh(self) -> None:
        """Count again."""
        if self._prediction is None or self._nuclei is None:
            return
        from napari_monusac.scoring.density import count_nuclei, density_table

        crop = self.model.crop
        counts = count_nuclei(
            self._nuclei.table, self._prediction.shape, self._prediction.um_per_px, region=self._region(),
            name=crop.name if crop is not None else "", patient=crop.patient if crop is not None else "",
        )  # fmt: skip
        self._table = density_table([counts], summary=False)
        self.table.setRowCount(len(CLASSES) + 1)
        for i, kind in enumerate([*CLASSES, None]):
            number = counts.total if kind is None else counts.of(kind)
            density = counts.per_mm2(kind)
            texts = (
                "All" if kind is None else kind.label,
                str(number),
                f"{density:.0f}" if np.isfinite(density) else "–",
            )
            for column, text in enumerate(texts):
                self.table.setItem(i, column, QTableWidgetItem(text))
        height = self.table.horizontalHeader().height() + sum(self.table.rowHeight(i) for i in range(len(CLASSES) + 1))
        self.table.setFixedHeight(height + 4)

    def _region(self) -> Any:
        """The polygon drawn last as a mask of the prediction, or None."""
        layer = canvas.find_layer(self.viewer, "predicted nuclei")
        if not self.inside.isChecked() or layer is None or self._prediction is None:
            return None
        from napari_monusac.scoring.density import region_mask

        for shapes in reversed(self.viewer.layers):
            if isinstance(shapes, Shapes) and len(shapes.data) and len(shapes.data[-1]) >= 3:
                world = [shapes.data_to_world(p)[-2:] for p in shapes.data[-1]]
                return region_mask([layer.world_to_data(w) for w in world], self._prediction.shape)
        self.model.tell("No region is drawn: add a Shapes layer and draw a polygon over the image.", "warning")
        return None

    def _save(self) -> None:
        if self._table is None:
            return
        path = QFileDialog.getSaveFileName(self, "Save counts", "counts.csv", "Tables (*.csv)")[0]
        if path:
            from napari_monusac.scoring.density import write_density_table

            write_density_table(self._table, path)
            self.model.tell(f"Counts are in {path}.", "good")

    def _show_doubt(self, on: bool) -> None:
        old = canvas.find_layer(self.viewer, DOUBT)
        if old is not None:
            self.viewer.layers.remove(old)
        like = canvas.find_layer(self.viewer, "predicted nuclei")
        p = self._prediction
        if not on or p is None or like is None:
            return
        from napari_monusac.masks.doubt import disagreement_map, entropy_map

        values = np.maximum(disagreement_map(p.semantic, p.ternary, p.boundary_width), entropy_map(p.semantic))
        active = self.viewer.layers.selection.active
        self.viewer.add_image(
            values, name=DOUBT, colormap="inferno", blending="additive", opacity=0.8, contrast_limits=(0, 1),
            scale=like.scale, translate=like.translate, units=like.units,
            metadata={"monusac": {**like.metadata["monusac"], "role": DOUBT}},
        )  # fmt: skip
        if active in self.viewer.layers:
            self.viewer.layers.selection.active = active
