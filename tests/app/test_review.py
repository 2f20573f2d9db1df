"""Review's state without a window: what is compared, listed, stepped through, judged, taken back, waited for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_monusac import read_annotation
from napari_monusac.app.facts import Fact
from napari_monusac.app.prediction_jobs import FolderOutcome
from napari_monusac.app.review import COMPARE, ERRORS, QUEUE, ReviewModel
from napari_monusac.app.studio import StudioModel
from napari_monusac.app.work import Work
from napari_monusac.core.prediction import Nuclei, Prediction
from napari_monusac.editing.commands import Delete, SetClass
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.review.listing import Listing
from napari_monusac.review.places import FindingPlace
from napari_monusac.review.queue import QueueFilter
from napari_monusac.synth import write_collection

SHAPE = (96, 96)


def run(job):
    """The result of a job, in a worker's place."""
    work, found = Work(), []
    task = work.task(job, None)
    task.done.connect(found.append)
    task.failed.connect(found.append)
    task.start()
    work.wait()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def prediction_of(instances, classes):
    semantic = np.zeros((5, *instances.shape), np.float32)
    semantic[0] = 1
    for label, number in classes.items():
        semantic[number][instances == label] = 2
    ternary = np.stack([instances == 0, instances > 0, instances < 0]).astype(np.float32)
    table = pd.DataFrame({"label": list(classes), "class_id": list(classes.values()), "confidence": 0.75})
    return Prediction(semantic, ternary, um_per_px=0.25), Nuclei(instances.astype(np.int32), table, 0.25)


def faulty(truth, classes):
    """A prediction with known faults: one nucleus missed, one of the wrong class, one spurious."""
    labels = sorted(classes)
    instances = np.where(truth == labels[0], 0, truth)
    kept = {k: c for k, c in classes.items() if k != labels[0]} | {labels[1]: classes[labels[1]] % 4 + 1}
    y, x = next(
        (y, x) for y in range(SHAPE[0] - 12) for x in range(SHAPE[1] - 12) if not truth[y : y + 12, x : x + 12].any()
    )
    instances[y + 2 : y + 10, x + 2 : x + 10] = max(labels) + 1
    return instances, kept | {max(labels) + 1: 2}


@pytest.fixture
def folder(tmp_path):
    write_collection(tmp_path / "crops", 2, 1, seed=4, shape=SHAPE, test_patients=0)
    return tmp_path


class Crops:
    """The crops of a folder as a window opens them: each with an editing session."""

    def __init__(self, folder):
        self.collection = open_collection(folder / "crops")
        self.studio = StudioModel()
        self.studio.collection = self.collection
        self.studio.training.runs_folder = folder / "runs"
        self.asked = []
        self.studio.opens_crops = self.asked.append
        self.model = ReviewModel(self.studio)

    def open(self, crop):
        self.studio.editing.leave()
        self.studio.editing.take(EditingSession(self.collection.annotation(crop), SHAPE))
        self.studio.show_crop(crop)

    def predict(self):
        maps, rows = self.studio.editing.session.maps, self.studio.editing.session.rows
        classes = {k: r.class_id for k, r in rows.items() if r.plane == "nuclei" and (maps.instances == k).any()}
        self.studio.last_prediction = prediction_of(*faulty(maps.instances, classes))

    def compare(self):
        self.model.comparison = self.model.comparing()()


@pytest.fixture
def crops(folder):
    crops = Crops(folder)
    crops.open(crops.collection.crops[0])
    return crops


@pytest.fixture
def compared(crops):
    """Review of the first crop, compared: nuclei are missed, of the wrong class, and spurious."""
    crops.predict()
    crops.compare()
    crops.model.page = ERRORS
    crops.model.reader = "Weber"
    return crops


def kinds(model):
    return [f.type.value for f in model.errors]


def find(model, kind):
    return next(f for f in model.errors if f.type.value == kind)


def listen(signal):
    heard = []
    signal.connect(lambda *values: heard.append(values))
    return heard


def test_each_fact_has_one_event_of_its_own():
    facts = {name: fact.event for name, fact in vars(ReviewModel).items() if isinstance(fact, Fact)}
    assert {"reader", "predictions", "session", "comparison", "finding", "listing", "way", "page"} <= set(facts)
    assert len(set(facts.values())) == len(facts)
    model = ReviewModel(StudioModel())
    for name, event in (("page", "page_changed"), ("reader", "reader_changed"), ("map", "map_changed")):
        heard = listen(getattr(model, event))
        setattr(model, name, "another")
        setattr(model, name, "another")
        assert heard == [("another",)], "the same once more is no news"


