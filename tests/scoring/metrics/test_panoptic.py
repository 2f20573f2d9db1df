from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_monusac import panoptic_quality
from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import MonusacError, ShapeError
from napari_monusac.scoring.metrics.panoptic import PanopticQuality, classes_by_id, panoptic_by_class


def organisers_pq(truth, prediction):
    """The challenge's definition, pair by pair; predictions are struck off by their own number, not by the truth's."""
    matched = {}
    for i in np.unique(truth):
        if i == 0:
            continue
        one = truth == i
        for j in np.unique(prediction[one]):
            if j == 0:
                continue
            other = prediction == j
            iou = (one & other).sum() / (one | other).sum()
            if iou > 0.5:
                matched[i] = j, iou
    left = [j for j in np.unique(prediction) if j != 0]
    tp = fn = 0
    total = 0.0
    for i in np.unique(truth):
        if i == 0:
            continue
        if i in matched:
            left.remove(matched[i][0])
            tp += 1
            total += matched[i][1]
        else:
            fn += 1
    weight = tp + 0.5 * len(left) + 0.5 * fn
    return (total / weight if weight else math.nan), tp, len(left), fn


def assert_same(truth, prediction):
    pq, tp, fp, fn = organisers_pq(truth, prediction)
    ours = panoptic_quality(truth, prediction)
    assert (ours.tp, ours.fp, ours.fn) == (tp, fp, fn)
    assert ours.pq == pytest.approx(pq, abs=1e-12, nan_ok=True)


SMALL_MAPS = hnp.arrays(np.int32, (9, 11), elements=st.sampled_from([0, 0, 1, 2, 3, 7, 4000]))


@given(SMALL_MAPS, SMALL_MAPS)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition_on_any_maps(truth, prediction):
    assert_same(truth, prediction)


