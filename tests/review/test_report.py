from __future__ import annotations

import pytest

from napari_monusac.core.errors import SessionError
from napari_monusac.review.judgements import JudgementLog
from napari_monusac.review.report import agreement_of, agreement_sentence, review_lines
from napari_monusac.scoring.errors.finding import Finding


def finding(k):
    return Finding(
        type="wrong class", truth_ids=(k,), prediction_ids=(k,), truth_class=1, predicted_class=3, size_px=1,
        centre=(0, 0), box=(0, 0, 1, 1), crop="c",
    )  # fmt: skip


def test_log_and_agreement_of_two_readers_in_words(tmp_path):
    with pytest.raises(SessionError, match="two are needed"):
        agreement_of(tmp_path)
    one, two = JudgementLog.open(tmp_path, "Anna"), JudgementLog.open(tmp_path, "Bert")
    for k in range(4):
        one.judge(finding(k), "model right" if k else "both wrong", chosen_class=None if k else 2, note="n")
        two.judge(finding(k), "model right" if k > 1 else "truth right")
    two.judge(finding(9), "skip")
    two.undo()
    lines = review_lines(tmp_path)
    assert len(lines) == 8
    first = next(line for line in lines if line.verdict.startswith("both"))
    assert (first.what, first.verdict, first.note) == (
        "wrong class, Epithelial → Neutrophil",
        "both wrong: Lymphocyte",
        "n",
    )
    agreement = agreement_of(tmp_path)
    assert (agreement.first, agreement.second, agreement.both, agreement.agreed) == ("Anna", "Bert", 4, 2)
    words = agreement_sentence(agreement, 0.876)
    assert "agreed on 2: Cohen's kappa 0.20" in words
    assert "0.88, the ceiling" in words
    assert "nothing in common" in agreement_sentence(agreement.model_copy(update={"both": 0}))
    assert "undefined" in agreement_sentence(agreement.model_copy(update={"kappa": None}))
