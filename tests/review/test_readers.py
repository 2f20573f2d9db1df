from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from napari_monusac.review.judgements import JudgementLog, Verdict
from napari_monusac.review.readers import compare_readers, inter_reader_evaluation
from napari_monusac.scoring.errors.findings import find_errors
from napari_monusac.scoring.matching.pairs import CropPair


def blocks(n):
    maps = np.zeros((20, 20 * n), np.int32)
    for k in range(n):
        maps[4:14, 20 * k + 4 : 20 * k + 14] = k + 1
    return maps


@pytest.fixture
def judged(tmp_path):
    truth = blocks(6)
    pair = CropPair(
        "c", "p", truth, dict.fromkeys(range(1, 7), 1), np.where(truth > 4, 0, truth), {1: 2, 2: 2, 3: 1, 4: 1}
    )
    found = find_errors(pair.truth, pair.prediction, pair.truth_classes, pair.prediction_classes, crop="c", patient="p")
    assert len(found) == 4
    one, two = JudgementLog.open(tmp_path, "Anna"), JudgementLog.open(tmp_path, "Bert")
    answers = [
        (Verdict.MODEL_RIGHT, Verdict.MODEL_RIGHT),
        (Verdict.MODEL_RIGHT, Verdict.TRUTH_RIGHT),
        (Verdict.TRUTH_RIGHT, Verdict.TRUTH_RIGHT),
        (Verdict.SKIP, Verdict.TRUTH_RIGHT),
    ]
    for f, (a, b) in zip(found, answers, strict=True):
        one.judge(f, a)
        two.judge(f, b)
    return pair, found, one, two


def test_readers_compared_without_what_either_skipped(judged):
    _, found, one, two = judged
    agreement = compare_readers(one.judgements, two.judgements)
    assert (agreement.first, agreement.second, agreement.both, agreement.agreed) == ("Anna", "Bert", 3, 2)
    expected = cohen_kappa_score(["m", "m", "t"], ["m", "t", "t"])
    assert agreement.kappa == pytest.approx(expected)
    assert [d.key for d in agreement.differences] == [found[1].key]
    assert agreement.only_second == (found[3].key,)
    assert agreement.only_first == ()
    assert agreement.verdicts == ("model right", "truth right")
    assert agreement.table == ((1, 1), (0, 1))


def test_two_readers_without_anything_in_common_have_no_kappa(judged):
    _, _, one, _ = judged
    agreement = compare_readers(one.judgements, [])
    assert (agreement.both, agreement.kappa) == (0, None)
    assert len(agreement.only_first) == 3


def test_a_class_chosen_differently_is_a_difference(judged):
    _, found, one, two = judged
    one.judge(found[0], Verdict.BOTH_WRONG, chosen_class=3)
    two.judge(found[0], Verdict.BOTH_WRONG, chosen_class=4)
    agreement = compare_readers(one.judgements, two.judgements)
    assert found[0].key in {d.key for d in agreement.differences}
    assert agreement.agreed == 2


def test_inter_reader_pq_is_the_score_of_one_truth_against_the_other(judged):
    pair, found, one, two = judged
    same = inter_reader_evaluation([pair], one.judgements, one.judgements, bootstrap=0)
    assert same.pq == 1.0
    result = inter_reader_evaluation([pair], one.judgements, two.judgements, bootstrap=0)
    # Anna: the first two missed/wrong went the model's way, Bert: the first only; they differ in one nucleus
    assert result.instances.tp + result.instances.fn == len(set(np.unique(pair.truth)) - {0}) - sum(
        f.type.value == "missed" for f in found[:2]
    )
    assert result.pq < 1.0


def test_what_was_judged_in_different_predictions_is_not_compared(judged, tmp_path):
    """The same numbers, found again in another prediction: other nuclei."""
    from napari_monusac.review.report import agreement_sentence

    _, found, one, _ = judged
    other = JudgementLog.open(tmp_path, "Clara")
    for f in found:
        other.judge(f.model_copy(update={"counted_in": "b"}), Verdict.MODEL_RIGHT)
    mine = [j.model_copy(update={"finding": j.finding.model_copy(update={"counted_in": "a"})}) for j in one.judgements]
    agreement = compare_readers(mine, other.judgements, names=("Anna", "Clara"))
    assert [f.type.value for f in found] == ["missed", "missed", "wrong class", "wrong class"]
    # a nucleus that was missed is one of the truth, whatever the prediction; Anna skipped the last error
    assert (agreement.both, agreement.elsewhere, agreement.agreed) == (2, 1, 2)
    assert "1 finding was judged in different predictions and not compared." in agreement_sentence(agreement)
    assert compare_readers(one.judgements, other.judgements).elsewhere == 0, "findings of before do not say where"
