"""Stored predictions: round trips, OME metadata, napari's own reader."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from napari_monusac.core.errors import ShapeError, StoreError
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.open import read_prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.rescale import ImageFrame
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.predictions.store_info import StoreInfo


def _prediction(shape: tuple[int, int] = (70, 90), um: float | None = 0.5) -> Prediction:
    rng = np.random.default_rng(3)
    semantic = rng.dirichlet(np.ones(5), shape).astype(np.float32).transpose(2, 0, 1)
    ternary = rng.dirichlet(np.ones(3), shape).astype(np.float32).transpose(2, 0, 1)
    return Prediction(semantic, ternary, um, (5, 7), 3, "abc", "best.safetensors", ("a note",))


def _nuclei(shape: tuple[int, int] = (70, 90)) -> tuple[np.ndarray, pd.DataFrame]:
    instances = np.zeros(shape, np.int32)
    instances[3:9, 4:12], instances[30:40, 50:60] = 1, 2
    table = pd.DataFrame(
        {
            "label": np.int32([1, 2]),
            "class": ["Lymphocyte", "Unclassified"],
            "class_id": np.uint8([2, 255]),
            "confidence": [0.5, 0.25],
        }
    )
    return instances, table


@pytest.mark.parametrize("quantise", [True, False])
def test_round_trip(tmp_path: Path, quantise: bool) -> None:
    prediction, (instances, table) = _prediction(), _nuclei()
    path = write_prediction(
        prediction,
        tmp_path / "p.zarr",
        instances=instances,
        table=table,
        quantise=quantise,
        settings={"inside_threshold": 0.5},
    )
    back = read_prediction(path)
    # to the next 255th; the winner of a tie that rounding made keeps its lead by one more
    tolerance = 1.5 / 255 + 1e-6 if quantise else 5e-4
    assert np.abs(back.semantic - prediction.semantic).max() <= tolerance
    assert np.abs(back.ternary - prediction.ternary).max() <= tolerance
    assert np.mean(np.abs(back.semantic - prediction.semantic) > 0.5 / 255 + 1e-6) < (0.01 if quantise else 1)
    for head in ("semantic", "ternary") if quantise else ():
        np.testing.assert_array_equal(getattr(back, head).argmax(0), getattr(prediction, head).argmax(0))
    for field in ("um_per_px", "offset_px", "boundary_width", "fingerprint", "checkpoint", "notes"):
        assert getattr(back, field) == getattr(prediction, field)
    np.testing.assert_array_equal(back.nuclei.instances, instances)
    pd.testing.assert_frame_equal(back.nuclei.table, table)
    assert PredictionStore.open(path).info.settings == {"inside_threshold": 0.5}
    classes = PredictionStore.open(path).labels("classes")[:]
    assert set(np.unique(classes[instances == 2])) == {255}
    assert set(np.unique(classes[instances == 1])) == {2}
    assert [p.name for p in tmp_path.iterdir()] == ["p.zarr"]


def test_metadata_follow_ome_zarr(tmp_path: Path) -> None:
    instances, table = _nuclei()
    path = write_prediction(_prediction(), tmp_path / "p.zarr", instances=instances, table=table)
    root = json.loads((path / "zarr.json").read_text())
    assert root["zarr_format"] == 3
    ome = root["attributes"]["ome"]
    assert ome["version"] == "0.5"
    scales = ome["multiscales"][0]
    assert [a["name"] for a in scales["axes"]] == ["c", "y", "x"]
    assert scales["axes"][1] == {"name": "y", "type": "space", "unit": "micrometer"}
    scale, shift = scales["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [1.0, 0.5, 0.5]
    assert shift["translation"] == [0.0, 2.5, 3.5]
    assert (path / scales["datasets"][0]["path"] / "zarr.json").is_file()
    assert len(ome["omero"]["channels"]) == 8
    labels = json.loads((path / "labels" / "zarr.json").read_text())["attributes"]["ome"]["labels"]
    for name in labels:
        of = json.loads((path / "labels" / name / "zarr.json").read_text())["attributes"]["ome"]
        assert of["multiscales"][0]["datasets"][0]["path"] == "0"
        assert "image-label" in of
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a foreign file in the folder would be warned about
        assert sorted(zarr.open_group(path).group_keys()) == ["data", "labels", "table"]


def test_napari_itself_reads_it(tmp_path: Path, npe2pm: Any) -> None:
    from npe2 import PluginManifest
    from npe2.io_utils import read

    npe2pm.register(PluginManifest.from_distribution("napari"))
    prediction = _prediction()
    path = write_prediction(prediction, tmp_path / "p.zarr")
    layers = read([str(path)], stack=False, plugin_name="napari")
    data = layers[0][0]
    data = data[0] if isinstance(data, list) else data
    assert data.shape == (8, 70, 90)
    assert np.abs(np.asarray(data[5:]) / 255 - prediction.ternary).max() <= 1.5 / 255 + 1e-6


def test_large_maps_get_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_monusac.io.predictions.pyramid.LEVEL_PX", 32)
    prediction, (instances, table) = _prediction(), _nuclei()
    path = write_prediction(prediction, tmp_path / "p.zarr", instances=instances, table=table, quantise=False)
    group = zarr.open_group(path)
    assert [group[f"data/{k}"].shape for k in range(3)] == [(8, 70, 90), (8, 35, 45), (8, 18, 23)]
    expected = prediction.semantic[0].reshape(35, 2, 45, 2).mean((1, 3))
    np.testing.assert_allclose(group["data/1"][0], expected, atol=2e-3)
    np.testing.assert_array_equal(group["labels/instances/1"][:], instances[::2, ::2])
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    assert [d["path"] for d in datasets] == ["data/0", "data/1", "data/2"]
    # the centre of the first pixel of level 1 lies between the first two of level 0
    assert datasets[1]["coordinateTransformations"][1]["translation"][1] == 2.5 + 0.25


def test_parts(tmp_path: Path) -> None:
    store = PredictionStore.create(tmp_path / "s.zarr", (100, 130), StoreInfo(), chunk=(48, 64))
    values = np.random.default_rng(0).random((8, 52, 66)).astype(np.float32)
    store.write_maps((48, 64, 52, 66), values)
    again = PredictionStore.open(tmp_path / "s.zarr")
    stored = again.read_maps((48, 64, 52, 66))
    off = np.abs(stored.astype(int) - np.rint(values * 255))
    assert off.max() <= 1, "a winner by less than 1/255 keeps its lead"
    assert (off > 0).mean() < 0.01
    for head in (slice(0, 5), slice(5, 8)):
        np.testing.assert_array_equal(stored[head].argmax(0), values[head].argmax(0))
    assert not again.read_maps((0, 0, 48, 64)).any()
    assert again.labels("instances") is None
    assert again.read_table() is None


def test_replaces_an_older_one(tmp_path: Path) -> None:
    write_prediction(_prediction((40, 40)), tmp_path / "p.zarr")
    write_prediction(_prediction((50, 30)), tmp_path / "p.zarr")
    assert read_prediction(tmp_path / "p.zarr").shape == (50, 30)


@pytest.mark.parametrize("case", ["missing", "foreign", "damaged"])
def test_errors_name_the_folder(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.zarr"
    if case == "foreign":
        zarr.create_group(path)
    if case == "damaged":
        write_prediction(_prediction(), path)
        zarr.open_group(path).attrs["napari-monusac"] = {"boundary_width": "wide"}
    with pytest.raises(StoreError, match=r"x\.zarr"):
        read_prediction(path)


def test_nothing_is_left_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_prediction(_prediction((40, 40)), tmp_path / "p.zarr")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PredictionStore, "write_maps", full)
    with pytest.raises(StoreError, match="No space left"):
        write_prediction(_prediction(), tmp_path / "p.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["p.zarr"]
    assert read_prediction(tmp_path / "p.zarr").shape == (40, 40)


def test_nuclei_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"\(3, 3\)"):
        write_prediction(_prediction(), tmp_path / "p.zarr", instances=np.zeros((3, 3), int))


def test_maps_at_another_scale_lie_where_their_image_lies(tmp_path: Path) -> None:
    """OME's translation of the first pixel's centre: by the frame, not by whole px of the maps."""
    frame = ImageFrame(shape=(200, 300), offset_px=(101, 203), um_per_px=0.5, factor=2.0, origin=(0.25, -0.5))
    info = StoreInfo(um_per_px=0.25, offset_px=(202, 406), frame=frame)
    store = PredictionStore.create(tmp_path / "p.zarr", (400, 600), info)
    (dataset,) = zarr.open_group(store.path).attrs["ome"]["multiscales"][0]["datasets"]
    scale, shift = (t[t["type"]] for t in dataset["coordinateTransformations"])
    assert scale[1:] == [0.25, 0.25]
    # pixel r of the part has its centre at (r + 0.5) * factor - 0.5 + origin on the maps: solve for map pixel 0
    expected = [((0 - o + 0.5) / 2.0 - 0.5 + first) * 0.5 for o, first in zip((0.25, -0.5), (101, 203), strict=True)]
    assert shift[1:] == pytest.approx(expected)


@pytest.mark.parametrize(("quantise", "largest"), [(True, 255), (False, 1)])
def test_the_window_fits_the_values(tmp_path: Path, quantise: bool, largest: int) -> None:
    store = PredictionStore.create(tmp_path / "p.zarr", (64, 64), StoreInfo(), quantise=quantise)
    channels = zarr.open_group(store.path).attrs["ome"]["omero"]["channels"]
    assert {c["window"]["max"] for c in channels} == {largest}


@pytest.mark.parametrize("what", ["column", "class"])
def test_a_damaged_table_is_one_line(tmp_path: Path, what: str) -> None:
    table = pd.DataFrame({"label": [1], "class_id": [2 if what == "column" else 77]})
    store = PredictionStore.create(tmp_path / "p.zarr", (64, 64), StoreInfo())
    store.create_labels()
    store.take_labels(table)
    if what == "column":
        shutil.rmtree(store.path / "table" / "class_id")
    with pytest.raises(StoreError, match=r"p\.zarr.*table of nuclei is damaged"):
        PredictionStore.open(store.path).read_table()


def test_a_store_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    import os

    from napari_monusac.core import files
    from napari_monusac.io.predictions.store import move_into_place

    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    true = os.replace
    monkeypatch.setattr(files.time, "sleep", lambda _: None)

    def held(source, target):
        if source == tmp_path / "new":
            raise PermissionError(13, "held by another program")
        true(source, target)

    monkeypatch.setattr(os, "replace", held)
    with pytest.raises(PermissionError):
        move_into_place(tmp_path / "new", tmp_path / "old")
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["old"]
    monkeypatch.setattr(os, "replace", true)
    move_into_place(tmp_path / "new", tmp_path / "old")
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
