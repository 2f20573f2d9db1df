"""Which predicted nucleus lies on which true one: the contingency table of two instance maps.

Both maps are read once, as runs of pixels along the rows; everything else (areas, overlaps, boxes, centres) is counted
on the runs, of which there are far fewer than pixels. No loop over nuclei, no polygon: the counts are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import MonusacError, ShapeError

#: What to do with Ambiguous regions: masked out of truth and prediction, or unmatched predictions there not counted.
AmbiguousRule = Literal["mask", "discount"]
#: Two nuclei are the same one where their IoU is above this, strictly; no nucleus can then have two partners.
MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The nuclei of one instance map, in the order of their ids.

    Attributes
    ----------
    ids : int64 (n,)
        Values in the map, ascending, background left out; gaps are allowed.
    areas : int64 (n,)
        Pixels.
    centres : float64 (n, 2)
        Centroids (y, x) in px.
    boxes : int64 (n, 4)
        Bounding boxes (y0, x0, y1, x1) in px, the far edges exclusive.
    """

    ids: NDArray[np.int64]
    areas: NDArray[np.int64]
    centres: NDArray[np.float64]
    boxes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Two instance maps laid over each other. Indices count into `truth.ids` and `prediction.ids`.

    Attributes
    ----------
    truth, prediction : Objects
        The nuclei of both maps (what an ignored region hides is gone).
    pair_truth, pair_prediction : intp (k,)
        Indices of the nuclei of every overlapping pair, sorted by truth, then prediction.
    intersection : int64 (k,)
        Pixels that the two share.
    iou : float64 (k,)
        Intersection over union of each pair.
    discounted : bool (len(prediction),)
        Predictions that are never spurious: unmatched as they were drawn, with over half their area in an Ambiguous
        region. With edges forgiven one may match, and counts then as what it is: right.
    """

    truth: Objects
    prediction: Objects
    pair_truth: NDArray[np.intp]
    pair_prediction: NDArray[np.intp]
    intersection: NDArray[np.int64]
    iou: NDArray[np.float64]
    discounted: NDArray[np.bool_]

    @property
    def matches(self) -> NDArray[np.intp]:
        """Which pairs are matches (IoU > 0.5), as indices into the pairs."""
        return np.flatnonzero(self.iou > MATCH_IOU)

    @property
    def partner_of_truth(self) -> NDArray[np.intp]:
        """For each true nucleus the index of its matched prediction, or -1."""
        partner = np.full(len(self.truth), -1, np.intp)
        partner[self.pair_truth[self.matches]] = self.pair_prediction[self.matches]
        return partner

    @property
    def partner_of_prediction(self) -> NDArray[np.intp]:
        """For each predicted nucleus the index of its matched truth, or -1."""
        partner = np.full(len(self.prediction), -1, np.intp)
        partner[self.pair_prediction[self.matches]] = self.pair_truth[self.matches]
        return partner


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Stretches of a row over which both maps keep their values; those that are background in both are left out."""

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    length: NDArray[np.int64]
    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]


def check_maps(truth: NDArray[Any], prediction: NDArray[Any]) -> None:
    """Refuse maps that cannot be compared.

    Raises
    ------
    ShapeError
        The maps differ in shape or are not two-dimensional.
    MonusacError
        A map does not hold integers, or holds negative ones.
    """
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ShapeError(
            f"truth {truth.shape} and prediction {prediction.shape} do not fit", "pass two (y, x) maps of the same crop"
        )
    for name, array in (("truth", truth), ("prediction", prediction)):
        if not np.issubdtype(array.dtype, np.integer):
            raise MonusacError(f"{name} holds {array.dtype}, not numbers of nuclei", "pass an instance map of integers")


