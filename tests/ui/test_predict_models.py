"""The model that the user chose stays chosen; one that cannot be read is one line."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def panel(opened, tiny_run, settle):
    """The Predict panel with three runs: "three" is the newest."""
    folder = opened.model.runs_folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("one", "two", "three"):
        shutil.copytree(tiny_run, folder / name)
        time.sleep(0.02)
    panel = opened.panels["Predict"]
    panel.list_models()
    settle()
    return panel


def names(panel):
    return [Path(panel.models.itemData(i)).name for i in range(panel.models.count())]


def chosen(panel):
    return Path(panel.models.currentData()).name


def test_a_new_run_does_not_take_the_choice_away(panel, tiny_run, settle):
    newest = names(panel)[0]
    assert chosen(panel) == newest
    shutil.copytree(tiny_run, panel.model.runs_folder / "four")
    panel.model.run_ended.emit(None)
    settle()
    assert chosen(panel) == names(panel)[0]  # nobody has chosen: the newest
    panel.models.setCurrentIndex(2)
    mine = chosen(panel)
    shutil.copytree(tiny_run, panel.model.runs_folder / "five")
    panel.model.run_ended.emit(None)
    settle()
    assert "five" in names(panel)
    assert chosen(panel) == mine
    shutil.rmtree(panel.model.runs_folder / mine)
    panel.list_models()
    settle()
    assert chosen(panel) == names(panel)[0]  # what is gone is no choice


def test_a_file_stays_chosen_and_is_offered_once(panel, tiny_run, settle):
    for _ in range(2):
        panel.add_checkpoint(tiny_run / "best.safetensors")
    panel.list_models()
    settle()
    assert panel.models.currentText() == "File: best.safetensors"
    assert panel.models.count() == 4


@pytest.mark.parametrize("fault", ["run without a model", "run gone", "file gone", "text", "empty"])
def test_a_model_that_cannot_be_read_is_one_line(panel, tiny_run, tmp_path, qtbot, settle, fault):
    if fault.startswith("run"):
        path = Path(panel.models.currentData())
        shutil.rmtree(path)
        if fault == "run without a model":
            path.mkdir()
    else:
        path = tmp_path / "model.safetensors"
        path.write_text("" if fault == "empty" else "these are the notes of a pathologist\n" * 20)
        panel.add_checkpoint(path)
        if fault == "file gone":
            path.unlink()
    with qtbot.captureExceptions() as raised:
        panel.predict()
        settle()
    assert not raised
    line = panel.progress.label.text()
    assert line.startswith(str(path))
    assert " — " in line  # the mend
    assert "fault in napari-monusac" not in line
    assert "\n" not in line
    assert panel.start.isEnabled()
