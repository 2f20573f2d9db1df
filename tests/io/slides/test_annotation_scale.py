from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_monusac.io.annotations.aperio import read_aperio
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.slides.annotation_scale import annotation_um_per_px, scale_beside
from napari_monusac.io.slides.slide import open_slide

HEAD = '<?xml version="1.0" encoding="{}"?>\n<Annotations MicronsPerPixel="{}"></Annotations>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("text", ["0.25", "0,2500", "2.5e-01"])
def test_xml_of_any_encoding_and_spelling(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(HEAD.format(encoding.replace("-sig", ""), text).encode(encoding))
    assert annotation_um_per_px(path) == 0.25


@pytest.mark.parametrize("text", ["0.252", "0,2520", "2.52e-01"])
def test_the_annotation_reads_the_same_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(HEAD.format("utf-8", text))
    assert read_aperio(path).um_per_px == 0.252


@pytest.mark.parametrize("text", ["", "0", "-1", "unknown", "nan", "inf"])
def test_what_is_no_scale_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(HEAD.format("utf-8", text))
    assert annotation_um_per_px(path) is None
    assert read_aperio(path).um_per_px is None
    assert annotation_um_per_px(tmp_path / "missing.xml") is None


@pytest.mark.parametrize("where", ["first", "last"])
def test_our_geojson_says_it_before_or_behind_its_features(tmp_path: Path, where: str) -> None:
    features = [{"type": "Feature", "properties": {"name": "x" * 100}} for _ in range(3000)]
    parts = {"type": "FeatureCollection", "umPerPx": 0.5, "features": features}
    if where == "last":
        parts["umPerPx"] = parts.pop("umPerPx")
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(parts))
    assert path.stat().st_size > 2**18
    assert annotation_um_per_px(path) == 0.5


@pytest.mark.parametrize(
    ("image", "annotation"),
    [
        ("a.png", "a.xml"), ("a.PNG", "a.XML"), ("a.png", "a.Xml"), ("Crop1.png", "crop1.xml"), ("a.png", "a.png.xml"),
        ("a.ome.png", "a.xml"), ("a.png", "a.geojson"), ("a.png", "a.GeoJSON"), ("a.png", "a.png.geojson"),
        (unicodedata.normalize("NFD", "Müller.png"), unicodedata.normalize("NFC", "Müller.xml")),
    ],
)  # fmt: skip
def test_the_annotation_beside_the_image_gives_its_scale(tmp_path: Path, image: str, annotation: str) -> None:
    Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(tmp_path / image, "PNG")
    text = HEAD.format("utf-8", "0,5") if annotation.lower().endswith("xml") else '{"umPerPx": 0.5, "features": []}'
    (tmp_path / annotation).write_text(text)
    kind = "xml" if annotation.lower().endswith("xml") else "geojson"
    assert scale_beside(tmp_path / image) == (0.5, kind)
    with open_slide(tmp_path / image) as slide:
        assert (slide.um_per_px, slide.um_per_px_source) == (0.5, kind)


def test_another_images_annotation_is_not_asked(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.xml").write_text(HEAD.format("utf-8", "0.5"))
    (tmp_path / "ab.xml").write_text(HEAD.format("utf-8", "0.5"))
    assert scale_beside(tmp_path / "a.png") is None


def test_a_collection_asks_the_annotation_that_it_paired(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(HEAD.format("utf-16", "0.4"), encoding="utf-16")
    collection = open_collection(tmp_path, um_per_px=0.7)
    with collection.open(collection.crops[0]) as slide:
        assert (slide.um_per_px, slide.um_per_px_source) == (0.4, "xml")
