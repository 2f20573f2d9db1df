"""The tolerance lens: the same scores with the edge forgiven by a few pixels.

Definition. Each true nucleus is paired with the prediction that fits it best, where the choice is mutual (highest IoU,
seen from both sides). A pixel on which the two disagree is *forgiven* where the other nucleus of the pair is at most
k px away (Euclidean, centre to centre): an edge drawn up to k px too far out or too far in costs nothing, one drawn
further costs what lies beyond the k px. The forgiving IoU is

    IoU_k = (union - disagreeing pixels that are not forgiven) / union

and PQ, SQ and DQ follow from it as from the plain IoU, with matches where IoU_k > 0.5. It is 1 exactly where no point
of either nucleus is further than k px from the other. At k = 0 it is the plain IoU and the plain PQ; it never falls as
k grows. Pixels of a neighbour count as disagreement like any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import MonusacError
from napari_monusac.masks.lookup import paint
from napari_monusac.scoring.matching.matching import Matching

#: The tolerances that are shown beside every score, px.
TOLERANCES_PX = (1, 2, 3)


def disc_offsets(radius_px: int) -> list[tuple[int, int]]:
    """Steps (dy, dx) to all pixels at most `radius_px` away, the pixel itself left out."""
    span = range(-radius_px, radius_px + 1)
    return [(dy, dx) for dy in span for dx in span if 0 < dy * dy + dx * dx <= radius_px * radius_px]


def best_pairs(matching: Matching) -> NDArray[np.intp]:
    """The overlapping pairs whose nuclei fit each other best, seen from both sides, as indices into the pairs."""
    if len(matching.iou) == 0:
        return np.zeros(0, np.intp)
    order = np.argsort(-matching.iou, kind="stable")
    best_of_truth = np.full(len(matching.truth), -1, np.intp)
    best_of_prediction = np.full(len(matching.prediction), -1, np.intp)
    for best, index in ((best_of_truth, matching.pair_truth), (best_of_prediction, matching.pair_prediction)):
        _, first = np.unique(index[order], return_index=True)
        best[index[order[first]]] = order[first]
    pairs = np.arange(len(matching.iou))
    mutual = (best_of_truth[matching.pair_truth] == pairs) & (best_of_prediction[matching.pair_prediction] == pairs)
    return np.flatnonzero(mutual)


def forgiving_matching(
    truth: NDArray[Any], prediction: NDArray[Any], matching: Matching, tolerance_px: int
) -> Matching:
    """The same nuclei with edges forgiven by `tolerance_px`: only mutual best pairs stay, with their IoU_k.

    Parameters
    ----------
    truth, prediction : integers (y, x)
        The maps that `matching` was made from, ignored pixels already 0 where they were masked.
    matching : Matching
        The two maps laid over each other.
    tolerance_px : int
        How far an edge may be off, px; 0 changes nothing but the list of pairs.

    Returns
    -------
    Matching
        `iou` holds IoU_k, `intersection` union minus what is not forgiven.

    Raises
    ------
    MonusacError
        The tolerance is negative.
    """
    if tolerance_px < 0:
        raise MonusacError(f"tolerance {tolerance_px} px is negative", "choose 0, 1, 2 or 3 px")
    pairs = best_pairs(matching)
    pair_truth, pair_prediction = matching.pair_truth[pairs], matching.pair_prediction[pairs]
    shared = matching.intersection[pairs]
    union = matching.truth.areas[pair_truth] + matching.prediction.areas[pair_prediction] - shared
    agreed = shared + _forgiven(truth, prediction, matching, pairs, tolerance_px) if tolerance_px else shared
    return replace(
        matching,
        pair_truth=pair_truth,
        pair_prediction=pair_prediction,
        intersection=agreed,
        iou=agreed / union,
    )


def _forgiven(
    truth: NDArray[Any], prediction: NDArray[Any], matching: Matching, pairs: NDArray[np.intp], k: int
) -> NDArray[np.int64]:
    """Forgiven pixels of each pair. Pairs are numbered from 1, nuclei without a partner are background."""
    true = _renumbered(truth, matching.truth.ids, matching.pair_truth[pairs])
    predicted = _renumbered(prediction, matching.prediction.ids, matching.pair_prediction[pairs])
    true, predicted = np.pad(true, k), np.pad(predicted, k)
    width = true.shape[1]
    one, other = true.ravel(), predicted.ravel()
    where = np.flatnonzero(one != other)
    counts = np.zeros(len(pairs) + 1, np.int64)
    for mine, theirs in ((one, other), (other, one)):
        number = mine[where]
        pixels, number = where[number > 0], number[number > 0]
        for dy, dx in disc_offsets(k):  # a pixel leaves the list with the first neighbour that forgives it
            near = theirs[pixels + (dy * width + dx)] == number
            counts += np.bincount(number[near], minlength=len(counts))
            pixels, number = pixels[~near], number[~near]
    return counts[1:]


def _renumbered(instances: NDArray[Any], ids: NDArray[np.int64], chosen: NDArray[np.intp]) -> NDArray[np.int32]:
    """`instances` with the chosen nuclei numbered 1, 2, 3 ... in their order and all others 0."""
    number = np.zeros(len(ids), np.int32)
    number[chosen] = np.arange(1, len(chosen) + 1)
    return paint(instances, ids, number)
