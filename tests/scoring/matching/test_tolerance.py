from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_monusac.core.errors import MonusacError
from napari_monusac.scoring.matching.matching import match_instances
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.matching.tolerance import best_pairs, disc_offsets, forgiving_matching
from napari_monusac.scoring.metrics.panoptic import quality_of
from napari_monusac.scoring.report.evaluate import evaluate


def forgiving_iou(truth, prediction, k):
    """The definition, with distance transforms: disagreeing pixels further than k px from the other nucleus count."""
    far_from_truth = ndimage.distance_transform_edt(~truth) > k
    far_from_prediction = ndimage.distance_transform_edt(~prediction) > k
    bad = (truth & ~prediction & far_from_prediction) | (prediction & ~truth & far_from_truth)
    union = (truth | prediction).sum()
    return (union - bad.sum()) / union


def blobs(data, largest=8):
    maps = np.zeros((40, 44), np.int32)
    for k in range(data.draw(st.integers(0, largest))):
        y, x, h, w = (data.draw(st.integers(lo, hi)) for lo, hi in ((0, 34), (0, 38), (2, 14), (2, 14)))
        maps[y : y + h, x : x + w] = 5 * k + 2
    return maps


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_equals_the_definition(data):
    truth = blobs(data)
    prediction = blobs(data) if data.draw(st.booleans()) else np.roll(truth, (1, 2), (0, 1))
    matching = match_instances(truth, prediction)
    for k in (0, 1, 2, 3):
        level = forgiving_matching(truth, prediction, matching, k)
        for t, p, iou in zip(level.pair_truth, level.pair_prediction, level.iou, strict=True):
            one, other = truth == matching.truth.ids[t], prediction == matching.prediction.ids[p]
            assert iou == pytest.approx(forgiving_iou(one, other, k), abs=1e-12)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_at_0_px_it_is_the_plain_score_and_it_never_falls(data):
    truth, prediction = blobs(data), blobs(data)
    matching = match_instances(truth, prediction)
    qualities = [quality_of(forgiving_matching(truth, prediction, matching, k)) for k in range(4)]
    plain = quality_of(matching)
    assert (qualities[0].tp, qualities[0].fp, qualities[0].fn) == (plain.tp, plain.fp, plain.fn)
    assert qualities[0].iou_sum == pytest.approx(plain.iou_sum)
    for less, more in itertools.pairwise(qualities):
        assert more.iou_sum >= less.iou_sum - 1e-12
        assert more.tp >= less.tp


@pytest.mark.parametrize("off", [1, 2, 3, 4])
def test_an_edge_off_by_k_px_is_perfect_at_k_px(grid, off):
    truth = grid(3, 3)
    prediction = np.zeros_like(truth)
    for i in range(1, 10):
        prediction[ndimage.binary_erosion(truth == i, ndimage.generate_binary_structure(2, 1), iterations=off)] = i
    matching = match_instances(truth, prediction)
    for k in (1, 2, 3):
        # erosion with the cross moves an edge by `off` px along the axes and by less across
        assert (quality_of(forgiving_matching(truth, prediction, matching, k)).sq == 1.0) == (k >= off)


def test_a_neighbours_pixels_forgive_nothing(grid):
    truth = np.zeros((12, 24), np.int32)
    truth[2:10, 2:12], truth[2:10, 12:22] = 1, 2
    prediction = np.zeros_like(truth)
    prediction[2:10, 2:7], prediction[2:10, 7:22] = 1, 2  # the left one lost 5 columns to the right one
    level = forgiving_matching(truth, prediction, match_instances(truth, prediction), 3)
    assert level.iou[0] == pytest.approx(8 / 10)
    assert level.iou[1] == pytest.approx(13 / 15)


def test_huge_ids_are_no_trouble():
    truth, prediction = np.zeros((9, 9), np.int64), np.zeros((9, 9), np.int64)
    truth[2:6, 2:6], prediction[2:6, 3:7] = 2**62, 2**61
    level = forgiving_matching(truth, prediction, match_instances(truth, prediction), 1)
    assert level.iou.tolist() == [1.0]


def test_pairs_are_best_from_both_sides():
    truth, prediction = np.zeros((4, 30), int), np.zeros((4, 30), int)
    truth[:, :10], truth[:, 10:14] = 1, 2
    prediction[:, :12] = 7
    matching = match_instances(truth, prediction)
    assert len(matching.iou) == 2
    pairs = best_pairs(matching)
    assert matching.pair_truth[pairs].tolist() == [0]


