"""Edits of an instance map as pure functions: each looks at a window and returns a small `Change`; nothing is written.

Instance maps are integer (y, x), 0 is background; points and paths are (y, x) in px, pixel centres at whole numbers.
`window` tells a function where its nuclei lie, if the caller knows; else the whole frame is searched. Splitting and
merging live in `masks.partition` and are named here too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import flood

from napari_monusac.core.boxes import Box, grown, union
from napari_monusac.core.boxes import window as _cut
from napari_monusac.core.errors import SessionError
from napari_monusac.masks.change import Change, box_of, changed, patch
from napari_monusac.masks.partition import merge, split, split_fragments, suggest_split
from napari_monusac.masks.strokes import Stamp, brush_stamp, polygon_stamp

__all__ = [
    "CLICK_TOLERANCE_PX",
    "Box",
    "Change",
    "Stamp",
    "box_of",
    "brush_stamp",
    "changed",
    "delete",
    "draw",
    "erase",
    "fill",
    "fill_holes",
    "grow",
    "labels_inside",
    "merge",
    "nearest_nucleus",
    "paste",
    "patch",
    "polygon_stamp",
    "shrink",
    "smooth",
    "split",
    "split_fragments",
    "suggest_split",
]

#: A click that misses a nucleus by this much still means it, in px.
CLICK_TOLERANCE_PX = 2.0
#: The bucket fills gaps and holes, not tissue: largest area that it takes, in px.
MAX_FILL_PX = 20_000

_SQUARE = ndimage.generate_binary_structure(2, 2)

Over = Literal["free", "all"]


def nearest_nucleus(
    instances: NDArray[np.integer], point: tuple[float, float], tolerance_px: float = CLICK_TOLERANCE_PX
) -> int:
    """Return the nucleus under a click, or the nearest one within the tolerance; 0 where there is none.

    Parameters
    ----------
    instances : int (y, x)
        Instance map.
    point : tuple of float
        (y, x) in px.
    tolerance_px : float
        Largest distance from the point to a pixel's centre, in px.
    """
    y, x = round(point[0]), round(point[1])
    height, width = instances.shape
    if 0 <= y < height and 0 <= x < width and instances[y, x]:
        return int(instances[y, x])
    r = int(np.ceil(tolerance_px))
    top, left = max(0, y - r), max(0, x - r)
    view = instances[top : max(0, y + r + 1), left : max(0, x + r + 1)]
    rows, columns = np.nonzero(view)
    if not rows.size:
        return 0
    distance2 = (rows + top - point[0]) ** 2 + (columns + left - point[1]) ** 2
    k = int(distance2.argmin())
    return int(view[rows[k], columns[k]]) if distance2[k] <= tolerance_px**2 else 0


def labels_inside(
    instances: NDArray[np.integer], stamp: Stamp, *, boxes: Mapping[int, Box] | None = None
) -> tuple[int, ...]:
    """Return the labels of which at least half of the pixels lie inside a box or lasso, ascending.

    `boxes` tells where the nuclei lie, if known; else the whole frame is counted.
    """
    inside = np.bincount(np.asarray(instances[_cut(stamp.box)])[stamp.mask].ravel())
    inside[:1] = 0
    found = np.flatnonzero(inside)
    if not found.size:
        return ()
    # A nucleus can reach out of the box.
    frame = instances
    if boxes is not None:
        reach = functools.reduce(union, (boxes[k] for k in found.tolist()))
        frame = instances[_cut(reach)]
    total = np.bincount(frame.ravel(), minlength=inside.size)[found]
    return tuple(int(k) for k in found[2 * inside[found] >= total])


def draw(
    instances: NDArray[np.integer], stamp: Stamp, label: int, *, over: Over = "free", one_piece: bool = False
) -> Change:
    """Give the pixels of `stamp` to `label`.

    Parameters
    ----------
    instances : int (y, x)
        Instance map.
    stamp : Stamp
        What was drawn (`polygon_stamp`, `brush_stamp`).
    label : int
        The nucleus, old or new.
    over : {"free", "all"}
        ``"free"``: other nuclei keep their pixels; ``"all"``: what is drawn wins.
    one_piece : bool
        Keep the largest piece of what is free, so that a new nucleus drawn across another one stays one nucleus.
    """
    before = np.asarray(instances[_cut(stamp.box)])
    mask = stamp.mask if over == "all" else stamp.mask & ((before == 0) | (before == label))
    if one_piece:
        mask = largest_piece(mask)
    return changed(instances, stamp.box, np.where(mask, label, before))


def erase(instances: NDArray[np.integer], stamp: Stamp, labels: Iterable[int] | None = None) -> Change:
    """Set the pixels of `stamp` to background: those of `labels`, or of every nucleus."""
    before = np.asarray(instances[_cut(stamp.box)])
    mask = stamp.mask if labels is None else stamp.mask & np.isin(before, list(labels))
    return changed(instances, stamp.box, np.where(mask, 0, before))


def fill(
    instances: NDArray[np.integer], point: tuple[float, float], label: int, max_area_px: int = MAX_FILL_PX
) -> Change:
    """Give the connected area under `point` (a gap, a hole, a nucleus) to `label`, as a bucket does.

    Raises
    ------
    SessionError
        The point is outside, the area is `label` already, larger than `max_area_px`, or open background.
    """
    y, x = round(point[0]), round(point[1])
    if not (0 <= y < instances.shape[0] and 0 <= x < instances.shape[1]):
        raise SessionError(f"({y}, {x}) lies outside the image", "click inside it")
    old = int(instances[y, x])
    if old == label:
        raise SessionError(f"nucleus {label} fills this place already", "click into a gap or another nucleus")
    reach = int(np.ceil(np.sqrt(max_area_px))) * 2
    box = grown((y, x, y + 1, x + 1), reach, instances.shape)
    mask = flood(np.asarray(instances[_cut(box)]), (y - box[0], x - box[1]), connectivity=1)
    edge = bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
    area = int(np.count_nonzero(mask))
    if area > max_area_px or (old == 0 and edge):
        raise SessionError(f"the area at ({y}, {x}) is open ({area} px or more)", "close the outline first, or draw it")
    return changed(instances, box, np.where(mask, label, instances[_cut(box)]))


def delete(instances: NDArray[np.integer], labels: Iterable[int], *, window: Box | None = None) -> Change:
    """Set the pixels of `labels` to background."""
    wanted = list(labels)
    box = box_of(instances, wanted, window)
    before = np.asarray(instances[_cut(box)])
    return changed(instances, box, np.where(np.isin(before, wanted), 0, before))


def grow(instances: NDArray[np.integer], labels: Iterable[int], *, window: Box | None = None) -> Change:
    """Grow `labels` by 1 px (4-neighbours) into the background; other nuclei keep their pixels."""
    wanted = list(labels)
    box = grown(box_of(instances, wanted, window), 1, instances.shape)
    before = np.asarray(instances[_cut(box)])
    mine = np.where(np.isin(before, wanted), before, 0)
    after = before.copy()
    padded = np.pad(mine, 1)
    for dy, dx in ((0, 1), (1, 0), (1, 2), (2, 1)):
        neighbour = padded[dy : dy + before.shape[0], dx : dx + before.shape[1]]
        take = (before == 0) & (after == 0) & (neighbour > 0)
        after[take] = neighbour[take]
    return changed(instances, box, after)


def shrink(instances: NDArray[np.integer], labels: Iterable[int], *, window: Box | None = None) -> Change:
    """Take 1 px (4-neighbours) off the edge of `labels`; the image's own edge is no edge of a nucleus.

    Raises
    ------
    SessionError
        A nucleus would vanish.
    """
    wanted = list(labels)
    box = grown(box_of(instances, wanted, window), 1, instances.shape)
    before = np.asarray(instances[_cut(box)])
    padded = np.pad(before, 1, mode="edge")
    edge = np.zeros(before.shape, bool)
    for dy, dx in ((0, 1), (1, 0), (1, 2), (2, 1)):
        edge |= padded[dy : dy + before.shape[0], dx : dx + before.shape[1]] != before
    after = np.where(edge & np.isin(before, wanted), 0, before)
    gone = np.setdiff1d(np.intersect1d(before, wanted), after)
    if gone.size:
        raise SessionError(f"nucleus {', '.join(map(str, gone.tolist()))} would vanish", "delete it instead")
    return changed(instances, box, after)


def smooth(
    instances: NDArray[np.integer], labels: Iterable[int], *, sigma_px: float = 1.5, window: Box | None = None
) -> Change:
    """Round the edges of `labels`: each mask blurred by a Gaussian and cut at one half; only background is gained."""
    wanted = list(labels)
    margin = int(np.ceil(3 * sigma_px))
    box = grown(box_of(instances, wanted, window), margin, instances.shape)
    before = np.asarray(instances[_cut(box)])
    after = before.copy()
    for label in wanted:
        mask = before == label
        round_ = ndimage.gaussian_filter(mask.astype(np.float32), sigma_px, mode="nearest") >= 0.5
        round_ = largest_piece(round_ & (mask | (after == 0)))
        if round_.any():
            after[mask] = 0
            after[round_] = label
    return changed(instances, box, after)


def fill_holes(instances: NDArray[np.integer], labels: Iterable[int], *, window: Box | None = None) -> Change:
    """Fill the background that each of `labels` encloses."""
    wanted = list(labels)
    box = box_of(instances, wanted, window)
    before = np.asarray(instances[_cut(box)])
    after = before.copy()
    for label in wanted:
        after[ndimage.binary_fill_holes(before == label) & (after == 0)] = label
    return changed(instances, box, after)


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest 8-connected piece of a mask (the mask itself when it is one piece or empty)."""
    pieces, count = ndimage.label(mask, structure=_SQUARE)
    if count <= 1:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())


def paste(instances: NDArray[np.integer], stamp: Stamp, label: int, *, max_overlap: float = 0.5) -> Change:
    """Put a nucleus of another map in: clipped to free pixels, its largest piece.

    Raises
    ------
    SessionError
        More than `max_overlap` of it is covered by other nuclei: it is there already.
    """
    before = np.asarray(instances[_cut(stamp.box)])
    covered = int(np.count_nonzero(before[stamp.mask]))
    free = largest_piece(stamp.mask & (before == 0))
    if not stamp.area_px or covered > max_overlap * stamp.area_px or not free.any():
        there = np.unique(before[stamp.mask & (before > 0)]).tolist()
        raise SessionError(
            f"{covered} of {stamp.area_px} px are taken by nucleus {', '.join(map(str, there)) or '(none)'}",
            "delete or shrink that one first, or replace it",
        )
    return changed(instances, stamp.box, np.where(free, label, before))
