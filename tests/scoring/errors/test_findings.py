from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_monusac import find_errors
from napari_monusac.core.classes import NucleusClass
from napari_monusac.scoring.errors.finding import Finding, FindingType


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"counted_in": ""}, True),  # of an earlier version: it does not say where
        ({"counted_in": "b"}, False),
        ({"prediction_ids": (8,)}, False),
        ({"crop": "other"}, False),
        ({"box": (0, 0, 9, 9)}, True),  # an edge was mended
        ({"box": (40, 40, 50, 50)}, False),  # the labels were numbered anew
    ],
)
def test_the_same_nuclei_are_the_same_ids_of_the_same_prediction_in_the_same_place(changed, same):
    wrong = Finding(
        type="wrong class", truth_id=1, truth_ids=(1,), prediction_id=7, prediction_ids=(7,), size_px=9, centre=(5, 5),
        box=(0, 0, 10, 10), crop="c", counted_in="a",
    )  # fmt: skip
    other = wrong.model_copy(update=changed)
    assert wrong.same_as(other) is other.same_as(wrong) is same
    missed = {"type": FindingType.MISSED, "prediction_id": None, "prediction_ids": ()}
    missed_in_b = wrong.model_copy(update={**missed, "counted_in": "b"})
    assert wrong.model_copy(update=missed).same_as(missed_in_b), "a nucleus of the truth, whatever the prediction"


def spoiled(truth, classes):
    """A prediction with known errors: what was done to which nucleus."""
    prediction, guessed = truth.astype(np.int64) + 100 * (truth > 0), {i + 100: c for i, c in classes.items()}
    done = {}
    for i in (1, 2):  # drop
        prediction[prediction == 100 + i] = 0
        done[i] = FindingType.MISSED
    for k, (y, x) in enumerate([(26, 26), (52, 78)]):  # add, between four discs
        prediction[y - 2 : y + 3, x - 2 : x + 3] = 500 + k
        guessed[500 + k] = 2
        done[500 + k] = FindingType.SPURIOUS
    for i in (5, 20):  # split down the middle, one px apart
        rows, columns = np.nonzero(prediction == 100 + i)
        middle = int(columns.mean())
        prediction[rows[columns == middle], middle] = 0
        right = columns > middle
        prediction[rows[right], columns[right]] = 600 + i
        guessed[600 + i] = guessed[100 + i]
        done[i] = FindingType.SPLIT
    for i, j in ((9, 10), (27, 33)):  # merge neighbours with a bridge
        prediction[prediction == 100 + j] = 100 + i
        ys, xs = np.nonzero((truth == i) | (truth == j))
        cy, cx = int(ys.mean()), int(xs.mean())
        prediction[cy - 4 : cy + 5, cx - 4 : cx + 5] = 100 + i
        done[i] = done[j] = FindingType.MERGED
    for i in (13, 30):  # relabel
        guessed[100 + i] = guessed[100 + i] % 4 + 1
        done[i] = FindingType.WRONG_CLASS
    for i, r in ((16, 2), (24, 3)):  # shrink, still a match and no longer one
        mask = prediction == 100 + i
        prediction[mask & ~ndimage.binary_erosion(mask, iterations=r)] = 0
        done[i] = FindingType.LOOSE_EDGE
    return prediction, guessed, done


def test_every_known_error_is_found_with_its_type_and_nothing_else(tissue):
    truth, classes = tissue
    prediction, guessed, done = spoiled(truth, classes)
    found = find_errors(truth, prediction, classes, guessed, um_per_px=0.25)
    got = {}
    for finding in found:
        for i in finding.truth_ids or finding.prediction_ids:
            got[i] = finding.type
    assert got == done
    assert {t for t, _ in found.right} == set(classes) - set(done)
    assert all(p == t + 100 for t, p in found.right)
    assert found.counts() == dict.fromkeys(FindingType, 2)


def test_a_finding_says_where_and_how_much(tissue):
    truth, classes = tissue
    prediction, guessed, _ = spoiled(truth, classes)
    found = find_errors(
        truth, prediction, classes, guessed, um_per_px=0.25, confidence={113: 0.4}, crop="c1", patient="p1"
    )
    wrong = next(f for f in found if f.truth_id == 13)
    assert (wrong.prediction_id, wrong.truth_class, wrong.predicted_class) == (113, NucleusClass(1), NucleusClass(2))
    assert (wrong.confidence, wrong.iou, wrong.crop, wrong.patient) == (0.4, 1.0, "c1", "p1")
    ys, xs = np.nonzero(truth == 13)
    assert wrong.centre == (ys.mean(), xs.mean())
    assert wrong.box == (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1)
    assert wrong.size_px == len(ys)
    assert wrong.size_um2 == pytest.approx(len(ys) / 16)
    loose = next(f for f in found if f.truth_id == 16)
    assert loose.edge_px == pytest.approx(2, rel=0.35)
    assert loose.edge_um == pytest.approx(loose.edge_px / 4)
    assert loose.size_px == ((truth == 16) & (prediction != 116)).sum()
    merged = next(f for f in found if f.truth_ids == (9, 10))
    assert merged.box == (13 - 9 + 26, 2 * 26 + 4, 26 + 13 + 10, 4 * 26 - 3)
    missed = next(f for f in found if f.type is FindingType.MISSED)
    assert missed.prediction_id is None
    assert missed.confidence is None
    assert len({f.key for f in found}) == len(found)