def test_it_needs_neither_qt_nor_torch():
    code = "import sys, napari_monusac.app.review; print([m for m in ('qtpy', 'PyQt6', 'napari', 'torch') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# -- comparing


def test_it_compares_labels_as_they_are_edited_with_the_prediction_that_is_open(crops):
    model, session = crops.model, crops.studio.editing.session
    assert model.comparing() is None, "nothing is predicted"
    outdated = listen(model.outdated)
    crops.predict()
    assert outdated, "a prediction asks for a comparison"
    crops.compare()
    assert sorted(kinds(model)) == ["missed", "spurious", "wrong class"]
    assert model.comparison.pair.crop == crops.studio.crop.name
    before = model.comparison.evaluation.pq
    wrong = find(model, "wrong class")
    session.do(SetClass(int(wrong.predicted_class), wrong.truth_ids))
    outdated.clear()
    crops.studio.layers_changed.emit()
    assert outdated
    crops.compare()
    assert sorted(kinds(model)) == ["missed", "spurious"]
    assert model.comparison.evaluation.pq > before


def test_without_a_session_the_labels_of_the_file_are_compared(crops):
    crops.predict()
    session, crops.studio.editing.session = crops.studio.editing.session, None
    crops.studio.editing.opening = True
    assert crops.model.comparing() is None, "it is being opened: what comes then is compared"
    crops.studio.editing.opening = False
    found = crops.model.comparing()()
    assert np.array_equal(found.pair.truth, session.maps.instances)
    assert found.pair.pixels().shape == (*SHAPE, 3)


def test_another_crop_is_looked_at_anew(compared):
    model = compared.model
    model.go_to(model.errors[0])
    assert model.look("difference")
    model.undoable = ["edit", "judgement"]
    compared.open(compared.collection.crops[1])
    assert (model.comparison, model.finding, model.way, model.errors) == (None, None, "layers", ())
    assert model.undoable == ["judgement"], "it does not reach into the former crop's labels"
    assert not model.look("outlines"), "there is nothing to look at"
    assert model.way == "layers"


def test_the_next_crop_is_looked_at_the_same_way(compared):
    """Layers alone only while there is nothing to compare; what the reader chose comes back with the comparison."""
    model = compared.model
    model.look("difference")
    compared.open(compared.collection.crops[1])
    assert model.way == "layers"
    assert not model.look("outlines"), "there is nothing to compare: the wish stays as it was"
    compared.predict()
    compared.compare()
    assert model.way == "difference"
    model.look("layers")
    compared.open(compared.collection.crops[0])
    compared.predict()
    compared.compare()
    assert model.way == "layers", "the layers may be what is wished"


def test_the_swipe_goes_back_to_the_way_before(compared):
    model, ways = compared.model, listen(compared.model.way_changed)
    model.look("difference")
    model.toggle_swipe()
    model.toggle_swipe()
    assert ways == [("difference",), ("swipe",), ("difference",)]
    model.look("difference")
    assert len(ways) == 4, "asked for again: what the user deleted comes back"


# -- the list of errors


def test_errors_are_filtered_and_sorted(compared):
    model = compared.model
    everything = model.errors
    for kind in ("missed", "spurious", "wrong class"):
        model.listing = Listing(QueueFilter(types={kind}))
        assert kinds(model) == [kind]
    model.listing = Listing(QueueFilter(lowest_confidence=0.8))
    assert model.errors == (), "nothing is 0.8 sure, and the missed one has no confidence"
    model.listing = Listing(QueueFilter(lowest_confidence=0.5, highest_confidence=0.8))
    assert sorted(kinds(model)) == ["spurious", "wrong class"]
    for backwards in (False, True):
        model.listing = Listing(None, "size", backwards)
        assert [f.size_px for f in model.errors] == sorted((f.size_px for f in everything), reverse=backwards)
    model.listing = Listing(None, "confidence")
    assert kinds(model)[0] == "missed", "what has no confidence comes first"
    model.listing = Listing()
    assert model.errors == everything


