"""Masks of a crop as files: what they count is what they draw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_monusac.cli import main
from napari_monusac.core.errors import Cancelled, CollectionError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.files import write_annotation
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.jobs.maskfiles import write_crop_masks, write_folder_masks


def square(top: float, left: float, size: float = 10) -> np.ndarray:
    return np.array([(top, left), (top, left + size), (top + size, left + size), (top + size, left)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One crop: two nuclei in a region, one outside of it, two beyond the image, a slip of the pen."""
    root = tmp_path / "data"
    root.mkdir()
    pixels = np.random.default_rng(0).integers(150, 250, (120, 120, 3), np.uint8)
    tifffile.imwrite(root / "a_1.tif", pixels, photometric="rgb")
    nuclei = [Nucleus(square(y, x), "Lymphocyte") for y, x in ((10, 10), (30, 30), (90, 90), (500, 9), (9, 900))]
    others = (Nucleus(np.array([(1.0, 1), (5, 5)]), "Lymphocyte"), Nucleus(square(2, 2, 60), "ROI"))
    write_annotation(Annotation((*nuclei, *others), um_per_px=0.25), root / "a_1.xml")
    return root


def test_counts_are_those_of_the_map(folder: Path, tmp_path: Path) -> None:
    collection = open_collection(folder)
    written = write_crop_masks(collection, collection.crops[0], tmp_path / "out")
    instances = tifffile.imread(written["files"]["instances"])
    assert written["nuclei"] == {"Lymphocyte": 3} == {"Lymphocyte": len(np.unique(instances)) - 1}
    assert written["left_out"] == {"outside": 2, "degenerate": 1, "regions": 1}
    assert "ambiguous" not in written["files"]


def test_a_crop_that_fails_is_told_and_the_rest_go_on(folder: Path, tmp_path: Path) -> None:
    (folder / "a_2.xml").write_bytes((folder / "a_1.xml").read_bytes())
    (folder / "a_2.tif").write_bytes(b"II*\0 no image")
    collection, heard = open_collection(folder), []
    masks = write_folder_masks(collection, tmp_path / "out", progress=lambda *said: heard.append(said))
    assert [crop["crop"] for crop in masks.crops] == ["a_1"]
    assert (masks.nuclei, masks.left_out.total) == (3, 4)
    ((name, error),) = masks.problems
    assert name == "a_2"
    assert "a_2.tif" in str(error)
    assert heard == [(0, 2, "a_1"), (1, 2, "a_2"), (2, 2, "")]


def test_a_folder_is_refused_that_would_become_data_and_a_stop_is_one(folder: Path, tmp_path: Path) -> None:
    collection = open_collection(folder)
    with pytest.raises(CollectionError, match="lies in the data folder"):
        write_folder_masks(collection, folder / "masks")
    with pytest.raises(Cancelled, match="0 of 1 crops"):
        write_folder_masks(collection, tmp_path / "out", should_stop=lambda: True)
    (folder / "a_1.xml").unlink()
    with pytest.raises(CollectionError, match="holds no annotated crop"):
        write_folder_masks(open_collection(folder), tmp_path / "out")


def test_within_regions_the_rest_is_left_out(folder: Path, tmp_path: Path) -> None:
    collection = open_collection(folder)
    written = write_crop_masks(collection, collection.crops[0], tmp_path / "out", within_regions=True)
    want = np.full((120, 120), 255, np.uint8)
    want[2:63, 2:63] = 0
    assert (tifffile.imread(written["files"]["ambiguous"]) == want).all()


def test_the_command_says_what_is_in_no_mask(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*more: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["masks", str(folder), "--out", str(tmp_path / "out"), *more])
        assert end.value.code == 0
        return capsys.readouterr().out

    assert "1 crops, 3 nuclei" in told()
    assert "left out: 2 outside the image, 1 of fewer than three vertices, 1 regions of interest" in told()
    answer = json.loads(told("--json", "--within-regions"))
    assert answer["nuclei"] == 3
    assert answer["within_regions"]
    assert answer["left_out"] == {"outside": 2, "degenerate": 1, "regions": 1} == answer["crops"][0]["left_out"]


def test_what_the_reader_says_of_an_annotation_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    root.mkdir()
    pixels = np.random.default_rng(0).integers(150, 250, (60, 60, 3), np.uint8)
    tifffile.imwrite(root / "a_1.tif", pixels, photometric="rgb")
    ring = {"type": "Polygon", "coordinates": [[[5, 5], [20, 5], [20, 20], [5, 20], [5, 5]]]}
    point = {"type": "Point", "coordinates": [1, 2]}
    features = [{"type": "Feature", "geometry": g, "properties": {}} for g in (ring, point)]
    (root / "a_1.geojson").write_text(json.dumps(features))
    with pytest.raises(SystemExit) as end:
        main(["masks", str(root), "--out", str(tmp_path / "out"), "--json"])
    assert end.value.code == 0
    told = capsys.readouterr()
    note = "1 of 2 objects are kept but are no nuclei: 1 Point"
    assert json.loads(told.out)["crops"][0]["notes"] == [note]
    assert f"a_1: {note}" in told.err
    from napari_monusac.io.doctor.examine import examine

    assert [f.message for f in examine(root).of("annotation-note")] == [note]