def test_table_has_a_row_for_each_finding(tissue):
    truth, classes = tissue
    prediction, guessed, _ = spoiled(truth, classes)
    found = find_errors(truth, prediction, classes, guessed)
    table = found.table()
    assert list(table["type"]) == [f.type.value for f in found]
    assert table["truth_id"].isna().sum() == 2
    assert set(table.columns) >= {"class", "predicted_class", "size_px", "y", "x", "crop", "patient", "confidence"}
    assert table["size_um2"].isna().all()
    assert len(find_errors(truth, truth, classes, classes).table()) == 0


def accounted(found):
    truth = Counter(i for f in found for i in f.truth_ids) + Counter(t for t, _ in found.right)
    prediction = Counter(i for f in found for i in f.prediction_ids) + Counter(p for _, p in found.right)
    return truth, prediction + Counter(found.discounted)


MAPS = hnp.arrays(np.uint8, (10, 12), elements=st.sampled_from([0, 0, 1, 2, 3, 4, 9]))


@given(MAPS, MAPS, st.sampled_from(["mask", "discount"]))
@settings(max_examples=200, deadline=None)
def test_every_nucleus_is_accounted_for_exactly_once(truth, prediction, rule):
    ignore = np.zeros(truth.shape, bool)
    ignore[:, :4] = True
    found = find_errors(truth, prediction, ignore=ignore, ambiguous=rule)
    keep = ~ignore if rule == "mask" else np.ones_like(ignore)
    in_truth, in_prediction = accounted(found)
    assert in_truth == Counter(set(truth[keep].tolist()) - {0})
    assert in_prediction == Counter(set(prediction[keep].tolist()) - {0})


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_nucleus_is_accounted_for_on_blobs_that_overlap_in_many_ways(data):
    def blobs():
        maps = np.zeros((40, 40), np.int32)
        for k in range(data.draw(st.integers(0, 8))):
            y, x, h, w = (data.draw(st.integers(lo, hi)) for lo, hi in ((0, 30), (0, 30), (3, 22), (3, 22)))
            maps[y : y + h, x : x + w] = 3 * k + 1
        return maps

    truth, prediction = blobs(), blobs()
    found = find_errors(truth, prediction)
    in_truth, in_prediction = accounted(found)
    assert in_truth == Counter(set(np.unique(truth).tolist()) - {0})
    assert in_prediction == Counter(set(np.unique(prediction).tolist()) - {0})
    for f in found:
        assert (f.type is FindingType.SPLIT) == (len(f.prediction_ids) > 1)
        assert (f.type is FindingType.MERGED) == (len(f.truth_ids) > 1)


def test_swallowed_small_nucleus_is_merged_even_where_the_large_one_matches(grid):
    truth = np.zeros((40, 40), np.int32)
    truth[5:35, 5:30] = 1
    truth[5:35, 30:35] = 2
    prediction = (truth > 0).astype(np.int32)
    found = find_errors(truth, prediction)
    assert [(f.type, f.truth_ids) for f in found] == [(FindingType.MERGED, (1, 2))]


def test_a_speck_inside_a_large_nucleus_is_missed_and_spurious():
    truth, prediction = np.zeros((60, 60), np.int32), np.zeros((60, 60), np.int32)
    truth[5:55, 5:55] = 1
    prediction[20:24, 20:24] = 1
    assert [f.type for f in find_errors(truth, prediction)] == [FindingType.MISSED, FindingType.SPURIOUS]


def test_unclassified_nuclei_have_no_wrong_class(tissue):
    truth, classes = tissue
    unknown = dict.fromkeys(classes, 255)
    assert len(find_errors(truth, truth, unknown, classes)) == 0
    assert len(find_errors(truth, truth)) == 0
    assert len(find_errors(truth, truth, classes, {i: c % 4 + 1 for i, c in classes.items()})) == 36


def test_predictions_in_ambiguous_regions_can_be_discounted(tissue):
    truth, _ = tissue
    prediction, ignore = truth.copy(), np.zeros(truth.shape, bool)
    prediction[26 - 3 : 26 + 3, 26 - 3 : 26 + 3] = 99
    ignore[20:32, 20:32] = True
    found = find_errors(truth, prediction, ignore=ignore, ambiguous="discount")
    assert len(found) == 0
    assert found.discounted == (99,)


def test_empty_maps_have_no_findings():
    empty = np.zeros((5, 5), np.uint8)
    assert len(find_errors(empty, empty)) == 0
    assert find_errors(empty[:0], empty[:0]).right == ()


def test_the_ids_of_a_finding_count_in_one_prediction():
    mask = np.zeros((20, 20), np.int32)
    mask[2:9, 2:9] = 4
    (finding,) = find_errors(np.zeros_like(mask), mask, counted_in="a")
    assert [finding.counts_in(n) for n in ("a", "b", "")] == [True, False, True]
    (before,) = find_errors(np.zeros_like(mask), mask)
    assert before.counts_in("a"), "findings of earlier versions do not say"
