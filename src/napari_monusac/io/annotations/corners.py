"""Pixel corners <-> pixel centres: how QuPath, StarDist and COCO measure, and how the challenge draws.

In their files a pixel is the square from x to x + 1, so its centre lies at x + 0.5; in ours (`skimage.draw`, MoNuSAC's
XML) the centre of a pixel is a whole number. Between the two lies a translation, both ways, for outlines that run
between the pixels (a star-convex polygon, MoNuSeg). An outline of whole numbers, as MoNuSAC's and all that are made from
masks, runs through the centres of its border pixels: half a pixel of rim lies outside of it (253 px of a disc have
228 px² inside their border's centres). Such an outline means the pixels that it covers: it is written along their
sides, so that the area there is the number of pixels here, and an outline along pixels is read as these pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import ShapeError
from napari_monusac.core.geometry import Outline, bridged, closed, rings_of

#: Largest bounding box that is traced, in px: beyond it an outline is only moved.
MAX_TRACED_PX = 1 << 24

#: Largest bounding box of an outline along pixels that is read as pixels; a larger one is no nucleus.
MAX_READ_PX = 1 << 20
#: Shapes that are compared with all others at a time, and pairs that are listed at most.
_SHAPES_AT_ONCE = 1024
_MAX_PAIRS = 20_000_000

#: One connected area: its outer ring, then its holes.
Rings = list[Outline]


def to_centres(corners: Outline) -> Outline:
    """Bring coordinates of pixel corners to pixel centres."""
    return corners - 0.5


def to_corners(centres: Outline) -> Outline:
    """Bring coordinates of pixel centres to pixel corners."""
    return centres + 0.5


def corner_parts(outline: Outline) -> list[Rings]:
    """Bring an outline to pixel corners: each connected part with its holes.

    Parameters
    ----------
    outline : float64 (n, 2)
        (y, x), pixel centres; holes and parts joined by ways of no width.

    Returns
    -------
    list of parts
        Closed rings (y, x), the outer one first. Of an outline of whole numbers they run along the sides of its pixels:
        valid polygons whose area is the number of pixels. Of any other one (and where it spans more than
        `MAX_TRACED_PX`) they are its own rings, moved by half a pixel.
    """
    if (outline == np.rint(outline)).all():
        low, high = outline.min(0), outline.max(0)
        if float(np.prod(high - low + 1)) <= MAX_TRACED_PX:
            return [[ring + low for ring in part] for part in pixel_sides(filled(outline - low))]
    return nested([to_corners(ring) for ring in rings_of(outline)])


def centre_outline(parts: Sequence[Rings]) -> Outline:
    """Bring the parts of one object from pixel corners to one outline in pixel centres (a union, not even-odd).

    Parts along the sides of pixels become the outline through the centres of their border pixels, in whole numbers, as
    this program outlines masks: what `corner_parts` wrote comes back. All else is moved by half a pixel.
    """
    if all(_along_pixels([ring]) for part in parts for ring in part):
        corners = np.concatenate([part[0] for part in parts])
        low, size = corners.min(0), np.ptp(corners, axis=0).astype(int)
        if 0 < float(np.prod(size)) <= MAX_READ_PX:
            mask = np.zeros(tuple(size), np.bool_)
            for part in parts:
                found = filled(to_centres(bridged(part)) - low)[: size[0], : size[1]]
                mask[: found.shape[0], : found.shape[1]] |= found
            return np.asarray(_through_border(mask) + low, np.float64)
    return to_centres(united(parts))


def _through_border(mask: NDArray[np.bool_]) -> Outline:
    """The outline through the centres of the border pixels of a mask that fills its box; every pixel drawn again."""
    import cv2

    contours, _ = cv2.findContours(np.pad(mask, 1).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [np.asarray(c)[:, 0, ::-1].astype(np.float64) - 1 for c in contours]
    rings = [np.concatenate([r, np.repeat(r[:1], max(1, 4 - len(r)), axis=0)]) for r in rings]
    short = bridged([_without_middles(r) for r in rings])
    # on lines of no width a pixel counts only under a vertex: then all vertices stay
    return short if np.array_equal(filled(short), mask) else bridged(rings)


def _without_middles(ring: Outline) -> Outline:
    """Drop vertices that a closed ring passes straight through."""
    steps = np.diff(ring, axis=0)
    before = np.roll(steps, 1, axis=0)
    turns = (steps[:, 0] * before[:, 1] != steps[:, 1] * before[:, 0]) | ((steps * before).sum(1) <= 0)
    short = ring[:-1][turns]
    return closed(short) if len(short) >= 3 else ring


def filled(outline: Outline) -> NDArray[np.bool_]:
    """Fill an outline (pixel centres, not below 0) as the challenge does, bool (y, x) of its bounding box."""
    from skimage import draw

    shape = tuple((np.ceil(outline.max(0)).astype(int) + 1).tolist())
    mask = np.zeros(shape, np.bool_)
    mask[draw.polygon(outline[:, 0], outline[:, 1], shape)] = True
    return mask


def pixel_sides(mask: NDArray[np.bool_]) -> list[Rings]:
    """Trace the sides of a mask's pixels.

    Parameters
    ----------
    mask : bool (y, x)

    Returns
    -------
    list of parts
        One a 4-connected part, its outer ring first, then its holes; closed, pixel corners. Each is a valid polygon:
        pixels that only share a corner belong to two parts.
    """
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return [_sides_of_one(labels == k) for k in range(1, count)]


def _sides_of_one(mask: NDArray[np.bool_]) -> Rings:
    import cv2

    # a lattice of corners (odd) and centres (even), each pixel with its whole rim: its border points lie on the sides
    fine = np.zeros((2 * mask.shape[0] + 3, 2 * mask.shape[1] + 3), np.uint8)
    fine[2:-1:2, 2:-1:2] = mask
    fine = cv2.dilate(fine, np.ones((3, 3), np.uint8))
    contours, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer_first = np.argsort(tree[0][:, 3] >= 0, kind="stable")
    return [_straight((_with_corners(np.asarray(contours[k])[:, 0, ::-1]) - 1) / 2) for k in outer_first.tolist()]


def _with_corners(points: NDArray[np.integer]) -> NDArray[np.float64]:
    """Put the corners back that the contour cuts where it turns inwards: each diagonal step goes around one."""
    following = np.roll(points, -1, axis=0)
    diagonal = (points != following).all(1)
    swapped = np.stack([points[:, 0], following[:, 1]], axis=1)
    corner = np.where((swapped % 2 == 1).all(1)[:, None], swapped, np.stack([following[:, 0], points[:, 1]], axis=1))
    both = np.stack([points, corner], axis=1).reshape(-1, 2).astype(np.float64)
    chosen = np.stack([np.ones(len(points), np.bool_), diagonal], axis=1).ravel()
    return np.asarray(both[chosen])


def _straight(ring: NDArray[np.float64]) -> Outline:
    """Leave out what lies in the middle of straight sides; closed."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return closed(ring[(before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0])])


