"""Closing napari: a thread's run saves and ends, or goes over to a process that can be watched again; edits are kept."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from qtpy.QtWidgets import QMessageBox

from napari_monusac.editing.commands import Delete
from napari_monusac.io.runs.run_folder import RunFolder, find_runs
from napari_monusac.ui.widgets.closing import ClosingWatch

pytestmark = pytest.mark.torch

_SCRIPT = """
import sys
from pathlib import Path
import napari
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from napari_monusac.core.recipe import load_recipe
from napari_monusac.ui.widgets.closing import ClosingWatch

folder, recipe, runs, where = Path(sys.argv[1]), load_recipe(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
answers = sys.argv[5:]
viewer = napari.Viewer()
_, studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")
studio.model.training.runs_folder = runs
panel = studio.panels["Train"]
panel.training.draft.take(recipe)
panel.training.data = folder
panel.form.device.setCurrentIndex(panel.form.device.findData("cpu"))
panel.form.where.setCurrentIndex(1 if where == "child" else 0)
panel.start_training()

window, closed = studio.window(), False

def close_when_it_runs():
    global closed
    if not isalive(window):
        return
    watch = window.findChild(ClosingWatch)
    if watch is not None and watch.asking is not None:
        print("asked", watch.asking.text())
        next(b for b in watch.asking.buttons() if b.text() == answers[0]).click()
        assert answers.pop(0) != "Stay" or window.isVisible()
    elif panel.training.progress.step >= 2 and answers and panel.training.state == "running":
        window.close()  # as its user does
    elif panel.training.progress.step >= 2 and where != "asked" and not closed:
        closed = True
        viewer.close()  # as a program does: nobody is asked

timer = QTimer()
timer.setInterval(50)
timer.timeout.connect(close_when_it_runs)
timer.start()
napari.run()
print("closed")
"""


def close_while_training(folder, recipe, tmp_path, where, *answers):
    (tmp_path / "long.toml").write_text(recipe.with_values(epochs=400).to_toml(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder), str(tmp_path / "long.toml"), str(tmp_path / "runs"), where, *answers],
        capture_output=True, text=True, timeout=480, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "closed" in done.stdout
    assert done.stdout.count("asked") == len(answers)
    (run,) = find_runs(tmp_path / "runs")
    return run


@pytest.mark.gui
def test_a_run_in_the_window_saves_and_ends(tissue_folder, tiny_recipe, tmp_path):
    run = close_while_training(tissue_folder, tiny_recipe, tmp_path, "thread")
    assert run.status == "stopped"
    assert run.last.is_file()


@pytest.mark.gui
def test_a_user_who_closes_the_window_is_asked_and_may_stay(tissue_folder, tiny_recipe, tmp_path):
    run = close_while_training(tissue_folder, tiny_recipe, tmp_path, "asked", "Stay", "Stop and save")
    assert run.status == "stopped"
    assert run.last.is_file()


@pytest.mark.gui
def test_a_run_goes_on_in_its_own_process_when_its_window_is_closed(tissue_folder, tiny_recipe, tmp_path):
    run = close_while_training(tissue_folder, tiny_recipe, tmp_path, "asked", "Go on in its own process")
    try:
        assert run.is_alive
        assert run.status in ("starting", "running")
        starts = [e for e in run.read_events() if e.kind == "run-started"]
        assert len(starts) == 2
        assert starts[1].first_step >= 2, "from where it was"
    finally:
        run.request_stop()
    end = time.monotonic() + 60
    while run.is_alive and time.monotonic() < end:
        time.sleep(0.1)
    assert run.status == "stopped"


@pytest.mark.parametrize("panel", ["Slides", "Annotate", "Review"])
def test_unsaved_edits_are_said_to_be_kept_whatever_panel_is_shown(opened, panel, qtbot, monkeypatch):
    studio, window = opened, opened.window()
    qtbot.waitUntil(lambda: studio.model.editing.session is not None, timeout=30_000)
    session = studio.model.editing.session
    studio.model.editing.do(Delete((next(iter(session.maps.boxes)),)))
    studio.show_panel(panel)
    window.close()
    watch = window.findChild(ClosingWatch)
    assert watch.asking is not None
    assert studio.model.crop.name in watch.asking.text()
    assert "kept" in watch.asking.text()
    assert window.isVisible()
    window.close()
    boxes = [b for b in window.findChildren(QMessageBox) if b.isVisible()]
    assert boxes == [watch.asking], "one question, however often it is asked for"
    next(b for b in watch.asking.buttons() if b.text() == "Stay").click()
    assert watch.asking is None
    assert window.isVisible()
    assert session.unsaved
    window.close()
    closed = []
    with monkeypatch.context() as here:
        here.setattr(window, "close", lambda: closed.append(session.unsaved))  # the fixture closes it itself
        next(b for b in watch.asking.buttons() if b.text() == "Save and close").click()
        qtbot.waitUntil(lambda: bool(closed), timeout=30_000)
        assert closed == [False], "once it is saved"
        studio.model.editing.do(Delete((next(iter(session.maps.boxes)),)))
        type(window).close(window)
        next(b for b in watch.asking.buttons() if b.text() == "Close, keep them for later").click()
        assert closed == [False, True], "unsaved, and kept in the journal"
    qtbot.wait(50)  # the question goes


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
