"""Stored predictions of any size: what is shown of them is what was stored, in its place, of its image, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from zarr import open_group

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import StoreError
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions import pyramid
from napari_monusac.io.predictions.identity import ArrayPixels, ImageIdentity
from napari_monusac.io.predictions.lazy import PredictedSlide, open_lazily
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.rescale import ImageFrame
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.predictions.store_info import PredictionIdentity, StoreInfo
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.uncertainty import disagreement_map, entropy_map

SHAPE = (70, 90)
IMAGE = np.random.default_rng(3).integers(90, 250, (*SHAPE, 3), np.uint8)


@pytest.fixture
def maps():
    rng = np.random.default_rng(1)
    semantic, ternary = rng.random((5, *SHAPE), np.float32), rng.random((3, *SHAPE), np.float32)
    for y, x in ((8, 8), (30, 50)):
        semantic[2, y : y + 16, x : x + 16] = ternary[1, y : y + 16, x : x + 16] = 9
    return semantic / semantic.sum(0), ternary / ternary.sum(0)


@pytest.fixture
def store(maps, tmp_path, monkeypatch):
    """A store with a smaller level, of `IMAGE`."""
    monkeypatch.setattr(pyramid, "LEVEL_PX", 60)
    identity = ImageIdentity.of(ArrayPixels(IMAGE))
    nuclei = instances_from_maps(*maps, um_per_px=0.25)
    return write_prediction(
        Prediction(*maps, um_per_px=0.25), tmp_path / "a.zarr", instances=nuclei.instances, table=nuclei.table,
        identity=PredictionIdentity(
            image=identity.sample, pixels=identity.whole, weights="w", region=(0, 0, *SHAPE), um_per_px=0.25, flips=False
        ),
    )  # fmt: skip


def test_the_levels_are_the_stored_maps_and_what_follows_from_them(store):
    slide, stored = open_lazily(store), PredictionStore.open(store)
    maps = stored.read_maps()
    levels = {name: [np.asarray(level) for level in levels] for name, levels in slide.levels.items()}
    assert {name: [v.shape for v in values] for name, values in levels.items()} == {
        name: [SHAPE, (35, 45)] for name in ("classes", "nuclei", "ternary", "disagreement", "entropy", "uncertainty")
    }
    np.testing.assert_array_equal(levels["nuclei"][0], stored.read_instances())
    np.testing.assert_array_equal(levels["classes"][0] > 0, stored.read_instances() > 0)
    np.testing.assert_array_equal(levels["ternary"][0], maps[5:].argmax(0))
    heads, classes = disagreement_map(maps[:5], maps[5:]), entropy_map(maps[:5])
    for name, values in (("disagreement", heads), ("entropy", classes), ("uncertainty", np.maximum(heads, classes))):
        np.testing.assert_allclose(levels[name][0], values, atol=1e-6)
    assert slide.nuclei["label"].tolist() == stored.read_table()["label"].tolist()
    assert slide.levels is slide.levels, "made once"


def test_it_is_shown_on_its_own_image_alone(store):
    assert open_lazily(store).same_image is None
    assert open_lazily(store, ArrayPixels(IMAGE)).same_image is True
    with pytest.raises(StoreError, match=r"a\.zarr.*other pixels"):
        open_lazily(store, ArrayPixels(IMAGE[::-1]))
    with pytest.raises(StoreError, match=r"70 x 90 px.*this image has 70 x 80"):
        open_lazily(store, ArrayPixels(IMAGE[:, :80]))


def test_maps_without_nuclei_can_be_looked_at_and_say_what_they_lack(maps, tmp_path):
    slide = open_lazily(write_prediction(Prediction(*maps, um_per_px=0.25), tmp_path / "b.zarr"))
    assert slide.table is None
    assert slide.levels["nuclei"] == slide.levels["classes"] == []
    assert np.asarray(slide.levels["entropy"][0]).shape == SHAPE
    with pytest.raises(StoreError, match=r"b\.zarr.*nuclei are not segmented"):
        slide.nuclei  # noqa: B018


def test_smaller_levels_of_another_kind_are_damage(store):
    group = open_group(store, mode="r+")["data"]
    del group["1"]
    group.create_array("1", shape=(35, 45), dtype="uint8")
    with pytest.raises(StoreError, match=r"a\.zarr.*smaller levels are damaged"):
        open_lazily(store).levels  # noqa: B018


@pytest.mark.parametrize(
    ("info", "region", "step", "first"),
    [
        (StoreInfo(offset_px=(10, 20)), (10, 20, 30, 40), 1.0, (10, 20)),
        # two px of the maps a px of the image: the first lies a quarter px before the middle of the image's
        (StoreInfo(frame=ImageFrame(shape=(15, 20), offset_px=(10, 20), factor=2.0)), (10, 20, 15, 20), 0.5, (9.75, 19.75)),
        (StoreInfo(frame=ImageFrame(shape=(60, 80), offset_px=(10, 20), factor=0.5)), (10, 20, 60, 80), 2.0, (10.5, 20.5)),
    ],
)  # fmt: skip
def test_where_it_lies_is_in_pixels_of_the_image(info, region, step, first, tmp_path):
    slide = PredictedSlide(tmp_path, info, (30, 40), None, None, None)
    assert slide.region == Region(*region)
    assert slide.step == step
    np.testing.assert_allclose(slide.first_px, first)
