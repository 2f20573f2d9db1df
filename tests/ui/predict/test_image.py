"""Which image is predicted, at which scale, and that what is found lies exactly on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_monusac.app import prediction as app_prediction
from napari_monusac.app import prediction_jobs
from napari_monusac.app.prediction_jobs import PredictedImage
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.lazy import PredictedSlide
from napari_monusac.io.predictions.rescale import ImageFrame
from napari_monusac.io.predictions.store_info import StoreInfo
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.ui.canvas import canvas, comparing
from napari_monusac.ui.canvas.canvas import placing
from napari_monusac.ui.canvas.marks import Marks
from napari_monusac.ui.canvas.predicted_layers import LivePrediction, stored_placing
from napari_monusac.ui.canvas.regions import chosen_region
from napari_monusac.ui.canvas.styles import TRUTH
from napari_monusac.ui.model import studio_model

SHAPE = (120, 160)
TURNED = {"rotate": 30, "scale": (0.5, 0.5), "translate": (7, -3)}
ANYHOW = {
    "rotate": 20,
    "scale": (0.5, 0.25),
    "shear": [0.3],
    "translate": (7, -3),
    "affine": np.array([[1, 0.2, 3], [-0.1, 2, 5], [0, 0, 1]]),
}
FLIPPED = {"scale": (-0.5, 0.25), "rotate": -70}


def pixels(shape=SHAPE):
    return np.random.default_rng(0).integers(100, 255, (*shape, 3), dtype=np.uint8)


def prediction_of(shape, um_per_px, offset_px=(0, 0)):
    semantic, ternary = np.zeros((5, *shape), np.float32), np.zeros((3, *shape), np.float32)
    semantic[(2, slice(10, 25), slice(10, 25))] = ternary[(1, slice(10, 25), slice(10, 25))] = 1
    semantic[0], ternary[0] = 1 - semantic[2], 1 - ternary[1]
    return Prediction(semantic, ternary, um_per_px=um_per_px, offset_px=offset_px)


@pytest.fixture
def panel(studio, tmp_path, monkeypatch):
    """The Predict panel with a network that finds one nucleus near the first corner."""

    def predict(report, asked, loaded):
        y, x, height, width = asked.region
        found = prediction_of((height, width), asked.image.um_per_px, (y, x))
        maps = (found.semantic, found.ternary)
        return PredictedImage(found, instances_from_maps(*maps, um_per_px=found.um_per_px, offset_px=(y, x)))

    panel = studio.panels["Predict"]
    monkeypatch.setattr(panel.predicting, "load", lambda _: None)
    monkeypatch.setattr(app_prediction, "predict_image", predict)
    panel.predicting.offer(tmp_path / "model")
    return panel


# -- scale


@pytest.mark.parametrize(
    ("placed", "um"),
    [
        ({"scale": (0.5, 0.5), "units": ("um", "um")}, 0.5),
        ({"scale": (0.00025, 0.00025), "units": ("mm", "mm")}, 0.25),
        ({"scale": (250, 0.25), "units": ("nm", "um")}, 0.25),
        ({"scale": (0.5, 0.5), "units": ("pixel", "pixel")}, None),
        ({"scale": (0.5, 0.25), "units": ("um", "um")}, None),
        ({"scale": (0.5, 0.5), "units": ("um", "pixel")}, None),
        ({"scale": (-0.5, 0.5), "rotate": 30, "units": ("um", "um")}, 0.5),
        ({"scale": (0.5, 0.5), "affine": np.diag([2, 2, 1.0]), "units": ("um", "um")}, 1.0),
        ({}, None),
    ],
)
def test_the_scale_of_a_foreign_layer_is_its_own(placed, um):
    found = canvas.um_per_px(Image(pixels(), rgb=True, **placed))
    assert found == (um if um is None else pytest.approx(um))


def test_our_own_metadata_come_first():
    about = {"monusac": {"um_per_px": 0.25}}
    assert canvas.um_per_px(Image(pixels(), rgb=True, scale=(9, 9), units=("um", "um"), metadata=about)) == 0.25


def test_a_foreign_layer_is_predicted_and_counted_at_its_scale(panel, viewer, qtbot, settle):
    viewer.add_image(pixels(), rgb=True, scale=(0.5, 0.5), units=("um", "um"), name="of another reader")
    panel.predict()
    settle()
    assert panel.predicting.prediction.um_per_px == pytest.approx(0.5)
    area_mm2 = SHAPE[0] * SHAPE[1] * 0.5**2 * 1e-6
    assert panel.counts.table.item(4, 2).text() == f"{1 / area_mm2:.0f}"
    assert panel.thresholds.smallest.isEnabled()
    panel.thresholds.smallest.setValue(100)  # the nucleus has 15 x 15 px of 0.25 um2: 56
    qtbot.waitUntil(lambda: panel.count.text() == "No nuclei at these thresholds.", timeout=60_000)


def test_no_smallest_area_without_a_scale(panel, viewer, settle):
    viewer.add_image(pixels(), rgb=True)
    panel.thresholds.smallest.setValue(100)
    panel.predict()
    settle()
    assert panel.predicting.prediction.um_per_px is None
    assert not panel.thresholds.smallest.isEnabled()
    assert "1 nucleus:" in panel.count.text()


# -- which image


def test_the_selected_image_is_predicted_and_said(panel, viewer, settle):
    a = viewer.add_image(pixels(), rgb=True, name="A")
    assert not panel.image.several
    b = viewer.add_image(pixels((64, 64)), rgb=True, name="B")
    assert panel.image.several
    assert panel.image.images.currentText() == "B"
    viewer.layers.selection.active = a
    assert panel.image.images.currentText() == "A"
    viewer.add_shapes([[[10, 10], [30, 40]]], shape_type="rectangle")  # a region is drawn: A is still meant
    assert panel.image.images.currentText() == "A"
    panel.predict()
    settle()
    assert panel.predicting.prediction.shape == SHAPE
    assert viewer.layers.selection.active is not a
    b.name = "the other"
    assert "the other" in [panel.image.images.itemText(i) for i in range(2)]
    panel.image.images.setCurrentIndex(0)
    panel.image.images.activated.emit(0)
    panel.predict()
    settle()
    assert panel.predicting.prediction.shape == (64, 64)
    viewer.layers.remove(b)
    assert panel.image.image == a
    assert not panel.image.several


def test_grey_float_and_own_layers_are_no_choice(panel, viewer):
    a = viewer.add_image(pixels(), rgb=True, name="A")
    viewer.add_image(np.zeros(SHAPE, np.uint8), name="grey")
    viewer.add_image(np.zeros((*SHAPE, 3), np.float32), rgb=True, name="float")
    viewer.add_image(pixels(), rgb=True, name="overview", metadata={"monusac": {"role": "overview"}})
    assert panel.image.image == a
    assert not panel.image.several
    viewer.layers.remove(a)
    assert "no RGB image of 8 bits" in panel.hint.text()
    assert panel.predict() is None


def test_what_is_open_is_named_where_it_cannot_be_predicted(panel, viewer):
    assert panel.image.trouble == "Open an image first (Slides)."
    viewer.add_labels(np.zeros(SHAPE, np.uint8), name="labels")
    assert panel.image.trouble == "Open an image first (Slides)."
    grey = viewer.add_image(np.zeros(SHAPE, np.uint16), name="DAPI")
    assert "“DAPI” is a grey image" in panel.hint.text()
    viewer.add_image(np.zeros((3, *SHAPE), np.uint8), name="planes")
    assert "“planes” is shown as separate channels" in panel.hint.text()
    viewer.layers.selection.active = grey
    assert "“DAPI” is a grey image" in panel.hint.text()
    viewer.add_image(pixels(), rgb=True, name="HE")
    assert panel.image.trouble == ""


def test_a_pyramid_can_be_chosen(panel, viewer, settle):
    levels = [pixels(), pixels()[::2, ::2]]
    layer = viewer.add_image(levels, rgb=True, multiscale=True, name="pyramid")
    viewer.add_image(pixels((64, 64)), rgb=True, name="B")
    viewer.layers.selection.active = layer
    panel.predict()
    settle()
    assert panel.predicting.prediction.shape == SHAPE


def test_a_stack_is_refused_in_words(panel, viewer):
    viewer.add_image(np.stack([pixels()] * 3), rgb=True, name="z stack")
    assert "a stack" in panel.hint.text()
    assert not panel.start.isEnabled()
    assert panel.predict() is None


def test_another_image_beside_the_crop_does_not_become_the_crops_prediction(opened, viewer, settle, monkeypatch):
    panel = opened.panels["Predict"]
    monkeypatch.setattr(panel.predicting, "load", lambda _: None)
    found = prediction_of((64, 64), None)
    nuclei = instances_from_maps(found.semantic, found.ternary)
    monkeypatch.setattr(app_prediction, "predict_image", lambda *_: PredictedImage(found, nuclei))
    panel.predicting.offer("model")
    told: list[object] = []
    opened.model.predicted.connect(told.append)
    viewer.add_image(pixels((64, 64)), rgb=True, name="B")
    panel.predict()
    settle()
    assert panel.predicting.prediction is found
    assert not told
    assert opened.model.last_prediction is None
    assert panel.counts._table.loc[0, "name"] == "B"


# -- place


def lies_on(image, layer, offset_px, step=1.0):
    """Whether pixels of a layer have the place in the world that the image's have."""
    for p in ((0, 0), (3, 11), (40, 8)):
        on_image = np.asarray(offset_px) + (step - 1) / 2 + step * np.asarray(p)
        np.testing.assert_allclose(layer.data_to_world(p)[-2:], image.data_to_world(on_image)[-2:], atol=1e-9)


