"""Review over a folder: its scores, the queue across crops, what another model fixed and broke."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.foreign import ForeignNuclei
from napari_monusac.io.predictions.identity import ImageIdentity
from napari_monusac.io.predictions.open import certain_prediction, open_prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.predictions.store_info import PredictionIdentity
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.ui.canvas import canvas


@pytest.fixture
def predictions(tissue_folder, tmp_path):
    """Predictions of two models, two crops each: the first model misses a nucleus of each, the second finds it."""
    collection = open_collection(tissue_folder)
    crops = [
        next(c for c in collection.crops if c.patient == p) for p in sorted({c.patient for c in collection.crops})[:2]
    ]
    for crop in crops:
        annotation = collection.annotation(crop)
        with collection.open(crop) as slide:
            image = ImageIdentity.of(slide)
            truth = label_maps(annotation, slide.shape).instances
        classes = {k: int(n.nucleus_class) for k, n in enumerate(annotation.nuclei, 1)}
        for model, lost in (("first", 1), ("second", 0)):
            instances = np.where(truth == lost, 0, truth).astype(np.int32)
            kept = {k: c for k, c in classes.items() if k != lost}
            found = ForeignNuclei(instances, kept, {k: 0.4 if k == 2 else 0.9 for k in kept}).nuclei(0.25)
            write_prediction(
                certain_prediction(found), tmp_path / model / f"{crop.name}.zarr",
                instances=instances, table=found.table,
                identity=PredictionIdentity(
                    image=image.sample, pixels=image.whole, weights=model, region=(0, 0, *truth.shape), um_per_px=0.25,
                    flips=False,
                ),
            )  # fmt: skip
    return tmp_path, crops


def test_folder_queue_and_guard(opened, viewer, qtbot, settle, predictions, monkeypatch):
    monkeypatch.setattr("napari_monusac.ui.widgets.settings.reader", lambda: "Weber")
    folder, crops = predictions
    panel = opened.panels["Review"]
    opened.show_panel("Review")
    panel.predictions.set_path(folder / "first")
    panel.predictions.changed.emit(str(folder / "first"))
    settle()
    if opened.model.crop.name in {c.name for c in crops}:
        assert canvas.find_layer(viewer, "predicted nuclei") is not None, (
            "the stored prediction of the open crop is shown by itself"
        )
    panel.folder.start.click()
    settle()
    assert len(panel.model.scored.evaluation.crops) == 2
    assert panel.folder.patients.rowCount() == 2
    scorings = panel.folder.view.scorings
    assert [scorings.item(row, 3).text() for row in (1, 2)] == ["too few", "2"], "two patients have no interval"
    assert panel.folder.view.facts.item(0, 2).text() == "n = 2, too few"
    panel.tables.scope.setCurrentIndex(1)
    panel.tables.by_patient.cellClicked.emit(1, 0)
    settle()
    assert panel.tables.gallery.list.count() > 0
    # the queue leads from crop to crop; its place is kept
    panel.tabs.setCurrentIndex(3)
    panel.queue.start.click()
    settle()
    queue = panel.model.queue
    assert {i.finding.type.value for i in queue.items.values() if i.kind == "error"} == {"missed"}
    seen = set()
    for _ in range(len(queue.shown)):
        if len(seen) == 2:
            break
        panel.model.step(1)
        qtbot.waitUntil(lambda: panel.model.awaited is None, timeout=30_000)
        settle()
        seen.add(opened.model.crop.name)
        assert panel.model.finding.crop == opened.model.crop.name
    assert seen == {c.name for c in crops}
    panel.judging.verdicts["truth right"].click()
    settle()
    assert queue.progress[0] == 1
    panel.queue.open_only.setChecked(True)
    assert len(panel.queue.table.rows) == len(queue.items) - 1
    # the second model found what the first missed
    panel.tabs.setCurrentIndex(4)
    panel.guard.before.set_path(folder / "first")
    panel.guard.after_path.set_path(folder / "second")
    panel.guard.start.click()
    settle()
    assert panel.model.guard.verdict == "too few patients to tell"
    assert "n = 2 patients, and a verdict needs 6 or more" in panel.guard.verdict.text()
    assert "n = 2, too few" in panel.guard.by_class.item(0, 0).toolTip()
    assert [c.kind.value for c in panel.model.guard.changes] == ["fixed", "fixed"]
    change = panel.guard.table.rows[0]
    panel.guard.table.chosen.emit(change)
    qtbot.waitUntil(lambda: opened.model.crop.name == change.crop and panel.model.awaited is None, timeout=30_000)
    settle()
    scale = canvas.find_layer(viewer, "image").scale[-1]
    assert viewer.scene.camera.center[-2:] == pytest.approx([c * scale for c in change.centre], abs=0.5)


def test_training_crops_are_left_out_of_the_folder_unless_ticked(opened, settle, predictions):
    """The first crop was trained on: it is left out and said, scored where that is ticked, and said again."""
    from napari_monusac.core.training_crops import SeenCrop, TrainingCrops
    from napari_monusac.io.predictions.prediction_store import PredictionStore
    from napari_monusac.io.training_crops import crop_fingerprint

    folder, crops = predictions
    collection = opened.model.collection
    seen = TrainingCrops(training=(SeenCrop("another name", "p", crop_fingerprint(collection, crops[0])),))
    for crop in crops:
        store = PredictionStore.open(folder / "first" / f"{crop.name}.zarr", "r+")
        store.update(store.info.model_copy(update={"trained_on": seen}))
    panel = opened.panels["Review"]
    opened.show_panel("Review")
    panel.predictions.set_path(folder / "first")
    panel.predictions.changed.emit(str(folder / "first"))
    settle()
    panel.folder.start.click()
    settle()
    assert [c.name for c in panel.model.scored.evaluation.crops] == [crops[1].name]
    assert "1 of 8 crops are left out, because the model was trained on them" in panel.folder.view.notes.text()
    panel.folder.training.setChecked(True)
    panel.folder.start.click()
    settle()
    assert len(panel.model.scored.evaluation.crops) == 2
    assert panel.folder.view.title.text() == "2 crops of 2 patients, 1 of them used to train the model"
    assert "1 of 2 scored crops were used to train the model" in panel.folder.view.notes.text()


def test_numbers_of_a_queue_are_used_with_their_own_prediction_only(
    opened, viewer, qtbot, settle, predictions, monkeypatch
):
    monkeypatch.setattr("napari_monusac.ui.widgets.settings.reader", lambda: "Weber")
    folder, crops = predictions
    panel = opened.panels["Review"]
    opened.show_panel("Review")
    panel.model.predictions = folder / "first"
    settle()
    panel.tabs.setCurrentIndex(3)
    panel.queue.start.click()
    settle()
    opened.model.ask_for_crop(crops[0])
    qtbot.waitUntil(lambda: opened.model.crop is crops[0] and opened.model.last_prediction is not None, timeout=30_000)
    settle()
    item = next(i for i in panel.model.queue.items.values() if i.finding.crop == crops[0].name)
    other = next(i for i in panel.model.queue.items.values() if i.finding.crop != crops[0].name)
    assert item.finding.counted_in == opened.model.counted_in() != ""
    assert panel.model.other_prediction(item.finding) == ""
    assert "go to it first" in panel.model.other_prediction(other.finding)
    # another model's prediction of this crop is opened: its nuclei bear other numbers
    found = open_prediction(folder / "second" / f"{crops[0].name}.zarr")
    opened.model.last_prediction = found.prediction(), found.nuclei
    assert "another prediction" in panel.model.other_prediction(item.finding)
    panel.model.finding = item.finding
    assert not panel.model.judge("model right")
    panel.model.finding = item.finding.model_copy(update={"prediction_ids": (1,)})
    panel.judging.accept()
    assert "another prediction" in panel.judging.message.text()
    assert not panel.model.session.log.records


def test_predictions_that_do_not_say_of_which_image_wait_for_the_reader(
    opened, viewer, settle, predictions, monkeypatch
):
    folder, crops = predictions
    panel = opened.panels["Review"]
    opened.model.ask_for_crop(crops[0])
    settle()
    store = PredictionStore.open(folder / "first" / f"{crops[0].name}.zarr", "r+")
    known = store.info
    store.update(known.model_copy(update={"identity": None}))
    opened.show_panel("Review")
    panel.model.predictions = folder / "first"
    settle()
    assert canvas.find_layer(viewer, "predicted nuclei") is None
    assert "does not say of which image" in panel.asking.words.text()
    panel.asking.button.click()
    settle()
    assert canvas.find_layer(viewer, "predicted nuclei") is not None
    # one of another image is never shown
    other = known.identity.model_copy(update={"pixels": "0" * 32})
    store.update(known.model_copy(update={"identity": other}))
    opened.model.ask_for_crop(crops[1])
    settle()
    opened.model.ask_for_crop(crops[0])
    settle()
    assert canvas.find_layer(viewer, "predicted nuclei") is None
    assert "other pixels" in panel.progress.label.text()


def test_a_crop_that_the_chosen_folder_does_not_hold_is_said_to_be_missing(opened, viewer, qtbot, settle, predictions):
    folder, crops = predictions
    panel = opened.panels["Review"]
    panel.predictions.set_path(folder / "first")
    panel.model.predictions = folder / "first"
    settle()
    other = next(c for c in opened.model.collection.crops if c.name not in {k.name for k in crops})
    for crop, missing in ((other, True), (crops[0], False), (other, True)):
        opened.model.ask_for_crop(crop)
        qtbot.waitUntil(lambda wanted=crop.name: opened.model.crop.name == wanted, timeout=60_000)
        settle()
        assert (canvas.find_layer(viewer, "predicted nuclei") is None) == missing
        assert ("holds no prediction of this crop" in panel.hint.text()) == missing
