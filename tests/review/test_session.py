from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_monusac import label_maps, read_annotation, write_annotation
from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.review.judgements import Verdict
from napari_monusac.review.queue import QUEUE_FILE, QueueFilter
from napari_monusac.review.session import ReviewSession

SHAPE = (60, 120)


@pytest.fixture
def folders(tmp_path):
    """Two crops: one with truth and three errors, one without truth and with one predicted nucleus."""
    crops, out = tmp_path / "crops", tmp_path / "pred"
    crops.mkdir()
    out.mkdir()
    corners = np.array([(0, 0), (0, 12), (12, 12), (12, 0), (0, 0)], np.float64)
    regions = tuple(Nucleus(corners + np.array([10, 10 + 30 * k]), "Lymphocyte", layer=-1) for k in range(3))
    annotation = Annotation(regions, um_per_px=0.5)
    write_annotation(annotation, crops / "P_1.xml")
    for name in ("P_1", "P_2"):
        tifffile.imwrite(crops / f"{name}.tif", np.full((*SHAPE, 3), 200, np.uint8), photometric="rgb")
    instances = label_maps(annotation, SHAPE).instances.copy()
    instances[instances == 1] = 0  # missed
    instances[40:50, 100:110] = 9  # spurious
    for name, maps, classes in (
        ("P_1", instances, {2: "Neutrophil", 3: "Lymphocyte", 9: "Macrophage"}),
        ("P_2", (instances == 9).astype(np.int32), {1: "Epithelial"}),
    ):
        tifffile.imwrite(out / f"{name}_instances.tif", maps)
        pd.DataFrame({"label": list(classes), "class": list(classes.values()), "confidence": 0.6}).to_csv(
            out / f"{name}.csv", index=False
        )
    return crops, out


def test_judging_moves_on_and_the_score_follows(folders):
    session = ReviewSession.open(*folders, "Anna")
    assert {i.finding.type.value for i in session.queue.shown} == {"missed", "spurious", "wrong class"}
    before, now = session.scores("P_1")
    assert before == now
    first = session.queue.current.key
    judged = session.judge(Verdict.MODEL_RIGHT)
    assert judged.key == first
    assert len(judged.truth_sha256) == 64
    assert session.queue.progress == (1, 3)
    assert session.queue.current.key != first
    assert session.scores("P_1")[1].instances.pq >= before.instances.pq
    session.judge("model right")
    session.judge("model right")
    assert session.scores("P_1")[1].pq == 1.0
    session.undo()
    assert session.queue.progress == (2, 3)
    assert session.scores("P_1")[1].pq < 1.0
    assert session.queue.current.key == session.queue.shown[-1].key
    session.redo()
    assert session.queue.progress == (3, 3)
    assert session.redo() is None


def test_reopening_goes_on_and_a_second_reader_is_blind(folders):
    session = ReviewSession.open(*folders, "Anna")
    session.judge("truth right")
    where = session.queue.current.key
    again = ReviewSession.open(*folders, "Anna")
    assert again.queue.progress == (1, 3)
    assert again.queue.current.key == where
    assert len(again.log.judgements) == 1
    second = ReviewSession.open(*folders, "Bert")
    assert second.queue.progress == (0, 3)
    assert not second.log.judgements
    assert second.queue.items == again.queue.items


def test_corrected_truth_is_a_new_file_and_the_original_stays(folders):
    crops, out = folders
    original = (crops / "P_1.xml").read_bytes()
    session = ReviewSession.open(crops, out, "Anna")
    for _ in range(3):
        session.judge("model right")
    path = session.write_corrected("P_1")
    assert path.is_relative_to(out / "monusac-review" / "corrected")
    assert path.name == "P_1.xml"
    assert (crops / "P_1.xml").read_bytes() == original
    labels = sorted(n.label for n in read_annotation(path).nuclei)
    assert labels == ["Lymphocyte", "Macrophage", "Neutrophil"]
    # a corrected file among the predictions is not taken for one
    assert len(ReviewSession.open(crops, out, "Bert").queue.items) == 3


