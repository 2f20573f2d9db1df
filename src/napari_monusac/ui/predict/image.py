"""Which image is predicted: the one the user works on, said where there are several."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_monusac.app.actions import DRAW_REGION
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.regions import RECTANGLE, REGION_ROLE, REGIONS, draw_rectangle
from napari_monusac.ui.canvas.view import PanelView, let_go
from napari_monusac.ui.widgets.basic import form_button


class RegionChoice(QWidget):
    """The part that is predicted.

    Parameters
    ----------
    viewer : napari.Viewer
    image : ImageChoice
        Says over which image a rectangle is drawn.
    """

    #: A rectangle can be dragged over the image now.
    drawing = Signal()

    def __init__(self, viewer: Any, image: ImageChoice) -> None:
        super().__init__()
        self._viewer, self._image = viewer, image
        self._view = PanelView(viewer, (REGION_ROLE,))
        self.region = QComboBox()
        self.region.addItems(REGIONS)
        self.region.setToolTip(
            "The whole image, what the window shows now, or the rectangle around the shape drawn last in a Shapes layer"
        )
        self.draw = form_button(DRAW_REGION, self)
        self.draw.hide()
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.region, 1)
        box.addWidget(self.draw)
        self.region.currentTextChanged.connect(lambda text: self.draw.setVisible(text == RECTANGLE))

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Another panel is in front: what is drawn for this one is put away, and catches no drag."""
        super().hideEvent(event)
        self._view.put_away()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """What was drawn is seen again."""
        super().showEvent(event)
        self._view.bring_back()

    def drawn(self) -> None:
        """The region is taken: the next drag pans."""
        let_go(self._viewer, (REGION_ROLE,))

    def draw_region(self) -> None:
        """Let a rectangle be dragged over the image."""
        if self._image.image is not None:
            draw_rectangle(self._viewer, self._image.image)
            self.drawing.emit()


#: An image is looked at in so many px a side to see whether it is grey.
_GLANCE_PX = 256


class ImageChoice(QWidget):
    """A list of the images that can be predicted. It follows the active layer, and holds while shapes are drawn.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self._chosen: Image | None = None
        self._offered: list[Image] = []
        self.images = QComboBox()
        self.images.setToolTip("Which image is predicted: the layer selected last, or the one chosen here")
        self.images.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.images.setMinimumContentsLength(12)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.images)
        self.images.activated.connect(self._picked)
        layers = viewer.layers
        for event in (layers.events.inserted, layers.events.removed, layers.events.reordered, layers.events.renamed):
            event.connect(self._layers_changed)
        layers.selection.events.active.connect(self._layers_changed)
        self._layers_changed()

    @property
    def image(self) -> Image | None:
        """The image that is predicted next; None where none is open."""
        if self._chosen is not None and self._chosen in self._offered:
            return self._chosen
        return canvas.image_layer(self.viewer)

    @property
    def trouble(self) -> str:
        """Why the image cannot be predicted, or an empty string."""
        image = self.image
        if image is not None and image in self._offered:
            return ""
        image = image or _shown(self.viewer)
        if image is None:
            return "Open an image first (Slides)."
        return f"“{image.name}” is {_what(image)}"

    @property
    def warning(self) -> str:
        """What should be known of the image before it is predicted, or an empty string."""
        image = self.image
        data = None if image is None else image.data[-1] if image.multiscale else image.data
        if not isinstance(data, np.ndarray):
            return ""  # to look at it now would hold the window; the prediction says it
        from napari_monusac.infer.tiling.stain_sample import GREY_NOTE, is_grey

        step = max(1, max(data.shape[:2]) // _GLANCE_PX)
        return f"{GREY_NOTE[:1].upper()}{GREY_NOTE[1:]}." if is_grey(data[::step, ::step, :3]) else ""

    @property
    def several(self) -> bool:
        """Whether there is a choice."""
        return len(self._offered) > 1

    def forget(self) -> None:
        """Another crop is open: its image is meant."""
        self._chosen = None
        self._layers_changed()

    def _layers_changed(self, _: object = None) -> None:
        self._offered = _predictable(self.viewer)
        active = self.viewer.layers.selection.active
        if active in self._offered:
            self._chosen = active
        elif self._chosen not in self._offered:
            self._chosen = None
        self.images.clear()
        self.images.addItems([layer.name for layer in self._offered])
        image = self.image
        self.images.setCurrentIndex(self._offered.index(image) if image in self._offered else -1)
        self.changed.emit()

    def _picked(self, index: int) -> None:
        self._chosen = self._offered[index]
        self.changed.emit()


def _shown(viewer: Any) -> Image | None:
    """The image that the user has before them, of whatever kind: the active one, else the topmost."""
    images = [x for x in viewer.layers if isinstance(x, Image) and canvas.role(x) in ("", "image")]
    active = viewer.layers.selection.active
    return active if active in images else images[-1] if images else None


def _what(image: Image) -> str:
    """What an image is that cannot be predicted, and what to do."""
    data = image.data[0] if image.multiscale else image.data
    if image.rgb and image.ndim > 2:
        return "a stack: one plane of it can be predicted."
    if image.rgb:
        return f"no RGB image of 8 bits (it has {data.dtype}), which is what can be predicted."
    if 3 in data.shape[:-2]:
        return (
            "shown as separate channels, not in colour: open its file in Slides, or merge them "
            "(right click on the layer: Merge to RGB)."
        )
    return "a grey image, no RGB: the models are made for H&E in colour. Open the colour image of it."


def _predictable(viewer: Any) -> list[Image]:
    """RGB images of 8 bits, topmost first; of ours only the H&E image."""
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image)
        and layer.rgb
        and layer.ndim == 2
        and (layer.data[0] if layer.multiscale else layer.data).dtype == np.uint8
        and canvas.role(layer) in ("", "image")
    ]
