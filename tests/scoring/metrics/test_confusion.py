"""Streamed confusion and the training scores, against scikit-learn and against plain sets of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from napari_monusac.core.classes import SEMANTIC_NAMES
from napari_monusac.core.errors import ShapeError
from napari_monusac.scoring.metrics.confusion import PixelConfusion, training_scores


@pytest.fixture
def maps():
    rng = np.random.default_rng(1)
    target = rng.integers(0, 5, (3, 40, 30)).astype(np.uint8)
    prediction = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 5, target.shape)).astype(np.uint8)
    target[:, :5] = 255
    return prediction, target


def test_streamed_equals_scikit_learn(maps):
    prediction, target = maps
    c = PixelConfusion(5)
    for p, t in zip(prediction, target, strict=True):
        c.update(p, t)
    valid = target != 255
    p, t = prediction[valid], target[valid]
    np.testing.assert_array_equal(c.counts, metrics.confusion_matrix(t, p))
    np.testing.assert_allclose([c.iou(k) for k in range(5)], metrics.jaccard_score(t, p, average=None))
    np.testing.assert_allclose([c.dice(k) for k in range(5)], metrics.f1_score(t, p, average=None))
    assert c.macro_iou() == pytest.approx(metrics.jaccard_score(t, p, average="macro"))
    assert c.micro_iou() == pytest.approx(metrics.jaccard_score(t, p, average="micro"))
    nuclei = metrics.jaccard_score(t, p, labels=[1, 2, 3, 4], average="micro")
    assert c.micro_iou(first=1) == pytest.approx(nuclei)
    halves = PixelConfusion(5), PixelConfusion(5)
    halves[0].update(prediction[:1], target[:1])
    halves[1].update(prediction[1:], target[1:])
    halves[0].__iadd__(halves[1])
    np.testing.assert_array_equal(halves[0].counts, c.counts)


def test_scores_by_hand():
    semantic, ternary = PixelConfusion(5), PixelConfusion(3)
    semantic.update([0, 0, 1, 1, 2], [0, 0, 1, 2, 255])
    ternary.update([0, 1, 1, 2, 2, 0], [0, 1, 2, 2, 1, 0])
    s = training_scores(semantic, ternary)
    assert s.dice_inside == pytest.approx(2 * 1 / (2 + 2))
    assert s.dice_boundary == pytest.approx(0.5)
    assert s.combo == pytest.approx(0.7 * 0.5 + 0.3 * 0.5)
    assert s.iou == {"Background": 1.0, "Epithelial": 0.5, "Lymphocyte": 0.0, "Neutrophil": None, "Macrophage": None}
    assert tuple(s.iou) == SEMANTIC_NAMES
    assert s.miou_macro == pytest.approx((1 + 0.5 + 0) / 3), "an absent class is left out, not 0 and not 1"
    assert s.miou_micro == pytest.approx(3 / 5)
    assert s.miou_macro_nuclei == pytest.approx(0.25)
    assert s.miou_micro_nuclei == pytest.approx(1 / 3)


def test_nothing_seen_is_undefined_and_combo_0():
    s = training_scores(PixelConfusion(5), PixelConfusion(3))
    assert (s.dice_inside, s.dice_boundary, s.miou_macro, s.combo) == (None, None, None, 0.0)
    only_ignored = PixelConfusion(3)
    only_ignored.update(np.zeros((4, 4), int), np.full((4, 4), 255))
    assert only_ignored.counts.sum() == 0


def test_what_does_not_fit_is_named():
    c = PixelConfusion(3)
    with pytest.raises(ShapeError, match=r"\(2,\) and target \(3,\)"):
        c.update([0, 1], [0, 1, 2])
    with pytest.raises(ShapeError, match="class 3 among 3"):
        c.update([3], [0])
    with pytest.raises(ShapeError):
        c.update([0], [-1])
