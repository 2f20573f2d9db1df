"""Hostile and damaged stores: refused in one line, before a codec that we do not write could run."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import zarr

from napari_monusac.core.errors import StoreError
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.open import open_prediction, read_prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store import write_prediction


@pytest.fixture
def store(tmp_path):
    """Two nuclei, stored as we store them."""
    labels = np.zeros((60, 80), np.int32)
    labels[5:20, 5:20], labels[30:50, 30:60] = 1, 2
    semantic, ternary = np.zeros((5, 60, 80), np.float32), np.zeros((3, 60, 80), np.float32)
    semantic[1], semantic[0] = labels > 0, labels == 0
    ternary[1], ternary[0] = labels > 0, labels == 0
    table = pd.DataFrame({"label": [1, 2], "class_id": [1, 1], "confidence": [0.9, 0.8]})
    return write_prediction(Prediction(semantic, ternary, 0.25), tmp_path / "p.zarr", instances=labels, table=table)


def use(path):
    read_prediction(path)
    open_prediction(path, shape=(60, 80), um_per_px=0.25)
    open_prediction(path, shape=(60, 80), um_per_px=0.25, part=(4, 4, 40, 30))


def changed(path, **values):
    content = json.loads(path.read_text())
    content.update(values)
    path.write_text(json.dumps(content))


def test_what_we_write_is_read(store):
    use(store)
    assert read_prediction(store).nuclei.instances.max() == 2


def test_metadata_of_version_2_with_pickle_never_runs(store, tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return ran.touch, ()

    for node in store.rglob("zarr.json"):
        if node.parent != store:
            node.unlink()
    (store / "zarr.json").unlink()
    about = {"zarr_format": 2}
    (store / ".zgroup").write_text(json.dumps(about))
    (store / ".zattrs").write_text(json.dumps({"napari-monusac": {}}))
    array = store / "data" / "0"
    (store / "data" / ".zgroup").write_text(json.dumps(about))
    (array / ".zarray").write_text(json.dumps({
        **about, "shape": [8, 1, 1], "chunks": [8, 1, 1], "dtype": "|O", "order": "C", "fill_value": 0,
        "compressor": None, "filters": [{"id": "pickle", "protocol": 5}],
    }))  # fmt: skip
    (array / "0.0.0").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(StoreError, match="zarr version 2"):
        use(store)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["numcodecs.pickle", "blosc", "vlen-bytes", "numcodecs.json2"])
@pytest.mark.parametrize("inside", [False, True])
def test_codecs_that_we_do_not_write_are_refused(store, name, inside, monkeypatch):
    monkeypatch.setattr(zarr, "open_group", None)  # zarr is not asked
    file = store / "data" / "0" / "zarr.json"
    node = json.loads(file.read_text())
    if inside:
        node["codecs"][0]["configuration"]["codecs"].append({"name": name, "configuration": {}})
    else:
        node["codecs"] = [{"name": name}]
    file.write_text(json.dumps(node))
    with pytest.raises(StoreError, match=rf"p\.zarr: data/0: is packed with '{name}'"):
        use(store)


@pytest.mark.parametrize(
    "values",
    [
        {"shape": [8, 10**9, 10**9]}, {"shape": [8, -60, 80]}, {"shape": [8, 60]}, {"shape": "all"}, {"shape": [8, 60.5, 80]},
        {"data_type": "string"}, {"data_type": {"name": "numpy.datetime64"}}, {"zarr_format": 2}, {"zarr_format": None},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8, 0, 80]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8, 10**6, 10**6]}}},
        {"chunk_grid": {"name": "rectangular"}}, {"codecs": None}, {"codecs": [3]}, {"shape": [5, 60, 80]},
        {"shape": [8, 61, 80]}, {"storage_transformers": [{"name": "x"}]}, {"node_type": "group"},
    ],
)  # fmt: skip
def test_tampered_metadata_are_one_line(store, values):
    changed(store / "data" / "0" / "zarr.json", **values)
    with pytest.raises(StoreError, match=r"p\.zarr: ") as caught:
        use(store)
    assert "\n" not in str(caught.value)


def test_rows_without_end_are_refused(store):
    file = store / "table" / "label" / "zarr.json"
    changed(file, shape=[10**12], chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1000]}})
    with pytest.raises(StoreError, match="table of nuclei is damaged"):
        read_prediction(store)


def test_damage_of_any_kind_is_one_line_or_no_damage(store):
    """Files cut off, emptied, flipped, exchanged and taken away."""
    rng = np.random.default_rng(0)
    files = sorted(p for p in store.rglob("*") if p.is_file())
    said = []
    for file in files:
        whole = file.read_bytes()
        for damage in ("empty", "cut", "flip", "noise", "gone"):
            content = bytearray(whole)
            if damage == "flip" and content:
                content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
            elif damage == "noise":
                content = bytearray(rng.bytes(len(whole)))
            file.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2]}.get(damage, bytes(content)))
            if damage == "gone":
                file.unlink()
            try:
                use(store)
            except StoreError as error:
                said.append(str(error))
            file.write_bytes(whole)
    use(store)
    assert len(said) > len(files)
    assert not any("\n" in line for line in said)


def test_a_store_that_is_open_for_changes_is_looked_at_too(store):
    changed(store / "zarr.json", consolidated_metadata={"metadata": {}})
    with pytest.raises(StoreError, match="as we write it"):
        PredictionStore.open(store, "r+")
