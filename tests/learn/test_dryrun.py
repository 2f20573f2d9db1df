"""What the dry run says of the annotations that it opens."""

from __future__ import annotations

import json

import pytest

from napari_monusac.io.annotations.files import read_annotation, write_annotation

pytestmark = pytest.mark.torch


def _as_geojson(xml, features) -> None:
    """The annotation as QuPath's file, with objects more."""
    geojson = xml.with_suffix(".geojson")
    write_annotation(read_annotation(xml), geojson)
    content = json.loads(geojson.read_text())
    content["features"] += features
    geojson.write_text(json.dumps(content))
    xml.unlink()


@pytest.mark.parametrize("crops", [1, 5])
def test_what_an_annotation_holds_that_is_no_nucleus_is_said_crop_by_crop(
    tiny_recipe, make_run, make_collection, tmp_path, crops
):
    from napari_monusac.learn.dryrun import dry_run

    data = make_collection(tmp_path / "copy")
    files = sorted(data.rglob("*.xml"))[:crops]
    beyond = {"type": "Polygon", "coordinates": [[[900, 900], [950, 900], [950, 950], [900, 900]]]}
    properties = {"objectType": "annotation", "classification": {"name": "Lymphocyte"}}
    for xml in files:
        _as_geojson(
            xml,
            [
                {"type": "Feature", "geometry": None, "properties": {}},
                {"type": "Feature", "geometry": beyond, "properties": properties},
            ],
        )
    run = make_run(tiny_recipe, data=data)
    report = dry_run(tiny_recipe, run, device="cpu")
    assert report.problems == ()
    said = [n for n in report.notes if n.startswith("annotation of ")]
    assert len(said) == crops
    assert {n.split(":")[0] for n in said} == {f"annotation of {xml.stem}" for xml in files}
    assert all("objects are kept but are no nuclei: 1 without a geometry" in n for n in said)
    assert (
        f"in the annotations of {crops} crops, left out: {crops} outside the image, {crops} shapes without an area"
        in report.notes
    )
    assert all(f"Note: {n}" in report.summary() for n in said)


def test_more_than_five_notes_are_counted(tiny_recipe, make_run, make_collection, tmp_path, monkeypatch):
    from napari_monusac.learn import dryrun

    monkeypatch.setattr(dryrun, "_SAID", 2)
    data = make_collection(tmp_path / "copy")
    for xml in data.rglob("*.xml"):
        _as_geojson(xml, [{"type": "Feature", "geometry": None, "properties": {}}])
    report = dryrun.dry_run(tiny_recipe, make_run(tiny_recipe, data=data), device="cpu")
    assert sum(n.startswith("annotation of ") for n in report.notes) == 2
    assert report.notes[-1] == "and 3 notes more like these"
