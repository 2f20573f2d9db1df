"""Ternary maps: background, inside, boundary."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Box, grown
from napari_monusac.core.classes import TernaryClass
from napari_monusac.core.errors import RecipeError, ShapeError

#: Widest boundary: beyond it the boundary swallows every nucleus.
MAX_BOUNDARY_WIDTH = 99
# OpenCV's 3 x 3 "ellipse" is this cross; written out, so that no version of OpenCV can change it
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def ternary_map(instances: NDArray[np.integer], boundary_width: int = 3) -> NDArray[np.uint8]:
    """Background, inside and boundary of each nucleus.

    Parameters
    ----------
    instances : integer (y, x)
        0 background, any other value a nucleus.
    boundary_width : int
        Width in px, odd: 1 is the inner boundary alone, 3 the inner boundary dilated once, and so on.

    Returns
    -------
    uint8 (y, x)
        Values of `TernaryClass`. The boundary wins over inside and over background.

    Raises
    ------
    RecipeError
        `boundary_width` is even, below 1 or above `MAX_BOUNDARY_WIDTH`.
    ShapeError
        `instances` is not a two-dimensional map of integers.

    Notes
    -----
    Definition (the source of the nine runs): ``skimage.segmentation.find_boundaries(instances, connectivity=1,
    mode="inner")``, then (width - 1) / 2 dilations with OpenCV's 3 x 3 ellipse (a cross). The image's edge is no
    boundary.
    """
    reach = _reach(boundary_width)
    if instances.ndim != 2 or not np.issubdtype(instances.dtype, np.integer):
        raise ShapeError(
            f"instances are {instances.dtype} of shape {instances.shape}", "pass a (y, x) map of whole numbers"
        )
    ternary: NDArray[np.uint8] = np.not_equal(instances, 0).view(np.uint8)
    ternary[_boundary(instances, reach)] = TernaryClass.BOUNDARY
    return ternary


def update_ternary(
    ternary: NDArray[np.uint8], instances: NDArray[np.integer], box: Box, boundary_width: int = 3
) -> Box:
    """Bring a ternary map up to date, in place, after an edit.

    Parameters
    ----------
    ternary : uint8 (y, x)
        The map of the instances before the edit; equal to ``ternary_map(instances)`` afterwards.
    instances : integer (y, x)
        The instances after the edit.
    box : (y0, x0, y1, x1)
        Where instances changed (y1 and x1 excluded), in px; clipped to the map. An empty box changes nothing.
    boundary_width : int
        As in `ternary_map`.

    Returns
    -------
    (y0, x0, y1, x1)
        The part of `ternary` that was written: what a view has to redraw.

    Raises
    ------
    RecipeError, ShapeError
        As in `ternary_map`; or the maps differ in shape.
    """
    reach = _reach(boundary_width) + 1
    if ternary.shape != instances.shape:
        raise ShapeError(
            f"ternary {ternary.shape} and instances {instances.shape} do not fit", "pass two maps of one image"
        )
    y0, x0, y1, x1 = grown(box, 0, instances.shape)
    if y1 <= y0 or x1 <= x0:
        return (0, 0, 0, 0)
    written = grown((y0, x0, y1, x1), reach, instances.shape)
    # what is written depends on pixels up to `reach` further out
    seen = grown(written, reach, instances.shape)
    local = ternary_map(instances[seen[0] : seen[2], seen[1] : seen[3]], boundary_width)
    y0, x0, y1, x1 = written
    ternary[y0:y1, x0:x1] = local[y0 - seen[0] : y1 - seen[0], x0 - seen[1] : x1 - seen[1]]
    return written


def _boundary(instances: NDArray[np.integer], reach: int) -> NDArray[np.bool_]:
    """Pixels of a nucleus with another value among their four neighbours, dilated `reach` times."""
    edge = np.zeros(instances.shape, np.bool_)
    down = instances[1:] != instances[:-1]
    edge[1:] |= down
    edge[:-1] |= down
    across = instances[:, 1:] != instances[:, :-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge &= instances != 0
    if reach and edge.size:
        edge = cv2.dilate(edge.view(np.uint8), _CROSS, iterations=reach).view(np.bool_)
    return edge


def _reach(boundary_width: int) -> int:
    """How far the boundary reaches out of a nucleus, in px."""
    whole = isinstance(boundary_width, int | np.integer) and not isinstance(boundary_width, bool)
    if not whole or boundary_width % 2 == 0 or not 1 <= boundary_width <= MAX_BOUNDARY_WIDTH:
        raise RecipeError(
            f"boundary_width {boundary_width!r} is not an odd number from 1 to {MAX_BOUNDARY_WIDTH}",
            "use 3, the width of the best of the nine runs",
        )
    return (int(boundary_width) - 1) // 2
