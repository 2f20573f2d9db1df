"""OME-Zarr images: 0.4 and 0.5, any order of axes, scale, levels; guarded codecs, damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_monusac import open_collection, open_slide
from napari_monusac.cli.predict import _tasks
from napari_monusac.core.errors import SlideError, StoreError
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.slides.ome_zarr import is_image_store
from napari_monusac.plugin.reader import get_reader


def write(
    path: Path, image: np.ndarray, axes: str = "cyx", version: str = "0.5", inner: str = "", channels: list[str] = (),
    unit: str = "micrometer", chunk: int = 64,
) -> Path:  # fmt: skip
    """Write an image (y, x, c) as two levels, at 0.5 um/px."""
    root = zarr.open_group(path / inner, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for k, step in enumerate((1, 2)):
        level = image[::step, ::step]
        order = [a for a in axes if a in "yxc"]
        level = level.transpose(["yxc".index(a) for a in order]) if "c" in axes else level[..., 0]
        full = level.reshape([level.shape[order.index(a)] if a in order else 1 for a in axes])
        chunks = tuple(min(chunk, n) if a in "yx" else n for a, n in zip(axes, full.shape, strict=True))
        array = root.create_array(str(k), shape=full.shape, chunks=chunks, dtype=full.dtype)
        array[:] = full
        factors = [0.5 * step if a in "yx" else 1.0 for a in axes]
        datasets.append({"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": factors}]})
    named = [{"name": a, "type": "space", "unit": unit} if a in "yx" else {"name": a} for a in axes]
    ome = {"multiscales": [{"version": version, "axes": named, "datasets": datasets}]}
    if channels:
        ome["omero"] = {"channels": [{"label": c} for c in channels]}
    root.attrs.update({"ome": ome} if version == "0.5" else ome)
    return path


def picture(shape: tuple[int, int] = (200, 300), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "yxc", "tczyx", "xyc"])
def test_pixels_levels_and_scale_are_those_that_were_written(tmp_path: Path, axes: str, version: str) -> None:
    image = picture()
    path = write(tmp_path / "a.ome.zarr", image, axes, version)
    with open_slide(path) as slide:
        assert slide.reader == "ome-zarr"
        assert (slide.um_per_px, slide.um_per_px_source) == (0.5, "slide")
        assert slide.level_shapes == ((200, 300), (100, 150))
        np.testing.assert_array_equal(slide.read(0, 0, 200, 300), image)
        np.testing.assert_array_equal(slide.read(55, 100, 80, 130), image[55:135, 100:230])
        np.testing.assert_array_equal(slide.read(0, 0, 100, 150, 1), image[::2, ::2])
        np.testing.assert_array_equal(np.asarray(slide.levels[0][30:90, 5:200]), image[30:90, 5:200])


def test_the_group_in_a_bioformats2raw_folder_other_units_and_bits(tmp_path: Path) -> None:
    image = picture()
    path = write(tmp_path / "b.zarr", image, "cyx", "0.4", inner="0", unit="nanometer")
    with open_slide(path) as slide:
        # 0.5 nm are no microscope's
        assert slide.um_per_px is None
        np.testing.assert_array_equal(slide.read(0, 0, 200, 300), image)
    deep = (image.astype(np.uint16) << 4) | 15
    with open_slide(write(tmp_path / "c.zarr", deep)) as slide:
        assert any("12 bits" in note for note in slide.notes)
        expected = np.minimum((deep.astype(np.int64) * 255 + 2047) // 4095, 255)
        np.testing.assert_array_equal(slide.read(0, 0, 200, 300), expected)
    with open_slide(write(tmp_path / "g.zarr", image[..., :1], "yx")) as slide:
        assert any("grey" in note for note in slide.notes)
        np.testing.assert_array_equal(slide.read(0, 0, 200, 300), np.repeat(image[..., :1], 3, axis=-1))


def test_fluorescence_stacks_predictions_and_labels(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"DAPI.*no red, green and blue"):
        open_slide(write(tmp_path / "f.zarr", picture(), channels=["DAPI", "FITC", "Cy5"]))
    with pytest.raises(SlideError, match="5 channels"):
        open_slide(write(tmp_path / "m.zarr", np.zeros((50, 50, 5), np.uint8)))
    path = write(tmp_path / "l.zarr", picture())
    root = zarr.open_group(path, mode="r+")
    root.attrs["napari-monusac"] = {}
    assert not is_image_store(path)
    with pytest.raises(SlideError, match="no OME-Zarr image"):
        open_slide(path)


def test_a_collection_and_the_reader_take_an_image_and_leave_a_prediction(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.zarr", picture())
    other = write(tmp_path / "p.zarr", picture())
    zarr.open_group(other, mode="r+").attrs["napari-monusac"] = {}
    collection = open_collection(tmp_path)
    assert [c.image for c in collection.crops] == [path]
    with collection.open(collection.crops[0]) as slide:
        assert slide.shape == (200, 300)
    layers = get_reader(str(path))(str(path))
    np.testing.assert_array_equal(layers[0][0], picture())
    assert layers[0][1]["scale"] == (0.5, 0.5)


def test_a_prediction_is_never_written_over_an_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", picture((64, 64)))
    maps = np.zeros((5, 64, 64), np.float32), np.zeros((3, 64, 64), np.float32)
    with pytest.raises(StoreError, match="is an image, and no prediction"):
        write_prediction(Prediction(*maps, um_per_px=0.5), path)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 64, 64), picture((64, 64)))


def test_predict_takes_the_store_as_an_image_among_others(tmp_path: Path) -> None:
    first = write(tmp_path / "a.ome.zarr", picture((64, 64)))
    second = write(tmp_path / "b.zarr", picture((64, 64), 1))
    assert [t.crop.image for t in _tasks([first], tmp_path / "out")] == [first]
    assert [t.crop.image for t in _tasks([tmp_path], tmp_path / "out")] == [first, second]


def _old_array(path: Path, **changes: object) -> Path:
    file = path / "0" / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"compressor": {"id": "pickle"}}, "packed with 'pickle'"),
        ({"filters": [{"id": "pickle"}]}, "packed with filters"),
        ({"dtype": "|O", "filters": [{"id": "json2"}]}, r"type '\|O'"),
        ({"chunks": [0, 64, 64]}, "impossible shape"),
        ({"shape": [3, 10**9, 10**9]}, "impossible shape"),
        ({"compressor": "zlib", "chunks": "x"}, "impossible shape"),
    ],
)
def test_codecs_that_may_run_code_and_impossible_shapes_are_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = _old_array(write(tmp_path / "a.zarr", picture(), version="0.4"), **changes)
    with pytest.raises(SlideError, match=said):
        open_slide(path)


def test_levels_outside_of_the_store_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "secret.zarr", picture())
    for name in ("../secret.zarr/0", str(tmp_path / "secret.zarr" / "0"), "..\\secret", ""):
        path = write(tmp_path / "a.zarr", picture(), version="0.4")
        attributes = json.loads((path / ".zattrs").read_text())
        attributes["multiscales"][0]["datasets"][0]["path"] = name
        (path / ".zattrs").write_text(json.dumps(attributes))
        with pytest.raises(SlideError, match="a level has the path"):
            open_slide(path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_mutated_stores_give_one_line_or_pixels(
    tmp_path: Path, version: str, mutated: Callable[..., bytes], outcome: Callable[..., str]
) -> None:
    first = write(tmp_path / "first.zarr", picture((70, 90)), version=version)
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    outcomes = []
    for k in range(100):
        path = tmp_path / "a.zarr"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(first, path)
        rng = np.random.default_rng((9, k))
        file = path / files[int(rng.integers(len(files)))]
        file.write_bytes(mutated(file.read_bytes() or b"\0" * 16, rng))
        outcomes.append(outcome(path))
    assert set(outcomes) == {"read", "SlideError"}