def find_runs(truth: NDArray[Any], prediction: NDArray[Any]) -> Runs:
    """Cut two (y, x) integer maps into runs along the rows, background of both left out.

    Raises
    ------
    MonusacError
        A map holds a negative number, or one above 2**63 - 1.
    """
    width = truth.shape[1]
    flat_truth, flat_prediction = np.ascontiguousarray(truth).ravel(), np.ascontiguousarray(prediction).ravel()
    if flat_truth.size == 0:
        none = np.zeros(0, np.int64)
        return Runs(none, none, none, none, none)
    change = np.empty(flat_truth.size, bool)
    np.not_equal(flat_truth[1:], flat_truth[:-1], out=change[1:])
    change[1:] |= flat_prediction[1:] != flat_prediction[:-1]
    change[::width] = True  # a run ends with its row
    start = np.flatnonzero(change)
    length = np.diff(start, append=flat_truth.size)
    in_truth, in_prediction = flat_truth[start].astype(np.int64), flat_prediction[start].astype(np.int64)
    for name, values in (("truth", in_truth), ("prediction", in_prediction)):
        if values.min(initial=0) < 0:
            raise MonusacError(f"{name} holds {values.min()}", "number nuclei from 1 up to 2**63 - 1; 0 is background")
    keep = (in_truth != 0) | (in_prediction != 0)
    start, length = start[keep], length[keep]
    return Runs(start // width, start % width, length, in_truth[keep], in_prediction[keep])


def _numbered(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The distinct numbers above 0, ascending, and the place of each value among them; -1 for 0."""
    highest = int(values.max(initial=0))
    if highest > 8 * len(values) + 1024:  # huge numbers: sort them, a table would not fit
        ids, index = np.unique(values, return_inverse=True)
        zero = int(len(ids) > 0 and ids[0] == 0)
        return ids[zero:], np.asarray(index.ravel() - zero, np.intp)
    present = np.zeros(highest + 1, bool)
    present[values] = True
    present[0] = False
    place = np.cumsum(present) - 1
    place[0] = -1
    return np.flatnonzero(present), place[values]


def _objects(runs: Runs, values: NDArray[np.int64]) -> tuple[Objects, NDArray[np.intp]]:
    """Gather the nuclei that `values` (truth or prediction of each run) names; -1 in the index for background."""
    ids, index = _numbered(values)
    n, inside = len(ids), index >= 0
    i, y, x, length = index[inside], runs.y[inside], runs.x[inside], runs.length[inside]
    areas = np.bincount(i, weights=length, minlength=n)
    sum_y = np.bincount(i, weights=y * length, minlength=n)
    sum_x = np.bincount(i, weights=length * (2 * x + length - 1), minlength=n) / 2
    boxes = np.zeros((n, 4), np.int64)
    boxes[:, :2] = np.iinfo(np.int64).max
    np.minimum.at(boxes[:, 0], i, y)
    np.minimum.at(boxes[:, 1], i, x)
    np.maximum.at(boxes[:, 2], i, y + 1)
    np.maximum.at(boxes[:, 3], i, x + length)
    centres = np.stack([sum_y, sum_x], axis=1) / np.maximum(areas, 1)[:, None]
    return Objects(ids, areas.astype(np.int64), centres, boxes), index


def match_instances(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    *,
    ignore: NDArray[np.bool_] | None = None,
    ambiguous: AmbiguousRule = "mask",
) -> Matching:
    """Lay two instance maps over each other and count every overlap.

    Parameters
    ----------
    truth, prediction : integers (y, x)
        Instance maps, 0 is background; the numbers may have gaps and any order.
    ignore : bool (y, x), optional
        Ambiguous regions.
    ambiguous : {"mask", "discount"}
        ``mask``: ignored pixels are background in both maps. ``discount``: the maps stay whole, and an unmatched
        prediction with over half its area in ignored pixels is marked in `Matching.discounted`.

    Returns
    -------
    Matching
        Areas, overlaps and IoU of all pairs.

    Raises
    ------
    ShapeError
        The arrays differ in shape.
    MonusacError
        A map does not hold integers from 0 up.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    check_maps(truth, prediction)
    if ignore is not None and ignore.shape != truth.shape:
        raise ShapeError(f"ignore {ignore.shape} does not fit the maps {truth.shape}", "pass the mask of the same crop")
    if ignore is not None and ambiguous == "mask" and ignore.any():
        truth, prediction = np.where(ignore, 0, truth), np.where(ignore, 0, prediction)
    matching = _match_runs(find_runs(truth, prediction))
    if ignore is not None and ambiguous == "discount" and ignore.any():
        matching.discounted[:] = _mostly_ignored(prediction, ignore, matching) & (matching.partner_of_prediction < 0)
    return matching


def _match_runs(runs: Runs) -> Matching:
    true, truth_index = _objects(runs, runs.truth)
    predicted, prediction_index = _objects(runs, runs.prediction)
    both = (truth_index >= 0) & (prediction_index >= 0)
    n = max(len(predicted), 1)
    keys, index = _numbered(truth_index[both] * n + prediction_index[both] + 1)
    shared = np.bincount(index, weights=runs.length[both], minlength=len(keys)).astype(np.int64)
    pair_truth, pair_prediction = (keys - 1) // n, (keys - 1) % n
    union = true.areas[pair_truth] + predicted.areas[pair_prediction] - shared
    return Matching(
        truth=true,
        prediction=predicted,
        pair_truth=pair_truth,
        pair_prediction=pair_prediction,
        intersection=shared,
        iou=shared / union,
        discounted=np.zeros(len(predicted), bool),
    )


def _mostly_ignored(prediction: NDArray[Any], ignore: NDArray[np.bool_], matching: Matching) -> NDArray[np.bool_]:
    """Which predictions have over half their area in ignored pixels."""
    ids = matching.prediction.ids
    hidden = np.zeros(len(ids), np.int64)
    values, counts = np.unique(prediction[ignore & (prediction != 0)].astype(np.int64), return_counts=True)
    hidden[np.searchsorted(ids, values)] = counts
    return np.asarray(2 * hidden > matching.prediction.areas)
