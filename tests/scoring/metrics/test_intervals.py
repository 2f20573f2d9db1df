"""Intervals and verdicts over few patients: how often they are wrong is measured, against numbers known beforehand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from napari_monusac.scoring.metrics.crop_tally import CropTally
from napari_monusac.scoring.metrics.intervals import difference_interval, score_interval, score_intervals
from napari_monusac.scoring.metrics.levels import Level
from napari_monusac.scoring.metrics.scorings import bootstrap_weights
from napari_monusac.scoring.report.evaluate import BOOTSTRAP
from napari_monusac.scoring.report.guard import guard_of


def exact_p(differences):
    """Two-sided p of the sign-flip test, every choice of signs written out."""
    observed = abs(differences.sum())
    flips = [abs((np.array(s) * differences).sum()) for s in itertools.product((-1, 1), repeat=len(differences))]
    return np.mean([f >= observed - 1e-12 for f in flips])


@pytest.mark.parametrize("n", [6, 7, 8, 9])
def test_zero_is_left_out_exactly_where_the_permutation_test_rejects(n):
    rng = np.random.default_rng(n)
    for shift in np.linspace(0, 1.6, 12):
        d = rng.normal(shift, 1, n)
        interval = difference_interval(d)
        assert (interval.low > 0 or interval.high < 0) == (exact_p(d) <= 0.05)
        assert interval.low <= d.mean() <= interval.high
        assert interval.n == n
    six = difference_interval(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert (six.low, six.high) == (0.1, 0.6), "of six differences the smallest and the largest"


def test_permutation_agrees_with_scipy_where_signs_are_drawn():
    rng = np.random.default_rng(1)
    d = rng.normal(0.3, 1, 24)
    shift = difference_interval(d).low
    found = stats.permutation_test(
        (d - shift,), np.sum, permutation_type="samples", n_resamples=20_000, rng=rng
    ).pvalue  # fmt: skip
    assert found == pytest.approx(0.05, abs=0.01), "the lower end is where the test begins to reject"
    assert difference_interval(d, seed=3) == difference_interval(d, seed=3)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_fewer_than_six_patients_have_no_interval(n):
    assert difference_interval(np.arange(n) + 1.0) is None
    assert difference_interval(np.append(np.arange(n) + 1.0, [np.nan] * 4)) is None
    values = np.linspace(0.4, 0.8, n) if n else np.zeros(0)
    if n:
        assert score_interval(mean_of(values), bootstrap_weights(n, 100, 0)) == (None, n)


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(1)


def simulated(rng, n, skill):
    """Crops of n patients as a model of that skill sees them: nuclei found, missed and spurious by chance."""
    crops = []
    for k, ease in enumerate(skill):
        counts = np.zeros((4, 4))
        truth = np.maximum(1, rng.poisson([40, 30, 3, 5]))
        counts[:, 0] = rng.binomial(truth, ease)
        counts[:, 1] = rng.poisson(truth * (1 - ease))
        counts[:, 2] = truth - counts[:, 0]
        counts[:, 3] = counts[:, 0] * rng.normal(0.75, 0.03, 4).clip(0.5, 1)
        crops.append(CropTally(f"c{k}", f"p{k:03d}", "", {0: counts}, {0: counts.sum(0)}, *([None] * 4)))  # type: ignore[list-item]
    return crops


@pytest.mark.parametrize(("n", "trials"), [(2, 60), (3, 60), (5, 60), (6, 1500), (10, 1200), (20, 700)])
def test_two_equal_models_are_told_apart_in_3_to_7_of_100_trials(n, trials):
    """The guard's size: 5 % is meant; below six patients there is no verdict at all."""
    rng = np.random.default_rng(100 + n)
    verdicts = []
    for _ in range(trials):
        ease = rng.beta(6, 3, n)  # patients that are hard for one are hard for the other
        verdicts.append(guard_of(*(Level(simulated(rng, n, ease)) for _ in range(2)), choices=2000).verdict)
    wrong = np.mean([v in ("better", "worse") for v in verdicts])
    if n < 6:
        assert set(verdicts) == {"too few patients to tell"}
    else:
        # 6 patients: the nearest that 64 choices of signs allow is 3.1 %; two standard errors of the simulation beside
        slack = 2 * (0.05 * 0.95 / trials) ** 0.5
        assert 0.031 - slack <= wrong <= 0.05 + slack
        assert 0.02 < wrong < 0.07


def test_a_better_model_is_called_better():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(40):
        ease = rng.beta(6, 3, 8)
        worse, better = simulated(rng, 8, ease * 0.6), simulated(rng, 8, ease)
        found.append(guard_of(Level(worse), Level(better)).verdict)
    assert found.count("better") >= 38
    assert "worse" not in found


@pytest.mark.parametrize("n", [6, 10, 20])
@pytest.mark.parametrize("spread", [(8, 4), (9, 1)])
def test_the_interval_of_a_score_misses_the_true_mean_in_3_to_7_of_100(n, spread):
    rng = np.random.default_rng(n)
    true, trials, weights = spread[0] / sum(spread), 3000, bootstrap_weights(n, BOOTSTRAP, 0)
    missed = percentile = 0
    for _ in range(trials):
        values = rng.beta(*spread, n)
        interval, patients = score_interval(mean_of(values), weights)
        assert patients == interval.n == n
        assert 0 <= interval.low < interval.high <= 1
        missed += not interval.low <= true <= interval.high
        if n < 20:
            low, high = np.percentile(weights @ values / n, [2.5, 97.5])
            percentile += not low <= true <= high
    assert 0.03 <= missed / trials <= 0.07
    if n < 20:
        assert percentile / trials > 0.09, "what stood here before"


def test_patients_without_a_say_are_not_counted():
    values = np.array([0.5, 0.6, np.nan, 0.7, 0.55, 0.65, 0.6, np.nan])
    there = np.where(np.isnan(values), 0, 1.0)

    def both(weights):
        with np.errstate(invalid="ignore"):
            one = weights @ np.nan_to_num(values) / (weights @ there)
        return np.stack([one, weights @ np.linspace(0.2, 0.9, 8) / weights.sum(1)], 1)

    intervals, counts = score_intervals(both, bootstrap_weights(8, 500, 0))
    assert counts == [6, 8]
    assert [i.n for i in intervals] == [6, 8]
    alike, n = score_interval(mean_of(np.full(7, 0.8)), bootstrap_weights(7, 50, 0))
    assert (alike.low, alike.high, n) == (pytest.approx(0.8), pytest.approx(0.8), 7)
