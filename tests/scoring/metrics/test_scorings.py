from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_monusac.scoring.metrics.scorings import SCORINGS, MatchCounts, bootstrap_weights, mean_defined


def pq(tp, fp, fn, iou):
    weight = tp + fp / 2 + fn / 2
    return iou / weight if weight else math.nan


def mean(values):
    values = [v for v in values if not math.isnan(v)]
    return sum(values) / len(values) if values else math.nan


def plain(key, counts, patients):
    """The four definitions, crop by crop."""
    classes = range(counts.shape[1])
    if key == "legacy-2020":
        return mean([mean([pq(*c[k]) for k in classes if c[k][0] + c[k][2] > 0]) for c in counts])
    if key == "corrected":
        return mean([mean([pq(*c[k]) for k in classes]) for c in counts])
    if key == "per-patient":
        pooled = [sum(c for c, p in zip(counts, patients, strict=True) if p == q) for q in sorted(set(patients))]
        return mean([mean([pq(*c[k]) for k in classes]) for c in pooled])
    total = counts.sum(0)
    return mean([pq(*total[k]) for k in classes])


@st.composite
def tables(draw):
    n = draw(st.integers(1, 6))
    numbers = [[[draw(st.integers(0, 4)) for _ in range(3)] for _ in range(4)] for _ in range(n)]
    values = np.array([[[*c, 0.8 * c[0]] for c in crop] for crop in numbers], float)
    patients = [0, *(draw(st.integers(0, 2)) for _ in range(n - 1))]
    _, index = np.unique(patients, return_inverse=True)
    return values, index


@given(tables())
@settings(max_examples=100, deadline=None)
def test_equal_the_plain_definitions(table):
    values, patients = table
    counts = MatchCounts(values, patients)
    for key, rule in SCORINGS.items():
        value, by_class = rule.score(counts)
        assert value == pytest.approx(plain(key, values, patients.tolist()), abs=1e-12, nan_ok=True)
        assert by_class.shape == (4,)


@given(tables())
@settings(max_examples=50, deadline=None)
def test_a_patient_drawn_twice_counts_twice(table):
    values, patients = table
    counts = MatchCounts(values, patients)
    weights = bootstrap_weights(counts.n_patients, 5, 1)
    for key, rule in SCORINGS.items():
        drawn = rule.function(counts, weights, "pq")[0]
        for row, value in zip(weights, drawn, strict=True):
            crops, names = [], []
            for q, times in enumerate(row.astype(int)):
                for k in range(times):
                    crops += [c for c, p in zip(values, patients, strict=True) if p == q]
                    names += [f"{q}.{k}"] * int((patients == q).sum())
            assert value == pytest.approx(plain(key, np.array(crops), names), abs=1e-12, nan_ok=True)


def test_legacy_forgives_spurious_nuclei_of_absent_classes_and_corrected_does_not():
    counts = MatchCounts(np.array([[[2, 0, 0, 2.0], [0, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]], float), np.array([0]))
    assert SCORINGS["legacy-2020"].score(counts)[0] == 1.0
    assert SCORINGS["corrected"].score(counts)[0] == 0.5
    by_class = SCORINGS["corrected"].score(counts)[1]
    assert by_class[:2].tolist() == [1.0, 0.0]
    assert np.isnan(by_class[2:]).all()


def test_each_has_a_label_and_one_sentence_of_reason():
    assert list(SCORINGS) == ["legacy-2020", "corrected", "per-patient", "mpq-plus"]
    for rule in SCORINGS.values():
        assert rule.label
        assert rule.reason.endswith(".")
        assert rule.reason.count(". ") == 0


def test_bootstrap_is_seeded_and_means_leave_undefined_values_out():
    one, two, other = (bootstrap_weights(7, 40, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    assert (one.sum(1) == 7).all()
    assert math.isnan(mean_defined(np.array([np.nan, np.nan])))
