from __future__ import annotations

import hashlib
import json

import pytest

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.review.judgements import JudgementLog, Verdict, log_path, read_log, readers_of
from napari_monusac.scoring.errors.finding import Finding, FindingType


def finding(k: int, crop: str = "c1") -> Finding:
    return Finding(
        type=FindingType.MISSED, truth_id=k, truth_ids=(k,), size_px=10, centre=(5, 5), box=(0, 0, 10, 10), crop=crop
    )


def test_judgements_are_on_disk_when_judge_returns(tmp_path):
    log = JudgementLog.open(tmp_path / "new folder", "Änne Müller")
    log.judge(finding(1), Verdict.MODEL_RIGHT, note="unscharf", truth_sha256="ab", fingerprint="cd")
    log.judge(finding(2), "both wrong", chosen_class=4)
    again = JudgementLog.open(tmp_path / "new folder", "Änne Müller")
    assert again.judgements == log.judgements
    first, second = again.judgements
    assert (first.reader, first.note, first.truth_sha256, first.fingerprint) == ("Änne Müller", "unscharf", "ab", "cd")
    assert first.time.endswith("Z")
    assert (second.verdict, second.chosen_class) == (Verdict.BOTH_WRONG, NucleusClass.MACROPHAGE)
    lines = log.path.read_text("utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["judged", "judged"]


def test_the_last_word_counts_and_undo_goes_back_to_the_one_before(tmp_path):
    log = JudgementLog.open(tmp_path, "A")
    log.judge(finding(1), Verdict.TRUTH_RIGHT)
    log.judge(finding(1), Verdict.AMBIGUOUS)
    assert [j.verdict for j in log.judgements] == [Verdict.AMBIGUOUS]
    log.undo()
    assert [j.verdict for j in log.judgements] == [Verdict.TRUTH_RIGHT]
    log.undo()
    assert log.judgements == []
    assert log.undo() is None
    log.redo()
    log.redo()
    assert log.redo() is None
    assert [j.verdict for j in log.judgements] == [Verdict.AMBIGUOUS]
    assert JudgementLog.open(tmp_path, "A").judgements == log.judgements
    assert len(log.records) == 6  # nothing is ever taken out


def test_each_prediction_has_a_last_word_of_its_own(tmp_path):
    """The same numbers in another prediction are other nuclei; a missed one is a nucleus of the truth in both."""
    log = JudgementLog.open(tmp_path, "A")
    of_both = {"type": FindingType.WRONG_CLASS, "prediction_id": 7, "prediction_ids": (7,), "counted_in": "old"}
    one = finding(1).model_copy(update=of_both)
    for f, verdict in (
        (one, Verdict.TRUTH_RIGHT),
        (one.model_copy(update={"counted_in": "new"}), Verdict.MODEL_RIGHT),
        (one, Verdict.AMBIGUOUS),
    ):
        log.judge(f, verdict)
    said = {j.finding.counted_in: j.verdict for j in log.judgements}
    assert said == {"old": Verdict.AMBIGUOUS, "new": Verdict.MODEL_RIGHT}
    assert {j.verdict for j in log.of_crop(one.crop)} == set(said.values())
    assert [j.verdict for j in log.of_crop(one.crop, "new")] == [Verdict.MODEL_RIGHT]
    assert len(log.of_crop(one.crop, "third")) == 2, "what does not fit is there to be counted"
    log.judge(one.model_copy(update={"counted_in": ""}), Verdict.SKIP)  # of an earlier version: it does not say where
    assert [j.verdict for j in log.judgements] == [Verdict.SKIP]
    missed = one.model_copy(update={"type": FindingType.MISSED, "prediction_id": None, "prediction_ids": ()})
    for where, verdict in (("old", Verdict.MODEL_RIGHT), ("new", Verdict.TRUTH_RIGHT)):
        log.judge(missed.model_copy(update={"counted_in": where}), verdict)
    assert [j.verdict for j in log.judgements if j.key == missed.key] == [Verdict.TRUTH_RIGHT]


def test_a_new_judgement_ends_redo(tmp_path):
    log = JudgementLog.open(tmp_path, "A")
    log.judge(finding(1), Verdict.SKIP)
    log.undo()
    log.judge(finding(2), Verdict.SKIP)
    assert log.redo() is None


def test_words_are_those_on_a_crop(tmp_path):
    log = JudgementLog.open(tmp_path, "A")
    log.judge(finding(1), Verdict.SKIP)
    assert log.of_crop("c1")
    assert not log.of_crop("c2")


def test_readers_have_logs_of_their_own_and_do_not_see_each_other(tmp_path):
    one, two = JudgementLog.open(tmp_path, "A/B"), JudgementLog.open(tmp_path, "A_B")
    one.judge(finding(1), Verdict.TRUTH_RIGHT)
    assert not two.judgements
    assert not JudgementLog.open(tmp_path, "A_B").judgements
    two.judge(finding(1), Verdict.MODEL_RIGHT)
    assert readers_of(tmp_path) == ("A/B", "A_B")
    assert one.path.parent == two.path.parent == tmp_path


def test_a_torn_last_line_is_dropped_and_said(tmp_path):
    log = JudgementLog.open(tmp_path, "A")
    for k in range(3):
        log.judge(finding(k + 1), Verdict.SKIP)
    whole = log.path.read_bytes()
    last = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for cut in range(last + 1, len(whole)):
        log.path.write_bytes(whole[:cut])
        again = JudgementLog.open(tmp_path, "A")
        assert len(again.judgements) == 2
        assert again.notes
        again.judge(finding(9), Verdict.SKIP)
        assert len(JudgementLog.open(tmp_path, "A").judgements) == 3


def test_damage_before_the_last_line_is_an_error_that_names_the_line(tmp_path):
    log = JudgementLog.open(tmp_path, "A")
    for k in range(3):
        log.judge(finding(k + 1), Verdict.SKIP)
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(SessionError, match="line 2 of 3"):
        read_log(log.path)
    with pytest.raises(SessionError, match="cannot be read"):
        read_log(tmp_path / "none.jsonl")


def test_a_reader_needs_a_name_and_a_folder_that_can_be_written(tmp_path):
    with pytest.raises(SessionError, match="no name"):
        JudgementLog.open(tmp_path, "  ")
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="choose another folder"):
        JudgementLog.open(tmp_path / "file", "A")


