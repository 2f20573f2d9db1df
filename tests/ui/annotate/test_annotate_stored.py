"""Predictions on disk: offered for the open crop, opened with one click, accepted by key, click and region."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_monusac.core.prediction import Prediction
from napari_monusac.editing.commands import Delete
from napari_monusac.io.predictions.identity import ArrayPixels, ImageIdentity
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.predictions.store_info import PredictionIdentity
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.ui.canvas import canvas

UM = 0.25


def maps_of(instances, classes):
    """Probabilities of a network that sees the nuclei of a map as they are."""
    lut = np.zeros(int(instances.max()) + 1, np.uint8)
    for k, c in classes.items():
        lut[k] = c
    semantic = (np.arange(5)[:, None, None] == lut[instances]).astype(np.float32)
    return semantic, np.stack([instances == 0, instances > 0, np.zeros(instances.shape, bool)]).astype(np.float32)


def identity_of(hand, image):
    """Of the open crop's pixels, or of those of another image of its size."""
    pixels = canvas.find_layer(hand.viewer, "image").data
    found = ImageIdentity.of(ArrayPixels(pixels if image == "this" else pixels[::-1]))
    return PredictionIdentity(
        image=found.sample, pixels=found.whole, weights="w", region=(0, 0, *pixels.shape[:2]), um_per_px=UM, flips=False
    )


@pytest.fixture
def stored(hand, until):
    """Stores what the crop's truth would be as a prediction of twice the pixel size, and takes the nuclei away."""
    folder = hand.studio.model.collection.root / "predictions"
    session = hand.session
    truth = session.maps.instances.copy()
    classes = {k: r.class_id for k, r in session.rows.items() if r.plane == "nuclei"}
    made = {}

    def make(um=UM, step=1, name=None, image="this"):
        instances = np.ascontiguousarray(truth[::step, ::step])
        prediction = Prediction(*maps_of(instances, classes), um, checkpoint="runs/run-8/best.safetensors")
        nuclei = instances_from_maps(prediction.semantic, prediction.ternary, um_per_px=um)
        path = folder / f"{name or hand.studio.model.crop.name}.zarr"
        identity = None if image is None else identity_of(hand, image)
        write_prediction(prediction, path, instances=nuclei.instances, table=nuclei.table, identity=identity)
        made["nuclei"] = nuclei
        return path

    hand.studio.model.last_prediction = None
    hand.controller.do(Delete(list(hand.session.rows)))
    yield make, truth, made
    shutil.rmtree(folder, ignore_errors=True)
    hand.studio.model.last_prediction = None
    for layer in [x for x in hand.viewer.layers if canvas.role(x).startswith("predicted")]:
        hand.viewer.layers.remove(layer)
    hand.panel.accepting.stored.look()


def offers(hand, until):
    widget = hand.panel.accepting.stored
    seen = []
    widget.looked.connect(lambda: seen.append(True))
    widget.look()
    until(lambda: seen)
    return widget.buttons


def test_nothing_on_disk_says_how_to_begin(hand, stored, until):
    assert not offers(hand, until)
    assert "No prediction" in hand.panel.accepting.stored.note.text()
    hand.hover((5, 5))
    hand.key(Qt.Key.Key_A)
    assert "Open a stored prediction" in hand.panel.message.text()


def test_one_click_opens_it_and_a_key_accepts(hand, viewer, stored, until):
    make, truth, made = stored
    make()
    (button,) = offers(hand, until)
    assert "run-8" in button.text()
    button.click()
    until(lambda: hand.studio.model.last_prediction is not None)
    shown = canvas.find_layer(viewer, "predicted nuclei")
    assert ((shown.data > 0) == (truth > 0)).mean() > 0.99
    assert not hand.panel.accepting.stored.buttons
    label = int(made["nuclei"].table["label"].iloc[0])
    y, x = np.argwhere(made["nuclei"].instances == label).mean(0)
    hand.hover((float(y), float(x)))
    hand.key(Qt.Key.Key_A)
    (row,) = hand.session.rows.values()
    assert row.provenance == "model"
    hand.panel.commands.min_confidence = 0.0
    hand.panel.accepting.accept_in_view()
    until(lambda: not hand.controller.busy and len(hand.session.rows) == len(made["nuclei"]))
    assert ((hand.session.maps.instances > 0) == (made["nuclei"].instances > 0)).mean() > 0.99


def test_another_scale_lands_in_its_place(hand, viewer, stored, until):
    make, truth, _ = stored
    make(um=2 * UM, step=2)
    (button,) = offers(hand, until)
    button.click()
    until(lambda: hand.studio.model.last_prediction is not None)
    shown = canvas.find_layer(viewer, "predicted nuclei")
    assert shown.data.shape == truth.shape
    assert ((shown.data > 0) == (truth > 0)).mean() > 0.95
    assert hand.controller.ready_prediction()


def test_a_prediction_of_another_image_of_this_name_and_size_is_left_out_and_said(hand, stored, until):
    make, _, _ = stored
    path = make(image="another")
    assert not offers(hand, until)
    widget = hand.panel.accepting.stored
    assert "of another image" in widget.others.text()
    widget.open(path)
    until(lambda: "other pixels" in widget.progress.label.text())
    assert hand.studio.model.last_prediction is None


def test_a_prediction_of_an_unknown_image_is_opened_once_the_reader_says_so(hand, stored, until):
    make, _, made = stored
    path = make(image=None)
    (button,) = offers(hand, until)
    button.click()
    question = hand.panel.question
    assert "does not say of which image" in question.text.text()
    assert hand.studio.model.last_prediction is None
    next(b for b in question.buttons if b.text() == "No").click()
    widget = hand.panel.accepting.stored
    widget.open(path)
    until(lambda: "does not say of which image" in widget.progress.label.text())
    button.click()
    next(b for b in question.buttons if b.text() == "Yes, open it").click()
    until(lambda: hand.studio.model.last_prediction is not None)
    assert len(hand.studio.model.last_prediction[1]) == len(made["nuclei"])


def test_one_that_does_not_fit_is_said_in_one_line(hand, stored, until):
    make, _, _ = stored
    make(um=3 * UM)
    (button,) = offers(hand, until)
    button.click()
    words = hand.panel.accepting.stored.progress.label
    until(lambda: "does not fit this crop" in words.text())
    assert hand.studio.model.last_prediction is None
