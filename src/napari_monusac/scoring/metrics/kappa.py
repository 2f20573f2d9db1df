"""Agreement beyond chance of those who sort the same things: Cohen's kappa of two, Fleiss' of several."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_monusac.core.errors import ShapeError
from napari_monusac.scoring.metrics.evaluation import Interval
from napari_monusac.scoring.metrics.intervals import FEWEST_PATIENTS
from napari_monusac.scoring.metrics.scorings import Floats

_MISSED = 0.05


def crossed(first: Sequence[Hashable], second: Sequence[Hashable]) -> tuple[NDArray[np.int64], list[Hashable]]:
    """Count answers, first by second, and list them in the order in which they first occur.

    Raises
    ------
    ShapeError
        The two differ in length.
    """
    if len(first) != len(second):
        raise ShapeError(f"{len(first)} answers stand against {len(second)}", "compare answers to the same questions")
    names = list(dict.fromkeys([*first, *second]))
    place = {name: k for k, name in enumerate(names)}
    table = np.zeros((len(names), len(names)), np.int64)
    for a, b in zip(first, second, strict=True):
        table[place[a], place[b]] += 1
    return table, names


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Cohen's kappa of two raters: agreement beyond what their habits alone would give.

    Parameters
    ----------
    first, second : sequence
        Their answers to the same questions.

    Returns
    -------
    float
        1 = always agreed, 0 = as by chance; nan where there is no answer or both always gave the same single one.

    Raises
    ------
    ShapeError
        The two differ in length.

    Notes
    -----
    Cohen, "A coefficient of agreement for nominal scales", 1960: (p_o - p_e) / (1 - p_e).
    """
    return kappa_of_table(crossed(first, second)[0])


def kappa_of_table(table: ArrayLike) -> float:
    """Cohen's kappa of counts (k, k), first rater by second; nan where it is undefined."""
    counts = np.asarray(table, np.float64)
    n = counts.sum()
    if n == 0:
        return float("nan")
    expected = float((counts.sum(1) * counts.sum(0)).sum()) / float(n) ** 2
    observed = float(np.trace(counts)) / float(n)
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def fleiss_kappa(counts: ArrayLike) -> float:
    """Fleiss' kappa of several raters.

    Parameters
    ----------
    counts : integers (n, k)
        How many raters put each of n things into each of k classes; each thing has the same number of raters, two or more.

    Returns
    -------
    float
        1 = always agreed, 0 = as by chance; nan where there is nothing, or all was put into one class.

    Raises
    ------
    ShapeError
        The things have different numbers of raters.

    Notes
    -----
    Fleiss, "Measuring nominal scale agreement among many raters", 1971.
    """
    table = np.asarray(counts, np.float64)
    if table.size == 0:
        return float("nan")
    raters = table.sum(1)
    if table.ndim != 2 or raters[0] < 2 or (raters != raters[0]).any():
        raise ShapeError(
            "the things were not rated by the same number of raters", "leave out those that some did not rate"
        )
    m = raters[0]
    observed = float(((table**2).sum(1) - m).mean() / (m * (m - 1)))
    expected = float(((table.sum(0) / table.sum()) ** 2).sum())
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def jackknife_interval(
    statistic: Callable[[Floats], float], by_patient: Floats, low: float, high: float
) -> Interval | None:
    """The 95 % interval of a statistic over patients, leaving one out at a time.

    Parameters
    ----------
    statistic : callable
        Gives the value of sums over patients.
    by_patient : float64 (patients, ...)
        What each patient adds.
    low, high : float
        Ends of the scale.

    Returns
    -------
    Interval or None
        Student's t with the jackknife's standard error; None with fewer than `FEWEST_PATIENTS`, or where it is undefined.

    Notes
    -----
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11.
    """
    from scipy.special import stdtrit

    n = len(by_patient)
    if n < FEWEST_PATIENTS:
        return None
    total = by_patient.sum(0)
    point = statistic(total)
    without = np.array([statistic(total - one) for one in by_patient])
    if np.isnan(point) or np.isnan(without).any():
        return None
    error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    reach = float(stdtrit(n - 1, 1 - _MISSED / 2)) * error
    return Interval(low=max(low, point - reach), high=min(high, point + reach), n=n)
