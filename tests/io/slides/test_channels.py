from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.slides.channels import ChannelVerdict, channel_verdict, decide_swapped, majority_swapped
from napari_monusac.io.slides.slide import open_slide

# Ruifrok & Johnston 2001: optical densities of haematoxylin and eosin for red, green, blue
HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def tissue(seed: int, nuclei: float) -> np.ndarray:
    """Eosin with haematoxylin discs over a share of the area, by Beer-Lambert."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:160, :160]
    stain = np.zeros((160, 160))
    while (stain > 0).mean() < nuclei:
        y, x, r = rng.integers(0, 160), rng.integers(0, 160), rng.integers(5, 12)
        stain[(yy - y) ** 2 + (xx - x) ** 2 < r * r] = rng.uniform(0.7, 1.3)
    eosin = rng.uniform(0.2, 0.6) + rng.normal(0, 0.05, stain.shape)
    density = stain[..., None] * HAEMATOXYLIN + eosin[..., None] * EOSIN
    return np.clip(np.rint(255 * np.exp(-density)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("nuclei", [0.05, 0.3, 0.6])
def test_right_and_swapped_images_are_told_apart(nuclei: float) -> None:
    for seed in range(5):
        image = tissue(seed, nuclei)
        right, swapped = channel_verdict(image), channel_verdict(image[..., ::-1])
        assert not right.swapped
        assert swapped.swapped
        assert right.score == pytest.approx(-swapped.score)
        assert right.stained == swapped.stained


def test_glass_says_nothing() -> None:
    for value in (255, 250):
        verdict = channel_verdict(np.full((50, 60, 3), value, np.uint8))
        assert verdict.score == 0
        assert not verdict.swapped
    assert channel_verdict(np.full((50, 60, 3), 90, np.uint8)).score == 0
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    assert not channel_verdict(noise).swapped
    assert not channel_verdict(noise[..., ::-1]).swapped
    assert channel_verdict(np.zeros((0, 5, 3), np.uint8)).stained == 0


def test_the_fourth_channel_is_left_out() -> None:
    image = tissue(1, 0.3)
    rgba = np.dstack([image, np.random.default_rng(0).integers(0, 255, image.shape[:2], np.uint8)])
    assert channel_verdict(rgba) == channel_verdict(image)


def test_majority_of_a_patient() -> None:
    sure, doubtful, right = (ChannelVerdict(s, 9999) for s in (-0.6, 0.15, 0.7))
    assert majority_swapped([sure, sure, doubtful])
    assert not majority_swapped([right, doubtful, sure])
    assert majority_swapped([sure, doubtful])  # a tie: the sum of the scores
    assert not majority_swapped([])
    assert decide_swapped(doubtful, [sure, sure])
    assert not decide_swapped(right, [sure, sure])  # sure of itself: a mended file among others that are not


@pytest.mark.shared
def test_every_real_crop_is_decided_right(shared_data: Path) -> None:
    """42 swapped .tif of 12 patients, and 7 right images: 3 svs, 4 MoNuSeg tif."""
    alone, by_patient = [], []
    collection = open_collection(shared_data)
    for crop in collection:
        if "slides" in crop.image.parts:
            continue  # no tissue
        truth = "Testing" in str(crop.image)
        pixels = tifffile.imread(crop.image, key=0)
        alone.append(channel_verdict(pixels).swapped == truth)
        by_patient.append(collection.channels_swapped(crop) == truth)
    assert len(alone) == 49
    assert all(by_patient)
    assert np.mean(alone) >= 0.98


def test_pictures_of_other_colours_have_no_verdict(tmp_path: Path) -> None:
    """Boxes in primary colours, DAB (Ruifrok & Johnston), and a photograph's blues: not H&E in either order."""
    boxes = np.full((120, 120, 3), 255, np.uint8)
    for k, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (200, 0, 0), (160, 0, 0))):
        boxes[10:60, 20 * k : 20 * k + 15] = colour
        boxes[70:110, 20 * k : 20 * k + 10] = colour
    rng = np.random.default_rng(3)
    brown, grey = rng.uniform(0.3, 1.2, (2, 120, 120, 1))
    dab = np.exp(-(brown * np.array([0.27, 0.57, 0.78]) + 0.3 * grey * HAEMATOXYLIN))
    sky = np.stack([rng.uniform(20, 90, (120, 120)), rng.uniform(90, 130, (120, 120)), np.full((120, 120), 200)], -1)
    for k, picture in enumerate((boxes, (255 * dab).astype(np.uint8), sky.astype(np.uint8))):
        for image in (picture, picture[..., ::-1]):
            verdict = channel_verdict(image)
            assert verdict.stained > 1000
            assert not verdict.is_he
            assert not verdict.told
            assert not verdict.swapped
            path = tmp_path / f"{k}.tif"
            tifffile.imwrite(path, np.ascontiguousarray(image), photometric="rgb")
            with open_slide(path) as slide:
                assert not slide.channels_swapped
                assert np.array_equal(slide.read(0, 0, *slide.shape), image)


def test_all_shades_of_the_two_stains_can_be_he() -> None:
    for nuclei in (0.02, 0.3, 0.9):
        assert channel_verdict(tissue(0, nuclei)).is_he
        assert channel_verdict(tissue(0, nuclei)[..., ::-1]).is_he


def test_a_picture_that_is_not_he_has_no_vote() -> None:
    other = ChannelVerdict(-0.9, 9999, is_he=False)
    assert not majority_swapped([other, other])
    assert majority_swapped([other, ChannelVerdict(-0.4, 9999)])
    assert not decide_swapped(other, [ChannelVerdict(0.4, 9999)])
