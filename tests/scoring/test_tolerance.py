from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_monusac.core.errors import MonusacError
from napari_monusac.scoring.matching import match_instances
from napari_monusac.scoring.panoptic import quality_of
from napari_monusac.scoring.tolerance import best_pairs, disc_offsets, forgiving_matching


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
