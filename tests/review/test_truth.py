from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from napari_monusac import label_maps, panoptic_quality, read_annotation, write_annotation
from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.disk.provenance import read_provenance
from napari_monusac.review.annotation import write_corrected
from napari_monusac.review.judgements import JudgementLog, Verdict
from napari_monusac.review.truth import correct_truth
from napari_monusac.scoring.errors.finding import FindingType
from napari_monusac.scoring.errors.findings import find_errors
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.report.evaluate import evaluate

SHAPE = (120, 160)


def square(y, x, size=14, label="Epithelial"):
    corners = [(y, x), (y, x + size), (y + size, x + size), (y + size, x), (y, x)]
    return Nucleus(np.array(corners, np.float64), label, layer=-1)


@pytest.fixture
def case(tmp_path):
    """A crop with one error of each type: the original file, the pair, and the findings by type."""
    regions = [
        square(5, 5), square(5, 30), square(5, 55), square(5, 80, label="Lymphocyte"),
        square(5, 95, label="Lymphocyte"), square(40, 5, 20), square(40, 50), square(80, 5, label="Macrophage"),
    ]  # fmt: skip
    path = tmp_path / "original.xml"
    write_annotation(Annotation(tuple(regions), um_per_px=0.25), path)
    annotation = read_annotation(path)
    maps = label_maps(annotation, SHAPE)
    classes = {k: int(n.nucleus_class) for k, n in enumerate(annotation.nuclei, 1)}
    prediction = maps.instances.astype(np.int32) * 10
    guessed = {10 * k: c for k, c in classes.items()}
    number = {(int(n.vertices[:, 0].min()), int(n.vertices[:, 1].min())): k for k, n in enumerate(annotation.nuclei, 1)}
    missed, wrong, loose = number[5, 5], number[5, 30], number[40, 5]
    one, two = number[5, 80], number[5, 95]
    prediction[prediction == 10 * missed] = 0
    guessed[10 * wrong] = 2
    prediction[5:20, 62] = 0
    prediction[5:20, 63:70][prediction[5:20, 63:70] > 0] = 901
    guessed[901] = 1
    prediction[5:20, 80:110] = 10 * one
    prediction[40:61, 5:26] = 0
    prediction[44:57, 9:22] = 10 * loose
    prediction[90:105, 100:115] = 902
    guessed[902] = 3
    pair = CropPair("c1", "p1", maps.instances, classes, prediction, guessed, um_per_px=0.25)
    findings = {f.type: f for f in find_errors(maps.instances, prediction, classes, guessed, crop="c1", patient="p1")}
    assert set(findings) == set(FindingType)
    assert findings[FindingType.MERGED].truth_ids in {(one, two), (two, one)}
    return annotation, pair, findings, JudgementLog.open(tmp_path, "Reader")


def corrected(case, verdict, *types, **values):
    _, pair, findings, log = case
    for kind in types:
        log.judge(findings[kind], verdict, **values)
    return correct_truth(pair, log.of_crop("c1"))


@pytest.mark.parametrize("kind", list(FindingType))
def test_model_right_leaves_no_finding_of_that_type(case, kind):
    _, pair, _, _ = case
    truth = corrected(case, Verdict.MODEL_RIGHT, kind)
    again = find_errors(truth.instances, pair.prediction, truth.classes, pair.prediction_classes)
    assert kind not in {f.type for f in again}
    assert len(again) == 5
    assert truth.changed


def test_all_judged_for_the_model_scores_1_and_the_annotation_draws_the_same_truth(case, tmp_path):
    annotation, pair, _, _ = case
    before = annotation.source.read_bytes()
    truth = corrected(case, Verdict.MODEL_RIGHT, *FindingType)
    score = evaluate(truth.as_truth_of(pair), bootstrap=0)
    assert score.pq == 1.0
    assert evaluate(pair, bootstrap=0).pq < 0.5
    path = tmp_path / "new" / "corrected.xml"
    write_corrected(annotation, truth, path, "Reader")
    drawn = label_maps(read_annotation(path), SHAPE)
    assert panoptic_quality(drawn.instances, truth.instances).pq == 1.0
    semantic = np.zeros(SHAPE, np.uint8)
    for k, c in truth.classes.items():
        semantic[truth.instances == k] = c
    np.testing.assert_array_equal(drawn.semantic, semantic)
    assert annotation.source.read_bytes() == before
    entries = read_provenance(path)
    assert entries.savings[0].author == "Reader"
    assert {e.provenance for e in entries.nuclei} == {"model", "file"}
    assert all(e.author == "Reader" and e.time.endswith("Z") and "model right" in e.note for e in entries.nuclei)


def test_undo_gives_the_original_back(case, tmp_path):
    annotation, pair, _, log = case
    corrected(case, Verdict.MODEL_RIGHT, *FindingType)
    for _ in FindingType:
        log.undo()
    truth = correct_truth(pair, log.of_crop("c1"))
    assert not truth.changed
    np.testing.assert_array_equal(truth.instances, pair.truth)
    assert write_corrected(annotation, truth, tmp_path / "c.xml", "R") == annotation


