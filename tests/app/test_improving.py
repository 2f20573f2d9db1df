"""A round of improving the model without a window: queue, correct, retrain, guard, each one click."""

from __future__ import annotations

import shutil

import pytest

from napari_monusac.app.answers import Refused
from napari_monusac.app.improving import ImprovingModel, RoundStep
from napari_monusac.app.review import COMPARE, QUEUE, ReviewModel
from napari_monusac.app.studio import StudioModel
from napari_monusac.core.recipe import load_recipe
from napari_monusac.editing.commands import Delete
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.io.splits import make_split


@pytest.fixture
def folder(example_data, tmp_path):
    return shutil.copytree(example_data, tmp_path / "Schnitte")


@pytest.fixture
def improving(tmp_path):
    studio = StudioModel()
    studio.training.runs_folder = tmp_path / "runs"
    model = ImprovingModel(studio, ReviewModel(studio))
    studio.work.wait()
    return model


def correct(folder):
    crop = open_collection(folder).labelled[0]
    with EditingSession.open(crop.annotation, (160, 192), author="anna") as session:
        session.do(Delete([next(iter(session.maps.boxes))]))
        session.save()
    return crop


def state_of(improving, step):
    return next(one for one in improving.steps() if one.step is step)


def former_run(improving, folder, start_from="", name="former"):
    recipe = load_recipe("quick").with_values(start_from=start_from)
    path = improving.studio.training.runs_folder / name
    run = RunFolder.create(path, data=folder, split=make_split(open_collection(folder)), recipe=recipe)
    run.best.write_bytes(b"weights")
    return run


def test_what_is_missing_is_said_before_a_folder_is_open(improving):
    told = []
    improving.studio.told.connect(lambda text, _: told.append(text))
    assert {one.why for one in improving.steps()} == {"Open a folder of crops first (Slides)."}
    for step in RoundStep:
        assert isinstance(improving.go(step), Refused)
    assert len(told) == len(RoundStep)
    assert isinstance(improving.retrain(), Refused)


def test_one_corrected_crop_is_enough_to_train_again(improving, folder):
    """With the other labelled crops of its folder, from the last model, validated by the patients of that model."""
    studio, asked = improving.studio, []
    studio.panel_asked.connect(asked.append)
    former = former_run(improving, folder)
    studio.collection = open_collection(folder)
    studio.work.wait()
    assert "Correct a crop first" in state_of(improving, RoundStep.RETRAIN).why
    trains = set(former.split.training)
    crop = next(c for c in studio.collection.labelled if c.name in trains)
    with EditingSession.open(crop.annotation, (160, 192), author="anna") as session:
        session.do(Delete([next(iter(session.maps.boxes))]))
        session.save()
    studio.collection = open_collection(folder)
    studio.work.wait()
    assert state_of(improving, RoundStep.CORRECT).text == "Correct: 1"
    assert state_of(improving, RoundStep.RETRAIN).why == ""
    improving.go(RoundStep.RETRAIN)
    studio.work.wait()
    assert asked == ["Train"]
    assert studio.training.data == improving.folder
    assert studio.training.draft.recipe.start_from == str(former.best)
    run = studio.training.plan().make_run()
    assert set(run.split.validation_patients) == set(former.split.validation_patients)
    assert len(run.split.training) + len(run.split.validation) == 4
    assert crop.name in run.split.training


def test_edits_are_saved_before_they_are_trained_on(improving, folder):
    correct(folder)
    studio, then = improving.studio, []

    class Saver:
        left = "crop_1"

        def unsaved(self):
            return self.left

        def save(self, go=None):
            self.left = ""
            then.append(go)

    studio.saver = Saver()
    studio.collection = open_collection(folder)
    studio.work.wait()
    assert improving.go(RoundStep.RETRAIN) is None
    assert studio.training.data != improving.folder
    then[0]()
    studio.work.wait()
    assert studio.training.data == improving.folder


def test_the_guard_compares_the_new_model_with_the_one_it_went_on_from(improving, folder):
    studio, asked = improving.studio, []
    studio.panel_asked.connect(asked.append)
    former = former_run(improving, folder)
    studio.collection = open_collection(folder)
    studio.training.list_runs()
    studio.work.wait()
    assert "Retrain first" in state_of(improving, RoundStep.GUARD).why
    gathered = shutil.copytree(folder, improving.folder)
    new = former_run(improving, gathered, str(former.best), "new")
    studio.training.list_runs()
    studio.work.wait()
    assert state_of(improving, RoundStep.RETRAIN).text == "Retrained"
    improving.go(RoundStep.GUARD)
    assert improving.review.guard_pair == (former.best, new.best)
    assert (improving.review.page, asked) == (COMPARE, ["Review"])
    improving.go(RoundStep.QUEUE)
    assert (improving.review.page, asked) == (QUEUE, ["Review", "Review"])
    improving.go(RoundStep.CORRECT)
    assert asked[-1] == "Annotate"