def test_an_accepted_nucleus_of_a_crop_without_truth_becomes_its_first_annotation(folders):
    crops, out = folders
    session = ReviewSession.open(crops, out, "Anna")
    assert "P_2" not in {i.finding.crop for i in session.queue.shown}  # no table of uncertainties in this form
    from napari_monusac.scoring.errors.finding import Finding

    finding = Finding(
        type="spurious", prediction_id=1, prediction_ids=(1,), size_px=100, centre=(44.5, 104.5), crop="P_2",
        box=(40, 100, 50, 110),
    )  # fmt: skip
    session.log.judge(finding, "model right")
    path = session.write_corrected("P_2")
    (nucleus,) = read_annotation(path).nuclei
    assert nucleus.label == "Epithelial"
    drawn = label_maps(read_annotation(path), SHAPE).instances
    assert (drawn > 0).sum() == 100


def test_nothing_to_judge_and_a_prediction_that_is_gone(folders):
    crops, out = folders
    session = ReviewSession.open(crops, out, "Anna")
    session.queue.set_filter(QueueFilter(crops={"elsewhere"}))
    with pytest.raises(SessionError, match="nothing to judge"):
        session.judge("skip")
    for path in out.glob("P_1*"):
        path.unlink()
    fresh = ReviewSession.open(crops, out, "Anna")
    with pytest.raises(SessionError, match="prediction is gone"):
        fresh.scores("P_1")


def test_a_queue_is_used_with_the_predictions_that_it_was_counted_in(folders):
    crops, out = folders
    session = ReviewSession.open(crops, out, "Anna")
    keys = set(session.queue.items)
    spurious = next(i for i in session.queue.shown if i.finding.type == "spurious")
    session.queue.go_to(spurious.key)
    session.judge(Verdict.MODEL_RIGHT)
    assert session.corrected("P_1").added
    # another model numbers another nucleus 9
    maps = tifffile.imread(out / "P_1_instances.tif")
    maps[maps == 9] = 0
    maps[20:30, 60:70] = 9
    tifffile.imwrite(out / "P_1_instances.tif", maps)
    again = ReviewSession.open(crops, out, "Anna")
    assert set(again.queue.items) == keys, "the queue is kept"
    again.queue.go_to(spurious.key)
    with pytest.raises(SessionError, match=r"P_1: .*another prediction.*build the queue anew"):
        again.judge(Verdict.MODEL_RIGHT)
    with pytest.raises(SessionError, match=r"nucleus 9 was judged in another prediction"):
        again.corrected("P_1")
    anew = ReviewSession.open(crops, out, "Anna", anew=True)
    anew.queue.go_to(next(i for i in anew.queue.shown if 9 in i.finding.prediction_ids).key)
    assert anew.judge(Verdict.TRUTH_RIGHT).finding.counted_in != spurious.finding.counted_in


def test_a_judgement_bears_the_fingerprint_of_its_own_prediction(folders):
    crops, out = folders
    session = ReviewSession.open(crops, out, "Anna")
    session.pairs.fingerprints[:] = ["of another crop"]
    assert session.judge(Verdict.SKIP).fingerprint == ""  # a label map has no recipe


def test_a_queue_of_before_is_built_anew_and_it_says_so(folders):
    crops, out = folders
    first = ReviewSession.open(crops, out, "Anna")
    assert first.notes == ()
    first.judge("skip")
    path = first.folder / QUEUE_FILE
    content = json.loads(path.read_text())
    for item in content["items"]:
        del item["finding"]["counted_in"], item["finding"]["fingerprint"]
    path.write_text(json.dumps(content))
    again = ReviewSession.open(crops, out, "Anna")
    assert "built anew" in again.notes[0]
    assert again.queue.progress == (1, 3), "what was looked at stays so"
    assert not again.queue.uncounted
    assert ReviewSession.open(crops, out, "Anna").notes == ()
