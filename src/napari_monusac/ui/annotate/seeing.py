"""Seeing: outline or filled, how strong, only one class, colours, stain, contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QSlider, QWidget
from superqt import QLabeledDoubleSlider

from napari_monusac.app.actions import FILL, FILL_OF
from napari_monusac.app.work import Task, Work
from napari_monusac.core.classes import PaletteName
from napari_monusac.core.optical_density import LN_10, density_of_levels
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID
from napari_monusac.ui.annotate.parts import slider
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.colors import FILLABLE
from napari_monusac.ui.canvas.predicted import dress_predicted
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets import settings as annotate_settings
from napari_monusac.ui.widgets.basic import calm, row

VIEW_ROLE = "view"
COLOUR, HAEMATOXYLIN, EOSIN = STAINS = ("H&E", "Haematoxylin", "Eosin")
#: Larger images are not recoloured: memory, and seconds of waiting.
_MOST_PX = 64_000_000
_WAIT_MS = 120
#: A concentration that is shown black; stained nuclei lie at 0.3 to 1 (optical density times stain vector).
_DARKEST = {HAEMATOXYLIN: 0.9, EOSIN: 0.6}


def stain_view(rgb: NDArray[np.uint8], stain: str, contrast: float) -> NDArray[np.uint8]:
    """Return the tissue as it looks with one stain alone, or with more contrast.

    Parameters
    ----------
    rgb : uint8 (y, x, 3)
        The image.
    stain : {"H&E", "Haematoxylin", "Eosin"}
        What to show.
    contrast : float
        Optical density is multiplied by this: 1 changes nothing, 2 is tissue stained twice as strongly.

    Returns
    -------
    uint8 (y, x, 3) or (y, x)
        Colour for H&E; grey for one stain, white where there is none of it.

    Notes
    -----
    Stain vectors of Ruifrok and Johnston (2001), as in `skimage.color.hed_from_rgb`.
    """
    density = density_of_levels(255.0, offset=0.0) / LN_10
    if stain == COLOUR:
        return np.asarray((255 * 10 ** (-density * contrast)).round().astype(np.uint8)[rgb])
    from skimage.color import hed_from_rgb

    weights = hed_from_rgb[:, STAINS.index(stain) - 1]
    grey = 255 * contrast / _DARKEST[stain]
    tables = [(density * w * grey).astype(np.float32) for w in weights]
    amount = tables[0][rgb[..., 0]] + tables[1][rgb[..., 1]] + tables[2][rgb[..., 2]]
    return np.asarray(255 - np.clip(amount, 0, 255)).astype(np.uint8)


class StainView(QObject):
    """Keeps the layer *view* over the image, made in the background. A view that the user deletes stays deleted.

    Signals
    -------
    gone() : there is no view any more: show the controls as they were.
    """

    gone = Signal()

    def __init__(self, viewer: Any, work: Work, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer, self._work = viewer, work
        self.stain, self.contrast = COLOUR, 1.0
        self._task: Task | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_WAIT_MS)
        self._timer.timeout.connect(self._compute)
        viewer.layers.events.removed.connect(self._removed)

    def show(self, stain: str, contrast: float) -> None:
        """Show a stain with a contrast; plain H&E takes the view away."""
        self.stain, self.contrast = stain, contrast
        if stain == COLOUR and abs(contrast - 1) < 0.01:
            self._timer.stop()
            layer = canvas.find_layer(self.viewer, VIEW_ROLE)
            if layer is not None:
                self.viewer.layers.remove(layer)
        else:
            self._timer.start()

    def possible(self) -> bool:
        """Whether the open image can be shown in other ways."""
        image = canvas.find_layer(self.viewer, "image")
        return (
            isinstance(image, Image) and image.rgb and not image.multiscale
            and image.data.shape[0] * image.data.shape[1] <= _MOST_PX
        )  # fmt: skip

    def _compute(self) -> None:
        image = canvas.find_layer(self.viewer, "image")
        if image is None or not self.possible():
            return
        stain, contrast, shown = self.stain, self.contrast, image.data
        task = self._work.task(lambda _: stain_view(np.asarray(shown)[..., :3], stain, contrast), self)
        self._task = task
        task.done.connect(lambda picture: self._put(image, shown, picture) if self._task is task else None)
        task.start()

    def _put(self, image: Any, shown: Any, picture: NDArray[np.uint8]) -> None:
        if self.stain == COLOUR and abs(self.contrast - 1) < 0.01:
            return
        if not canvas.still_shows(self.viewer, image, shown):
            self._timer.start()  # of the former crop: the open one is shown like that
            return
        old = canvas.find_layer(self.viewer, VIEW_ROLE)
        if isinstance(old, Image) and old.rgb == (picture.ndim == 3):
            old.data = picture
            return
        active = self.viewer.layers.selection.active
        if old is not None:
            self.viewer.layers.events.removed.disconnect(self._removed)
            self.viewer.layers.remove(old)
            self.viewer.layers.events.removed.connect(self._removed)
        about = {**image.metadata.get("monusac", {}), "role": VIEW_ROLE}
        attributes = {
            "name": VIEW_ROLE, "rgb": picture.ndim == 3, "metadata": {"monusac": about}, **canvas.placing(image),
        }  # fmt: skip
        if picture.ndim == 2:
            attributes["contrast_limits"] = (0, 255)
        self.viewer.layers.insert(self.viewer.layers.index(image) + 1, Layer.create(picture, attributes, "image"))
        if active in self.viewer.layers:
            self.viewer.layers.selection.active = active

    def _removed(self, event: Any) -> None:
        if canvas.role(event.value) == VIEW_ROLE:
            self.stain, self.contrast = COLOUR, 1.0
            self.gone.emit()


class Seeing(QWidget):
    """How nuclei and tissue are shown.

    Parameters
    ----------
    controller : EditingController
        Whose layers are meant.
    """

    def __init__(self, controller: EditingController) -> None:
        super().__init__()
        self.controller = controller
        self._chosen = False
        self._seen: Any = None
        self.stain_view = StainView(controller.viewer, controller.model.work, self)
        self._dressing = QTimer(self)
        self._dressing.setSingleShot(True)
        self._dressing.timeout.connect(self._dress)
        self.fill = calm(QCheckBox(FILL.label))
        self.fill.setToolTip(f"{FILL.tooltip}; one class: click its colour above, or {FILL_OF.key}")
        self.only = calm(QCheckBox("Only this class"))
        self.only.setToolTip("Hide the nuclei of the other classes; the class is the one whose button is pressed above")
        self.colour_blind = calm(QCheckBox("Colour-blind colours"))
        self.opacity: QSlider = slider(5, 100, 90, "How strong nuclei are drawn, in per cent")
        strength = round(100 * controller.look.strength)
        self.strength: QSlider = slider(
            5, 100, strength, "How strong fillings are, compared with outlines, in per cent"
        )
        self.stain = calm(QComboBox())
        self.stain.addItems(STAINS)
        self.stain.setToolTip("Haematoxylin stains nuclei, eosin the rest: each alone, or both as they are")
        self.contrast = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.contrast.setRange(0.5, 3.0)
        self.contrast.setSingleStep(0.1)
        self.contrast.setDecimals(1)
        self.contrast.setValue(1.0)
        self.contrast.setToolTip("As if the tissue were stained so many times as strongly; the image stays as it is")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(row(self.fill, self.only))
        form.addRow(self.colour_blind)
        form.addRow("Nuclei", self.opacity)
        form.addRow("Filling", self.strength)
        form.addRow("Stain", self.stain)
        form.addRow("Contrast", self.contrast)
        self.fill.clicked.connect(lambda _: self.toggle_fill())
        self.strength.valueChanged.connect(lambda percent: controller.set_look(strength=percent / 100))
        self.only.toggled.connect(lambda _: self.apply_look())
        self.colour_blind.toggled.connect(self._palette_toggled)
        self.opacity.valueChanged.connect(self._opacity_moved)
        self.stain.currentTextChanged.connect(lambda _: self._stain_changed())
        self.contrast.valueChanged.connect(lambda _: self._stain_changed())
        self.stain_view.gone.connect(self._view_gone)
        controller.viewer.layers.events.inserted.connect(self._inserted)
        hear(self, controller.model.predicted, self._dress)
        controller.session_changed.connect(self._session_changed)
        hear(self, controller.editing.current_class_changed, lambda _: self.apply_look())
        controller.look_changed.connect(self._show_fill)
        self.colour_blind.setChecked(controller.model.palette == "colour-blind")
        self._session_changed()

    def _nuclei(self) -> Any:
        layers = self.controller.layers
        return layers.get("nuclei") if layers is not None else None

    def _inserted(self, event: Any) -> None:
        if canvas.role(event.value).startswith("predicted"):
            # after the panel that made it has given it its table
            self._dressing.start()

    def _dress(self, _: object = None) -> None:
        for layer in self.controller.viewer.layers:
            dress_predicted(self.controller.viewer, layer, self.controller.model.palette)

    def _session_changed(self) -> None:
        layer = self._nuclei()
        for widget in (self.fill, self.only, self.opacity):
            widget.setEnabled(layer is not None)
        possible = self.stain_view.possible()
        self.stain.setEnabled(possible)
        self.contrast.setEnabled(possible)
        if layer is not None:
            if self._chosen and self.controller.session is not self._seen:
                # what the reader chose on the crop before holds here, too
                layer.opacity = self.opacity.value() / 100
            self._seen = self.controller.session
            _quietly(self.opacity, lambda: self.opacity.setValue(round(100 * layer.opacity)))
            self.apply_look()
        self._show_fill()

    def toggle_fill(self) -> None:
        """All classes as outlines, or filled."""
        self.controller.fill(FILLABLE)

    def toggle_fill_of(self, number: int) -> None:
        """One class as outlines, or filled."""
        self.controller.fill([number])

    def _show_fill(self) -> None:
        filled = self.controller.look.filled
        _quietly(self.fill, lambda: self.fill.setChecked(filled >= set(FILLABLE)))
        self.strength.setEnabled(bool(filled))

    def _opacity_moved(self, percent: int) -> None:
        layer = self._nuclei()
        if layer is not None:
            self._chosen = True
            layer.opacity = percent / 100

    def _palette_toggled(self, on: bool) -> None:
        palette: PaletteName = "colour-blind" if on else "imagescope"
        if palette != self.controller.model.palette:
            annotate_settings.set_palette(palette)
            self.controller.model.palette = palette
            self._dress()
        self.apply_look()

    def apply_look(self) -> None:
        """Show the chosen colours and classes."""
        session, only = self.controller.session, None
        if session is not None and self.only.isChecked() and self.controller.editing.current_class != AMBIGUOUS_ID:
            only = frozenset([self.controller.editing.current_class])
        self.controller.set_look(palette=self.controller.model.palette, only=only)

    def _stain_changed(self) -> None:
        self.stain_view.show(self.stain.currentText(), self.contrast.value())

    def _view_gone(self) -> None:
        _quietly(self.stain, lambda: self.stain.setCurrentText(COLOUR))
        _quietly(self.contrast, lambda: self.contrast.setValue(1.0))


def _quietly(widget: Any, change: Any) -> None:
    widget.blockSignals(True)
    change()
    widget.blockSignals(False)
