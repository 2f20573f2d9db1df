"""Where something lies in an image: a `Box` by its corners (nuclei, strokes, changes), a `Region` by its size (tiles, parts)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: (top, left, bottom, right) in px, half-open: ``array[top:bottom, left:right]``.
Box = tuple[int, int, int, int]


class Region(NamedTuple):
    """A rectangle of pixels by its first pixel and its size, px: a tile, or the part of an image that is predicted."""

    y: int
    x: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as slices of the last two axes."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def window(box: Box) -> tuple[slice, slice]:
    """Return the slices that cut `box` out of an array."""
    return slice(box[0], box[2]), slice(box[1], box[3])


def grown(box: Box, margin_px: int, shape: tuple[int, ...]) -> Box:
    """Return `box` with a margin on each side, clipped to a frame of `shape`."""
    return (
        max(0, box[0] - margin_px),
        max(0, box[1] - margin_px),
        min(shape[0], box[2] + margin_px),
        min(shape[1], box[3] + margin_px),
    )


def union(first: Box, second: Box) -> Box:
    """Return the smallest box that holds both."""
    return min(first[0], second[0]), min(first[1], second[1]), max(first[2], second[2]), max(first[3], second[3])


def overlap(first: Box, second: Box) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return where two boxes overlap, as slices of an array at `first` and of one at `second`; None where nowhere."""
    top, left = max(first[0], second[0]), max(first[1], second[1])
    bottom, right = min(first[2], second[2]), min(first[3], second[3])
    if top >= bottom or left >= right:
        return None
    return (
        (slice(top - first[0], bottom - first[0]), slice(left - first[1], right - first[1])),
        (slice(top - second[0], bottom - second[0]), slice(left - second[1], right - second[1])),
    )


def tight_box(mask: NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> Box | None:
    """Return the box of the true pixels, moved by `origin`, or None where there is none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    y, x = origin
    return int(rows[0]) + y, int(columns[0]) + x, int(rows[-1]) + 1 + y, int(columns[-1]) + 1 + x
