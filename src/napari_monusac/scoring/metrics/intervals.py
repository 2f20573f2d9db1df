"""95 % intervals over patients: of one score, and of the difference between two models; how many patients they need.

Both are made to hold with the few patients that such data have, and are measured by simulation in the tests:

- *Of a score*: Student's t with one degree of freedom less than there are patients, on the logit scale (a score lies in
  0 to 1), with the standard error of the patient bootstrap, brought up by sqrt(n / (n - 1)) because a resample spreads
  less than a sample (Hesterberg, "What teachers should know about the bootstrap", 2015). The plain percentiles miss the
  true value in 14 of 100 samples of six patients.
- *Of a difference*: the values that a paired permutation test does not reject. Were the two models alike, each
  patient's difference could as well have had the other sign; all 2^n choices of signs are counted up to `MOST_EXACT`
  patients, else a random part of them. The ends are order statistics of the means of subsets of the differences
  (Hartigan, "Using subsample values as typical values", 1969): no distribution is assumed but symmetry.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_monusac.scoring.metrics.evaluation import Interval
from napari_monusac.scoring.metrics.scorings import Floats

#: Patients below which there is no interval and no verdict: of five, no choice of signs is rarer than 6 %.
FEWEST_PATIENTS = 6
#: Patients up to which all choices of signs are counted.
MOST_EXACT = 16
#: Random choices of signs beyond that.
SIGN_CHOICES = 10_000
_FEWEST_CHOICES = 999
_MISSED = 0.05

#: Values of a score, (b,) or (b, k), for weights of the patients (b, patients).
Statistic = Callable[[Floats], Floats]


def score_intervals(statistic: Statistic, weights: Floats) -> tuple[list[Interval | None], list[int]]:
    """Intervals of one score, or of several side by side.

    Parameters
    ----------
    statistic : callable
        Gives (b, k) values in 0 to 1 (nan where undefined) for weights (b, patients).
    weights : float64 (b, patients)
        How often each patient is drawn, of `napari_monusac.scoring.metrics.scorings.bootstrap_weights`.

    Returns
    -------
    list of Interval or None
        One a score; None where fewer than `FEWEST_PATIENTS` have something to say of it.
    list of int
        The number of those patients.
    """
    n = weights.shape[1]
    points, alone, drawn = (statistic(w) for w in (np.ones((1, n)), np.eye(n), weights))
    counts = (~np.isnan(alone)).sum(0).tolist()
    found = [_score_interval(float(p), d, k) for p, d, k in zip(points[0], drawn.T, counts, strict=True)]
    return found, counts


def score_interval(statistic: Statistic, weights: Floats) -> tuple[Interval | None, int]:
    """The interval of one score, and the number of patients behind it; `statistic` gives (b,) values."""
    found, counts = score_intervals(lambda w: statistic(w)[:, None], weights)
    return found[0], counts[0]


def _score_interval(point: float, drawn: Floats, n: int) -> Interval | None:
    from scipy.special import expit, logit, stdtrit

    drawn = drawn[~np.isnan(drawn)]
    if n < FEWEST_PATIENTS or len(drawn) < 2 or np.isnan(point):
        return None
    error = float(drawn.std(ddof=1)) * np.sqrt(n / (n - 1))
    if error == 0.0 or not 0 < point < 1:  # all patients alike
        return Interval(low=point, high=point, n=n)
    reach = float(stdtrit(n - 1, 1 - _MISSED / 2)) * error / (point * (1 - point))
    middle = float(logit(point))
    return Interval(low=float(expit(middle - reach)), high=float(expit(middle + reach)), n=n)


def difference_interval(differences: Floats, *, choices: int = SIGN_CHOICES, seed: int = 0) -> Interval | None:
    """The differences that a paired permutation test at 5 % does not reject.

    Parameters
    ----------
    differences : float64 (patients,)
        After minus before; nan where undefined: such patients have no say.
    choices, seed : int
        Random choices of signs where there are more than `MOST_EXACT` patients (999 at the least), and their seed.

    Returns
    -------
    Interval or None
        It leaves out 0 exactly where the test rejects that the two are alike. None with fewer than `FEWEST_PATIENTS`.
    """
    values = differences[~np.isnan(differences)]
    n = len(values)
    if n < FEWEST_PATIENTS:
        return None
    if n <= MOST_EXACT:
        chosen = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1 == 1
    else:
        rng = np.random.default_rng(seed)
        chosen = rng.random((max(choices, _FEWEST_CHOICES), n)) < 0.5
        chosen[~chosen.any(1), 0] = True
    means = np.sort(chosen @ values / chosen.sum(1))
    # of the choices, with the one in which no sign changes, so many may lie on one side of a value that is rejected
    beyond = int(_MISSED / 2 * (len(means) + 1)) - 1
    return Interval(low=float(means[beyond]), high=float(means[-1 - beyond]), n=n)
