"""Where the prediction of a crop lies: one table of names and forms, and never another image's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.io import savemat

from napari_monusac.core.errors import FileProblem
from napari_monusac.io.predictions.find import PredictionFolder, names_of, stores_near
from napari_monusac.io.predictions.identity import ArrayPixels, ImageIdentity
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store_info import PredictionIdentity, StoreInfo, model_name


@dataclass(frozen=True)
class Files:
    name: str
    image: Path
    annotation: Path | None = None


def store(path, **info):
    path.parent.mkdir(parents=True, exist_ok=True)
    PredictionStore.create(path, (10, 12), StoreInfo(**info))
    return path


def label_map(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.ones((10, 12), np.uint16))
    return path


def test_stores_near_a_crop_are_found_by_name_newest_first(tmp_path):
    old = store(tmp_path / "one" / "crop_1.zarr", checkpoint="weights/unet.safetensors")
    new = store(tmp_path / "all" / "two" / "patient__crop_1.tif.zarr", checkpoint="runs/run-8/best.safetensors")
    store(tmp_path / "one" / "crop_2.zarr")
    store(tmp_path / "all" / "two" / "deeper" / "crop_1.zarr")
    (tmp_path / "one" / "foreign").mkdir()
    (tmp_path / "all" / "crop_1.zarr").mkdir()
    os.utime(old, (1e9, 1e9))
    os.utime(new, (2e9, 2e9))
    folders = [tmp_path / "one", tmp_path / "all", tmp_path / "nowhere", tmp_path / "one"]
    found = stores_near(folders, names_of("crop_1", Path("patient/crop_1.tif")))
    assert [one.path for one in found] == [new, old]
    assert [one.model for one in found] == ["run-8", "unet"]
    assert [one.same_image for one in found] == [None, None]
    assert model_name("") == ""


def test_stores_near_a_crop_say_whose_they_are(tmp_path):
    mine, other = (ArrayPixels(np.random.default_rng(k).integers(0, 256, (10, 12, 3), np.uint8)) for k in (0, 1))
    for name, image in (("mine", mine), ("other", other)):
        is_of = ImageIdentity.of(image)
        identity = PredictionIdentity(
            image=is_of.sample, pixels=is_of.whole, weights="w", region=(0, 0, 10, 12), um_per_px=None, flips=False
        )
        store(tmp_path / name / "c.zarr", identity=identity)
    store(tmp_path / "old" / "c.zarr")
    found = stores_near([tmp_path], ["c"], [mine])
    assert {one.path.parent.name: one.same_image for one in found} == {"mine": True, "other": False, "old": None}


def test_the_forms_of_a_folder_in_their_order(tmp_path):
    crop = Files("c", tmp_path / "data" / "P1" / "c.tif", tmp_path / "data" / "P1" / "c.xml")
    root = tmp_path / "pred"
    masks = root / "P1" / "c" / "Lymphocyte"
    masks.mkdir(parents=True)
    assert PredictionFolder(root).find(crop) is None
    alone = label_map(root / "c.tif")
    assert PredictionFolder(root).find(crop) == alone, "a label map without classes comes last"
    savemat(masks / "3_mask.mat", {"n_ary_mask": np.ones((10, 12))})
    assert PredictionFolder(root).find(crop) == root / "P1" / "c"
    for name in ("deep/c.geojson", "deep/c.xml"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert PredictionFolder(root).find(crop) == path
    (root / "c.csv").touch()
    assert PredictionFolder(root).find(crop) == alone, "with a table of classes it is no image"
    instances = label_map(root / "sub" / "c_instances.tif")
    assert PredictionFolder(root).find(crop) == instances
    ours = store(root / "sub" / "c.zarr")
    assert PredictionFolder(root).find(crop) == ours
    with pytest.raises(FileProblem, match="is no folder"):
        PredictionFolder(tmp_path / "nowhere")


def test_an_image_its_truth_and_a_review_are_no_predictions(tmp_path):
    image = tmp_path / "c.tif"
    tifffile.imwrite(image, np.zeros((10, 12, 3), np.uint8), photometric="rgb")
    crop = Files("c", image, tmp_path / "c.xml")
    crop.annotation.touch()
    review = tmp_path / "monusac-review"
    review.mkdir()
    (review / "c.geojson").touch()
    assert PredictionFolder(tmp_path).find(crop) is None
    assert PredictionFolder(tmp_path).find(Files("c", image)) == crop.annotation


def test_crops_of_one_name_are_looked_for_by_all_of_it(tmp_path):
    one, two = (Files(f"{p}/c", tmp_path / "data" / p / "c.png") for p in ("P1", "P2"))
    root = tmp_path / "pred"
    store(root / "c.zarr")
    assert PredictionFolder(root).find(one) is None
    expected = store(root / "P2_c.zarr")
    assert (PredictionFolder(root).find(one), PredictionFolder(root).find(two)) == (None, expected)
    expected = store(root / "P1" / "c.zarr")
    assert PredictionFolder(root).find(one) == expected
    other = store(tmp_path / "batch" / "P1__c.png.zarr")
    assert PredictionFolder(tmp_path / "batch").find(one) == other
