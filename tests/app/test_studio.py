"""The Studio's state without a window: what is told, in which order, and what the gate answers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from napari_monusac.app.facts import Fact
from napari_monusac.app.studio import StudioModel
from napari_monusac.core.prediction import Nuclei, Prediction
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.identity import nuclei_digest
from napari_monusac.synth import write_collection


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    write_collection(folder, 2, 2, seed=1, shape=(48, 48), test_patients=0)
    return open_collection(folder)


@pytest.fixture
def model():
    return StudioModel()


def reading(model, collection):
    """Let crops of a collection be read; returns which ones were."""
    model.collection, read = collection, []
    model.opens_crops = read.append
    return read


def prediction():
    instances = np.zeros((4, 4), np.int32)
    instances[1:3, 1:3] = 1
    semantic, ternary = np.zeros((5, 4, 4), np.float32), np.zeros((3, 4, 4), np.float32)
    semantic[0] = ternary[0] = 1
    return Prediction(semantic, ternary, um_per_px=0.25), Nuclei(instances, pd.DataFrame({"label": [1]}), 0.25)


def facts():
    return {name: fact.event for name, fact in vars(StudioModel).items() if isinstance(fact, Fact)}


def listen(model):
    """Everything that a model tells, in order."""
    heard = []
    for event in facts().values():
        getattr(model, event).connect(lambda value, event=event: heard.append((event, value)))
    return heard


def test_each_fact_has_one_event_of_its_own(model):
    events = facts()
    assert set(events) == {
        "collection", "crop", "palette", "last_prediction", "holding", "hidden", "legend"
    }  # fmt: skip
    assert len(set(events.values())) == len(events)


def test_setting_a_fact_tells_it_once(model, collection, tmp_path):
    heard = listen(model)
    values = {
        "collection": collection, "crop": collection.crops[0],
        "palette": "colour-blind", "last_prediction": prediction(), "holding": True, "hidden": True,
        "legend": "off",
    }  # fmt: skip
    for name, value in values.items():
        setattr(model, name, value)
        assert getattr(model, name) is value
    assert [event for event, _ in heard] == [facts()[name] for name in values]
    assert all(a is b for (_, a), b in zip(heard, values.values(), strict=True))


def test_what_is_no_news_is_not_told(model, tmp_path):
    pair = prediction()
    model.last_prediction = pair
    heard = listen(model)
    model.last_prediction = pair
    model.palette = "imagescope"
    assert heard == []


def test_the_same_crop_shown_anew_is_told_again(model, collection):
    heard = listen(model)
    crop = collection.crops[0]
    model.crop = crop
    model.crop = crop
    assert heard == [("crop_changed", crop)] * 2


def test_another_crop_has_no_prediction_before_anybody_hears_of_it(model, collection):
    model.crop = collection.crops[0]
    model.last_prediction = prediction()
    assert model.counted_in() != ""
    seen = []
    model.crop_changed.connect(lambda crop: seen.append((crop, model.last_prediction, model.counted_in())))
    heard = listen(model)
    model.crop = collection.crops[1]
    assert seen == [(collection.crops[1], None, "")]
    assert heard == [("predicted", None), ("crop_changed", collection.crops[1])]


def test_counted_in_is_the_hash_of_the_open_predictions_nuclei(model):
    assert model.counted_in() == ""
    pair = prediction()
    model.last_prediction = pair
    assert model.counted_in() == nuclei_digest(pair[1].instances)
    other = prediction()
    other[1].instances[0, 0] = 2
    model.last_prediction = other
    assert model.counted_in() == nuclei_digest(other[1].instances) != nuclei_digest(pair[1].instances)


# -- the gate


def test_the_gate_answers_and_what_comes_then_comes_once_the_crop_is_shown(model, collection):
    asked, then = [], []
    model.crop_asked.connect(asked.append)
    read = reading(model, collection)
    first, second = collection.crops[:2]
    assert model.ask_for_crop(first, lambda: then.append(model.crop))
    assert asked == read == [first]
    assert then == []
    model.show_crop(first)
    assert then == [first]
    model.show_crop(first)
    assert then == [first], "what was to come comes once"
    # overtaken by another crop: it does not come
    model.ask_for_crop(first, lambda: then.append("late"))
    model.show_crop(second)
    model.show_crop(first)
    assert then == [first]


def test_unsaved_edits_close_the_gate_until_the_reader_has_decided(model, collection):
    asked, waiting = reading(model, collection), []

    def ask_first(go):
        waiting.append(go)
        return False

    model.may_leave_crop = ask_first
    assert not model.ask_for_crop(collection.crops[1])
    assert asked == []
    waiting.pop()()
    assert asked == [collection.crops[1]]
    went = []
    assert not model.leave_crop(lambda: went.append(1))
    assert went == []


def test_without_a_folder_or_a_reader_of_crops_none_can_be_opened(model, collection):
    asked = []
    model.crop_asked.connect(asked.append)
    assert not model.open_crop(collection.crops[0])
    model.collection = collection
    assert not model.open_crop(collection.crops[0]), "a panel that is alone must not wait for an answer"
    assert asked == []
    read = reading(model, collection)
    assert model.open_crop(collection.crops[0])
    assert asked == read == [collection.crops[0]]


def test_a_folder_read_anew_keeps_the_open_crop_and_its_prediction(model, collection):
    model.collection = collection
    model.crop = collection.crops[1]
    model.last_prediction = pair = prediction()
    heard = listen(model)
    anew = open_collection(collection.root)
    model.list_anew(anew)
    assert heard == [("collection_changed", anew)]
    assert model.crop is anew.crops[1]
    assert model.crop is not collection.crops[1]
    assert model.last_prediction is pair


def test_a_folder_read_anew_without_the_open_crop(model, collection, tmp_path):
    write_collection(tmp_path, 1, 1, seed=2, shape=(48, 48), test_patients=0)
    model.collection, model.crop = collection, collection.crops[0]
    other = open_collection(tmp_path)
    model.list_anew(other)
    assert model.collection is other
    assert model.crop is collection.crops[0]


def test_neighbours_and_places(model, collection):
    assert model.neighbour(1) is None
    assert model.position() == (0, 0)
    model.collection = collection
    crops = list(collection.crops)
    assert model.neighbour(1) is crops[0]
    assert model.position() == (0, 4)
    model.crop = crops[0]
    assert (model.neighbour(-1), model.neighbour(1)) == (None, crops[1])
    model.crop = crops[3]
    assert (model.neighbour(-1), model.neighbour(1)) == (crops[2], None)
    assert model.position() == (4, 4)


def test_the_state_needs_neither_qt_nor_napari_nor_torch():
    code = (
        "import sys, napari_monusac.app.studio as s; s.StudioModel()\n"
        "print([m for m in ('qtpy', 'PyQt6', 'napari', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
