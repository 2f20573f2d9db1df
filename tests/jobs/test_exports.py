"""Nuclei of many images in the formats of other programs: one function for the window and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_monusac.core.errors import Cancelled, CollectionError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.files import write_annotation
from napari_monusac.jobs.exports import export_nuclei

SIDES = {"a_1": (8, 14), "b_1": (10,)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two crops of two patients: squares of known sides, which do not touch."""
    root = tmp_path / "data"
    for name, sides in SIDES.items():
        place = root / name[0]
        place.mkdir(parents=True)
        tifffile.imwrite(place / f"{name}.tif", np.full((64, 96, 3), 200, np.uint8), photometric="rgb")
        squares = [
            np.array([(10, x), (10, x + side), (10 + side, x + side), (10 + side, x)], float)
            for x, side in zip((5, 40), sides, strict=False)
        ]
        write_annotation(
            Annotation(tuple(Nucleus(s, "Lymphocyte") for s in squares), um_per_px=0.5), place / f"{name}.xml"
        )
    return root


def test_one_table_holds_every_nucleus_with_its_crop_and_patient(folder: Path, tmp_path: Path) -> None:
    begun: list[tuple[int, str]] = []
    made = export_nuclei(folder, "table", tmp_path / "out", begun=lambda n, name: begun.append((n, name)))
    assert (made.images, [f.name for f in made.files]) == (2, ["nuclei.csv"])
    assert begun == [(0, "a_1"), (1, "b_1")]
    table = pd.read_csv(made.files[0])
    assert list(table.columns[:2]) == ["crop", "patient"]
    assert list(table["crop"]) == ["a_1", "a_1", "b_1"]
    assert list(table["patient"]) == ["a", "a", "b"]
    sides = np.sqrt(table["area_um2"]) / 0.5
    np.testing.assert_allclose(sides, [8, 14, 10], atol=1.1)


def test_a_table_an_image_is_the_same_without_its_name(folder: Path, tmp_path: Path) -> None:
    one = pd.read_csv(export_nuclei(folder, "table", tmp_path / "one").files[0])
    several = export_nuclei(folder, "csv", tmp_path / "several")
    assert [f.name for f in several.files] == ["a_1.csv", "b_1.csv"]
    together = pd.concat([pd.read_csv(f) for f in several.files], ignore_index=True)
    pd.testing.assert_frame_equal(one.drop(columns=["crop", "patient"]), together)


def test_outlines_go_to_qupath_and_into_one_coco_file(folder: Path, tmp_path: Path) -> None:
    written = export_nuclei(folder, "geojson", tmp_path / "q").files
    assert [len(json.loads(f.read_text())["features"]) for f in written] == [2, 1]
    (coco,) = export_nuclei(folder, "coco", tmp_path / "c").files
    content = json.loads(coco.read_text())
    assert (len(content["images"]), len(content["annotations"])) == (2, 3)


def test_what_is_stopped_says_how_many_are_written(folder: Path, tmp_path: Path) -> None:
    answers = iter([False, True])
    with pytest.raises(Cancelled, match="1 images are written"):
        export_nuclei(folder, "geojson", tmp_path / "out", should_stop=lambda: next(answers))
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["a_1.geojson"]


def test_nothing_is_written_among_the_crops(folder: Path) -> None:
    with pytest.raises(CollectionError):
        export_nuclei(folder, "csv", folder / "out")
    assert not (folder / "out").exists()
