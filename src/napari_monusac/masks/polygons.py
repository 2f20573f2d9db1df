"""Instance map -> outlines that draw the same pixels again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_monusac.core.errors import ShapeError
from napari_monusac.core.geometry import Outline, bridged
from napari_monusac.masks.scanline import fill_polygons

#: Above this, labels are renumbered before their boxes are looked up (the look-up takes memory for each number).
_DENSE = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Outlines of the nuclei of an instance map.

    Attributes
    ----------
    polygons : mapping of int to float64 (n, 2)
        Closed outline (y, x) of each label, in rising order of the labels; vertices are centres of border pixels.
    left_out : mapping of int to int
        Pixels of each label that its outline does not draw: fragments apart from the largest one.
    """

    polygons: Mapping[int, Outline]
    left_out: Mapping[int, int] = field(default_factory=dict)


def polygons_from_instances(
    instances: NDArray[np.integer],
    *,
    labels: Sequence[int] | None = None,
    fragments: bool = False,
    simplify: bool = True,
) -> Outlines:
    """Outline each nucleus so that `skimage.draw.polygon` gives its pixels back exactly.

    Parameters
    ----------
    instances : integer (y, x)
        0 background, any positive value a nucleus.
    labels : sequence of int, optional
        Only these labels; those that do not occur are left out.
    fragments : bool
        Draw all fragments of a nucleus, joined by ways of no width, instead of the largest alone.
    simplify : bool
        Leave out vertices in the middle of straight lines, where that changes no pixel.

    Returns
    -------
    Outlines
        Holes are kept, joined to the outer ring by a way of no width. Smallest nuclei (one pixel, or a line) repeat
        vertices: every outline has four vertices or more, the last equal to the first.

    Raises
    ------
    ShapeError
        `instances` is not a two-dimensional map of integers, or has negative values.

    Notes
    -----
    Pixel centres are whole numbers, as in `skimage.draw` and in MoNuSAC's XML: no half pixel is added.
    """
    if instances.ndim != 2 or not np.issubdtype(instances.dtype, np.integer):
        raise ShapeError(
            f"instances are {instances.dtype} of shape {instances.shape}", "pass a (y, x) map of whole numbers"
        )
    if instances.size and int(instances.min()) < 0:
        raise ShapeError(f"instances hold {int(instances.min())}", "labels are 0 or above")
    found = label_boxes(instances, labels)
    rings, areas, left_out = [], [], {}
    for label, box in found:
        traced, area, lost = _traced(np.pad(instances[box] == label, 1).astype(np.uint8), fragments)
        corner = (box[0].start - 1.0, box[1].start - 1.0)
        rings.append([ring + corner for ring in traced])
        areas.append(area)
        if lost:
            left_out[label] = lost
    outlines = _shortened(rings, areas, instances.shape) if simplify else [bridged(r) for r in rings]
    return Outlines(dict(zip((label for label, _ in found), outlines, strict=True)), left_out)


def _traced(mask: NDArray[np.uint8], fragments: bool) -> tuple[list[Outline], int, int]:
    """Outer rings and holes of a mask with an empty rim; the pixels that they draw, and those that they leave out."""
    total = int(np.count_nonzero(mask))
    if not fragments:
        mask = _largest_fragment(mask)
    # every border pixel a vertex: skimage counts a pixel under a vertex as inside, even on lines of no width
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    area = int(np.count_nonzero(mask))
    return [_ring(np.asarray(c)) for c in contours], area, total - area


def _shortened(rings: list[list[Outline]], areas: list[int], shape: tuple[int, ...]) -> list[Outline]:
    """Outlines without needless vertices; with all of them where leaving some out would lose pixels.

    The shortened outline is the same line, so it can only lose pixels that lay under a vertex: counting is enough.
    """
    short = [bridged([_straightened(r) for r in several]) for several in rings]
    drawn = np.zeros(len(short), np.int64)
    for _, polygon in fill_polygons(short, (shape[0], shape[1])):
        drawn += np.bincount(polygon, minlength=len(short))
    return [s if n == area else bridged(r) for s, n, area, r in zip(short, drawn, areas, rings, strict=True)]


def _ring(contour: NDArray[Any]) -> Outline:
    """OpenCV's (n, 1, 2) contour as a closed (y, x) ring of at least four vertices."""
    ring = contour[:, 0, ::-1].astype(np.float64)
    return np.concatenate([ring, np.repeat(ring[:1], max(1, 4 - len(ring)), axis=0)])


def _straightened(ring: Outline) -> Outline:
    """Drop vertices that the outline passes straight through."""
    steps = np.diff(ring, axis=0)
    before = np.roll(steps, 1, axis=0)
    turns = (steps[:, 0] * before[:, 1] != steps[:, 1] * before[:, 0]) | ((steps * before).sum(1) <= 0)
    short = ring[:-1][turns]
    return np.concatenate([short, short[:1]]) if len(short) >= 3 else ring


def _largest_fragment(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest 8-connected fragment."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 2:
        return mask
    return np.asarray(parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), np.uint8)


def label_boxes(
    instances: NDArray[np.integer], labels: Sequence[int] | None
) -> list[tuple[int, tuple[slice[int, int, None], slice[int, int, None]]]]:
    """(label, bounding box) of each label that occurs, in rising order."""
    top = int(instances.max()) if instances.size else 0
    if top <= _DENSE:
        names: Sequence[int] = range(1, top + 1)
        found = ndimage.find_objects(instances.astype(np.int32, copy=False), top) if top else []
    else:
        values, dense = np.unique(instances, return_inverse=True)
        names = values.tolist()
        found = ndimage.find_objects(dense.reshape(instances.shape).astype(np.int32) + 1)
    wanted = None if labels is None else set(labels)
    return [
        (n, box) for n, box in zip(names, found, strict=True)
        if box is not None and n != 0 and (wanted is None or n in wanted)
    ]  # fmt: skip
