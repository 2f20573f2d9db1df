"""Edits that change how many nuclei there are: split, merge, fragments, and a suggested split of a clump."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage import morphology
from skimage.segmentation import watershed

from napari_monusac.core.boxes import Box, grown, overlap, tight_box
from napari_monusac.core.boxes import window as _cut
from napari_monusac.core.errors import SessionError
from napari_monusac.masks.change import Change, box_of, changed
from napari_monusac.masks.strokes import cut_stamp, path_pixels

#: How far a stroke that stops short of the edge is drawn out, in px, one try after the other.
CUT_REACH_PX = (0.0, 3.0, 6.0)
#: Parts below this size are no nucleus: they fall to their neighbour, in px.
MIN_PART_PX = 12
#: How much narrower than both parts a neck must be, in px of half width. Smaller splits more.
_DEPTH_PX = 0.75
#: Widest gap between two nuclei that merging closes around its stroke, in px.
MERGE_GAP_PX = 6

_SQUARE = ndimage.generate_binary_structure(2, 2)


def labels_on_path(instances: NDArray[np.integer], points: ArrayLike) -> tuple[int, ...]:
    """Return the nuclei under a stroke, in the order in which it meets them."""
    rows, columns = path_pixels(points)
    inside = (rows >= 0) & (rows < instances.shape[0]) & (columns >= 0) & (columns < instances.shape[1])
    under = instances[rows[inside], columns[inside]]
    return tuple(dict.fromkeys(int(k) for k in under if k))


def split(
    instances: NDArray[np.integer],
    points: ArrayLike,
    first_new: int,
    *,
    label: int | None = None,
    boxes: Mapping[int, Box] | None = None,
) -> Change:
    """Cut nuclei in two along a stroke across them; the stroke's own pixels go to the nearer side.

    A stroke that stops a little short is drawn out by up to 6 px. The largest part keeps the label.

    Parameters
    ----------
    instances : int (y, x)
        Instance map.
    points : (n, 2)
        Path of the pointer in px, (y, x).
    first_new : int
        Label of the first new part; further ones count up.
    label : int, optional
        Cut this nucleus alone; by default every nucleus that the stroke crosses.
    boxes : mapping of label to box, optional
        Where nuclei lie, if known.

    Raises
    ------
    SessionError
        The stroke crosses no nucleus from edge to edge.
    """
    labels = labels_on_path(instances, points) if label is None else (label,)
    if not labels:
        raise SessionError("the stroke meets no nucleus", "draw it across the nucleus to split")
    for reach in CUT_REACH_PX:
        line = cut_stamp(points, (instances.shape[0], instances.shape[1]), reach)
        found = {}
        for k in labels:
            box = _box(instances, k, boxes)
            mask = np.asarray(instances[_cut(box)] == k)
            parts = _cut_parts(mask, _within(line.mask, line.box, box))
            if parts.max() > 1:
                found[k] = box, parts
        if found:
            return _renumbered(instances, found, first_new)
    names = ", ".join(map(str, labels))
    raise SessionError(f"the stroke does not cross nucleus {names}", "draw it from outside to outside")


def _box(instances: NDArray[np.integer], label: int, known: Mapping[int, Box] | None) -> Box:
    box = (known or {}).get(label) or tight_box(np.asarray(instances == label))
    if box is None:
        raise SessionError(f"there is no nucleus {label}", "choose one on the canvas")
    return box


def _within(mask: NDArray[np.bool_], box: Box, frame: Box) -> NDArray[np.bool_]:
    """Return `mask` (which lies at `box`) as seen through `frame`."""
    out = np.zeros((frame[2] - frame[0], frame[3] - frame[1]), bool)
    shared = overlap(frame, box)
    if shared is not None:
        out[shared[0]] = mask[shared[1]]
    return out


def _cut_parts(mask: NDArray[np.bool_], line: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the parts of `mask` on both sides of `line`, 1 = the largest; what was apart before is not told apart."""
    cut = mask & line
    if not cut.any():
        return np.asarray(mask, np.int32)
    pieces, _ = ndimage.label(mask, structure=_SQUARE)
    out = np.asarray(mask, np.int32)
    # Only the piece that the stroke runs through is cut: a fragment elsewhere stays with its nucleus.
    for piece in np.unique(pieces[cut]):
        own = pieces == piece
        sides, count = ndimage.label(own & ~line, structure=_SQUARE)
        sizes = np.bincount(sides.ravel(), minlength=count + 1)[1:]
        kept = [i + 1 for i in np.argsort(-sizes, kind="stable") if sizes[i] >= MIN_PART_PX]
        if len(kept) < 2:
            continue
        rank = np.zeros(count + 1, np.int32)
        rank[kept[0]] = 1
        rank[kept[1:]] = np.arange(len(kept) - 1) + out.max() + 1
        out[own] = _nearest(rank[sides])[own]
    return out


