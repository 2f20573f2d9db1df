"""Images and annotations are paired as people and programs name them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from napari_monusac.io.collection.collection import open_collection


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def pairs(root: Path) -> dict[str, str | None]:
    return {
        c.image.relative_to(root).as_posix(): c.annotation.relative_to(root).as_posix() if c.annotation else None
        for c in open_collection(root)
    }


@pytest.mark.parametrize(("image", "annotation"), [
    ("a.svs", "a.xml"), ("a.ome.tif", "a.geojson"), ("a.ome.tiff", "a.ome.xml"), ("a.tif", "a.tif.geojson"),
    ("a.svs", "a.svs.xml"), ("a.ome.tif", "a.ome.tif.geojson"), ("Crop1.tif", "crop1.xml"), ("c2.TIF", "C2.XML"),
    (unicodedata.normalize("NFC", "Müller.png"), unicodedata.normalize("NFD", "Müller.xml")),
    (unicodedata.normalize("NFD", "Müller.png"), unicodedata.normalize("NFC", "müller.geojson")),
    ("Tissue Images/a.tif", "Annotations/a.xml"), ("images/P1/a.png", "annotations/P1/a.xml"),
    ("train/images/a.png", "train/labels/A.geojson"), ("a.tif", "Annotations/a.xml"), ("a.b_1.tif", "a.b_1.xml"),
    ("slide [x=1,y=2].png", "slide [x=1,y=2].geojson"), ("a.svs", "a.geojson.gz"), ("a.tif", "a.tif.geojson.gz"),
    ("a.ome.tif", "A.GeoJSON.GZ"), ("images/P1/a.png", "annotations/P1/a.geojson.gz"),
])  # fmt: skip
def test_one_image_and_its_annotation(tmp_path: Path, image: str, annotation: str) -> None:
    touch(tmp_path, image, annotation)
    assert pairs(tmp_path) == {image: annotation}


def test_crops_of_one_name_in_two_shelves_are_not_mixed(tmp_path: Path) -> None:
    touch(tmp_path, "P1/images/1.png", "P1/labels/1.xml", "P2/images/1.png", "P2/labels/1.xml", "P3/1.png", "P4/1.xml")
    assert pairs(tmp_path) == {
        "P1/images/1.png": "P1/labels/1.xml", "P2/images/1.png": "P2/labels/1.xml", "P3/1.png": None,
    }  # fmt: skip
    assert [p.relative_to(tmp_path).as_posix() for p in open_collection(tmp_path).unpaired] == ["P4/1.xml"]


def test_the_letter_goes_before_the_case(tmp_path: Path) -> None:
    touch(tmp_path, "x/A.png", "x/a.png")
    if len(list((tmp_path / "x").iterdir())) < 2:
        pytest.skip("this disk does not tell A from a")
    touch(tmp_path, "x/A.xml", "x/a.xml", "y/B.png", "y/b.png", "y/b.tif.xml")
    (tmp_path / "y" / "b.png").rename(tmp_path / "y" / "b.PNG")
    assert pairs(tmp_path) == {"x/A.png": "x/A.xml", "x/a.png": "x/a.xml", "y/B.png": None, "y/b.PNG": "y/b.tif.xml"}


def test_an_annotation_that_may_mean_two_images_is_given_to_none_and_said(tmp_path: Path) -> None:
    touch(tmp_path, "Ab.png", "aB.png", "AB.xml")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this disk does not tell A from a")
    collection = open_collection(tmp_path)
    assert not collection.labelled
    assert [str(p) for p in collection.problems] == ["AB.xml: may belong to Ab.png, aB.png: which?"]


def test_images_of_one_name_are_one_crop(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "A.svs", "a.ome.tif", "a.xml", "a.geojson")
    (crop,) = open_collection(tmp_path).crops
    assert crop.image.name == "A.svs"
    assert [p.name for p in crop.others] == ["a.tif", "a.ome.tif"]
    assert crop.annotation is not None
    assert crop.annotation.name == "a.xml"
