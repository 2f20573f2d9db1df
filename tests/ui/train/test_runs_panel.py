"""The table of runs in a real window: runs compared, the time-lapse shown and put away."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest

from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.ui.train import runs_table

pytestmark = pytest.mark.torch


@pytest.fixture
def runs(studio, tiny_run, settle):
    """Two finished runs in the runs folder; the second's recipe was dropout 0.5. Returns the Train panel."""
    for name in ("first", "second"):
        shutil.copytree(tiny_run, studio.model.training.runs_folder / name)
    second = RunFolder.open(studio.model.training.runs_folder / "second")
    second.update_recipe(second.recipe.with_values(dropout=0.5))
    studio.show_panel("Train")
    panel = studio.panels["Train"]
    panel.training.list_runs()
    settle()
    assert panel.runs.table.rowCount() == 2
    return panel


def cells(table):
    return {
        table.verticalHeaderItem(r).text(): [table.item(r, c).text() for c in range(table.columnCount())]
        for r in range(table.rowCount())
    }


def test_two_runs_are_laid_over_each_other_with_their_differences(runs, settle, tiny_recipe):
    assert not runs.runs.compare.isEnabled()
    runs.runs.table.selectAll()
    runs.runs.compare.click()
    settle()
    assert runs.compared.isVisible()
    assert not runs.curves.isVisible()
    table = cells(runs.compared.table)
    assert sorted(table["dropout"]) == sorted([str(tiny_recipe.dropout), "0.5"])
    assert "lr" not in table
    assert table["steps"] == ["12", "12"]
    folder = runs.training.runs_folder / "first"
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert table["best combo"] == [f"{max(float(r['combo']) for r in rows):.3f}"] * 2
    runs.compared.measure.setCurrentText("Loss in training")
    drawn = runs.compared.plot.listDataItems()
    assert len(drawn) == 2
    np.testing.assert_allclose(drawn[0].getData()[1], [float(r["train_loss"]) for r in rows], rtol=1e-4)
    runs.compared.back.click()
    assert not runs.compared.isVisible()


def test_the_time_lapse_is_scrubbed_and_put_away(runs, opened, viewer, settle, tissue_folder, tiny_recipe):
    before, zoom = list(viewer.layers), viewer.scene.camera.zoom
    right = viewer.layers.extent.world[1][-1]
    runs.runs.table.selectRow(0)
    runs.runs.timelapse.click()
    settle()
    assert runs.lapse.shown
    names = [layer.name for layer in viewer.layers if layer not in before]
    assert names == [f"time-lapse {n}" for n in ("tissue", "truth", "semantic", "ternary")]
    assert viewer.dims.nsteps[0] == tiny_recipe.epochs
    assert viewer.dims.current_step[0] == tiny_recipe.epochs - 1
    ternary = viewer.layers["time-lapse ternary"]
    assert ternary.extent.world[0][-1] > right
    run = RunFolder.open(runs.training.runs_folder / "first")
    crop = run.split.validation[0]
    frame = np.load(run.timelapse / "epoch-0002.npz")[f"{crop}/ternary"]
    np.testing.assert_array_equal(np.asarray(ternary.data[1])[: frame.shape[0], : frame.shape[1]], frame)
    truth = label_maps(opened.model.collection.annotation(opened.model.collection.crop(crop)), frame.shape).instances
    shown = viewer.layers["time-lapse truth"].data[: frame.shape[0], : frame.shape[1]]
    np.testing.assert_array_equal(shown, truth)
    viewer.dims.set_current_step(0, 0)
    overlays = viewer.canvas.overlays
    assert overlays["monusac_lapse_epoch"].text.strip() == f"Epoch 1 of {tiny_recipe.epochs}"
    assert overlays["monusac_lapse_combo"].text.strip() == f"combo {run.epochs()[0].scores.combo:.2f}"
    runs.runs.timelapse.click()
    assert list(viewer.layers) == before
    assert viewer.scene.camera.zoom == pytest.approx(zoom)
    assert not [name for name in overlays if name.startswith("monusac_lapse")]


def test_deleted_layers_end_the_time_lapse(runs, viewer, settle):
    runs.runs.table.selectRow(0)
    runs.runs.timelapse.click()
    settle()
    assert runs.runs.timelapse.text() == "Close time-lapse"
    viewer.layers.remove("time-lapse ternary")
    assert runs.lapse.shown
    viewer.layers.remove("time-lapse semantic")
    assert not runs.lapse.shown
    assert len(viewer.layers) == 0
    assert runs.runs.timelapse.text() == "Time-lapse"


def test_a_time_lapse_without_its_data_says_so(runs, viewer, settle, tmp_path):
    run = RunFolder.open(runs.training.runs_folder / "first")
    run.update_info(data=str(tmp_path / "gone"))
    runs.training.list_runs()
    settle()
    row = next(r for r in range(2) if runs.runs.table.item(r, 0).text() == "first")
    runs.runs.table.selectRow(row)
    runs.runs.timelapse.click()
    settle()
    assert [layer.name for layer in viewer.layers] == ["time-lapse semantic", "time-lapse ternary"]
    assert "without tissue" in runs.runs.note.text()


def test_a_run_is_renamed_noted_removed_and_brought_back(runs, settle, monkeypatch):
    table = runs.runs.table
    assert not runs.runs.undo.isVisible()
    table.selectRow(0)
    path = runs.runs.selected()[0].path
    monkeypatch.setattr(runs_table.QInputDialog, "getText", lambda *_, **__: ("Leber 2", True))
    monkeypatch.setattr(runs_table.QInputDialog, "getMultiLineText", lambda *_: ("mit Flips", True))
    runs.runs.rename.click()
    settle()
    runs.runs.write_note.click()
    settle()
    row = next(r for r in range(2) if table.item(r, 0).text() == "Leber 2")
    assert table.item(row, 0).toolTip().startswith("mit Flips")
    assert path.is_dir(), "its folder stays as it is"
    table.selectRow(row)
    runs.runs.remove.click()
    settle()
    assert table.rowCount() == 1
    assert "Leber 2 removed" in runs.runs.note.text()
    runs.runs.undo.click()
    settle()
    assert table.rowCount() == 2
    assert not runs.runs.undo.isVisible()
    assert path.is_dir()
