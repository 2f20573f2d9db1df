"""Counts, densities and shares of the predicted nuclei, in all that was predicted or in a region drawn free-hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QFileDialog, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_monusac.app.actions import SAVE_COUNTS
from napari_monusac.app.work import error_line
from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import MonusacError
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.regions import last_outline
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.widgets.basic import Heading, form_button, plain_table
from napari_monusac.ui.widgets.note import Note

if TYPE_CHECKING:
    import pandas as pd

    from napari_monusac.scoring.metrics.density import Counts

#: Regions of larger maps are drawn on a coarser grid: their area is then right to one of its px along the outline.
_MASK_PX = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Nuclei that are counted.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a nucleus, centroids in px of the maps.
    shape : (y, x)
        Of the maps, px.
    um_per_px : float or None
        Scale of the maps.
    role : str
        Role of a layer that lies as the maps do.
    name : str
        Of the image, where it is not the open crop's.
    part : str
        What of the image was predicted, for people.
    """

    table: pd.DataFrame
    shape: tuple[int, int]
    um_per_px: float | None
    role: str
    name: str = ""
    part: str = ""


class CountsTable(QWidget):
    """The table under the thresholds.

    Parameters
    ----------
    viewer : napari.Viewer
    model : StudioModel
    """

    def __init__(self, viewer: Any, model: StudioModel) -> None:
        super().__init__()
        self.viewer, self.model = viewer, model
        self._counted: Counted | None = None
        self._table: pd.DataFrame | None = None
        self.inside = QCheckBox("Only inside the region drawn last")
        self.inside.setToolTip("Draw a polygon, an ellipse or a rectangle in a Shapes layer (napari's own tools)")
        self.table: QTableWidget = plain_table(["Class", "Nuclei", "per mm²", "%"], stretch=0)
        self.table.setToolTip("Per mm² of what was looked at; % of all its nuclei. Model output, research use")
        self.words = Note()
        self.save = form_button(SAVE_COUNTS, self)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (Heading("Counts"), self.inside, self.words, self.table, self.save):
            box.addWidget(widget)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(50)
        self._rest.timeout.connect(self.refresh)
        self.inside.toggled.connect(lambda _: self.refresh())
        self.viewer.layers.events.inserted.connect(self._layer_inserted)
        self.viewer.layers.events.removed.connect(self._drawn)
        for layer in self.viewer.layers:
            self._follow(layer)

    def take(self, counted: Counted) -> None:
        """Count these nuclei."""
        self._counted = counted
        self.refresh()

    def forget(self) -> None:
        """Another image is looked at."""
        self._counted = self._table = None

    def _layer_inserted(self, event: Any) -> None:
        self._follow(event.value)
        self._drawn()

    def _follow(self, layer: Any) -> None:
        if isinstance(layer, Shapes):
            layer.events.data.connect(self._drawn)

    def _drawn(self, _: object = None) -> None:
        """Count again once the hand rests, where shapes matter."""
        if self.inside.isChecked():
            self._rest.start()

    def refresh(self) -> None:
        """Count again."""
        self._rest.stop()
        counted, self._table = self._counted, None
        if counted is None:
            return
        from napari_monusac.scoring.metrics.density import density_table

        try:
            counts, where = self._count(counted)
        except MonusacError as error:
            self._show(None)
            line = error_line(error)
            self.words.say(line[0].upper() + line[1:], "warning")
            return
        self._table = density_table([counts], summary=False)
        self._table.insert(3, "region", where)
        self._show(counts)
        self.words.say(f"In the region drawn last ({where})." if self.inside.isChecked() else "")

    def _count(self, counted: Counted) -> tuple[Counts, str]:
        """The counts, and where they were taken, for people."""
        from napari_monusac.scoring.metrics.density import count_nuclei

        crop = self.model.crop
        name = counted.name or (crop.name if crop is not None else "")
        patient = crop.patient if crop is not None and not counted.name else ""
        if not self.inside.isChecked():
            counts = count_nuclei(counted.table, counted.shape, counted.um_per_px, name=name, patient=patient)
            return counts, counted.part
        outline, layer = last_outline(self.viewer), canvas.find_layer(self.viewer, counted.role)
        if layer is None:
            raise MonusacError("the layer of the predicted nuclei was deleted", "predict again to count in a region")
        if outline is None:
            raise MonusacError(
                "no region is drawn", "draw a polygon over the image in a Shapes layer, or untick the box"
            )
        table, shape, um_per_px, region = _in_region(counted, outline.on(layer))
        if not region.any():
            raise MonusacError(
                f"{outline.name} lies outside of what was predicted", "draw it over the predicted nuclei"
            )
        return count_nuclei(table, shape, um_per_px, region=region, name=name, patient=patient), outline.name

    def _show(self, counts: Counts | None) -> None:
        self.table.setRowCount(len(CLASSES) + 1)
        for i, kind in enumerate([*CLASSES, None]):
            texts = ["All" if kind is None else kind.label, *_numbers(counts, kind)]
            for column, text in enumerate(texts):
                self.table.setItem(i, column, QTableWidgetItem(text))
        height = self.table.horizontalHeader().height() + sum(self.table.rowHeight(i) for i in range(len(CLASSES) + 1))
        self.table.setFixedHeight(height + 4)
        self.save.setEnabled(counts is not None)

    def save_counts(self) -> None:
        """Ask for a file, and write the counts into it."""
        self.refresh()  # a shape may have been moved with its layer
        if self._table is None:
            return
        path = QFileDialog.getSaveFileName(self, "Save counts", "counts.csv", "Tables (*.csv)")[0]
        if path:
            from napari_monusac.scoring.metrics.density import write_density_table

            try:
                write_density_table(self._table, path)
            except OSError as error:
                why = error.strerror or error
                self.words.say(f"{path}: cannot be written ({why}) — choose another folder or name", "error")
                return
            self.words.say(f"Counts are in {path}.", "good")


def _numbers(counts: Counts | None, kind: NucleusClass | None) -> tuple[str, str, str]:
    """Nuclei, density and share of a class, or of all, for people."""
    if counts is None:
        return "–", "–", "–"
    density, percent = counts.per_mm2(kind), counts.percent(kind)
    return (
        str(counts.total if kind is None else counts.of(kind)),
        f"{density:.0f}" if np.isfinite(density) else "–",
        f"{percent:.0f}" if np.isfinite(percent) else "–",
    )


def _in_region(counted: Counted, outline: Any) -> tuple[pd.DataFrame, tuple[int, int], float | None, Any]:
    """Table, shape, scale and mask of a region, on a grid that fits into memory. Outline: (y, x) in px of the maps."""
    from napari_monusac.scoring.metrics.density import region_mask

    shape, table, um = counted.shape, counted.table, counted.um_per_px
    step = -(-max(shape) // _MASK_PX)
    coarse = (-(-shape[0] // step), -(-shape[1] // step))
    places = {name: (table[name] + 0.5) / step - 0.5 for name in ("centroid_y", "centroid_x")}
    mask = region_mask((outline + 0.5) / step - 0.5, coarse)
    return table.assign(**places), coarse, um * step if um else None, mask


def count_words(table: Any) -> str:
    """How many nuclei a table has, by class, in one line."""
    words = ", ".join(f"{n} {name.lower()}" for name, n in table["class"].value_counts().items())
    if not words:
        return "No nuclei at these thresholds."
    return f"{len(table)} {'nuclei' if len(table) != 1 else 'nucleus'}: {words}. Model output, research use."
