"""Nuclei block by block equal the nuclei of the whole map."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from napari_monusac.core.errors import Cancelled, ShapeError
from napari_monusac.core.prediction import Prediction
from napari_monusac.infer.blocks import segment_store
from napari_monusac.io.predictions.open import open_prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.masks.instances import instances_from_maps


def _soft_prediction(shape: tuple[int, int] = (500, 640)) -> Prediction:
    """Blurred noise that looks like a hundred nuclei, many of which touch."""
    rng = np.random.default_rng(2)

    def smooth(channels: int, sigma: float) -> np.ndarray:
        noise = cv2.GaussianBlur(rng.normal(size=(*shape, channels)).astype(np.float32), (0, 0), sigma)
        return np.reshape(noise / noise.std(), (*shape, channels))

    blobs = smooth(1, 5)[..., 0] - 0.4
    logits = np.stack([-blobs, blobs - 0.8, 0.6 - np.abs(blobs - 0.7)], -1) * 4 + 0.5 * smooth(3, 1.5)
    ternary = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    kinds = np.concatenate([(0.4 - blobs)[..., None] * 3, smooth(4, 12) + 0.5], -1)
    semantic = np.exp(kinds) / np.exp(kinds).sum(-1, keepdims=True)
    return Prediction(
        semantic.transpose(2, 0, 1).astype(np.float32), ternary.transpose(2, 0, 1).astype(np.float32), 0.25
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prediction(_soft_prediction(), tmp_path_factory.mktemp("blocks") / "p.zarr")


@pytest.mark.parametrize(("block", "halo"), [(100, 100), (256, 128), (333, 96), (2048, 256)])
def test_blocks_equal_the_whole(stored: Path, block: int, halo: int) -> None:
    maps = PredictionStore.open(stored).read_maps()
    whole = instances_from_maps(maps[:5], maps[5:], um_per_px=0.25)
    assert len(whole) > 50
    table = segment_store(stored, block_px=block, halo_px=halo)
    nuclei = open_prediction(stored).nuclei
    pairs = np.unique(np.stack([nuclei.instances.ravel(), whole.instances.ravel()]), axis=1)
    assert pairs.shape[1] == len(whole) + 1  # one to one, background to background
    assert sorted(table["label"]) == list(range(1, len(whole) + 1))
    order = ["centroid_y", "centroid_x"]
    a, b = (t.sort_values(order).drop(columns="label").reset_index(drop=True) for t in (nuclei.table, whole.table))
    assert a["class"].tolist() == b["class"].tolist()
    for column in a.columns.drop("class"):
        np.testing.assert_allclose(a[column], b[column], rtol=1e-6, err_msg=column)
    classes = PredictionStore.open(stored).labels("classes")[:]
    np.testing.assert_array_equal(classes, whole.class_map)


def test_thresholds_act_without_predicting_again(stored: Path) -> None:
    many = segment_store(stored)
    few = segment_store(stored, settings={"min_area_um2": 20.0, "inside_threshold": 0.7})
    assert len(few) < len(many)
    assert PredictionStore.open(stored).info.settings == {"min_area_um2": 20.0, "inside_threshold": 0.7}
    assert len(open_prediction(stored).nuclei) == len(few)


def test_nuclei_longer_than_the_halo_are_not_doubled(tmp_path: Path) -> None:
    semantic, ternary = np.zeros((5, 200, 400), np.float32), np.zeros((3, 200, 400), np.float32)
    semantic[0], ternary[0] = 1, 1
    semantic[:, 90:110, 20:380], ternary[:, 90:110, 20:380] = 0, 0
    semantic[1, 90:110, 20:380], ternary[1, 90:110, 20:380] = 1, 1
    path = write_prediction(Prediction(semantic, ternary), tmp_path / "p.zarr")
    segment_store(path, block_px=100, halo_px=32)
    found = open_prediction(path).nuclei
    table, instances = found.table, found.instances
    # cut, but every pixel belongs to one nucleus and every row has its pixels
    assert set(table["label"]) == set(np.unique(instances)) - {0}
    assert 1 <= len(table) <= 4


def test_stopped_and_unfinished(tmp_path: Path) -> None:
    path = write_prediction(_soft_prediction((200, 200)), tmp_path / "p.zarr")
    assert PredictionStore.open(path).read_table() is None
    with pytest.raises(Cancelled):
        segment_store(path, should_stop=lambda: True)
    assert PredictionStore.open(path).read_table() is None


def test_nuclei_stay_until_others_are_whole(tmp_path: Path) -> None:
    path = write_prediction(_soft_prediction((200, 200)), tmp_path / "p.zarr")
    segment_store(path)
    before = open_prediction(path).nuclei
    calls = iter(range(100))
    with pytest.raises(Cancelled):
        segment_store(path, block_px=64, should_stop=lambda: next(calls) >= 2, settings={"min_confidence": 0.5})
    with pytest.raises(ShapeError, match="min_confidence"):
        segment_store(path, settings={"min_confidence": 7.0})
    after = open_prediction(path).nuclei
    np.testing.assert_array_equal(after.instances, before.instances)
    pd.testing.assert_frame_equal(after.table, before.table)
    assert PredictionStore.open(path).info.settings == {}


def test_a_machine_that_dies_between_labels_and_table_leaves_both_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_prediction(_soft_prediction((200, 200)), tmp_path / "p.zarr")
    segment_store(path)
    move = PredictionStore._put_in_place

    def once(store: PredictionStore, fresh: str, name: str) -> None:
        move(store, fresh, name)
        raise KeyboardInterrupt

    monkeypatch.setattr(PredictionStore, "_put_in_place", once)
    with pytest.raises(KeyboardInterrupt):
        segment_store(path, settings={"min_confidence": 0.6})
    found = open_prediction(path).nuclei
    assert set(found.table["label"]) == set(np.unique(found.instances)) - {0}
    assert found.table["confidence"].min() >= 0.6
    monkeypatch.undo()
    segment_store(path)
    assert open_prediction(path).nuclei.table["confidence"].min() < 0.6