@pytest.mark.parametrize("placed", [TURNED, ANYHOW, FLIPPED])
def test_layers_lie_on_a_turned_image(panel, viewer, settle, placed):
    image = viewer.add_image(pixels(), rgb=True, name="turned", units=("um", "um"), **placed)
    inside = np.array([[20, 30], [20, 110], [100, 110], [100, 30]])
    viewer.add_shapes([np.array([image.data_to_world(p) for p in inside])], shape_type="polygon")
    viewer.layers.selection.active = image
    panel.region.setCurrentText("Drawn rectangle")
    panel.uncertainty.box.setChecked(True)
    panel.predict()
    settle()
    found = panel.predicting.prediction
    assert abs(np.subtract(found.offset_px, (20, 30))).max() <= 1
    for role in ("predicted semantic", "predicted ternary", "predicted nuclei", "predicted uncertainty"):
        layer = canvas.find_layer(viewer, role)
        lies_on(image, layer, found.offset_px)
        assert layer.units == image.units
    image.rotate = 0  # and again, in the same layers
    panel.region.setCurrentText("Whole image")
    panel.predict()
    settle()
    for role in ("predicted nuclei", "predicted uncertainty"):
        lies_on(image, canvas.find_layer(viewer, role), (0, 0))


@pytest.mark.parametrize("placed", [TURNED, ANYHOW, FLIPPED])
def test_the_layer_that_fills_lies_on_a_turned_image(viewer, placed, monkeypatch):
    monkeypatch.setattr(prediction_jobs, "LIVE_PX", 50)
    image = viewer.add_image(pixels(), rgb=True, units=("um", "um"), **placed)
    live = LivePrediction(viewer, image, (90, 120), (10, 20))
    lies_on(image, live.layer, (10, 20), 3)
    live.remove()


