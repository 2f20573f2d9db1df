"""Precision and recall as a function of the confidence that a predicted nucleus must have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.fitted import ReliabilityBin
from napari_monusac.scoring.matching.matching import Matching
from napari_monusac.scoring.metrics.calibration import reliability
from napari_monusac.scoring.metrics.evaluation import PrecisionRecall

#: Confidences at which the curves are drawn.
THRESHOLDS = np.round(np.linspace(0, 1, 51), 2)


@dataclass(frozen=True, slots=True, eq=False)
class ScoredNuclei:
    """Predicted nuclei of one crop with what became of them.

    Attributes
    ----------
    confidence : float64 (n,)
        nan where the prediction has none.
    predicted_class : int64 (n,)
        Class numbers.
    found, right : bool (n,)
        Matched with a true nucleus, and with one of the same class.
    counted : bool (n,)
        False for matches with a true nucleus of unknown class: they count for no class.
    n_truth : int64 (5,)
        True nuclei: all, then of each class.
    """

    confidence: NDArray[np.float64]
    predicted_class: NDArray[np.int64]
    found: NDArray[np.bool_]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    n_truth: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        matching: Matching,
        true: NDArray[np.int64],
        predicted: NDArray[np.int64],
        confidence: Mapping[int, float],
    ) -> Self:
        """From a matching, with the classes of its nuclei and the confidences by prediction id."""
        keep = ~matching.discounted
        partner = matching.partner_of_prediction
        found = partner >= 0
        partner_class = np.full(len(predicted), -1, np.int64)
        partner_class[found] = true[partner[found]]
        values = (confidence.get(i, float("nan")) for i in matching.prediction.ids.tolist())
        return cls(
            confidence=np.fromiter(values, np.float64, len(predicted))[keep],
            predicted_class=predicted[keep],
            found=found[keep],
            right=(partner_class == predicted)[keep],
            counted=(partner_class != int(NucleusClass.UNCLASSIFIED))[keep],
            n_truth=np.array([len(true), *((true == c).sum() for c in CLASSES)], np.int64),
        )


def precision_recall_curves(crops: Iterable[ScoredNuclei]) -> tuple[PrecisionRecall, ...]:
    """One curve for all nuclei and one for each class that has both truth and prediction.

    Parameters
    ----------
    crops : iterable of ScoredNuclei
        Pooled; where no prediction has a confidence there are no curves.
    """
    crops = list(crops)
    confidence = np.concatenate([c.confidence for c in crops])
    known = ~np.isnan(confidence)
    if not known.any():
        return ()
    predicted = np.concatenate([c.predicted_class for c in crops])
    found, right = np.concatenate([c.found for c in crops]), np.concatenate([c.right for c in crops])
    counted = np.concatenate([c.counted for c in crops])
    n_truth = np.sum([c.n_truth for c in crops], axis=0)
    curves = [_curve("All", confidence[known], found[known], int(n_truth[0]))]
    for k, cls in enumerate(CLASSES, 1):
        mine = known & counted & (predicted == cls)
        curves.append(_curve(cls.label, confidence[mine], right[mine], int(n_truth[k])))
    return tuple(c for c in curves if c is not None)


def confidence_reliability(crops: Iterable[ScoredNuclei]) -> tuple[ReliabilityBin, ...]:
    """How many predicted nuclei of about each confidence are right: match a true nucleus of their class.

    Parameters
    ----------
    crops : iterable of ScoredNuclei
        Pooled; matches with a true nucleus of unknown class count neither way.
    """
    crops = list(crops)
    confidence, right = np.concatenate([c.confidence for c in crops]), np.concatenate([c.right for c in crops])
    known = ~np.isnan(confidence) & np.concatenate([c.counted for c in crops])
    return reliability(confidence[known], right[known])


def _curve(name: str, confidence: NDArray[np.float64], hit: NDArray[np.bool_], n_truth: int) -> PrecisionRecall | None:
    if n_truth == 0 or len(confidence) == 0:
        return None
    order = np.argsort(-confidence, kind="stable")
    confidence, hits = confidence[order], np.cumsum(hit[order], dtype=np.int64)
    n = np.arange(1, len(hits) + 1)
    kept = np.searchsorted(-confidence, -THRESHOLDS, side="right")  # how many reach each threshold
    shown = kept > 0
    last = kept[shown] - 1
    return PrecisionRecall(
        name=name,
        confidence=tuple(THRESHOLDS[shown].tolist()),
        precision=tuple((hits[last] / n[last]).tolist()),
        recall=tuple((hits[last] / n_truth).tolist()),
        average_precision=_average_precision(confidence, hits, n, n_truth),
    )


def _average_precision(
    confidence: NDArray[np.float64], hits: NDArray[np.int64], n: NDArray[np.int64], n_truth: int
) -> float:
    """Area under the curve in steps, one step for each distinct confidence (as scikit-learn defines it)."""
    ends = np.flatnonzero(np.append(np.diff(confidence) != 0, True))
    gained = np.diff(hits[ends], prepend=0)
    return float((hits[ends] / n[ends] * gained).sum() / n_truth)
