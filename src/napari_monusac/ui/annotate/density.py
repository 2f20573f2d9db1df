"""The density of a class over the slide, and its hot spots as a list that goes there."""

from __future__ import annotations

from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QListWidgetItem, QPushButton, QVBoxLayout, QWidget
from superqt import QLabeledSlider

from napari_monusac.app.answers import Refused
from napari_monusac.app.density import density_of, spot_words
from napari_monusac.app.work import Latest
from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.scoring.metrics.hotspots import DensityMap, HotSpot
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.marks import frame_of
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.widgets.basic import calm, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import CalmList

DENSITY_ROLE = "density"
_SPOT = int(Qt.ItemDataRole.UserRole)
_OPACITY = 0.45


class Densities(QWidget):
    """Which class, in which radius; a map over the slide, and the densest places.

    Parameters
    ----------
    controller : EditingController
        Whose crop is meant.
    """

    def __init__(self, controller: EditingController) -> None:
        super().__init__()
        self.controller = controller
        self._latest = Latest(controller.model.work, self)
        self._latest.done.connect(self._found)
        self.kind = calm(QComboBox())
        self.kind.addItem("All nuclei", None)
        for one in (*CLASSES, NucleusClass.UNCLASSIFIED):
            self.kind.addItem(one.label, int(one))
        self.show_map = calm(QPushButton("Show density"))
        self.show_map.setCheckable(True)
        self.show_map.setToolTip("Nuclei per mm² around each place, over the slide, and the densest places as a list")
        self.radius = QLabeledSlider(Qt.Orientation.Horizontal)
        self.radius.setRange(10, 250)
        self.radius.setValue(50)
        self.radius.setToolTip("Radius of the disc that is counted in, µm")
        self.spots = CalmList()
        self.spots.setAccessibleName("Hot spots")
        self.words = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (row(self.kind, self.show_map, stretch_first=True), self.radius, self.words, self.spots):
            box.addWidget(widget)
        self.spots.setFixedHeight(6 * (self.fontMetrics().height() + 6))
        self.show_map.toggled.connect(lambda _: self.refresh())
        self.kind.currentIndexChanged.connect(lambda _: self.refresh())
        self.radius.valueChanged.connect(lambda _: self.refresh())
        self.spots.itemClicked.connect(self._go_to)
        controller.settled.connect(self.refresh)
        controller.session_changed.connect(self._session_changed)
        controller.viewer.layers.events.removed.connect(self._removed)
        self.refresh()

    def _session_changed(self) -> None:
        self._latest.forget()  # of the former crop
        self._take_away()
        self.refresh()

    def refresh(self) -> None:
        """Show the density as it is now, if it is asked for."""
        on = self.show_map.isChecked()
        self._frame(None)
        self.spots.setVisible(on)
        if not on:
            self._latest.forget()
            self.words.say("")
            self._take_away()
            return
        asked = density_of(self.controller.session, self.kind.currentData(), self.radius.value())
        if isinstance(asked, Refused):
            self._take_away()
            self.words.say(asked.why, "hint")
        else:
            self._latest.ask(asked)

    def _found(self, found: DensityMap) -> None:
        """Show a density that was worked out, if it is still asked for."""
        if not self.show_map.isChecked() or self.controller.session is None:
            return
        self._show(found)
        self.spots.clear()
        spots = found.hot_spots()
        for spot in spots:
            item = QListWidgetItem(spot_words(spot))
            item.setData(_SPOT, (spot, found.radius_px))
            self.spots.addItem(item)
        most = f"At most {found.per_mm2.max():.0f} per mm². " if spots else "There are none. "
        self.words.say(f"{most}Counted in discs of {self.radius.value()} µm; a click on a hot spot goes there.")

    def _layer(self) -> Layer | None:
        return canvas.find_layer(self.controller.viewer, DENSITY_ROLE)

    def _show(self, found: DensityMap) -> None:
        viewer, layers = self.controller.viewer, self.controller.layers
        nuclei = layers.get("nuclei") if layers is not None else None
        if nuclei is None:
            return
        most = max(1.0, float(found.per_mm2.max()))
        first = 0.5 * found.step_px - 0.5
        placed = canvas.placing(nuclei, (first, first), found.step_px)
        layer = self._layer()
        if layer is not None:
            layer.data = found.per_mm2
            canvas.lay(layer, placed)
            layer.contrast_limits = (0.0, most)
            return
        active = viewer.layers.selection.active
        about = {**nuclei.metadata.get("monusac", {}), "role": DENSITY_ROLE}
        viewer.add_image(
            found.per_mm2, name=DENSITY_ROLE, colormap="inferno", opacity=_OPACITY, contrast_limits=(0.0, most),
            interpolation2d="linear", metadata={"monusac": about}, **placed,
        )  # fmt: skip
        viewer.layers.selection.active = active

    def _take_away(self) -> None:
        layer = self._layer()
        if layer is not None:
            self.controller.viewer.layers.remove(layer)

    def _removed(self, event: Any) -> None:
        """The user deleted the layer: it is not asked for any more."""
        if (
            canvas.role(event.value) == DENSITY_ROLE
            and self.show_map.isChecked()
            and self.controller.layers is not None
        ):
            self.show_map.blockSignals(True)
            self.show_map.setChecked(False)
            self.show_map.blockSignals(False)
            self.spots.hide()
            self.words.say("")

    def _go_to(self, item: QListWidgetItem) -> None:
        spot, radius_px = item.data(_SPOT)
        layers = self.controller.layers
        nuclei = layers.get("nuclei") if layers is not None else None
        if nuclei is not None:
            canvas.center_on(self.controller.viewer, nuclei, spot.y_px, spot.x_px)
            self._frame((spot, radius_px))

    def _frame(self, around: tuple[HotSpot, float] | None) -> None:
        """Draw the box around a hot spot's disc, or take it away."""
        paths = []
        if around is not None:
            spot, r = around
            paths = [frame_of((spot.y_px - r, spot.x_px - r, spot.y_px + r, spot.x_px + r))]
        self.controller.marking.show("hot spot", paths)
