"""The wand, held against skimage's flood on a distance that the test computes itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.segmentation import flood

from napari_monusac.core.errors import SessionError
from napari_monusac.masks import wand
from napari_monusac.masks.wand import stain_distance, wand_box, wand_stamp

SHAPE = (90, 110)
TISSUE, STAIN = (225, 170, 205), (90, 60, 140)


def tissue(*nuclei, noise=0, seed=0):
    """Pink tissue with purple discs (y, x, radius)."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    picture = np.full((*SHAPE, 3), TISSUE, float)
    for cy, cx, r in nuclei:
        picture[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = STAIN
    picture += np.random.default_rng(seed).normal(0, noise, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def disc(cy, cx, r):
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (y - cy) ** 2 + (x - cx) ** 2 <= r * r


def grown(picture, point, radius, tolerance=20.0):
    box = wand_box(point, radius, picture.shape[:2])
    stamp = wand_stamp(picture[box[0] : box[2], box[1] : box[3]], box, point, radius, tolerance)
    out = np.zeros(picture.shape[:2], bool)
    out[stamp.box[0] : stamp.box[2], stamp.box[1] : stamp.box[3]] = stamp.mask
    assert out.sum() == stamp.area_px > 0
    assert stamp.mask.any(0).all() or stamp.mask.any(1).all(), "the box is tight"
    return out


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_a_nucleus_is_met():
    mask = grown(tissue((40, 50, 11), noise=6), (40.3, 49.8), 20)
    assert iou(mask, disc(40, 50, 11)) > 0.9


def test_it_grows_with_the_radius_and_never_beyond():
    picture = tissue((40, 50, 14))
    areas = []
    for radius in (3, 6, 9, 12, 30):
        mask = grown(picture, (40, 50), radius)
        assert not (mask & ~disc(40, 50, radius)).any()
        areas.append(mask.sum())
    assert areas == sorted(areas)
    assert 0.8 * disc(40, 50, 3).sum() <= areas[0]
    assert abs(int(areas[-1]) - int(disc(40, 50, 14).sum())) < 60


def test_a_neighbour_across_tissue_is_left_alone_and_a_thin_bridge_is_cut():
    picture = tissue((40, 40, 10), (40, 66, 10))
    assert not (grown(picture, (40, 40), 60) & disc(40, 66, 10)).any()
    picture[39:41, 48:60] = STAIN  # a bridge of two px
    mask = grown(picture, (40, 40), 60)
    assert not (mask & disc(40, 66, 8)).any()
    assert mask[40, 40]
    picture[34:47, 48:60] = STAIN  # as broad as a nucleus: it is one
    assert (grown(picture, (40, 40), 60) & disc(40, 66, 8)).sum() > 150


def test_a_hole_is_filled_and_the_point_is_always_in_it():
    picture = tissue((40, 50, 13))
    picture[disc(44, 50, 2)] = TISSUE
    mask = grown(picture, (36, 50), 25)
    assert mask[44, 50]
    assert ndimage.label(~mask)[1] == 1
    lone = tissue((40, 50, 1))
    assert grown(lone, (40, 50), 10, tolerance=3)[40, 50]


@pytest.mark.parametrize("seed", range(12))
def test_before_smoothing_it_is_skimages_flood(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    picture = np.clip(
        ndimage.gaussian_filter(rng.normal(130, 160, (*SHAPE, 3)), (2, 2, 0)) * 2 - 100, 0, 255
    ).astype(np.uint8)  # fmt: skip
    point = (float(rng.integers(0, SHAPE[0])), float(rng.integers(0, SHAPE[1])))
    radius, tolerance = float(rng.uniform(4, 40)), float(rng.uniform(8, 40))
    box = wand_box(point, radius, SHAPE)
    part = picture[box[0] : box[2], box[1] : box[3]]
    at = int(point[0]) - box[0], int(point[1]) - box[1]
    y, x = np.ogrid[: part.shape[0], : part.shape[1]]
    distance = np.where((y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2, stain_distance(part, at), np.inf)
    reference = ndimage.binary_fill_holes(flood(distance, at, tolerance=tolerance, connectivity=1))
    monkeypatch.setattr(wand, "_smoothed", lambda mask, _: mask)
    stamp = wand_stamp(part, box, point, radius, tolerance)
    out = np.zeros(SHAPE, bool)
    out[stamp.box[0] : stamp.box[2], stamp.box[1] : stamp.box[3]] = stamp.mask
    whole = np.zeros(SHAPE, bool)
    whole[box[0] : box[2], box[1] : box[3]] = reference
    assert np.array_equal(out, whole)


def test_the_distance_is_that_of_cielab():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, :20], picture[:, 20:] = STAIN, TISSUE
    lab = [rgb2lab(np.array([[c]], np.uint8) / 255.0)[0, 0] for c in (STAIN, TISSUE)]
    distance = stain_distance(picture, (20, 5))
    assert distance[20, 5] == 0
    assert distance[20, 35] == pytest.approx(np.linalg.norm(lab[0] - lab[1]), abs=0.01)


def test_what_is_seen_at_an_edge_is_what_the_whole_image_gives():
    picture = tissue((2, 50, 9), (88, 3, 8), noise=8)
    for point in ((2.0, 50.0), (88.0, 3.0)):
        small = grown(picture, point, 15)
        box = (0, 0, *SHAPE)
        stamp = wand_stamp(picture, box, point, 15, 20)
        whole = np.zeros(SHAPE, bool)
        whole[stamp.box[0] : stamp.box[2], stamp.box[1] : stamp.box[3]] = stamp.mask
        assert np.array_equal(small, whole)


@pytest.mark.parametrize("point", [(-3, 10), (10, 400), (90, 10)])
def test_outside_of_the_image_it_is_refused(point):
    with pytest.raises(SessionError, match="outside"):
        wand_box(point, 10, SHAPE)
