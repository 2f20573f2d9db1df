"""Strokes of the hand as small masks: polygon, lasso, brush, and the thin line of a cut."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage import draw

from napari_monusac.core.boxes import Box
from napari_monusac.core.errors import SessionError


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """A small mask at its place in the frame.

    Attributes
    ----------
    box : tuple of int
        (top, left, bottom, right) in px, half-open, inside the frame.
    mask : bool (bottom - top, right - left)
        The pixels that are meant.
    """

    box: Box
    mask: NDArray[np.bool_]

    @property
    def area_px(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))


def as_path(points: ArrayLike) -> NDArray[np.float64]:
    """Return points as float64 (n, 2), (y, x) in px.

    Raises
    ------
    SessionError
        There is no point, one of them is not finite, or they are not pairs.
    """
    path = np.atleast_2d(np.asarray(points, np.float64))
    if path.ndim != 2 or path.shape[1] != 2 or not len(path) or not np.isfinite(path).all():
        raise SessionError(f"a stroke of shape {path.shape} cannot be drawn", "pass finite (y, x) pairs in px")
    return path


def polygon_stamp(vertices: ArrayLike, shape: tuple[int, int]) -> Stamp:
    """Return the pixels of a polygon or lasso, as the challenge rasterises it (`skimage.draw.polygon`).

    Parameters
    ----------
    vertices : (n, 2)
        Outline in px, (y, x), open or closed; parts outside the frame are cut off.
    shape : tuple of int
        Height and width of the frame in px.

    Raises
    ------
    SessionError
        The vertices are no pairs.
    """
    path = as_path(vertices)
    low = np.clip(np.floor(path.min(0)), 0, shape).astype(int)
    high = np.clip(np.floor(path.max(0)) + 1, low, shape).astype(int)
    mask = np.zeros(tuple(high - low), bool)
    if mask.size:
        rows, columns = draw.polygon(path[:, 0], path[:, 1], shape)
        mask[rows - low[0], columns - low[1]] = True
    return Stamp((int(low[0]), int(low[1]), int(high[0]), int(high[1])), mask)


def brush_stamp(points: ArrayLike, diameter_px: float, shape: tuple[int, int]) -> Stamp:
    """Return the pixels whose centres lie within half of `diameter_px` of the path of a round brush.

    Parameters
    ----------
    points : (n, 2)
        Path of the pointer in px, (y, x); a single point is a click.
    diameter_px : float
        Diameter of the brush; 1 or less marks the pixels under the path alone.
    shape : tuple of int
        Height and width of the frame in px.

    Raises
    ------
    SessionError
        The points are no pairs, or the diameter is not above 0.
    """
    path = as_path(points)
    if not diameter_px > 0:
        raise SessionError(f"a brush of {diameter_px} px cannot draw", "choose a diameter of 1 px or more")
    # A brush of one pixel must mark a pixel wherever the pointer is between two centres.
    radius = max(diameter_px / 2, 0.71)
    reach = int(np.ceil(radius))
    low = np.clip(np.floor(path.min(0)).astype(int) - reach, 0, shape)
    high = np.clip(np.floor(path.max(0)).astype(int) + reach + 2, low, shape)
    mask = np.zeros(tuple(high - low), bool)
    for start, end in zip(path, path[1:] if len(path) > 1 else path, strict=False):
        _mark_segment(mask, start - low, end - low, radius)
    return Stamp((int(low[0]), int(low[1]), int(high[0]), int(high[1])), mask)


def _mark_segment(mask: NDArray[np.bool_], start: NDArray[np.float64], end: NDArray[np.float64], radius: float) -> None:
    low = np.clip(np.floor(np.minimum(start, end) - radius).astype(int), 0, mask.shape)
    high = np.clip(np.ceil(np.maximum(start, end) + radius).astype(int) + 1, low, mask.shape)
    y, x = np.ogrid[low[0] : high[0], low[1] : high[1]]
    step = end - start
    length2 = float(step @ step)
    along = ((y - start[0]) * step[0] + (x - start[1]) * step[1]) / length2 if length2 else np.zeros((1, 1))
    along = np.clip(along, 0, 1)
    distance2 = (y - start[0] - along * step[0]) ** 2 + (x - start[1] - along * step[1]) ** 2
    mask[low[0] : high[0], low[1] : high[1]] |= distance2 <= radius * radius


def rectangle(first: tuple[float, float], last: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the corners of the box from one point to another, (y, x) px."""
    return [first, (first[0], last[1]), last, (last[0], first[1])]


def ellipse(first: tuple[float, float], last: tuple[float, float], corners: int = 72) -> list[tuple[float, float]]:
    """Return the outline of the ellipse that fills the box from one point to another, (y, x) px."""
    middle, half = np.add(first, last) / 2, np.subtract(last, first) / 2
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = middle + np.stack([np.sin(angles), np.cos(angles)], axis=1) * half
    return [(float(y), float(x)) for y, x in points]


def path_pixels(points: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the pixels under a path, in its order; they may lie outside the frame.

    Raises
    ------
    SessionError
        The points are no pairs.
    """
    steps = np.rint(as_path(points)).astype(int)
    pairs = list(itertools.pairwise(steps)) or [(steps[0], steps[0])]
    lines = [draw.line(*start, *end) for start, end in pairs]
    return np.concatenate([rows for rows, _ in lines]), np.concatenate([columns for _, columns in lines])


def cut_stamp(points: ArrayLike, shape: tuple[int, int], reach_px: float = 0.0) -> Stamp:
    """Return the thin line of a cut: wide enough that no 8-neighbour of one side touches the other.

    Parameters
    ----------
    points : (n, 2)
        Path of the pointer in px, (y, x).
    shape : tuple of int
        Height and width of the frame in px.
    reach_px : float
        How far both ends are drawn out, for a stroke that stops a little short.

    Raises
    ------
    SessionError
        The points are no pairs.
    """
    path = as_path(points)
    if reach_px > 0 and len(path) > 1:
        path = np.vstack([_beyond(path, reach_px), path, _beyond(path[::-1], reach_px)])
    rows, columns = path_pixels(path)
    # The pixel to the right as well: a diagonal step of one pixel would let 8-neighbours through.
    rows, columns = np.concatenate([rows, rows]), np.concatenate([columns, columns + 1])
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    rows, columns = rows[inside], columns[inside]
    if not rows.size:
        return Stamp((0, 0, 0, 0), np.zeros((0, 0), bool))
    box = int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
    mask = np.zeros((box[2] - box[0], box[3] - box[1]), bool)
    mask[rows - box[0], columns - box[1]] = True
    return Stamp(box, mask)


def _beyond(path: NDArray[np.float64], reach_px: float) -> NDArray[np.float64]:
    """Return the point `reach_px` before the start, by the direction of the first px: at its end a hand trembles."""
    away = path[0] - path
    lengths = np.hypot(away[:, 0], away[:, 1])
    far = np.flatnonzero(lengths >= 4)
    k = int(far[0]) if far.size else int(lengths.argmax())
    return np.asarray(path[0] + away[k] / lengths[k] * reach_px if lengths[k] else path[0])