def nested(rings: Sequence[Outline]) -> list[Rings]:
    """Sort rings into parts by the even-odd rule: a ring inside an outer ring is a hole, one inside a hole a part.

    Rings of fewer than three different vertices stay parts of their own.
    """
    if len(rings) == 1:
        return [[closed(rings[0])]]
    shapes = [area_of([ring]) for ring in rings]
    inner, outer = _pairs(shapes, "covered_by")
    around: list[list[int]] = [[] for _ in rings]
    for k, j in zip(inner.tolist(), outer.tolist(), strict=True):
        # of two equal rings the later one lies in the earlier one
        if j != k and (shapes[j].area, -j) > (shapes[k].area, -k):
            around[k].append(j)
    parts = {k: [closed(rings[k])] for k, rings_around in enumerate(around) if len(rings_around) % 2 == 0}
    for k, rings_around in enumerate(around):
        if len(rings_around) % 2:
            owner = min((j for j in rings_around if j in parts), key=lambda j: (shapes[j].area, -j), default=None)
            if owner is None:
                parts[k] = [closed(rings[k])]
            else:
                parts[owner].append(closed(rings[k]))
    return list(parts.values())


def united(parts: Sequence[Rings]) -> Outline:
    """Join the parts of one object to one outline that covers what any of them covers (not even-odd).

    Parameters
    ----------
    parts : sequence of parts
        Each its outer ring and its holes, in any system of coordinates. Those that do not overlap stay as they are.
    """
    rings = [ring for part in parts for ring in part]
    if len(parts) > 1 and _boxes_meet(parts):
        import shapely

        shapes = [area_of(part) for part in parts]
        whole = shapely.union_all(shapes)
        if whole.area < sum(s.area for s in shapes) * (1 - 1e-9):
            areas = [p for p in shapely.get_parts(whole) if p.geom_type == "Polygon" and not p.is_empty]
            rings = [
                shapely.get_coordinates(ring)[:, ::-1].copy() for p in areas for ring in (p.exterior, *p.interiors)
            ]
    return bridged(rings)