def test_errors_are_stepped_through_around_the_ends_and_from_where_one_was_mended(compared):
    model, went = compared.model, listen(compared.model.went)
    errors = model.errors
    model.step(-1)
    assert model.finding == errors[-1]
    for _ in range(4):
        model.step(1)
    assert [w[0] for w in went] == [errors[-1], *errors, errors[0]]
    # one is mended: what stood after it comes to its place, and is the next
    wrong = find(model, "wrong class")
    at = model.place_of(wrong)
    model.go_to(wrong)
    session = compared.studio.editing.session
    session.do(SetClass(int(wrong.predicted_class), wrong.truth_ids))
    compared.compare()
    assert model.place_of(model.finding) is None
    model.step(1)
    assert model.finding.key == model.errors[at % 2].key
    model.listing = Listing(QueueFilter(types={"missed"}))
    model.step(1)
    assert kinds(model) == ["missed"]
    assert model.finding.type.value == "missed"


def test_a_picture_leads_to_its_error_where_it_is_counted_in_the_same_prediction(compared):
    model = compared.model
    spurious = find(model, "spurious")
    here = model.comparison.pair.nuclei
    place = FindingPlace(spurious.crop, spurious.centre, spurious.box, None, spurious.prediction_id, here)
    assert model.go_to(place)
    assert model.finding == spurious
    model.go_to(FindingPlace(spurious.crop, spurious.centre, spurious.box, None, spurious.prediction_id, "another"))
    assert model.finding is None


# -- other crops


def test_a_nucleus_of_another_crop_waits_until_that_crop_is_open(compared):
    model, went = compared.model, listen(compared.model.went)
    first, second = compared.collection.crops
    place = FindingPlace(second.name, (20.0, 30.0), (10, 20, 30, 40))
    assert not model.go_to(place)
    assert compared.asked == [second]
    assert model.awaited is place
    compared.open(second)
    assert model.awaited is None
    assert went == [(place,)]
    # with a folder of predictions it is shown once that was looked through
    model.predictions = first.image.parent
    back = FindingPlace(first.name, (1.0, 2.0), (0, 0, 3, 4))
    model.go_to(back)
    compared.open(first)
    assert went == [(place,)]
    model.looked(None)
    assert model.missing
    assert went == [(place,), (back,)]


def test_a_crop_that_cannot_be_opened_is_refused_and_it_is_said(compared):
    model, said = compared.model, listen(compared.model.said)
    second = compared.collection.crops[1]
    place = FindingPlace(second.name, (20.0, 30.0), (10, 20, 30, 40))
    compared.studio.opens_crops = None
    assert not model.go_to(place)
    assert "cannot be opened" in said.pop()[0]
    assert model.awaited is None
    # unsaved edits: nothing is waited for until the reader has decided
    waiting = []
    compared.studio.opens_crops = compared.asked.append
    compared.studio.may_leave_crop = lambda go: bool(waiting.append(go))
    assert not model.go_to(place)
    assert model.awaited is None
    waiting.pop()()
    assert model.awaited is place
    compared.studio.collection = None
    assert not model.go_to(place)
    assert "open its folder" in said.pop()[0]
    compared.studio.collection = compared.collection
    assert not model.go_to(FindingPlace("nowhere", (0.0, 0.0), (0, 0, 1, 1)))
    assert "nowhere" in said.pop()[0]


# -- judging


def test_nobody_judges_without_a_name(compared):
    model, said = compared.model, listen(compared.model.said)
    assert not model.judge("skip"), "nothing is looked at"
    model.go_to(find(model, "missed"))
    model.reader = ""
    assert not model.judge("model right")
    assert "Give your name" in said[-1][0]
    assert not model.folder.exists()
    assert model.judgements_of(model.finding.crop) == []


def test_a_judgement_changes_the_score_goes_on_and_is_taken_back(compared):
    model = compared.model
    missed = find(model, "missed")
    model.go_to(missed)
    at = model.place_of(missed)
    assert model.judge("model right", note="debris")
    assert model.finding == model.errors[(at + 1) % 3]
    assert [model.verdict_of(f) for f in model.errors].count("model right") == 1
    assert model.verdict_of(missed) == "model right"
    assert model.judgement_of(missed).note == "debris"
    assert len(model.judgement_of(missed).truth_sha256) == 64
    compared.compare()
    assert model.comparison.judged.detection.f1 > model.comparison.evaluation.detection.f1
    said = listen(model.said)
    assert model.undo() == "judgement"
    assert not any(map(model.verdict_of, model.errors))
    assert "Taken back" in said[-1][0]
    assert model.undo() is None
    model.edited()
    assert model.undo() == "edit", "left to whoever edits"