def test_offsets_are_a_disc_and_negative_tolerances_are_refused():
    assert len(disc_offsets(1)) == 4
    assert len(disc_offsets(2)) == 12
    assert len(disc_offsets(3)) == 28
    empty = np.zeros((3, 3), int)
    with pytest.raises(MonusacError, match="-1 px"):
        forgiving_matching(empty, empty, match_instances(empty, empty), -1)
    assert len(forgiving_matching(empty, empty, match_instances(empty, empty), 2).iou) == 0


def spurious_not_forgiven(truth, prediction, ignore, k):
    """FP by the definition, nucleus by nucleus: no partner at k px, and not mostly in an Ambiguous region."""
    matching = match_instances(truth, prediction)
    level = forgiving_matching(truth, prediction, matching, k)
    partners = set(matching.prediction.ids[level.pair_prediction[level.iou > 0.5]].tolist())
    return sum(
        1
        for i in np.unique(prediction[prediction > 0]).tolist()
        if i not in partners and ignore[prediction == i].mean() <= 0.5
    )


@given(st.data(), st.sampled_from(["mask", "discount"]))
@settings(max_examples=150, deadline=None)
def test_counts_and_pq_keep_their_bounds_under_every_rule(data, rule):
    """FP, FN >= 0; 0 <= PQ <= 1; PQ does not fall as the tolerance grows: pooled, per class, and in all four scorings."""
    truth = blobs(data)
    near = np.roll(truth, (data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))), (0, 1))
    prediction = np.where(blobs(data, 2) > 0, blobs(data, 3) + 100, near) if data.draw(st.booleans()) else near
    ignore = np.zeros(truth.shape, bool)
    y, x, h, w = (data.draw(st.integers(0, n)) for n in (30, 30, 30, 30))
    ignore[y : y + h, x : x + w] = True
    pick = st.sampled_from([1, 2, 3, 4, 255])
    classes = [{int(i): data.draw(pick) for i in np.unique(m) if i} for m in (truth, prediction)]
    pair = CropPair(
        crop="c", patient="p", truth=truth, truth_classes=classes[0], prediction=prediction,
        prediction_classes=classes[1], ignore=ignore,
    )  # fmt: skip
    result = evaluate(pair, ambiguous=rule, tolerances_px=(1, 2, 3), bootstrap=0)
    levels = [(result.instances, result.by_class, result.scorings)]
    levels += [(t.instances, t.by_class, t.scorings) for t in result.tolerance]
    for k, (instances, by_class, scorings) in enumerate(levels):
        for quality in (instances, *by_class.values()):
            assert min(quality.tp, quality.fp, quality.fn) >= 0
        for score in (instances, *by_class.values(), *scorings):
            assert score.pq is None or 0 <= score.pq <= 1
        if rule == "discount":
            assert instances.fp == spurious_not_forgiven(truth, prediction, ignore, k)
    for less, more in itertools.pairwise(levels):
        assert_not_falling(less[0].pq, more[0].pq)
        for name, quality in less[1].items():
            assert_not_falling(quality.pq, more[1][name].pq)
        for before, after in zip(less[2], more[2], strict=True):
            assert_not_falling(before.pq, after.pq)


def assert_not_falling(before, after):
    if before is not None and after is not None:
        assert after >= before - 1e-9


def test_nuclei_in_an_ambiguous_region_that_match_only_with_the_edge_forgiven():
    """Six thin nuclei, each 3 px beside the truth: discounted as they are, right at 3 px; never less than none spurious."""
    truth, prediction = np.zeros((60, 60), np.int32), np.zeros((60, 60), np.int32)
    for k in range(6):
        truth[8 * k + 2 : 8 * k + 6, 10:16] = k + 1
        prediction[8 * k + 2 : 8 * k + 6, 13:19] = k + 1
    ignore = np.ones(truth.shape, bool)
    classes = dict.fromkeys(range(1, 7), 2)
    pair = CropPair("c", "p", truth, classes, prediction, classes, ignore=ignore)
    result = evaluate(pair, ambiguous="discount", bootstrap=0)
    assert (result.instances.tp, result.instances.fp, result.instances.fn) == (0, 0, 6)
    at_three = result.tolerance[-1]
    for quality in (at_three.instances, at_three.by_class["Lymphocyte"]):
        assert (quality.tp, quality.fp, quality.fn) == (6, 0, 0)
        assert quality.pq == 1.0
