"""The work of Predict: the picture of what is done so far, and the name under which unfinished work is found again."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.app import prediction_jobs
from napari_monusac.app.prediction_jobs import ImageRequest, OpenImage, live_step, needs_store, small_tile
from napari_monusac.core.boxes import Region


@pytest.mark.parametrize("longest", [50, 130, 4096])
def test_tiles_of_any_size_give_one_picture(longest, monkeypatch):
    monkeypatch.setattr(prediction_jobs, "LIVE_PX", longest)
    truth = np.random.default_rng(0).integers(0, 3, (130, 170))
    step = live_step(truth.shape)
    expected = truth[::step, ::step]
    assert max(expected.shape) <= longest
    picture = np.full(expected.shape, 9, np.uint8)
    for y in range(0, 130, 37):
        for x in range(0, 170, 51):
            part = truth[y : y + 37, x : x + 51]
            top, left, values = small_tile((y, x, *part.shape), np.eye(3)[part].transpose(2, 0, 1), step)
            picture[top : top + values.shape[0], left : left + values.shape[1]] = values
    np.testing.assert_array_equal(picture, expected)


def test_a_store_is_named_after_image_part_and_model():
    def name(region, *, flips=False, image="Tisch/Schnitt ä 1.svs", checkpoint="runs/blind/best.safetensors"):
        pixels = np.zeros((40, 60, 3), np.uint8)
        return ImageRequest(OpenImage(image, pixels), Region(*region), checkpoint, flips, {}).store_name()

    assert name((0, 0, 40, 60)) == "Schnitt_ä_1-blind.zarr"
    assert name((0, 0, 40, 60), flips=True) == "Schnitt_ä_1-blind-flips.zarr"
    assert name((8, 0, 20, 60), checkpoint="models/mine.safetensors") == "Schnitt_ä_1-8_0_20_60-mine.zarr"


def test_what_is_too_large_for_the_memory_goes_to_disk():
    assert not needs_store(Region(5, 5, 4096, 4096))
    assert needs_store(Region(0, 0, 4096, 4097))
