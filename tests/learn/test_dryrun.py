"""The dry run tries everything, changes nothing, and says what the annotations hold."""

from __future__ import annotations

import json

import pytest

from napari_monusac.core.errors import Cancelled
from napari_monusac.io.annotations.files import read_annotation, write_annotation

pytestmark = pytest.mark.torch


def test_a_dry_run_tries_everything_and_leaves_the_folder(tiny_recipe, make_run):
    from napari_monusac.learn.dryrun import dry_run

    run = make_run(tiny_recipe)
    before = {p.name: p.read_bytes() for p in run.path.iterdir()}
    told = []
    report = dry_run(tiny_recipe, run, device="cpu", progress=lambda f, line: told.append((f, line)))
    assert not report.problems
    assert report.crops == report.crops_opened == 5
    assert report.seconds_per_step > 0
    assert report.seconds_per_epoch == pytest.approx(3 * report.seconds_per_step + report.seconds_per_validation)
    assert report.seconds_total == pytest.approx(2 * report.seconds_per_epoch)
    assert report.memory_mib > 50
    assert [f for f, _ in told] == sorted(f for f, _ in told)
    assert told[-1][0] == 1.0
    assert "5 of 5 crops can be read" in report.summary()
    assert {p.name: p.read_bytes() for p in run.path.iterdir()} == before
    assert run.status == "new"


def test_fewer_validations_take_less_time(tiny_recipe, make_run):
    from napari_monusac.learn.dryrun import dry_run

    recipe = tiny_recipe.with_values(epochs=7, validate_every=3)
    report = dry_run(recipe, make_run(recipe), device="cpu")
    assert (report.epochs, report.steps, report.validations) == (7, 21, 3), "after epochs 3, 6 and 7"
    wanted = 21 * report.seconds_per_step + 3 * report.seconds_per_validation
    assert report.seconds_total == pytest.approx(wanted)


def test_a_dry_run_names_what_is_wrong(tiny_recipe, make_run, make_collection, tmp_path):
    from napari_monusac.learn.dryrun import dry_run

    data = make_collection(tmp_path / "copy")
    run = make_run(tiny_recipe, data=data)
    name = run.split.training[0]
    next(data.rglob(f"{name}.tif")).write_bytes(b"II*\0broken")
    report = dry_run(tiny_recipe, run, device="cpu")
    assert report.crops_opened == 4
    assert report.problems == (), "the run goes on without it"
    assert len(report.left_out) == 1
    assert name in report.left_out[0]
    assert f"Left out: crop {name}: " in report.summary()
    lost = tiny_recipe.with_values(encoder_weights="/nowhere.pth")
    assert "no such weights file" in dry_run(lost, run, device="cpu").problems[0]
    with pytest.raises(Cancelled):
        dry_run(tiny_recipe, run, device="cpu", should_stop=lambda: True)


def test_a_dry_run_says_what_is_in_no_mask(tiny_recipe, make_run, make_collection, tmp_path):
    from napari_monusac.learn.dryrun import dry_run

    data = make_collection(tmp_path / "data")
    for path in data.rglob("*.xml"):
        beyond = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((900, 900), (910, 900), (905, 910)))
        text = f'<Region Id="99"><Vertices>{beyond}</Vertices></Region></Regions></Annotation>'
        path.write_text(path.read_text().replace("</Regions></Annotation>", text, 1))
    report = dry_run(tiny_recipe, make_run(tiny_recipe, data=data), device="cpu")
    assert "in the annotations of 5 crops, left out: 5 outside the image" in report.notes
    assert "Note: in the annotations of 5 crops, left out: 5 outside the image" in report.summary()
    clean = dry_run(tiny_recipe, make_run(tiny_recipe, name="other"), device="cpu")
    assert not any("left out" in note for note in clean.notes)


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
