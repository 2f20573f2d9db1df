"""Other ways to look at tissue: haematoxylin or eosin alone, more contrast. A layer over the image, never the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.ui import canvas
from napari_monusac.ui.work import Task

ROLE = "view"
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
    levels = np.arange(256)
    density = -np.log10(np.maximum(levels, 1) / 255)
    if stain == COLOUR:
        return np.asarray((255 * 10 ** (-density * contrast)).round().astype(np.uint8)[rgb])
    from skimage.color import hed_from_rgb

    weights = hed_from_rgb[:, STAINS.index(stain) - 1]
    grey = 255 * contrast / _DARKEST[stain]
    tables = [(density * w * grey).astype(np.float32) for w in weights]
    amount = tables[0][rgb[..., 0]] + tables[1][rgb[..., 1]] + tables[2][rgb[..., 2]]
    return np.asarray(255 - np.clip(amount, 0, 255)).astype(np.uint8)


class StainView(QObject):
    """Keeps the layer *view* over the image. A view that the user deletes stays deleted.

    Signals
    -------
    gone() : there is no view any more: show the controls as they were.
    """

    gone = Signal()

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer = viewer
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
            layer = canvas.find_layer(self.viewer, ROLE)
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
        stain, contrast = self.stain, self.contrast
        task = Task(lambda _: stain_view(np.asarray(image.data)[..., :3], stain, contrast))
        self._task = task
        task.done.connect(lambda picture: self._put(image, picture) if self._task is task else None)
        task.start()

    def _put(self, image: Any, picture: NDArray[np.uint8]) -> None:
        if image not in self.viewer.layers or (self.stain == COLOUR and abs(self.contrast - 1) < 0.01):
            return
        old = canvas.find_layer(self.viewer, ROLE)
        if isinstance(old, Image) and old.rgb == (picture.ndim == 3):
            old.data = picture
            return
        active = self.viewer.layers.selection.active
        if old is not None:
            self.viewer.layers.events.removed.disconnect(self._removed)
            self.viewer.layers.remove(old)
            self.viewer.layers.events.removed.connect(self._removed)
        about = {**image.metadata.get("monusac", {}), "role": ROLE}
        attributes = {
            "name": ROLE, "rgb": picture.ndim == 3, "metadata": {"monusac": about}, **canvas.placing(image),
        }  # fmt: skip
        if picture.ndim == 2:
            attributes["contrast_limits"] = (0, 255)
        self.viewer.layers.insert(self.viewer.layers.index(image) + 1, Layer.create(picture, attributes, "image"))
        if active in self.viewer.layers:
            self.viewer.layers.selection.active = active

    def _removed(self, event: Any) -> None:
        if canvas.role(event.value) == ROLE:
            self.stain, self.contrast = COLOUR, 1.0
            self.gone.emit()
