"""The long work of Review without a window: the prediction of the open crop, found and opened on what is shown of it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.app.review import ReviewModel
from napari_monusac.app.studio import StudioModel
from napari_monusac.app.work import Work
from napari_monusac.core.errors import StoreError
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.identity import ArrayPixels, ImageIdentity
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store import crop_store, write_prediction
from napari_monusac.io.predictions.store_info import PredictionIdentity
from napari_monusac.masks.instances import instances_from_maps
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
    return found[0]


@pytest.fixture
def review(tmp_path):
    """The first crop of a folder is open; what the window shows of it."""
    write_collection(tmp_path / "crops", 1, 1, seed=2, shape=SHAPE, test_patients=0)
    studio = StudioModel()
    studio.training.runs_folder = tmp_path / "runs"
    studio.collection = open_collection(tmp_path / "crops")
    model = ReviewModel(studio)
    crop = studio.collection.crops[0]
    with studio.collection.open(crop) as slide:
        pixels = slide.read(0, 0, *SHAPE)
    studio.show_crop(crop)
    return model, crop, pixels


def store(folder, crop, pixels):
    semantic, ternary = np.zeros((5, *SHAPE), np.float32), np.zeros((3, *SHAPE), np.float32)
    semantic[2, 20:40, 50:70] = ternary[1, 20:40, 50:70] = 1
    semantic[0], ternary[0] = 1 - semantic[2], 1 - ternary[1]
    nuclei = instances_from_maps(semantic, ternary, um_per_px=0.25)
    image = ImageIdentity.of(ArrayPixels(pixels, crop.image))
    return write_prediction(
        Prediction(semantic, ternary, um_per_px=0.25), crop_store(folder, crop.name), instances=nuclei.instances,
        table=nuclei.table, image=str(crop.image),
        identity=PredictionIdentity(
            image=image.sample, pixels=image.whole, weights="w", region=(0, 0, *SHAPE), um_per_px=0.25, flips=False
        ),
    )  # fmt: skip


def test_the_prediction_of_the_open_crop_is_found_on_its_own_image_alone(review, tmp_path):
    model, crop, pixels = review
    assert model.finding_prediction(pixels, (0, 0), 0.25) is None, "no folder of predictions"
    (tmp_path / "out").mkdir()
    model.predictions = tmp_path / "out"
    assert run(model.finding_prediction(pixels, (0, 0), 0.25)) is None, "there is none of this crop"
    path = store(tmp_path / "out", crop, pixels)
    found = run(model.finding_prediction(pixels, (0, 0), 0.25))
    assert (found.path, found.same_image, found.region) == (path, True, (0, 0, *SHAPE))
    assert len(found.nuclei) == 1
    refused = run(model.finding_prediction(pixels[::-1], (0, 0), 0.25))
    assert isinstance(refused, StoreError)
    model.studio.crop = None
    assert model.finding_prediction(pixels, (0, 0), 0.25) is None


def test_of_a_part_that_is_shown_the_prediction_is_moved_to_its_first_pixel(review, tmp_path):
    model, crop, pixels = review
    (tmp_path / "out").mkdir()
    model.predictions = tmp_path / "out"
    path = store(tmp_path / "out", crop, pixels)
    found = run(model.finding_prediction(pixels[10:90, 30:90], (10, 30), 0.25))
    assert found.region == (0, 0, 80, 60)
    expected = PredictionStore.open(path).read_instances()[10:90, 30:90] > 0
    assert expected[20, 30], "the nucleus around (30, 60) of the crop"
    np.testing.assert_array_equal(found.instances > 0, expected)