def _nearest(parts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give every pixel to the nearest numbered part."""
    index = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    return np.asarray(parts[tuple(index)])


def _renumbered(
    instances: NDArray[np.integer], found: dict[int, tuple[Box, NDArray[np.int32]]], first_new: int
) -> Change:
    boxes = np.array([b for b, _ in found.values()])
    frame = (int(boxes[:, 0].min()), int(boxes[:, 1].min()), int(boxes[:, 2].max()), int(boxes[:, 3].max()))
    after = np.array(instances[_cut(frame)], np.int32)
    parents = []
    for label, (box, parts) in found.items():
        sizes = np.bincount(parts.ravel())[1:]
        order = np.argsort(-sizes, kind="stable") + 1
        view = after[box[0] - frame[0] : box[2] - frame[0], box[1] - frame[1] : box[3] - frame[1]]
        for part in order[1:]:
            if sizes[part - 1]:
                view[parts == part] = first_new
                parents.append((first_new, label))
                first_new += 1
    return changed(instances, frame, after, tuple(parents))


def merge(
    instances: NDArray[np.integer],
    points: ArrayLike = (),
    *,
    labels: Iterable[int] | None = None,
    window: Box | None = None,
) -> Change:
    """Make one nucleus of those that a stroke runs through; the first one that it meets keeps its label.

    A gap between them is closed with free pixels: by closing the shape (up to 6 px), else by a bridge under the stroke.

    Parameters
    ----------
    instances : int (y, x)
        Instance map.
    points : (n, 2)
        Path of the pointer in px, (y, x); it may be empty where `labels` are given.
    labels : iterable of int, optional
        Merge these instead of those under the stroke.
    window : tuple of int, optional
        A box that holds all of them, if known.

    Raises
    ------
    SessionError
        There are fewer than two nuclei, or they lie too far apart to become one.
    """
    wanted = list(labels) if labels is not None else list(labels_on_path(instances, points))
    if len(wanted) < 2:
        raise SessionError(f"merging needs two nuclei, the stroke meets {len(wanted)}", "draw it from one to the other")
    box = grown(box_of(instances, wanted, window), MERGE_GAP_PX, instances.shape)
    before = np.asarray(instances[_cut(box)])
    mask = np.isin(before, wanted)
    joined = _joined(mask, (before == 0) | mask, np.atleast_2d(np.asarray(points, float)), box)
    return changed(instances, box, np.where(joined, wanted[0], before))


def _pieces(mask: NDArray[np.bool_]) -> int:
    return int(ndimage.label(mask, structure=_SQUARE)[1])


def _joined(
    mask: NDArray[np.bool_], free: NDArray[np.bool_], points: NDArray[np.float64], box: Box
) -> NDArray[np.bool_]:
    if _pieces(mask) == 1:
        return mask
    for radius in range(1, MERGE_GAP_PX // 2 + 1):
        closed = ndimage.binary_closing(np.pad(mask, radius), morphology.disk(radius))
        trial = mask | (closed[radius:-radius, radius:-radius] & free)
        if _pieces(trial) == 1:
            return np.asarray(trial)
    if points.shape[1] == 2:
        line = cut_stamp(points, (box[2], box[3]))
        bridge = ndimage.binary_dilation(_within(line.mask, line.box, box), iterations=1)
        # Only the part of the stroke between the nuclei: its ends may stick out.
        between = ndimage.binary_fill_holes(morphology.convex_hull_image(mask))
        trial = mask | (bridge & free & between)
        if _pieces(trial) == 1:
            return np.asarray(trial)
    raise SessionError("the nuclei lie too far apart to be one", "draw the stroke from one through the other")


def split_fragments(
    instances: NDArray[np.integer],
    label: int,
    first_new: int,
    *,
    box: Box | None = None,
) -> Change:
    """Make the further pieces of a nucleus nuclei of their own, those under 12 px background.

    Raises
    ------
    SessionError
        There is no such nucleus.
    """
    frame = _box(instances, label, None if box is None else {label: box})
    after = np.array(instances[_cut(frame)], np.int32)
    pieces, count = ndimage.label(after == label, structure=_SQUARE)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    parents = []
    for piece in (np.argsort(-sizes, kind="stable") + 1)[1:]:
        new = 0 if sizes[piece - 1] < MIN_PART_PX else first_new
        after[pieces == piece] = new
        if new:
            parents.append((new, label))
            first_new += 1
    return changed(instances, frame, after, tuple(parents))


def suggest_split(
    instances: NDArray[np.integer], label: int, first_new: int, *, box: Box | None = None
) -> Change | None:
    """Suggest how to split a clump: watershed of the distance to its edge, from maxima that stand out by 0.75 px.

    Parameters
    ----------
    instances : int (y, x)
        Instance map.
    label : int
        The clump.
    first_new : int
        Label of the first new part; further ones count up.
    box : tuple of int, optional
        Where the nucleus lies, if known.

    Returns
    -------
    Change or None
        None where the shape suggests one nucleus.

    Raises
    ------
    SessionError
        There is no such nucleus.
    """
    frame = _box(instances, label, None if box is None else {label: box})
    mask = np.pad(np.asarray(instances[_cut(frame)] == label), 2)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0) * mask
    peaks, count = ndimage.label(morphology.h_maxima(distance, _DEPTH_PX), structure=_SQUARE)
    if count < 2:
        return None
    parts = watershed(-distance, peaks, mask=mask)[2:-2, 2:-2].astype(np.int32)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    small = [k for k in range(1, count + 1) if sizes[k] < MIN_PART_PX]
    if count - len(small) < 2:
        return None
    if small:
        own = parts > 0
        parts = np.where(own, _nearest(np.where(np.isin(parts, small), 0, parts)), 0).astype(np.int32)
    _, dense = np.unique(parts, return_inverse=True)
    return _renumbered(instances, {label: (frame, dense.reshape(parts.shape).astype(np.int32))}, first_new)
