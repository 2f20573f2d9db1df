"""Nuclei by true and predicted class, with the missed and the spurious ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.scoring.matching.matching import Matching
from napari_monusac.scoring.metrics.evaluation import Confusion

#: Places while counting: four classes, then unclassified, then none (missed or spurious).
_UNCLASSIFIED, _NONE = len(CLASSES), len(CLASSES) + 1


def count_confusion(matching: Matching, true: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Nuclei by true and predicted class, int64 (6, 6): four classes, unclassified, none (missed or spurious)."""
    place = np.full(256, _UNCLASSIFIED)
    place[[int(c) for c in CLASSES]] = range(len(CLASSES))
    counts = np.zeros((_NONE + 1, _NONE + 1), np.int64)
    partner = matching.partner_of_truth
    found = partner >= 0
    columns = np.full(len(true), _NONE)
    columns[found] = place[predicted[partner[found]]]
    np.add.at(counts, (place[true], columns), 1)
    spurious = (matching.partner_of_prediction < 0) & ~matching.discounted
    counts[_NONE] += np.bincount(place[predicted[spurious]], minlength=_NONE + 1)
    return counts


def confusion_of(counts: NDArray[np.int64]) -> Confusion:
    """As a labelled table; the unclassified row and column only where there is something in them."""
    names = [*(c.label for c in CLASSES), NucleusClass.UNCLASSIFIED.label]
    used = bool(counts[_UNCLASSIFIED].any() or counts[:, _UNCLASSIFIED].any())
    keep = [i for i in range(_NONE + 1) if used or i != _UNCLASSIFIED]
    shown = [names[i] for i in keep if i < _NONE]
    table = counts[np.ix_(keep, keep)]
    return Confusion(
        rows=(*shown, "Spurious"),
        columns=(*shown, "Missed"),
        counts=tuple(tuple(int(v) for v in row) for row in table),
    )