def _boxes_meet(parts: Sequence[Rings]) -> bool:
    from shapely import box

    return len(_pairs([box(*part[0].min(0), *part[0].max(0)) for part in parts], "intersects")[0]) > len(parts)


def _pairs(shapes: Sequence[Any] | NDArray[Any], predicate: str) -> NDArray[np.int64]:
    """Pairs of shapes that stand in a relation, int64 (2, m), each with itself included where it does.

    Raises
    ------
    ShapeError
        They lie over each other hundreds of times: listing them would take minutes.
    """
    from shapely import STRtree

    tree, found, total = STRtree(shapes), [], 0
    for start in range(0, len(shapes), _SHAPES_AT_ONCE):
        some = tree.query(shapes[start : start + _SHAPES_AT_ONCE], predicate=predicate)
        total += some.shape[1]
        if total > _MAX_PAIRS:
            raise ShapeError(
                f"{len(shapes)} outlines lie over each other in more than {_MAX_PAIRS} pairs", "check them"
            )
        found.append(some + np.array([[start], [0]]))
    return np.concatenate(found, axis=1)


def area_of(part: Rings) -> Any:
    """Return a part as shapely's geometry (x, y), made valid; of a part without an area an empty one."""
    import shapely

    if len(part[0]) < 3:
        return shapely.Polygon()
    holes = [r[:, ::-1] for r in part[1:] if len(r) >= 3]
    return shapely.make_valid(shapely.Polygon(part[0][:, ::-1], holes))


def grouped(parts: Sequence[Rings]) -> list[list[Rings]]:
    """Group the parts of an object: parts of one area are one nucleus, the others are nuclei of their own.

    Parts that run along the sides of pixels and meet in corners only are one area of pixels: a valid polygon cannot
    touch itself, so programs cut it there. All else is of several nuclei: apart, or over each other as no single area
    is (CellViT writes the nuclei of a class as one object, those that overlap too).
    """
    along = [k for k, part in enumerate(parts) if _along_pixels(part)]
    if len(parts) < 2 or len(along) < 2:
        return [[part] for part in parts]
    import shapely
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    shapes = np.array([area_of(parts[k]) for k in along], object)
    one, other = _pairs(shapes, "touches")
    in_corners = shapely.length(shapely.intersection(shapes[one], shapes[other])) == 0
    which = np.array(along)
    one, other = which[one[in_corners]], which[other[in_corners]]
    links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(len(parts), len(parts)))
    _, group = connected_components(links, directed=False)
    found: dict[int, list[Rings]] = {}
    for part, number in zip(parts, group.tolist(), strict=True):
        found.setdefault(number, []).append(part)
    return list(found.values())


def _along_pixels(part: Rings) -> bool:
    """Whether an outer ring (pixel corners) has whole numbers and runs along rows and columns only."""
    ring = closed(part[0])
    return bool((ring == np.rint(ring)).all() and (np.diff(ring, axis=0) == 0).any(1).all())
