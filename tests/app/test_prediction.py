"""Prediction without a window: which model is taken, what is segmented again, a folder, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from napari_monusac.app import prediction as app_prediction
from napari_monusac.app import prediction_jobs
from napari_monusac.app.answers import Refused
from napari_monusac.app.prediction import OfferedModel, PredictionModel, Thresholds, ranked
from napari_monusac.app.prediction_jobs import OpenImage, PredictedImage, nuclei_of
from napari_monusac.app.studio import StudioModel
from napari_monusac.app.training import TrainingModel
from napari_monusac.app.work import Work
from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import CheckpointError, StoreError
from napari_monusac.core.fitted import FittedThresholds
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.runs.fitted import fitted_in
from napari_monusac.masks.instances import instances_from_maps


@pytest.fixture
def predicting(tmp_path):
    work = Work()
    training = TrainingModel(work)
    model = PredictionModel(work, training)
    training.runs_folder = tmp_path / "runs"
    work.wait()
    return model


def test_the_best_model_comes_first_and_is_marked_and_the_newest_of_equals():
    found = [OfferedModel(p, p, "run-8", c) for p, c in (("new", 0.12), ("a", 0.68), ("b", 0.68), ("none", None))]
    models = ranked(found)
    assert [m.path for m in models] == ["a", "b", "new", "none"]
    assert [m.text for m in models] == [
        "0.68 (best): a, run-8",
        "0.68: b, run-8",
        "0.12: new, run-8",
        "no score: none, run-8",
    ]
    assert OfferedModel("/x/best.safetensors", "best.safetensors").text == "File: best.safetensors"
    assert ranked([]) == ()


def test_the_best_is_taken_until_the_reader_has_chosen(predicting):
    chosen = []
    predicting.checkpoint_changed.connect(chosen.append)
    poor, good = OfferedModel("poor", "poor", "quick", 0.12), OfferedModel("good", "good", "quick", 0.7)
    predicting._listed([poor])
    predicting._listed([poor, good])
    assert predicting.checkpoint == "good"
    predicting.choose("poor")
    predicting._listed([good, poor, OfferedModel("better", "better", "quick", 0.9)])
    assert predicting.checkpoint == "poor"
    predicting._listed([good])
    assert predicting.checkpoint == "good", "a model that is gone is no choice"
    predicting.offer("/some/file.safetensors")
    predicting.offer("/some/file.safetensors")
    predicting._listed([good])
    assert [m.path for m in predicting.models] == ["good", "/some/file.safetensors"]
    assert chosen == ["poor", "good", "poor", "good", "/some/file.safetensors"]


@pytest.mark.torch
def test_runs_with_a_model_are_found_and_it_is_loaded_once(predicting, example_run):
    folder = predicting.training.runs_folder
    folder.mkdir()
    shutil.copytree(example_run, folder / "one")
    (folder / "empty").mkdir()
    predicting.list_models()
    predicting.work.wait()
    (model,) = predicting.models
    assert (model.path, model.best) == (str(folder / "one"), True)
    loaded = predicting.load(model.path)
    assert predicting.load(model.path) is loaded
    (folder / "one" / "best.safetensors").touch()
    assert predicting.load(model.path) is not loaded
    shutil.rmtree(folder / "one")
    with pytest.raises(CheckpointError, match="one"):
        predicting.load(model.path)


def two_nuclei():
    semantic, ternary = np.zeros((5, 64, 64), np.float32), np.zeros((3, 64, 64), np.float32)
    semantic[0] = ternary[0] = 1
    for y, sure in ((5, 1.0), (35, 0.6)):
        part = (slice(y, y + 20), slice(10, 40))
        semantic[(0, *part)], semantic[(2, *part)] = 0, 1
        ternary[(0, *part)], ternary[(1, *part)] = 1 - sure, sure
    return Prediction(semantic, ternary, um_per_px=0.25)


def in_memory(prediction):
    return PredictedImage(prediction, instances_from_maps(prediction.semantic, prediction.ternary, um_per_px=0.25))


def open_image(shape=(64, 64), **more):
    pixels = np.random.default_rng(5).integers(80, 250, (*shape, 3), np.uint8)
    return OpenImage("Schnitt ä.svs", pixels, um_per_px=0.25, **more)


def test_thresholds_segment_what_is_shown_again(predicting):
    told = []
    predicting.shown_changed.connect(told.append)
    predicting.thresholds = Thresholds(inside=0.7)
    predicting.work.wait()
    assert told == [], "nothing is shown"
    image, shown = open_image(), two_nuclei()
    predicting.show(image, in_memory(shown))
    for nucleus, number in ((0.5, 2), (0.7, 1)):
        predicting.thresholds = Thresholds(nucleus=nucleus)
        predicting.work.wait()
        assert (told[-1].image, told[-1].found.prediction) == (image, shown)
        nuclei = told[-1].found.nuclei
        expected = instances_from_maps(
            shown.semantic, shown.ternary, um_per_px=0.25, inside_threshold=0.5, nucleus_threshold=nucleus
        )
        np.testing.assert_array_equal(nuclei.instances, expected.instances)
        assert len(np.unique(nuclei.instances)) - 1 == number
    predicting.thresholds = Thresholds(nucleus=0.4)
    predicting.forget()  # another crop is open before they are through
    predicting.work.wait()
    assert len(told) == 4
    assert told[-1] is None


def predicted(asked, value):
    """What a network that sees one class everywhere would find."""
    shape = asked.region[2:]
    semantic, ternary = np.zeros((5, *shape), np.float32), np.zeros((3, *shape), np.float32)
    semantic[2], ternary[1] = value, value
    semantic[0] = ternary[0] = 1 - value
    found = Prediction(semantic, ternary, um_per_px=asked.image.um_per_px, offset_px=asked.region[:2])
    return PredictedImage(found, instances_from_maps(semantic, ternary))


@pytest.fixture
def ready(predicting, monkeypatch):
    """A model without a network; what it was asked for."""
    asked = []

    def predict(report, request, loaded):
        asked.append(request)
        return predicted(request, 1.0)

    monkeypatch.setattr(predicting, "load", lambda _: None)
    monkeypatch.setattr(app_prediction, "predict_image", predict)
    predicting.offer("model/best.safetensors")
    return asked


def test_the_open_image_is_predicted_by_what_is_chosen(predicting, ready):
    image, told = open_image(), []
    predicting.shown_changed.connect(told.append)
    predicting.flips, predicting.thresholds = True, Thresholds(nucleus=0.3, smallest_um2=4)
    task = predicting.predict(image, Region(8, 16, 40, 32))
    assert predicting.task is task
    assert predicting.predict(image, Region(0, 0, 64, 64)) == Refused(), "one at a time"
    assert predicting.segment_again() == Refused()
    task.start()
    predicting.work.wait()
    assert predicting.task is None
    (request,) = ready
    assert (request.checkpoint, request.flips, request.region) == ("model/best.safetensors", True, (8, 16, 40, 32))
    assert (request.thresholds["nucleus_threshold"], request.thresholds["min_area_um2"]) == (0.3, 4)
    (shown,) = told
    assert shown.image is image
    assert shown.found.region == (8, 16, 40, 32)
    assert image.words(shown.found.region) == "y 8 to 48, x 16 to 48 px"
    assert image.words(Region(0, 0, 64, 64)) == "whole image"


def test_what_cannot_be_predicted_is_answered(predicting, ready, monkeypatch, tmp_path):
    whole = Region(0, 0, 64, 64)
    predicting.checkpoint = None
    assert predicting.predict(open_image(), whole) == Refused("Choose a model first.")
    predicting.checkpoint = "model"
    monkeypatch.setattr(prediction_jobs, "WHOLE_PX", 1000)
    assert "0 megapixels: choose a folder" in predicting.predict(open_image(), whole).why
    assert predicting.segment_again() == Refused("No prediction on disk is shown.")
    predicting.show(open_image(), in_memory(two_nuclei()))
    assert predicting.segment_again() == Refused("No prediction on disk is shown.")
    assert predicting.task is None
    assert ready == []


def test_what_comes_too_late_is_not_shown(predicting, ready):
    there = [True]
    image = open_image(is_there=lambda: there[0])
    task = predicting.predict(image, Region(0, 0, 64, 64))
    there[0] = False
    task.start()
    predicting.work.wait()
    assert predicting.shown is None
    there[0] = True
    task = predicting.predict(image, Region(0, 0, 64, 64))
    predicting.forget()  # another crop is open
    task.start()
    predicting.work.wait()
    assert (predicting.shown, predicting.task) == (None, None)


def test_the_prediction_of_the_crop_is_that_of_its_own_image():
    studio = StudioModel()
    told = []
    studio.predicted.connect(told.append)
    found = in_memory(two_nuclei())
    studio.prediction.show(open_image(), found)
    assert studio.last_prediction == (found.prediction, found.nuclei)
    studio.prediction.show(open_image(of_crop=False), in_memory(two_nuclei()))
    assert studio.last_prediction is None
    studio.prediction.show(open_image(), found)
    studio.crop = None  # another crop comes
    assert (studio.last_prediction, studio.prediction.shown) == (None, None)


def test_who_hears_of_the_crops_prediction_finds_it_drawn():
    """Its views are told first, whenever they have begun to listen."""
    studio, order = StudioModel(), []
    studio.predicted.connect(lambda _: order.append("predicted"))
    studio.prediction.shown_changed.connect(lambda _: order.append("drawn"))
    studio.prediction.show(open_image(), in_memory(two_nuclei()))
    assert order == ["drawn", "predicted"]


@pytest.mark.torch
def test_a_large_region_goes_to_disk_and_its_nuclei_can_be_had_again(predicting, example_run, tmp_path, monkeypatch):
    from napari_monusac.io.predictions.prediction_store import PredictionStore

    monkeypatch.setattr(prediction_jobs, "WHOLE_PX", 1000)
    predicting.offer(example_run)
    image, region = open_image((96, 80)), Region(16, 0, 80, 80)
    task = predicting.predict(image, region, tmp_path)
    task.start()
    predicting.work.wait(120)
    (path,) = tmp_path.glob("*.zarr")
    assert path.name.startswith("Schnitt_ä-16_0_80_80-")
    found = predicting.shown.found
    assert (found.path, found.region, found.same_image) == (path, region, True)
    stored = PredictionStore.open(path)
    np.testing.assert_array_equal(np.asarray(found.levels["nuclei"][0]), stored.read_instances())
    assert predicting.prediction is None
    predicting.thresholds = Thresholds(confidence=0.95)
    predicting.segment_again().start()
    predicting.work.wait(120)
    again = predicting.shown.found
    assert again is not found
    assert again.info.settings["min_confidence"] == pytest.approx(0.95)
    assert (again.nuclei["confidence"] >= 0.95).all()
    # the folder holds what belongs to another image of this name: it is refused in a line, and nothing else is shown
    other = OpenImage("Schnitt ä.svs", image.pixels[::-1].copy(), um_per_px=0.25)
    said = []
    task = predicting.predict(other, region, tmp_path)
    task.failed.connect(said.append)
    task.start()
    predicting.work.wait(120)
    assert predicting.shown.found is again
    assert isinstance(said[0], StoreError)


@pytest.mark.torch
def test_what_was_fitted_for_the_chosen_model_is_what_the_thresholds_say(predicting, example_run, tmp_path):
    from napari_monusac.network.checkpoint import load_checkpoint, save_checkpoint

    model = load_checkpoint(example_run)
    fitted = FittedThresholds(inside=0.42, nucleus=0.35, part=0.6, agreement=0.3, peak=0.8)
    for name, found in (("with", fitted), ("without", None)):
        save_checkpoint(
            tmp_path / f"{name}.safetensors", model.network, model.metadata.model_copy(update={"fitted": found})
        )
    predicting.thresholds = Thresholds(confidence=0.2)
    predicting.offer(tmp_path / "with.safetensors")
    predicting.work.wait()
    assert predicting.fitted == fitted
    mine = Thresholds(inside=0.42, nucleus=0.35, part=0.6, agreement=0.3, confidence=0.2)
    assert predicting.thresholds == mine, "what is not fitted stays the user's"
    predicting.thresholds = replace(mine, inside=0.9)
    predicting.take_fitted()
    assert predicting.thresholds == mine
    predicting.offer(tmp_path / "without.safetensors")
    predicting.work.wait()
    assert predicting.fitted is None
    assert predicting.thresholds == Thresholds(confidence=0.2)
    assert fitted_in(tmp_path / "gone.safetensors") is None


def test_a_peak_that_was_fitted_holds_where_no_slider_says_otherwise():
    sure = two_nuclei()
    fitted = replace(sure, fitted=FittedThresholds(peak=0.9))
    assert len(nuclei_of(sure, Thresholds().values(0.25))) == 2
    assert len(nuclei_of(fitted, Thresholds().values(0.25))) == 1, "one reaches 1.0, the other 0.8"


def test_an_area_means_nothing_without_a_scale():
    assert Thresholds(smallest_um2=5).values(0.25)["min_area_um2"] == 5
    assert Thresholds(smallest_um2=5).values(None)["min_area_um2"] == 0


@pytest.mark.torch
def test_a_folder_is_predicted_and_what_is_missing_is_answered(predicting, example_data, example_run, tmp_path):
    collection = open_collection(example_data)
    assert predicting.predict_folder(None, tmp_path) == Refused("Open a folder first (Slides).")
    assert predicting.predict_folder(collection, tmp_path) == Refused("Choose a model first.")
    predicting.offer(example_run)
    assert predicting.predict_folder(collection, None) == Refused("Choose where the predictions go.")
    out = tmp_path / "out"
    task = predicting.predict_folder(collection, out)
    assert predicting.predict_folder(collection, out) == Refused()
    task.start()
    predicting.work.wait(120)
    assert predicting.batch is None
    assert (predicting.outcome.out, predicting.outcome.number) == (out, len(collection.crops))
    assert len(list(out.glob("*.zarr"))) == len(collection.crops)


def test_opening_the_model_imports_neither_qt_nor_torch():
    code = (
        "import sys, napari_monusac.app.prediction\n"
        "print([m for m in ('torch', 'qtpy', 'napari', 'PyQt6', 'albumentations') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