@pytest.mark.parametrize("placed", [TURNED, ANYHOW])
def test_stored_maps_lie_on_a_turned_image(placed):
    image = Image(pixels(), rgb=True, **placed)
    frame = ImageFrame(shape=(60, 80), um_per_px=0.5, offset_px=(10, 20), factor=2.0, origin=(0.5, 0.5))
    for info, step in ((StoreInfo(offset_px=(10, 20)), 1.0), (StoreInfo(frame=frame), 0.5)):
        placed_maps = stored_placing(image, PredictedSlide(Path("a.zarr"), info, (30, 40), None, None, None))
        layer = Labels(np.zeros((60, 80), np.uint8), **placed_maps)
        first = [n * step for n in info.first_px]
        for p in ((0, 0), (7, 30)):
            np.testing.assert_allclose(layer.data_to_world(p), image.data_to_world(np.add(first, np.multiply(p, step))))


@pytest.mark.parametrize("placed", [TURNED, ANYHOW, FLIPPED])
def test_what_review_draws_lies_on_a_turned_image(viewer, placed):
    image = viewer.add_image(pixels(), rgb=True, units=("um", "um"), **placed)
    lines, uncertainty = np.zeros((40, 50), np.int32), np.zeros((40, 50), np.float32)
    look = comparing.outlined({}, "imagescope", TRUTH)
    for _ in range(2):  # the second time in the same layers, after the image was turned
        comparing.put_labels(viewer, comparing.TRUTH, lines, image, (10, 20), look, studio_model(viewer).work)
        comparing.put_uncertainty(viewer, uncertainty, image, (10, 20))
        frames = Marks(viewer, image, "frames")._ready()
        for role in (comparing.TRUTH, comparing.UNCERTAINTY):
            lies_on(image, canvas.find_layer(viewer, role), (10, 20))
        lies_on(image, frames, (0, 0))
        viewer.layers.remove(frames)
        image.rotate, image.affine = 15, np.array([[1, 0.1, 2], [0, 1.5, 1], [0, 0, 1]])


def test_placing_is_a_copy():
    image = Image(pixels(), rgb=True, **ANYHOW)
    layer = Labels(np.zeros(SHAPE, np.uint8), **placing(image, (0, 0)))
    image.affine = np.eye(3)
    image.rotate = 0
    assert not np.allclose(layer.data_to_world((50, 50)), image.data_to_world((50, 50)))


def test_what_the_window_shows_of_a_turned_image_is_all_of_it(viewer):
    image = viewer.add_image(pixels((400, 400)), rgb=True, rotate=45)
    viewer.scene.camera.center = image.data_to_world((200, 200))
    viewer.scene.camera.zoom = max(viewer.canvas.size) / 100
    y, x, height, width = chosen_region(viewer, image, "What the window shows")
    half = np.asarray(viewer.canvas.size) / viewer.scene.camera.zoom / 2
    side = half.sum() * np.sqrt(0.5)  # of the box around a rectangle that is turned by 45 degrees
    np.testing.assert_allclose((y, x, height, width), (200 - side, 200 - side, 2 * side, 2 * side), atol=1.01)