def test_a_verdict_is_shown_where_it_was_given_and_nowhere_else(compared):
    """Another prediction of the crop has nuclei of the same numbers: they were not judged. That is counted."""
    model, studio = compared.model, compared.studio
    wrong = find(model, "wrong class")
    model.go_to(wrong)
    assert model.judge("model right")
    assert model.count_judged(model.errors) == (1, 0)
    first, (prediction, nuclei) = studio.last_prediction, studio.last_prediction
    moved = nuclei.instances.copy()
    moved[0, 0] = 77  # a nucleus more: another instance map
    table = pd.concat([nuclei.table, nuclei.table.tail(1).assign(label=77)], ignore_index=True)
    studio.last_prediction = prediction, Nuclei(moved, table, 0.25)
    compared.compare()
    again = find(model, "wrong class")
    assert again.key == wrong.key
    assert model.verdict_of(again) is None
    assert model.judgement_of(again) is None
    assert model.count_judged(model.errors) == (0, 1)
    assert "made on another prediction" in model.comparison.notes[0]
    assert model.place_of(wrong) is None, "it is not one of the errors that are listed"
    assert model.verdict_of(wrong) == "model right"
    model.go_to(again)
    assert model.judge("truth right")
    assert (model.verdict_of(again), model.verdict_of(wrong)) == ("truth right", "model right")
    studio.last_prediction = first
    compared.compare()
    assert model.verdict_of(find(model, "wrong class")) == "model right", "what was said of the first still stands"
    assert model.comparison.judged is not None


def test_a_second_reader_sees_nothing_of_the_first_and_both_are_compared(compared):
    model, crop = compared.model, compared.studio.crop
    original = crop.annotation.read_bytes()
    first = {"missed": "model right", "spurious": "truth right"}
    for kind, verdict in first.items():
        model.go_to(find(model, kind))
        assert model.judge(verdict)
    compared.compare()
    written = run(model.writing_corrected())
    assert written == model.folder / "corrected" / crop.patient / f"{crop.name}.xml"
    assert len(read_annotation(written).nuclei) == len(read_annotation(crop.annotation).nuclei) - 1
    assert crop.annotation.read_bytes() == original
    model.reader = "Okoye"
    assert not any(map(model.verdict_of, model.errors))
    assert model.undoable == [], "Undo does not reach into another reader's log"
    for kind in first:
        model.go_to(find(model, kind))
        assert model.judge("truth right")
    assert model.readers() == ("Okoye", "Weber")
    agreement, pq = run(model.comparing_readers("Weber", "Okoye"))
    assert (agreement.both, agreement.agreed, len(agreement.differences), pq) == (2, 1, 1, None)


def test_unsaved_labels_are_no_ground_for_a_corrected_truth(compared):
    from napari_monusac.core.errors import SessionError

    model = compared.model
    model.go_to(find(model, "missed"))
    model.judge("model right")
    compared.studio.editing.session.do(
        Delete([k for k in compared.studio.editing.session.rows if k != find(model, "missed").truth_id][-1:])
    )
    compared.compare()
    with pytest.raises(SessionError, match="not those of the file"):
        run(model.writing_corrected())


def test_numbers_of_another_prediction_are_neither_judged_nor_accepted(compared):
    model, said = compared.model, listen(compared.model.said)
    spurious = find(model, "spurious")
    assert model.other_prediction(spurious) == ""
    compared.studio.last_prediction = prediction_of(np.zeros(SHAPE, int), {})
    model.finding = spurious
    assert "another prediction" in model.other_prediction(spurious)
    assert not model.judge("model right")
    assert "another prediction" in said[-1][0]
    elsewhere = spurious.model_copy(update={"crop": compared.collection.crops[1].name})
    assert "go to it first" in model.other_prediction(elsewhere)


def test_the_report_of_the_open_crop(compared):
    path = run(compared.model.writing_report())
    assert path == compared.model.folder / f"report-{compared.studio.crop.name}.html"
    assert "research use" in path.read_text("utf-8")
    assert path.with_suffix(".csv").is_file()


# -- a folder of predictions


@pytest.fixture
def predicted(crops, folder):
    """Label maps of two models: the first misses a nucleus of each crop, the second finds it."""
    for crop in crops.collection.crops:
        truth = label_maps(crops.collection.annotation(crop), SHAPE).instances
        classes = [n.nucleus_class.label for n in crops.collection.annotation(crop).nuclei]
        for name, lost in (("first", 1), ("second", 0)):
            out = folder / name
            out.mkdir(exist_ok=True)
            tifffile.imwrite(out / f"{crop.name}_instances.tif", np.where(truth == lost, 0, truth).astype(np.int32))
            rows = [(k, c) for k, c in enumerate(classes, 1) if k != lost]
            pd.DataFrame({"label": [k for k, _ in rows], "class": [c for _, c in rows], "confidence": 0.9}).to_csv(
                out / f"{crop.name}.csv", index=False
            )
    crops.model.predictions = folder / "first"
    return crops


