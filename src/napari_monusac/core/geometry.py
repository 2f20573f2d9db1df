"""Plain geometry of outlines: (n, 2) float64 arrays of (y, x) pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float64]
#: Edges that are compared with all others in one go.
_EDGES_AT_ONCE = 256


def outline_length(vertices: Outline) -> float:
    """Length in px of the line through all vertices, not closed: what ImageScope writes as ``Length``."""
    if len(vertices) < 2:
        return 0.0
    return float(np.hypot(*np.diff(vertices, axis=0).T).sum())


def outline_area(vertices: Outline) -> float:
    """Area in px² inside the outline (shoelace formula): what ImageScope writes as ``Area``."""
    if len(vertices) < 3:
        return 0.0
    # taken relative to the first vertex: far from the origin the products would eat the digits
    y, x = (vertices - vertices[0]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def closed(vertices: Outline) -> Outline:
    """Return the outline with its first vertex repeated at the end, unless it is so already."""
    if len(vertices) == 0 or (len(vertices) > 1 and np.array_equal(vertices[0], vertices[-1])):
        return vertices
    return np.concatenate([vertices, vertices[:1]])


def bridged(rings: Sequence[Outline]) -> Outline:
    """Join several rings (parts, or an outer ring and its holes) to one outline.

    Each further ring is reached from the first vertex of the first ring and left by the same way. The way is walked
    twice, so under the even-odd rule (`skimage.draw.polygon`) it changes no pixel.

    Parameters
    ----------
    rings : sequence of float64 (n, 2)
        At least one ring; closed or open.
    """
    first = closed(rings[0])
    if len(rings) == 1:
        return first
    back = first[:1]
    return np.concatenate([first, *(part for ring in rings[1:] for part in (closed(ring), back))])


def rings_of(outline: Outline) -> list[Outline]:
    """Take an outline apart into the rings that `bridged` joined; one ring where it was not made so.

    Returns
    -------
    list of float64 (n, 2)
        Closed rings; the outline itself, as it is, where there is only one.
    """
    vertices = outline.tolist()
    if len(vertices) < 9 or vertices[0] != vertices[-1]:
        return [outline]
    first = vertices[0]
    rings, start = [], 0
    while start < len(vertices):
        end = next((k for k in range(start + 1, len(vertices)) if vertices[k] == vertices[start]), None)
        if end is None or end - start < 3:
            return [outline]
        rings.append(outline[start : end + 1])
        start = end + 1
        if len(rings) > 1:  # behind each further ring stands the way back
            if start == len(vertices) or vertices[start] != first:
                return [outline]
            start += 1
    return rings if len(rings) > 1 else [outline]


def self_crossing(vertices: Outline) -> tuple[float, float] | None:
    """Find where an outline crosses itself: two of its edges that cut each other between their ends.

    Vertices that repeat, and ways that are walked twice, are no crossing.

    Returns
    -------
    (y, x) of the first crossing in px, or None.
    """
    ring = closed(vertices)
    if len(ring) < 4:
        return None
    ring = ring[np.concatenate([[True], (np.diff(ring, axis=0) != 0).any(1)])]
    start, end = ring[:-1], ring[1:]
    for first in range(0, len(start), _EDGES_AT_ONCE):
        some = slice(first, first + _EDGES_AT_ONCE)
        # edge i of these and edge j of all cut each other when the ends of each lie on both sides of the other
        far = _sides(start[some], end[some], start) * _sides(start[some], end[some], end) < 0
        far &= (_sides(start, end, start[some]) * _sides(start, end, end[some]) < 0).T
        if far.any():
            i, j = np.argwhere(far)[0]
            i += first
            way, other = end[i] - start[i], end[j] - start[j]
            y, x = start[i] + way * (_cross(start[j] - start[i], other) / _cross(way, other))
            return float(y), float(x)
    return None


def _sides(start: Outline, end: Outline, points: Outline) -> NDArray[np.float64]:
    """On which side of each edge (rows) each point (columns) lies: -1, 0 or 1."""
    return np.sign(_cross((end - start)[:, None], points[None] - start[:, None]))


def _cross(a: Outline, b: Outline) -> NDArray[np.float64]:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
