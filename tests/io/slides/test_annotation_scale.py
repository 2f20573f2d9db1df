from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_monusac.io.annotations.aperio import read_aperio
from napari_monusac.io.annotations.geojson import read_geojson
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


@pytest.mark.parametrize(
    ("images", "annotations"),
    [("Tissue Images", "Annotations"), ("train/images", "train/labels"), ("images/train/a", "labels/train/a")],
)
def test_an_annotation_on_the_next_shelf_gives_the_scale(tmp_path: Path, images: str, annotations: str) -> None:
    for folder in (images, annotations):
        (tmp_path / folder).mkdir(parents=True)
    image = tmp_path / images / "a.png"
    Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(image)
    (tmp_path / annotations / "b.xml").write_text(HEAD.format("utf-8", "0.7"))
    assert scale_beside(image) is None
    (tmp_path / annotations / "a.xml").write_text(HEAD.format("utf-8", "0.5"))
    with open_slide(image) as slide:
        assert (slide.um_per_px, slide.um_per_px_source) == (0.5, "xml")
    (image.parent / "a.xml").write_text(HEAD.format("utf-8", "0.4"))  # what lies beside it comes first
    assert scale_beside(image) == (0.4, "xml")


def test_an_annotation_in_a_folder_that_is_no_shelf_is_not_asked(tmp_path: Path) -> None:
    for folder in ("patient 1", "patient 2"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(tmp_path / "patient 1" / "a.png")
    (tmp_path / "patient 2" / "a.xml").write_text(HEAD.format("utf-8", "0.5"))
    assert scale_beside(tmp_path / "patient 1" / "a.png") is None


def test_an_annotation_that_contradicts_the_image_is_said(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.full((20, 20, 3), 200, np.uint8), photometric="rgb", description="MPP = 0.5"
    )
    for text, said in (("0.25", True), ("0.501", False), ("unknown", False)):
        (tmp_path / "a.xml").write_text(HEAD.format("utf-8", text))
        with open_slide(tmp_path / "a.tif") as slide:
            assert slide.um_per_px == 0.5
            assert any("0.5 um/px" in note and "0.25" in note for note in slide.notes) is said
            assert slide.notes == slide.scale.notes  # so that a prediction says it, too
    with open_slide(tmp_path / "a.tif", um_per_px=0.3) as slide:
        assert (slide.um_per_px, slide.notes) == (0.3, ())


@pytest.mark.parametrize(
    ("declared", "written"),
    [(' encoding="UTF-8"', "utf-16"), (' encoding="UTF-8"', "utf-16-le"), ("", "utf-16-be"),
     (' encoding="ISO-8859-1"', "latin-1"), ("", "utf-8-sig"), (' encoding="UTF-16"', "utf-16-be")],
)  # fmt: skip
def test_the_bytes_go_before_a_wrong_declaration(tmp_path: Path, declared: str, written: str) -> None:
    region = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((2, 2), (9, 2), (9, 9)))
    text = (
        f'<?xml version="1.0"{declared}?><Annotations MicronsPerPixel="0,25"><Annotation Name="Gewächs"><Regions>'
        f"<Region><Vertices>{region}</Vertices></Region></Regions></Annotation></Annotations>"
    )
    path = tmp_path / "a.xml"
    path.write_bytes(text.encode(written))
    annotation = read_aperio(path)
    assert annotation_um_per_px(path) == annotation.um_per_px == 0.25
    assert len(annotation.regions) == 1
    assert dict(annotation.layers[0].attributes)["Name"] == "Gewächs"


@pytest.mark.parametrize("number", [0.25, "0,25", "0.25 um"])
def test_slide_and_geojson_reader_agree_on_the_scale(tmp_path: Path, number: object) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "umPerPx": number, "features": []}))
    assert annotation_um_per_px(path) == read_geojson(path).um_per_px == 0.25
