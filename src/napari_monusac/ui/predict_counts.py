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
    import pandas as pd

    from napari_monusac.core.prediction import Prediction
    from napari_monusac.masks.instances import Nuclei

DOUBT = "doubt"
#: Regions of larger maps are drawn on a coarser grid: their area is then right to one of its px along the outline.
_MASK_PX = 4096


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
        self._counted: tuple[pd.DataFrame, tuple[int, int], float | None, str] | None = None
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
        self._prediction = prediction
        self._count(nuclei.table, prediction.shape, prediction.um_per_px, "predicted nuclei")
        self.doubt.show()
        if again and self.doubt.isChecked():
            self._show_doubt(on=True)

    def take_stored(self, table: pd.DataFrame, shape: tuple[int, int], um_per_px: float | None) -> None:
        """Count the nuclei of a prediction on disk: table, shape and scale of its maps."""
        self._prediction = None
        self.doubt.hide()
        self._count(table, shape, um_per_px, "stored classes")

    def _count(self, table: pd.DataFrame, shape: tuple[int, int], um_per_px: float | None, role: str) -> None:
        self._counted = (table, shape, um_per_px, role)
        self.refresh()

    def refresh(self) -> None:
        """Count again."""
        if self._counted is None:
            return
        from napari_monusac.scoring.density import count_nuclei, density_table

        nuclei, shape, um_per_px, role = self._counted
        outline = self._outline(role)
        region = None
        if outline is not None:
            nuclei, shape, um_per_px, region = _in_region(nuclei, shape, um_per_px, outline)
        crop = self.model.crop
        counts = count_nuclei(
            nuclei, shape, um_per_px, region=region,
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

    def _outline(self, role: str) -> Any:
        """The polygon drawn last, (y, x) in px of the maps, or None."""
        layer = canvas.find_layer(self.viewer, role)
        if not self.inside.isChecked() or layer is None:
            return None
        for shapes in reversed(self.viewer.layers):
            if isinstance(shapes, Shapes) and len(shapes.data) and len(shapes.data[-1]) >= 3:
                world = [shapes.data_to_world(p)[-2:] for p in shapes.data[-1]]
                return np.array([layer.world_to_data(w) for w in world])
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


def _in_region(
    table: pd.DataFrame, shape: tuple[int, int], um_per_px: float | None, outline: Any
) -> tuple[pd.DataFrame, tuple[int, int], float | None, Any]:
    """Table, shape, scale and mask of a region, on a grid that fits into memory."""
    from napari_monusac.scoring.density import region_mask

    step = -(-max(shape) // _MASK_PX)
    coarse = (-(-shape[0] // step), -(-shape[1] // step))
    places = {name: (table[name] + 0.5) / step - 0.5 for name in ("centroid_y", "centroid_x")}
    mask = region_mask((outline + 0.5) / step - 0.5, coarse)
    return table.assign(**places), coarse, um_per_px * step if um_per_px else None, mask
