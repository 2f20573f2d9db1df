"""Kappa against scikit-learn and against Fleiss' own example; intervals that hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from napari_monusac.core.errors import ShapeError
from napari_monusac.scoring.metrics.kappa import cohen_kappa, fleiss_kappa, jackknife_interval, kappa_of_table


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_kappa_equals_scikit_learn(answers):
    first, second = zip(*answers, strict=True)
    if len(set(first) | set(second)) == 1:
        assert math.isnan(cohen_kappa(first, second))
    else:
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_kappa_of_nothing_is_undefined():
    assert math.isnan(cohen_kappa([], []))
    assert math.isnan(fleiss_kappa(np.zeros((0, 3))))
    with pytest.raises(ShapeError):
        cohen_kappa("ab", "a")


def test_fleiss_own_example():
    # Fleiss 1971, table 1 as given by Wikipedia: 14 raters, 10 things, 5 classes, kappa 0.210
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1.0
    with pytest.raises(ShapeError):
        fleiss_kappa([[3, 0], [0, 2]])


def test_the_interval_over_patients_holds_the_truth_in_about_95_of_100():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        tables = []
        for _ in range(12):
            truth = rng.integers(0, 3, 60)
            other = np.where(rng.random(60) < 0.7, truth, rng.integers(0, 3, 60))
            tables.append(np.array([[((truth == a) & (other == b)).sum() for b in range(3)] for a in range(3)], float))
        interval = jackknife_interval(kappa_of_table, np.array(tables), -1, 1)
        held += interval.low <= 0.7 <= interval.high  # they agree beyond chance in 70 %
    assert 0.91 <= held / 300 <= 0.985
    assert jackknife_interval(kappa_of_table, np.array(tables[:5]), -1, 1) is None, "five patients say nothing"
