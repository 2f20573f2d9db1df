"""The model that the user chose stays chosen; one that cannot be read is one line."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from qtpy.QtWidgets import QScrollArea

pytestmark = pytest.mark.torch


@pytest.fixture
def panel(opened, tiny_run, settle):
    """The Predict panel with three runs: "three" is the newest."""
    folder = opened.model.training.runs_folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("one", "two", "three"):
        shutil.copytree(tiny_run, folder / name)
        time.sleep(0.02)
    panel = opened.panels["Predict"]
    panel.predicting.list_models()
    settle()
    return panel


def names(panel):
    return [Path(panel.models.itemData(i)).name for i in range(panel.models.count())]


def chosen(panel):
    return Path(panel.models.currentData()).name


def test_a_new_run_does_not_take_the_choice_away(panel, tiny_run, settle):
    newest = names(panel)[0]
    assert chosen(panel) == newest
    shutil.copytree(tiny_run, panel.model.training.runs_folder / "four")
    panel.model.training.ended.emit(None)
    settle()
    assert chosen(panel) == names(panel)[0]  # nobody has chosen: the newest
    panel.models.setCurrentIndex(2)
    mine = chosen(panel)
    shutil.copytree(tiny_run, panel.model.training.runs_folder / "five")
    panel.model.training.ended.emit(None)
    settle()
    assert "five" in names(panel)
    assert chosen(panel) == mine
    shutil.rmtree(panel.model.training.runs_folder / mine)
    panel.predicting.list_models()
    settle()
    assert chosen(panel) == names(panel)[0]  # what is gone is no choice


def test_a_file_stays_chosen_and_is_offered_once(panel, tiny_run, settle):
    for _ in range(2):
        panel.predicting.offer(tiny_run / "best.safetensors")
    panel.predicting.list_models()
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
        panel.predicting.offer(path)
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


def test_a_run_that_was_stopped_before_its_first_score_can_predict(panel, tiny_run, settle):
    run = panel.model.training.runs_folder / "a stopped one"
    shutil.copytree(tiny_run, run)
    shutil.copy(run / "best.safetensors", run / "last.safetensors")
    (run / "best.safetensors").unlink()
    for record in ("metrics.csv", "events.jsonl"):
        (run / record).unlink()
    panel.predicting.list_models()
    settle()
    assert names(panel)[-1] == "a stopped one"
    assert chosen(panel) != "a stopped one"  # offered, but what was scored comes first, and is taken


def test_a_long_name_makes_no_panel_wider_than_its_dock(opened, panel, tiny_run, settle, viewer):
    viewer.window.resize(1280, 800)
    opened.show_panel("Predict")
    shutil.copytree(
        tiny_run, panel.model.training.runs_folder / ("a run with a name that somebody was generous with " * 2)
    )
    panel.predicting.list_models()
    settle()
    area = panel
    while not isinstance(area, QScrollArea):
        area = area.parentWidget()
    assert area.widget().minimumSizeHint().width() <= area.viewport().width()


def test_the_result_says_whose_it_is_and_a_second_one_can_be_asked_for(panel, viewer, settle):
    panel.models.setCurrentIndex(1)
    mine = chosen(panel)
    panel.predict()
    assert not panel.choice.isEnabled()
    settle()
    assert f"Predicted by {mine}: whole image" in panel.engine.text()
    assert panel.choice.isEnabled()
    assert panel.start.isEnabled()


def test_draw_it_makes_ready_for_a_rectangle(panel, viewer, settle):
    assert not panel.part.draw.isVisibleTo(panel)
    panel.region.setCurrentText("Drawn rectangle")
    panel.part.draw.click()
    layer = viewer.layers.selection.active
    assert str(layer.mode) == "add_rectangle"
    assert "Drag" in panel.hint.text()
    assert panel.image.image is not None
    layer.add_rectangles([[10, 20], [10, 120], [90, 120], [90, 20]])
    assert layer.face_color[0][3] == 0, "tissue is seen through it"
    panel.part.draw.click()
    assert len([la for la in viewer.layers if la.name == "region"]) == 1
    panel.predict()
    settle()
    found = next(la for la in viewer.layers if la.name == "predicted nuclei")
    assert found.data.shape == (80, 100)
    assert "y 10 to 90, x 20 to 120 px" in panel.engine.text()
