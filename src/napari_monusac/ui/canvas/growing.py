"""Large images whose smaller levels are being made: drawn again while they fill."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer

from napari_monusac.io.slides.growing import GrowingPyramid
from napari_monusac.io.slides.slide import growing_slide
from napari_monusac.ui.canvas import canvas

_EVERY_MS = 500


class GrowingImages(QObject):
    """Draws an image again while its smaller levels are made, and says how far they are.

    Parameters
    ----------
    viewer : napari.Viewer
        Its layers are watched.
    parent : QObject
        With whom it ends.
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._shown: WeakKeyDictionary[GrowingPyramid, float] = WeakKeyDictionary()
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self._draw)

    def look(self) -> None:
        """Begin to watch where an image grows."""
        if not self._timer.isActive() and self._pyramids():
            self._timer.start()

    def _pyramids(self) -> list[tuple[Image, GrowingPyramid]]:
        """Layers whose image still grows, or was not yet drawn whole."""
        found = []
        for layer in canvas.our_layers(self.viewer):
            slide = growing_slide(layer.metadata["monusac"].get("image") or "")
            pyramid = slide.growing if slide is not None else None
            if isinstance(layer, Image) and layer.multiscale and pyramid is not None and self._drawn(pyramid) < 1.0:
                found.append((layer, pyramid))
        return found

    def _drawn(self, pyramid: GrowingPyramid) -> float:
        return self._shown.get(pyramid, 0.0)

    def _draw(self) -> None:
        pyramids = self._pyramids()
        for layer, pyramid in pyramids:
            fraction = pyramid.fraction
            if fraction != self._drawn(pyramid):
                self._shown[pyramid] = fraction
                with layer.events.data.blocker():  # the same image, whose smallest level napari has kept
                    layer.data = list(layer.data)
            whole = pyramid.problem or "The image is whole: its smaller levels are kept for the next time."
            self.viewer.status = whole if fraction >= 1.0 else f"The image fills: {fraction:.0%}"
        if not pyramids:
            self._timer.stop()
