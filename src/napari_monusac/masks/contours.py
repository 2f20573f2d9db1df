"""Smooth outlines of nuclei, for drawing: along the edges of the pixels, and never more than half a pixel from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Box
from napari_monusac.masks.polygons import label_boxes

#: Smoothing runs over points half a pixel apart so many times: a staircase of single steps is a straight line then.
_ROUNDS = 6
#: How far smoothing may move a point, and each round of leaving points out the line, px: together half a pixel.
_MOST_MOVED_PX, _THINNINGS_PX = 0.3, (0.02, 0.06, 0.12)
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Contours:
    """Closed lines, one after the other.

    Attributes
    ----------
    points : float32 (n, 2)
        (y, x) in px; the centre of the map's first pixel is (0, 0). A line's first point is not repeated at its end.
    starts : int64 (lines + 1,)
        Where each line begins, and the last ends.
    labels : int64 (lines,)
        The nucleus of each line; one with holes or several parts has several.
    """

    points: NDArray[np.float32]
    starts: NDArray[np.int64]
    labels: NDArray[np.int64]

    def boxes(self) -> dict[int, Box]:
        """Return the pixels around each nucleus: top, left, bottom, right."""
        if not len(self.labels):
            return {}
        low = np.floor(np.minimum.reduceat(self.points, self.starts[:-1]) + 0.5).astype(int).tolist()
        high = np.ceil(np.maximum.reduceat(self.points, self.starts[:-1]) + 0.5).astype(int).tolist()
        found: dict[int, Box] = {}
        for label, (y0, x0), (y1, x1) in zip(self.labels.tolist(), low, high, strict=True):
            a, b, c, d = found.get(label, (y0, x0, y1, x1))
            found[label] = (min(a, y0), min(b, x0), max(c, y1), max(d, x1))
        return found

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Label and points of each line."""
        for label, start, end in zip(self.labels.tolist(), self.starts[:-1], self.starts[1:], strict=True):
            yield label, self.points[start:end]


def contours_of(instances: NDArray[Any], boxes: Iterable[tuple[int, Box]] | None = None) -> Contours:
    """Draw a smooth line around every nucleus, between its pixels and those beside them.

    Parameters
    ----------
    instances : integers (y, x)
        Instance map, 0 is background.
    boxes : iterable of (int, (top, left, bottom, right)), optional
        Only these nuclei, each with a box that holds all of it; one that is not there has no line.

    Returns
    -------
    Contours
        Lines of one nucleus lie side by side. No line is more than half a pixel from the edge of its nucleus' pixels.
    """
    rings, of, counts = [], [], []
    if boxes is None:
        boxes = [(k, (y.start, x.start, y.stop, x.stop)) for k, (y, x) in label_boxes(instances, None)]
    for label, (top, left, bottom, right) in boxes:
        for ring in _cracks(instances[top:bottom, left:right] == label):
            rings.append(ring + np.array([2 * top, 2 * left]))
            of.append(label)
            counts.append(len(ring))
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
    if not rings:
        return Contours(np.zeros((0, 2), np.float32), starts, np.zeros(0, np.int64))
    points = _smoothed(np.asarray((np.concatenate(rings) - 1) / 2, np.float32), starts)
    for off_px in _THINNINGS_PX:
        points, starts = _thinned(points, starts, off_px)
    return Contours(points, starts, np.array(of, np.int64))


def _cracks(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The lines between the pixels of a mask and others, as points (y, x) half a pixel apart: twice their place, plus 1.

    On a grid of pixels, their edges and their corners a dilated pixel reaches as far as its own edge; OpenCV follows that.
    """
    fine = np.zeros((2 * mask.shape[0] + 3, 2 * mask.shape[1] + 3), np.uint8)
    fine[2:-1:2, 2:-1:2] = mask
    found, _ = cv2.findContours(cv2.dilate(fine, _SQUARE), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [np.asarray(ring[:, 0, ::-1], np.int64) - 1 for ring in found]


def _neighbours(starts: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which point comes before and after each, around every line."""
    before, after = np.arange(-1, n - 1), np.arange(1, n + 1)
    before[starts[:-1]], after[starts[1:] - 1] = starts[1:] - 1, starts[:-1]
    return before, after


def _smoothed(points: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    before, after = _neighbours(starts, len(points))
    smooth = points
    for _ in range(_ROUNDS):
        smooth = np.asarray((smooth[before] + 2 * smooth + smooth[after]) / 4, np.float32)
    moved = smooth - points
    far = np.hypot(moved[:, 0], moved[:, 1])[:, None]
    return np.asarray(points + moved * (_MOST_MOVED_PX / np.maximum(far, _MOST_MOVED_PX)), np.float32)


def _thinned(
    points: NDArray[np.float32], starts: NDArray[np.int64], off_px: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Leave out every second point where that moves the line by `off_px` or less; lines keep four points."""
    before, after = _neighbours(starts, len(points))
    line = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    place = np.arange(len(points)) - starts[line]
    chord, step = points[after] - points[before], points - points[before]
    off = np.abs(chord[:, 0] * step[:, 1] - chord[:, 1] * step[:, 0])
    flat = off <= off_px * np.hypot(chord[:, 0], chord[:, 1])
    keep = (place % 2 == 0) | ~flat | (np.diff(starts)[line] < 8)
    counts = np.bincount(line[keep], minlength=len(starts) - 1)
    return points[keep], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