def test_the_queue_leads_from_crop_to_crop_and_keeps_its_place(predicted):
    model = predicted.model
    assert model.opening_queue() is None, "nobody gave a name"
    model.reader = "Weber"
    session = run(model.opening_queue())
    model.take_session(session)
    assert model.queue is session.queue
    model.page = QUEUE
    assert {i.finding.type.value for i in model.queue.items.values()} == {"missed"}
    model.step(1)
    here, other = predicted.collection.crops
    first = model.queue.current.finding
    opened = next(c for c in (here, other) if c.name == first.crop)
    if opened is not predicted.studio.crop:
        predicted.open(opened)
        model.looked(None)
    assert model.finding == first
    assert model.judge("truth right")
    assert model.queue.progress == (1, 2)
    assert model.queue.current.finding.crop != first.crop
    assert model.awaited == model.queue.current.finding, "the next item lies in the other crop, which is being opened"
    predicted.open(next(c for c in (here, other) if c is not opened))
    model.looked(None)
    assert model.finding == model.queue.current.finding
    arranged = listen(model.queue_arranged)
    model.arrange_queue(QueueFilter(open_only=True), "size")
    assert arranged
    assert len(model.queue.shown) == 1
    assert model.undo() == "judgement"
    assert model.queue.progress == (0, 2)
    # another reader begins at the head; the first finds their place again
    model.reader = "Okoye"
    assert model.queue is None
    model.take_session(run(model.opening_queue()))
    assert model.queue.progress == (0, 2)
    model.take_session(session)
    assert model.session.reader == "Okoye", "a session that comes late is another reader's"


def test_folder_scores_and_the_guard(predicted, folder):
    model = predicted.model
    model.scored = run(model.scoring())
    assert len(model.scored.evaluation.crops) == 2
    assert set(model.scored.nuclei["crop"]) == {c.name for c in predicted.collection.crops}
    assert run(model.writing_report()) == model.folder / "report.html"
    model.page = COMPARE
    model.guard = run(model.guarding(folder / "first", folder / "second"))
    assert [c.kind.value for c in model.guard.changes] == ["fixed", "fixed"]
    model.predictions = folder / "second"
    assert model.scored is None, "they were another folder's"
    assert model.guarding(folder, folder) is not None
    predicted.studio.collection = None
    assert model.guarding(folder, folder) is model.scoring() is None


def test_a_prediction_that_does_not_say_of_which_image_waits_for_the_reader(predicted, folder):
    model = predicted.model
    model.looked(folder / "first" / "old.zarr")
    assert model.asked_about == folder / "first" / "old.zarr"
    assert not model.missing
    again = listen(model.trusted_changed)
    model.trust()
    assert model.asked_about is None
    assert again == [(frozenset([folder / "first"]),)]
    found = prediction_of(np.zeros(SHAPE, int), {})
    model.looked(found)
    assert predicted.studio.last_prediction is found
    model.looked(None)
    model.predictions = None
    assert not model.missing, "no folder, nothing is missing in it"


# -- what Predict has written


def test_a_folder_that_was_predicted_is_taken_where_none_was_chosen(tmp_path):
    studio = StudioModel()
    model = ReviewModel(studio)
    studio.prediction.outcome = FolderOutcome(tmp_path / "nothing", 0, ("each failed",))
    assert model.predictions is None, "nothing was written"
    studio.prediction.outcome = FolderOutcome(tmp_path / "one", 3, ())
    assert model.predictions == tmp_path / "one"
    studio.prediction.outcome = FolderOutcome(tmp_path / "other", 3, ())
    assert model.predictions == tmp_path / "one", "what is reviewed stays until it is asked for"
    asked = []
    studio.panel_asked.connect(asked.append)
    model.review_folder(tmp_path / "other")
    assert (model.predictions, asked) == (tmp_path / "other", ["Review"])
    assert ReviewModel(studio).predictions == tmp_path / "other", "a Review that is opened later finds it, too"


def test_crops_that_were_missing_are_looked_for_again(tmp_path):
    studio = StudioModel()
    model = ReviewModel(studio)
    model.predictions, model.missing = tmp_path, True
    outdated = []
    model.outdated.connect(lambda: outdated.append(True))
    studio.prediction.outcome = FolderOutcome(tmp_path, 3, (), stopped=True)
    assert model.missing is False
    assert outdated
