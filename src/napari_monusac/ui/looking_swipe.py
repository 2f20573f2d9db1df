"""The curtain: truth left of the mouse, prediction right of it, in one layer of which only the moved columns change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from napari_monusac.ui import canvas, comparing
from napari_monusac.ui.looking_maps import Maps


class Curtain:
    """A swipe between two maps.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose mouse it follows.
    put : callable
        Shows a map as the layer *swipe*.
    """

    def __init__(self, viewer: Any, put: Callable[[Any], None]) -> None:
        self.viewer, self._put = viewer, put
        self.column = -1
        self._maps: Maps | None = None
        self._swiped: Any = None

    def show(self, maps: Maps) -> None:
        """Draw the curtain over two maps, at the column where it was last."""
        self._maps = maps
        width = maps[0].shape[1]
        self._swiped = np.empty_like(maps[0])
        column = self.column if 0 <= self.column < width else width // 2
        self._fill_to(column, 0, width)
        self._put(self._swiped)
        if self._moved not in self.viewer.mouse_move_callbacks:
            self.viewer.mouse_move_callbacks.append(self._moved)

    def leave(self) -> None:
        """Follow the mouse no more."""
        if self._moved in self.viewer.mouse_move_callbacks:
            self.viewer.mouse_move_callbacks.remove(self._moved)

    def _moved(self, _: Any, event: Any) -> None:
        layer = canvas.find_layer(self.viewer, comparing.SWIPE)
        if layer is not None:
            self.to(round(float(layer.world_to_data(event.position)[-1])))

    def to(self, column: int) -> None:
        """Put the curtain's edge on a column of the map."""
        layer = canvas.find_layer(self.viewer, comparing.SWIPE)
        if layer is None or self._swiped is None or layer.data is not self._swiped:
            return
        column = min(max(0, column), self._swiped.shape[1] - 1)
        if column == self.column:
            return
        edge = self.edge_px()
        self._fill_to(column, min(column, self.column) - edge, max(column, self.column) + edge + 1)
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _fill_to(self, column: int, start: int, stop: int) -> None:
        """Draw the columns from `start` to `stop` anew: truth, the edge, prediction."""
        if self._maps is None:
            return
        truth, prediction = self._maps
        start, stop = max(0, start), min(stop, self._swiped.shape[1])
        self._swiped[:, start:column] = truth[:, start:column]
        self._swiped[:, column:stop] = prediction[:, column:stop]
        edge = self.edge_px()
        self._swiped[:, max(0, column - edge // 2) : column + edge - edge // 2] = comparing.CURTAIN
        self.column = column

    def edge_px(self) -> int:
        """Width of the curtain's edge in px of the map: two on the screen."""
        image = canvas.image_layer(self.viewer)
        scale = 1.0 if image is None else float(image.scale[-1])
        return int(np.clip(round(2 / max(1e-6, float(self.viewer.scene.camera.zoom) * scale)), 1, 40))
