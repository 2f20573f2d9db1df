"""An image is known by its pixels, whatever its name, its file and the order of its channels."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_monusac.core.errors import StoreError
from napari_monusac.io.predictions import identity
from napari_monusac.io.predictions.identity import ArrayPixels, ImageIdentity, check_image, match_image, nuclei_digest
from napari_monusac.io.predictions.store_info import PredictionIdentity, StoreInfo
from napari_monusac.io.slides.slide import open_slide


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (230, 310, 3), np.uint8)


def info_of(image, *, whole=True, path=""):
    found = ImageIdentity.of(image)
    prediction = PredictionIdentity(
        image=found.sample, pixels=found.whole if whole else "", weights="w", region=(0, 0, *image.shape),
        um_per_px=None, flips=False,
    )  # fmt: skip
    return StoreInfo(identity=prediction, image=path)


def test_every_pixel_counts(pixels):
    info = info_of(ArrayPixels(pixels))
    assert match_image(info, ArrayPixels(pixels.copy())).same is True
    for y, x in ((0, 0), (229, 309), (115, 2), (40, 200)):
        other = pixels.copy()
        other[y, x, 1] ^= 1
        match = match_image(info, ArrayPixels(other))
        assert (match.same, "other pixels" in match.words) == (False, True)
    assert match_image(info, ArrayPixels(pixels[::-1])).same is False
    smaller = match_image(info, ArrayPixels(pixels[:-1]))
    assert smaller.same is False
    assert "230 x 310" in smaller.words
    assert "229 x 310" in smaller.words


def test_the_same_pixels_in_another_file_are_the_same_image(pixels, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    Image.fromarray(pixels).save(tmp_path / "renamed.png")
    with open_slide(tmp_path / "a.tif") as one, open_slide(tmp_path / "renamed.png") as other:
        assert match_image(info_of(one), other).same is True
        # red and blue are told by patient: an image that is read the other way round is the same image
        assert match_image(info_of(one), ArrayPixels(pixels[..., ::-1])).same is True


def test_stores_of_before_are_known_by_samples_and_file(pixels, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    with open_slide(tmp_path / "a.tif") as slide:
        old = info_of(slide, whole=False)
        assert match_image(old, slide).same is True
    assert match_image(old, ArrayPixels(pixels, tmp_path / "a.tif")).same is True
    other = pixels.copy()
    other[100:130, 140:170] = 0
    tifffile.imwrite(tmp_path / "a.tif", other, photometric="rgb")
    with open_slide(tmp_path / "a.tif") as slide:
        assert match_image(old, slide).same is False
    # predicted from an array, looked at as a file
    assert match_image(info_of(ArrayPixels(other), whole=False), ArrayPixels(other, tmp_path / "a.tif")).same is True


def test_large_images_are_known_by_samples_alone(pixels, monkeypatch):
    monkeypatch.setattr(identity, "WHOLE_PX", 1000)
    info = info_of(ArrayPixels(pixels))
    assert info.identity.pixels == ""
    assert match_image(info, ArrayPixels(pixels)).same is True
    assert match_image(info, ArrayPixels(255 - pixels)).same is False


def test_what_is_not_known_is_said_and_can_be_refused(pixels):
    match = match_image(StoreInfo(), ArrayPixels(pixels))
    assert (match.same, match.words) == (None, identity.UNKNOWN_IMAGE)
    assert check_image("a.zarr", StoreInfo(), ArrayPixels(pixels)).same is None
    with pytest.raises(StoreError, match=r"a\.zarr: does not say of which image it is — predict"):
        check_image("a.zarr", StoreInfo(), ArrayPixels(pixels), unknown=False)
    with pytest.raises(StoreError, match=r"a\.zarr: was made of other pixels .*S1/x\.svs"):
        check_image("a.zarr", info_of(ArrayPixels(pixels), path="S1/x.svs"), ArrayPixels(pixels[:, ::-1]))


def test_the_same_prediction_of_before_and_of_now(pixels):
    now = info_of(ArrayPixels(pixels)).identity
    before = now.model_copy(update={"pixels": ""})
    assert now.same_prediction(before)
    assert before.same_prediction(now)
    assert not now.same_prediction(now.model_copy(update={"flips": True}))
    assert not now.same_prediction(now.model_copy(update={"pixels": "0"}))
    assert not before.same_prediction(before.model_copy(update={"image": "230x310-0"}))
    assert PredictionIdentity.model_validate(before.model_dump(exclude={"pixels"})) == before


def test_instance_maps_are_told_apart_by_number_and_place():
    labels = np.zeros((2100, 30), np.int32)
    labels[2:5, 3:9] = 1
    labels[2050:2060, 3:9] = 7
    assert nuclei_digest(labels) == nuclei_digest(labels.astype(np.uint16)) == nuclei_digest(np.asfortranarray(labels))
    swapped = np.where(labels == 1, 7, np.where(labels == 7, 1, 0))
    shifted = np.roll(labels, 1, 1)
    digests = {nuclei_digest(m) for m in (labels, swapped, shifted, labels.reshape(30, 2100), labels * 0)}
    assert len(digests) == 5