@pytest.mark.parametrize("verdict", [Verdict.TRUTH_RIGHT, Verdict.SKIP])
def test_truth_right_and_skip_change_nothing(case, verdict, tmp_path):
    annotation, _, _, _ = case
    truth = corrected(case, verdict, *FindingType)
    assert not truth.changed
    assert write_corrected(annotation, truth, tmp_path / "c.xml", "R").regions == annotation.regions


def test_regions_that_nobody_judged_keep_their_very_vertices(case, tmp_path):
    annotation, _, findings, _ = case
    truth = corrected(case, Verdict.MODEL_RIGHT, FindingType.LOOSE_EDGE, FindingType.WRONG_CLASS)
    changed = {findings[k].truth_id for k in (FindingType.LOOSE_EDGE, FindingType.WRONG_CLASS)}
    written = write_corrected(annotation, truth, tmp_path / "c.xml", "R")
    for k, (old, new) in enumerate(zip(annotation.nuclei, written.nuclei, strict=True), 1):
        assert (old == new) == (k not in changed)
        if k == findings[FindingType.WRONG_CLASS].truth_id:
            assert new.vertices is old.vertices
            assert new.label == "Lymphocyte"


def test_ambiguous_takes_nuclei_out_of_the_score(case, tmp_path):
    annotation, pair, _, _ = case
    truth = corrected(case, Verdict.AMBIGUOUS, FindingType.MISSED, FindingType.SPURIOUS)
    again = find_errors(truth.instances, pair.prediction, truth.classes, pair.prediction_classes, ignore=truth.ignore)
    assert not {FindingType.MISSED, FindingType.SPURIOUS} & {f.type for f in again}
    written = write_corrected(annotation, truth, tmp_path / "c.xml", "Reader")
    assert len(written.ambiguous) == 2
    drawn = label_maps(read_annotation(tmp_path / "c.xml"), SHAPE)
    np.testing.assert_array_equal(drawn.ignore, truth.ignore)
    assert drawn.ignore[95, 105]
    assert len(read_annotation(tmp_path / "c.xml").nuclei) == len(annotation.nuclei) - 1


def test_both_wrong_with_a_class_sets_it_and_without_one_is_listed(case):
    _, pair, findings, log = case
    truth = corrected(case, Verdict.BOTH_WRONG, FindingType.WRONG_CLASS, chosen_class=NucleusClass.NEUTROPHIL)
    assert truth.classes[findings[FindingType.WRONG_CLASS].truth_id] == 3
    log.judge(findings[FindingType.LOOSE_EDGE], Verdict.BOTH_WRONG)
    truth = correct_truth(pair, log.of_crop("c1"))
    assert [j.key for j in truth.to_redraw] == [findings[FindingType.LOOSE_EDGE].key]


def test_a_chosen_class_wins_over_the_models(case):
    truth = corrected(case, Verdict.MODEL_RIGHT, FindingType.SPURIOUS, chosen_class=4)
    (new,) = truth.added
    assert truth.classes[new] == 4


def test_truth_or_prediction_that_changed_since_is_refused(case):
    _, pair, findings, log = case
    log.judge(findings[FindingType.MISSED], Verdict.MODEL_RIGHT)
    shifted = dataclasses.replace(pair, truth=np.roll(pair.truth, 40, 1))
    with pytest.raises(SessionError, match="judge it again"):
        correct_truth(shifted, log.of_crop("c1"))
    gone = dataclasses.replace(pair, truth=np.where(pair.truth == findings[FindingType.MISSED].truth_id, 0, pair.truth))
    with pytest.raises(SessionError, match="is gone"):
        correct_truth(gone, log.of_crop("c1"))


def test_the_original_is_never_written_over(case):
    annotation, _, _, _ = case
    truth = corrected(case, Verdict.MODEL_RIGHT, FindingType.MISSED)
    with pytest.raises(SessionError, match="is the original"):
        write_corrected(annotation, truth, annotation.source, "Reader")


def test_a_nucleus_partly_under_an_ambiguous_region_is_taken_whole(case):
    _, pair, _, log = case
    ignore = np.zeros(SHAPE, bool)
    ignore[:10, :50] = True
    hidden = dataclasses.replace(pair, ignore=ignore)
    found = find_errors(
        pair.truth, pair.prediction, pair.truth_classes, pair.prediction_classes, ignore=ignore, crop="c1"
    )
    missed = next(f for f in found if f.type is FindingType.MISSED)
    assert missed.box[0] == 10
    log.judge(missed, Verdict.MODEL_RIGHT)
    truth = correct_truth(hidden, log.of_crop("c1"))
    assert not (truth.instances == missed.truth_id).any()


def test_a_part_of_a_crop_is_corrected_in_its_place(case, tmp_path):
    annotation, pair, _, log = case
    part = np.s_[30:, 20:]
    cut = dataclasses.replace(pair, truth=pair.truth[part], prediction=pair.prediction[part], offset_px=(30, 20))
    found = find_errors(cut.truth, cut.prediction, cut.truth_classes, cut.prediction_classes, crop="c1")
    log.judge(next(f for f in found if f.type is FindingType.SPURIOUS), Verdict.MODEL_RIGHT)
    truth = correct_truth(cut, log.of_crop("c1"))
    drawn = label_maps(write_corrected(annotation, truth, tmp_path / "c.xml", "R"), SHAPE)
    np.testing.assert_array_equal(drawn.semantic == 3, pair.prediction == 902)
