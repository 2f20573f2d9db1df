"""Whether an image has colour: tissue counts, glass does not."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.infer.tiling.plan import Expected, plan_tiles
from napari_monusac.infer.tiling.source import array_source
from napari_monusac.infer.tiling.stain_sample import GREY_NOTE, is_grey


@pytest.fixture
def tissue():
    rng = np.random.default_rng(0)
    return np.clip(rng.normal((200, 140, 180), 25, (300, 300, 3)), 0, 255).astype(np.uint8)


def grey_of(rgb):
    return np.repeat(rgb.mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)


def test_colour_of_little_tissue_in_much_glass_is_seen(tissue):
    assert not is_grey(tissue)
    assert is_grey(grey_of(tissue))
    slide = np.full((900, 900, 3), 244, np.uint8)
    slide[:60, :60] = tissue[:60, :60]
    assert not is_grey(slide)
    assert is_grey(grey_of(slide))
    noise = np.random.default_rng(1).integers(-2, 3, (300, 300, 3))
    assert is_grey(np.clip(grey_of(tissue) + noise, 0, 255).astype(np.uint8)), "compression leaves traces of colour"


def test_glass_alone_and_nothing_are_no_grey_tissue():
    assert not is_grey(np.full((50, 50, 3), 250, np.uint8))
    assert not is_grey(np.zeros((0, 256, 3), np.uint8))


@pytest.mark.parametrize("normalise", [False, True])
def test_a_grey_image_is_said_before_a_tile_is_predicted(tissue, normalise):
    expected = Expected(um_per_px=0.25, boundary_width=3, patch_px=64, normalise_stain=normalise)
    notes = [
        plan_tiles(array_source(image, 0.25), expected, lambda _: None).notes for image in (tissue, grey_of(tissue))
    ]
    assert GREY_NOTE not in notes[0]
    assert GREY_NOTE in notes[1]
