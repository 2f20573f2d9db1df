"""The dry run tries everything and changes nothing."""

from __future__ import annotations

import pytest

from napari_monusac.core.errors import Cancelled

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
