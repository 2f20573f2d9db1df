"""One frame for training, validation and prediction: held against numpy's own reflection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_monusac.core.boxes import Region
from napari_monusac.infer.tiling.frame import margin_before, mirrored
from napari_monusac.infer.tiling.grid import plan_axis
from napari_monusac.infer.tiling.source import array_source

pytestmark = pytest.mark.torch


@given(st.integers(1, 60), st.integers(0, 200), st.integers(0, 200))
def test_mirroring_is_numpy_s_reflect_however_often(size: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(size), (before, after), mode="reflect")
    np.testing.assert_array_equal(mirrored(-before, before + size + after, size), expected)


@pytest.mark.parametrize("shape", [(35, 33), (16, 200), (255, 256), (64, 64), (1, 9)])
def test_a_patch_and_a_tile_of_a_small_crop_are_the_same_pixels(shape: tuple[int, int]) -> None:
    from napari_monusac.learn.data.crops import TrainingCrop
    from napari_monusac.learn.data.patches import cut_patch

    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*shape, 3), np.uint8)
    crop = TrainingCrop("c", image, rng.integers(0, 5, shape, np.uint8), rng.integers(0, 3, shape, np.uint8))
    size = 256
    y, x = (-margin_before(n, size) if n < size else 0 for n in shape)
    patch = cut_patch(crop, y, x, size)
    rows, columns = (plan_axis(n, 512, 64, 32, smallest=size) for n in shape)
    tile = array_source(image).padded(Region(-rows.before, -columns.before, rows.tile, columns.tile))
    np.testing.assert_array_equal(tile[:size, :size], patch.image)
    pads = [((max(n, size) - n + 1) // 2, (max(n, size) - n) // 2) for n in shape]
    np.testing.assert_array_equal(np.pad(image, (*pads, (0, 0)), mode="reflect")[:size, :size], patch.image)
    for cut, whole in ((patch.semantic, crop.semantic), (patch.ternary, crop.ternary)):
        np.testing.assert_array_equal(cut, np.pad(whole, pads, constant_values=255)[:size, :size])


def test_a_tile_that_reaches_far_past_the_edge_shows_the_image_mirrored_and_not_its_own_strip() -> None:
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)
    expected = np.pad(image, ((0, 100), (30, 0), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(array_source(image).padded(Region(80, -30, 110, 60)), expected[80:190, :60])
