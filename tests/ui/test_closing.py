"""Closing napari while a run is going on: a thread's run saves and ends, a child's goes on and can be watched again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_monusac.io.runs.run_folder import RunFolder, find_runs

pytestmark = pytest.mark.torch

_SCRIPT = """
import sys
from pathlib import Path
import napari
from qtpy.QtCore import QTimer
from napari_monusac.core.recipe import load_recipe

folder, recipe, runs, where = Path(sys.argv[1]), load_recipe(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
viewer = napari.Viewer()
_, studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")
studio.model.training.runs_folder = runs
panel = studio.panels["Train"]
panel.training.draft.take(recipe)
panel.training.data = folder
panel.form.device.setCurrentIndex(panel.form.device.findData("cpu"))
panel.form.where.setCurrentIndex(0 if where == "thread" else 1)
panel.start_training()

def close_when_it_runs():
    if panel.training.progress.step >= 2:
        viewer.close()

timer = QTimer()
timer.setInterval(50)
timer.timeout.connect(close_when_it_runs)
timer.start()
napari.run()
print("closed")
"""


def close_while_training(folder, recipe, tmp_path, where):
    (tmp_path / "long.toml").write_text(recipe.with_values(epochs=400).to_toml(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder), str(tmp_path / "long.toml"), str(tmp_path / "runs"), where],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "closed" in done.stdout
    (run,) = find_runs(tmp_path / "runs")
    return run


@pytest.mark.gui
def test_a_run_in_the_window_saves_and_ends(tissue_folder, tiny_recipe, tmp_path):
    run = close_while_training(tissue_folder, tiny_recipe, tmp_path, "thread")
    assert run.status == "stopped"
    assert run.last.is_file()


def test_a_run_of_its_own_goes_on_is_found_again_and_stopped(
    studio, qtbot, tissue_folder, tiny_recipe, tmp_path, settle
):
    run = close_while_training(tissue_folder, tiny_recipe, tmp_path, "child")
    assert run.status in ("starting", "running")
    panel = studio.panels["Train"]
    studio.model.training.runs_folder = tmp_path / "runs"
    panel.training.list_runs()
    qtbot.waitUntil(lambda: panel.runs.table.rowCount() == 1, timeout=30_000)
    qtbot.waitUntil(lambda: RunFolder.open(run.path).status == "running", timeout=60_000)
    panel.training.list_runs()
    settle()
    # it is pointed at without a click
    assert [r.path for r in panel.runs.selected()] == [run.path]
    assert "another process" in panel.runs.note.text()
    assert panel.runs.watch.isEnabled()
    panel.runs.watch.click()
    qtbot.waitUntil(lambda: panel.training.progress.step > 0, timeout=60_000)
    panel.stop.click()
    qtbot.waitUntil(lambda: not panel.training.running, timeout=60_000)
    settle()
    # its process takes a moment to go after its last word: the status does not wait for that
    qtbot.waitUntil(lambda: not RunFolder.open(run.path).is_alive, timeout=60_000)
    assert RunFolder.open(run.path).status == "stopped"
    # and the same run is resumed, in this window now
    done = panel.training.progress.step
    panel.training.resume(run)
    qtbot.waitUntil(lambda: panel.training.progress.step > done, timeout=120_000)
    panel.stop.click()
    qtbot.waitUntil(lambda: not panel.training.running, timeout=60_000)
    settle()
    assert RunFolder.open(run.path).status == "stopped"
