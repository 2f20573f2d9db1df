"""File > Open Sample gives two labelled crops of a collection that is there on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_monusac.io.collection.collection import open_collection
from napari_monusac.plugin import sample_data


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONUSAC_CACHE", str(cache))


@pytest.mark.parametrize("name", ["glands", "inflammation"])
def test_layers_of_a_labelled_crop(name: str, cache: Path) -> None:
    layers = getattr(sample_data, name)()
    names = [attributes["name"] for _, attributes, _ in layers]
    assert names[0] == "image"
    assert set(names) == {"image", "nuclei", "semantic", "ternary", "ambiguous"}
    by_name = {attributes["name"]: (np.asarray(data), attributes) for data, attributes, _ in layers}
    assert by_name["image"][0].shape == (640, 640, 3)
    assert by_name["nuclei"][0].max() > 100
    assert by_name["image"][1]["scale"] == (0.25, 0.25)
    about = by_name["nuclei"][1]["metadata"]["monusac"]
    assert Path(about["collection"]).parent == cache
    assert open_collection(about["collection"]).crop(about["crop"]).patient == about["patient"]


def test_the_two_differ_as_their_names_say() -> None:
    def lymphocytes(layers: list) -> float:
        features = next(a for _, a, _ in layers if a["name"] == "nuclei")["features"]
        return float((features["class"] == "Lymphocyte").mean())

    assert lymphocytes(sample_data.inflammation()) > 1.3 * lymphocytes(sample_data.glands())


def test_made_once(cache: Path) -> None:
    root = sample_data.sample_collection()
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert sample_data.sample_collection() == root
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    assert [p for p in cache.iterdir() if p != root] == []


def test_a_split_for_training_can_be_made() -> None:
    from napari_monusac.io.splits import make_split

    split = make_split(open_collection(sample_data.sample_collection()))
    assert len(split.training) == 3
    assert all(split.validation_nuclei.values())


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        sample_data.sample_collection(tmp_path / "file" / "sample")


def test_manifest_has_both() -> None:
    manifest = PluginManifest.from_distribution("napari-monusac")
    samples = {s.key: s.command for s in manifest.contributions.sample_data or []}
    assert set(samples) == {"glands", "inflammation"}
    commands = {c.id: c.python_name for c in manifest.contributions.commands or []}
    for command in samples.values():
        assert hasattr(sample_data, str(commands[command]).rsplit(":", 1)[1])