def test_a_disk_that_refuses_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    log = JudgementLog.open(tmp_path, "A")
    log.judge(finding(1), Verdict.SKIP)
    before = log.path.read_bytes()

    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_monusac.core.jsonl.os.fsync", refuse)
    with pytest.raises(SessionError, match="No space left"):
        log.judge(finding(2), Verdict.SKIP)
    assert [j.key for j in log.judgements] == [finding(1).key]
    assert log_path(tmp_path, "A").read_bytes() == before  # half a judgement would spoil the next one


def test_a_review_kept_by_the_collections_name_goes_to_the_one_it_is_of(tmp_path):
    from napari_monusac.review.judgements import take_over

    truth, other = tmp_path / "a.xml", tmp_path / "b.xml"
    truth.write_bytes(b"<a/>")
    other.write_bytes(b"<b/>")
    old, new = tmp_path / "slides", tmp_path / "slides-0123"
    log = JudgementLog.open(old, "anna")
    log.judge(finding(1), "truth right", truth_sha256=hashlib.sha256(b"<a/>").hexdigest())
    assert "stays there" in take_over(old, new, {"c1": other})
    assert not new.exists()
    assert "moved here" in take_over(old, new, {"c1": truth})
    assert not old.exists()
    assert len(JudgementLog.open(new, "anna").judgements) == 1
    assert take_over(old, new, {"c1": truth}) == ""
