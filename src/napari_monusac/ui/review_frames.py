"""Frames around nuclei on the canvas: the one that is judged, those of a table's cell. Made to be moved fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_monusac.ui import canvas
from napari_monusac.ui.dashed_layer import DARK, LIGHT, LINE_PX, DashedLayer

ROLE = "frames"
#: Dashes of a side: always as many, so that a moved frame keeps its colours.
_DASHES = 8
#: Room between a nucleus and its frame, px of the image.
_MARGIN_PX = 3

#: Magnification that is left as it is, and the one that is gone to from below.
_ENOUGH, _WANTED = 40.0, 60.0

Box = tuple[float, float, float, float]


class Frames(DashedLayer):
    """One Vectors layer with dashed rectangles. If the user deletes it, there are none until the next crop.

    A step through a list of errors moves one frame: nothing but its 32 dashes goes to the canvas, and the layer list
    does not paint a thumbnail that nobody needs.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are drawn.
    like : Layer
        The image whose pixels the boxes are given in.
    """

    def __init__(self, viewer: Any, like: Layer) -> None:
        self._sets: dict[str, list[Box]] = {}
        super().__init__(viewer, like, ROLE)

    def show(self, what: str, boxes: Iterable[Any], offset_px: tuple[int, int] = (0, 0)) -> None:
        """Show one set of frames ("error", "cell") around boxes (y0, x0, y1, x1); none takes the set away."""
        (y, x), m = offset_px, _MARGIN_PX
        found = [(b[0] + y - m, b[1] + x - m, b[2] + y + m, b[3] + x + m) for b in boxes]
        if found or self._sets.get(what):
            self._sets[what] = found
            self._draw()

    def _draw(self) -> None:
        layer = self._ready()
        if layer is None:
            return
        segments = dashes_of([box for boxes in self._sets.values() for box in boxes])
        others = len(segments) != len(layer.data)
        with layer.events.thumbnail.blocker():
            layer.data = segments
            if others and len(segments):
                layer.edge_color = np.tile([DARK, LIGHT], (len(segments) // 2, 1))
        self._zoomed()

    def _zoomed(self, _: object = None) -> None:
        """Lines stay as wide on the screen as they are."""
        layer = self._layer
        if layer is None or layer not in self.viewer.layers or not any(self._sets.values()):
            return
        width = self._screen_px(LINE_PX)
        if abs(width - layer.edge_width) > 0.02 * width:
            with layer.events.thumbnail.blocker():
                layer.edge_width = width


def dashes_of(boxes: list[Box]) -> NDArray[np.float64]:
    """Cut frames into dashes.

    Parameters
    ----------
    boxes : list of (y0, x0, y1, x1)
        In px.

    Returns
    -------
    float64 (32 n, 2, 2)
        Start and step (y, x) of each dash; dark and light ones take turns.
    """
    if not boxes:
        return np.zeros((0, 2, 2))
    y0, x0, y1, x1 = np.asarray(boxes, np.float64).T
    corners = np.stack([[y0, x0], [y0, x1], [y1, x1], [y1, x0]]).transpose(2, 0, 1)
    sides = (np.roll(corners, -1, axis=1) - corners)[:, :, None] / _DASHES
    starts = corners[:, :, None] + sides * np.arange(_DASHES)[:, None]
    return np.stack([starts, np.broadcast_to(sides, starts.shape)], axis=3).reshape(-1, 2, 2)


def zoom_for(viewer: Any, image: Any, box: Box) -> float:
    """Return the magnification to see a nucleus at.

    That of the reader where it is 40x or more, so that steps from nucleus to nucleus do not jump; else 60x. Less only
    where the nucleus would not fit into the window.
    """
    now = canvas.magnification(viewer) or 0.0
    side_um = max(box[2] - box[0], box[3] - box[1]) * float(image.scale[-1]) * 2
    room_px = float(min(viewer.canvas.size))
    return min(now if now >= _ENOUGH else _WANTED, 10 * room_px / max(side_um, 1e-6))
