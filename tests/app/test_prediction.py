"""Prediction without a window: which model is taken, what is segmented again, a folder, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from napari_monusac.app.answers import Refused
from napari_monusac.app.prediction import OfferedModel, PredictionModel, Thresholds, nuclei_of, ranked
from napari_monusac.app.training import TrainingModel
from napari_monusac.app.work import Work
from napari_monusac.core.errors import CheckpointError
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


def test_thresholds_segment_what_is_shown_again(predicting):
    told = []
    predicting.segmented.connect(lambda prediction, nuclei: told.append((prediction, nuclei)))
    predicting.thresholds = Thresholds(inside=0.7)
    predicting.work.wait()
    assert told == [], "nothing is shown"
    predicting.prediction = shown = two_nuclei()
    for nucleus, number in ((0.5, 2), (0.7, 1)):
        predicting.thresholds = Thresholds(nucleus=nucleus)
        predicting.work.wait()
        prediction, nuclei = told[-1]
        assert prediction is shown
        expected = instances_from_maps(
            shown.semantic, shown.ternary, um_per_px=0.25, inside_threshold=0.5, nucleus_threshold=nucleus
        )
        np.testing.assert_array_equal(nuclei.instances, expected.instances)
        assert len(np.unique(nuclei.instances)) - 1 == number
    predicting.thresholds = Thresholds(nucleus=0.4)
    predicting.prediction = None  # another crop is open before they are through
    predicting.work.wait()
    assert len(told) == 2


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
