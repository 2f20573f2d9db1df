"""The four ways in use to average panoptic quality over crops, classes and patients, from the same counts.

All of them start from one table: TP, FP, FN and the sum of matched IoU for every crop and class. Weights per patient
make the same functions serve the patient bootstrap: a patient drawn twice counts twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["pq", "sq", "dq"]
Floats = NDArray[np.float64]
TP, FP, FN, IOU = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class MatchCounts:
    """Counts of matches of a set of crops, by patient and class.

    Attributes
    ----------
    values : float64 (crops, classes, 4)
        TP, FP, FN and the sum of matched IoU.
    patients : intp (crops,)
        Number of each crop's patient, from 0.
    """

    values: Floats
    patients: NDArray[np.intp]

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return int(self.patients.max(initial=-1)) + 1

    def by_patient(self) -> Floats:
        """Counts pooled over each patient's crops, float64 (patients, classes, 4)."""
        pooled = np.zeros((self.n_patients, *self.values.shape[1:]))
        np.add.at(pooled, self.patients, self.values)
        return pooled

    def only(self, crops: NDArray[np.bool_]) -> MatchCounts:
        """The counts of some crops, their patients numbered anew."""
        _, patients = np.unique(self.patients[crops], return_inverse=True)
        return MatchCounts(self.values[crops], np.asarray(patients.ravel(), np.intp))


def divided(top: Floats, bottom: Floats) -> Floats:
    """`top` / `bottom`; nan where `bottom` is 0."""
    result: Floats = np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=np.asarray(bottom) > 0)
    return result


def metric_of(counts: Floats, metric: Metric) -> Floats:
    """PQ, SQ or DQ of counts (..., 4); nan where undefined."""
    weight = counts[..., TP] + counts[..., FP] / 2 + counts[..., FN] / 2
    top, bottom = {
        "pq": (counts[..., IOU], weight),
        "sq": (counts[..., IOU], counts[..., TP]),
        "dq": (counts[..., TP], weight),
    }[metric]
    return divided(top, bottom)


def mean_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is defined; nan where nothing is."""
    there = ~np.isnan(values)
    return divided(np.nan_to_num(values).sum(-1), there.sum(-1))


def weighted_means(values: Floats, weights: Floats) -> Floats:
    """Means over items of what is defined: values (items, k), weights (n, items) -> (n, k); nan where nothing is."""
    there = (~np.isnan(values)).astype(np.float64)
    return divided(weights @ np.nan_to_num(values), weights @ there)


def _over_items(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Values (items, classes) averaged over classes, then over items; and by class over items."""
    by_class = weighted_means(values, weights)
    return weighted_means(mean_defined(values)[:, None], weights)[:, 0], by_class


def _legacy(counts: MatchCounts, weights: Floats, metric: Metric) -> tuple[Floats, Floats]:
    values = metric_of(counts.values, metric)
    present = counts.values[..., TP] + counts.values[..., FN] > 0
    return _over_items(np.where(present, values, np.nan), weights[:, counts.patients])


def _corrected(counts: MatchCounts, weights: Floats, metric: Metric) -> tuple[Floats, Floats]:
    return _over_items(metric_of(counts.values, metric), weights[:, counts.patients])


def _per_patient(counts: MatchCounts, weights: Floats, metric: Metric) -> tuple[Floats, Floats]:
    return _over_items(patient_values(counts, metric)[1], weights)


def _pooled(counts: MatchCounts, weights: Floats, metric: Metric) -> tuple[Floats, Floats]:
    by_class = metric_of(np.tensordot(weights, counts.by_patient(), axes=1), metric)
    return mean_defined(by_class), by_class


@dataclass(frozen=True, slots=True)
class ScoringRule:
    """A scoring: one way to average PQ over classes, crops and patients.

    Attributes
    ----------
    key, label : str
        A short name for files and one for people.
    reason : str
        One sentence: what it does and why its number differs from the others.
    function : callable
        ``(counts, weights (n, patients), metric) -> (value (n,), by class (n, classes))``.
    """

    key: str
    label: str
    reason: str
    function: Callable[[MatchCounts, Floats, Metric], tuple[Floats, Floats]]

    def score(self, counts: MatchCounts, metric: Metric = "pq") -> tuple[float, Floats]:
        """The value over all patients, and by class (4,)."""
        value, by_class = self.function(counts, np.ones((1, counts.n_patients)), metric)
        return float(value[0]), by_class[0]


HEADLINE = "per-patient"
#: The four scorings, in the order in which they are shown.
SCORINGS: Mapping[str, ScoringRule] = MappingProxyType(
    {
        rule.key: rule
        for rule in (
            ScoringRule(
                "legacy-2020",
                "Legacy 2020",
                "Averages over the classes that each crop's truth holds, then over crops: spurious nuclei of a class "
                "that the crop does not hold cost nothing, so it reads higher.",
                _legacy,
            ),
            ScoringRule(
                "corrected",
                "Corrected",
                "Like legacy 2020, but a class predicted where the truth has none scores 0 in that crop: it reads "
                "lower, and a crop of 35 px weighs as much as one of 2000 px.",
                _corrected,
            ),
            ScoringRule(
                "per-patient",
                "Per patient",
                "Pools the counts over each patient's crops per class, averages classes, then patients: a small crop "
                "no longer weighs as much as a large one, and every patient counts once.",
                _per_patient,
            ),
            ScoringRule(
                "mpq-plus",
                "mPQ+",
                "Pools the counts over all crops per class, then averages the classes: patients with many nuclei weigh "
                "most, and each rare class weighs a quarter.",
                _pooled,
            ),
        )
    }
)


def bootstrap_weights(n_patients: int, n: int, seed: int) -> Floats:
    """How often each patient is drawn, float64 (n, patients), drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n).astype(np.float64)


def patient_values(counts: MatchCounts, metric: Metric = "pq") -> tuple[Floats, Floats]:
    """Each patient's own value, (patients,), and by class, (patients, classes): what the headline averages."""
    by_class = metric_of(counts.by_patient(), metric)
    return mean_defined(by_class), by_class