@given(
    st.lists(st.tuples(st.integers(0, 18), st.integers(0, 18), st.integers(1, 6), st.integers(1, 6)), max_size=8),
    st.integers(-2, 2),
    st.sets(st.integers(0, 8), max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition_on_touching_boxes(boxes, shift, gone):
    truth = np.zeros((24, 24), np.uint16)
    for k, (y, x, h, w) in enumerate(boxes, 1):
        truth[y : y + h, x : x + w] = 10 * k
    prediction = np.roll(truth, shift, 1).astype(np.int64)
    for k in gone:
        prediction[prediction == 10 * k] = 0
    assert_same(truth, prediction)


@pytest.mark.parametrize("n", [0, 1])
def test_empty_and_single(n):
    one = np.zeros((8, 8), np.uint8)
    one[2:5, 2:5] = n
    none = np.zeros_like(one)
    both = panoptic_quality(one, one)
    if n:
        assert both == PanopticQuality(1, 0, 0, 1.0)
        assert panoptic_quality(one, none).pq == 0.0
        assert panoptic_quality(none, one) == PanopticQuality(0, 1, 0, 0.0)
        assert math.isnan(panoptic_quality(none, one).sq)
    else:
        assert all(math.isnan(v) for v in (both.pq, both.sq, both.dq))
        assert not both.defined


def test_three_perfect_nuclei_numbered_4_5_6_score_1():
    maps = np.zeros((9, 9), int)
    maps[1:3, 1:3], maps[4:6, 4:6], maps[7:9, 7:9] = 4, 5, 6
    assert panoptic_quality(maps, maps).pq == 1.0


def test_an_iou_of_exactly_one_half_is_no_match():
    truth, prediction = np.zeros((1, 8), int), np.zeros((1, 8), int)
    truth[0, :4], prediction[0, :2] = 1, 1
    assert panoptic_quality(truth, prediction) == PanopticQuality(0, 1, 1, 0.0)
    prediction[0, :3] = 1
    assert panoptic_quality(truth, prediction).tp == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_any_integer_type_and_huge_numbers(dtype):
    truth, prediction = np.zeros((12, 12), dtype), np.zeros((12, 12), dtype)
    huge = min(np.iinfo(dtype).max, np.iinfo(np.int64).max)
    truth[1:4, 1:4], truth[6:9, 6:9] = huge, 3
    prediction[1:4, 1:5], prediction[6:9, 6:9] = 9, huge
    assert_same(truth, prediction)
    assert_same(truth[::-1, ::2], prediction[::-1, ::2])


def test_a_nucleus_that_wraps_from_one_edge_to_the_other_is_counted_by_its_pixels():
    truth = np.zeros((6, 6), int)
    truth[1, 4:], truth[2, :2] = 5, 5
    assert_same(truth, truth)


def test_refuses_what_cannot_be_compared():
    maps = np.zeros((4, 4), int)
    with pytest.raises(ShapeError, match=r"\(4, 4\).*\(4, 5\)"):
        panoptic_quality(maps, np.zeros((4, 5), int))
    with pytest.raises(ShapeError, match="ignore"):
        panoptic_quality(maps, maps, ignore=np.zeros((2, 2), bool))
    with pytest.raises(MonusacError, match="float64"):
        panoptic_quality(maps.astype(float), maps)
    with pytest.raises(MonusacError, match="-3"):
        panoptic_quality(np.full((4, 4), -3), maps)
    assert math.isnan(panoptic_quality(maps[:0], maps[:0]).pq)
    with pytest.raises(MonusacError, match="nucleus 3 has the class 7"):
        panoptic_by_class(maps + 3, {3: 7}, maps + 3, {3: 1})


def test_ambiguous_regions_masked_out_of_both():
    truth, prediction, ignore = np.zeros((10, 30), int), np.zeros((10, 30), int), np.zeros((10, 30), bool)
    truth[2:8, 2:8] = prediction[2:8, 2:8] = 1
    prediction[2:8, 12:18] = 2  # wholly ambiguous
    truth[2:8, 20:26] = 3  # half of it ambiguous, and predicted in the other half only
    prediction[2:8, 23:26] = 4
    ignore[:, 11:23] = True
    assert panoptic_quality(truth, prediction) == PanopticQuality(1, 2, 1, 1.0)
    assert panoptic_quality(truth, prediction, ignore=ignore) == PanopticQuality(2, 0, 0, 2.0)


def test_ambiguous_regions_discount_only_what_is_unmatched_and_mostly_inside():
    truth, prediction, ignore = np.zeros((10, 40), int), np.zeros((10, 40), int), np.zeros((10, 40), bool)
    ignore[:, 10:30] = True
    truth[2:8, 12:18] = 1
    prediction[2:8, 12:18] = 1  # matched: counts, although ambiguous
    prediction[2:8, 20:26] = 2  # unmatched, inside: not counted
    prediction[2:8, 27:33] = 3  # unmatched, exactly half inside: counted
    result = panoptic_quality(truth, prediction, ignore=ignore, ambiguous="discount")
    assert result == PanopticQuality(1, 1, 0, 1.0)


def test_per_class_equals_the_definition_on_each_class_map(tissue):
    truth, classes = tissue
    prediction = np.roll(truth, (2, 1), (0, 1))
    prediction[prediction == 5] = 0
    guessed = {i: (4 if i in (3, 8) else c) for i, c in classes.items() if i != 5}
    result = panoptic_by_class(truth, classes, prediction, guessed)
    for cls in range(1, 5):
        mine = np.where(np.isin(truth, [i for i, c in classes.items() if c == cls]), truth, 0)
        theirs = np.where(np.isin(prediction, [i for i, c in guessed.items() if c == cls]), prediction, 0)
        pq, tp, fp, fn = organisers_pq(mine, theirs)
        ours = result[NucleusClass(cls)]
        assert (ours.tp, ours.fp, ours.fn) == (tp, fp, fn)
        assert ours.pq == pytest.approx(pq, abs=1e-12)


def test_classes_in_any_form_and_absent_classes_undefined(tissue):
    truth, classes = tissue
    semantic = np.zeros(truth.shape, np.uint8)
    for i, c in classes.items():
        semantic[truth == i] = c
    assert classes_by_id(semantic, truth) == classes
    assert classes_by_id([classes[i] for i in range(1, 37)], truth) == classes
    only = panoptic_by_class(truth, dict.fromkeys(classes, 1), truth, dict.fromkeys(classes, 1))
    assert only[NucleusClass.EPITHELIAL].pq == 1.0
    assert math.isnan(only[NucleusClass.MACROPHAGE].pq)


def test_nuclei_of_unknown_class_are_neither_missed_nor_make_spurious(tissue):
    truth, classes = tissue
    unknown = {**classes, 1: 255, 2: 255}
    result = panoptic_by_class(truth, unknown, np.where(truth == 2, 0, truth), classes)
    assert all(q.fp == 0 and q.fn == 0 for q in result.values())
    assert sum(q.tp for q in result.values()) == 34


@pytest.mark.shared
def test_equals_the_definition_on_a_real_crop(shared_data):
    from napari_monusac import label_maps, open_slide, read_annotation

    folder = shared_data / "monusac" / "MoNuSAC_images_and_annotations" / "TCGA-5P-A9K0-01Z-00-DX1"
    xml = next(folder.glob("*_1.xml"))
    with open_slide(xml.with_suffix(".svs")) as slide:
        truth = label_maps(read_annotation(xml), slide.shape).instances[:500, :500]
    prediction = np.roll(truth, (2, 2), (0, 1))
    prediction[prediction % 7 == 0] = 0
    assert_same(truth, prediction)
