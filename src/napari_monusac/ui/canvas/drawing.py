"""Outlines and fillings of a labels layer in one go: each pixel is told apart by class, and by outline or inside.

napari draws all labels of a layer as outlines or all as fillings, and needs 100 ms for the outlines of a crop. Here the
pixels inside an outline keep a number of their own, whose colour is clear or not (`ClassColormap.set_look`): to fill a
class, no pixel is computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_monusac.ui.canvas.colors import INNER, ClassColormap
from napari_monusac.ui.canvas.napari_private import draw_with, undress

#: Width of the outlines, px.
OUTLINE_PX = 2
#: Length of dashes and gaps along a diagonal, px.
_DASH_PX = 4
#: Width of the halo, px; not wider than the outlines, whose pixels outside of nuclei it has.
HALO_PX = 1
_SQUARE = np.ones((2 * HALO_PX + 1, 2 * HALO_PX + 1), np.uint8)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
#: Parts up to this size are looked up label by label: the brush draws labels there that no class map has yet.
_SMALL_PX = 500_000

Cut = tuple[slice, slice]


def edges(labels: NDArray[Any], width_px: int) -> NDArray[np.uint8]:
    """Return 1 for pixels that are `width_px` or less (in steps to a side) from another label, uint8 (y, x)."""
    out = np.zeros(labels.shape, np.uint8)
    down, across = (labels[1:] != labels[:-1]).view(np.uint8), (labels[:, 1:] != labels[:, :-1]).view(np.uint8)
    out[1:] |= down
    out[:-1] |= down
    out[:, 1:] |= across
    out[:, :-1] |= across
    return np.asarray(cv2.dilate(out, _CROSS, iterations=width_px - 1), np.uint8) if width_px > 1 else out


def drawn(places: NDArray[np.uint8], edge: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return places in the table of colours, uint8 (y, x): of outlines, of what is inside them, of the halo beside them.

    Parameters
    ----------
    places : uint8 (y, x)
        `PLACES` of each pixel's class, 0 outside nuclei.
    edge : uint8 (y, x)
        1 near an edge, on both sides of it: within a nucleus that is its outline, outside its halo.
    """
    out = np.asarray(places + np.uint8(INNER) * ((edge == 0) & (places > 0)).view(np.uint8), np.uint8)
    near = cv2.dilate(places, _SQUARE)  # the class that a halo belongs to: hidden with it
    return np.asarray(
        cv2.copyTo(near + np.uint8(2 * INNER), ((edge > 0) & (places == 0) & (near > 0)).view(np.uint8), out)
    )


class Drawing:
    """Draws one labels layer with a `ClassColormap`; installs itself on the layer.

    Parameters
    ----------
    layer : Labels
        The layer; its `contour` is the width of the outlines. At 0 napari fills everything itself.
    quick : callable, optional
        Gives the places (`PLACES`) of all pixels of a large part, faster than label by label.
    first : uint8 (y, x), optional
        What `drawn` gives for the whole frame, made in a worker: the layer is drawn with it the first time.
    dashed : bool
        Draw outlines as dashes: those of a model, told apart from a person's without colour.
    """

    def __init__(
        self,
        layer: Labels,
        quick: Callable[[Cut], NDArray[np.uint8]] | None = None,
        first: NDArray[np.uint8] | None = None,
        *,
        dashed: bool = False,
    ) -> None:
        self.layer, self._quick, self._dashed = layer, quick, dashed
        #: used for the first drawing of the whole layer; to be dropped before the labels change
        self.first = first
        undress(layer)  # of a session before, which would be kept alive
        self._own = draw_with(layer, self.displayed)

    def close(self) -> None:
        """Let napari draw the layer again."""
        undress(self.layer)

    def displayed(self, raw: NDArray[Any], data_slice: tuple[slice, ...] | None = None) -> Any:
        """Return the numbers of a part's pixels in the table of colours, uint8 (y, x). napari calls it."""
        colormap, width = self.layer.colormap, int(self.layer.contour)
        if self._own is None:
            raise AttributeError("this napari cannot be told how to draw a layer")
        if width < 1 or raw.ndim != 2 or not isinstance(colormap, ClassColormap) or colormap.use_selection:
            return self._own(raw, data_slice)
        first, self.first = self.first, None
        if data_slice is None and first is not None and first.shape == raw.shape and width == OUTLINE_PX:
            return first
        y, x = data_slice or (slice(0, raw.shape[0]), slice(0, raw.shape[1]))
        cut = slice(y.start, min(y.stop, raw.shape[0])), slice(x.start, min(x.stop, raw.shape[1]))
        # outlines depend on neighbours just outside the part, halos on their class
        wide = (
            slice(max(0, cut[0].start - width), cut[0].stop + width),
            slice(max(0, cut[1].start - width), cut[1].stop + width),
        )
        around, down, right = raw[wide], cut[0].start - wide[0].start, cut[1].start - wide[1].start
        large = around.size > _SMALL_PX
        places = self._quick(wide) if self._quick is not None and large else colormap.places(around)
        edge = edges(around, width)
        if self._dashed:
            # a gap has the number of what is inside: clear, or filled with it
            rows, columns = (slice(s.start, s.start + n) for s, n in zip(wide, edge.shape, strict=True))
            at_y, at_x = np.ogrid[rows, columns]
            edge = edge & (((at_y + at_x) // _DASH_PX + (at_y - at_x) // _DASH_PX) % 2).astype(np.uint8)
        height, across = raw[cut].shape
        return drawn(places, edge)[down : down + height, right : right + across]
