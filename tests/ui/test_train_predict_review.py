"""The main job in a real window: train, stop, predict, review."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from napari_monusac.app.prediction_jobs import PredictedImage
from napari_monusac.core.events import BatchEnded, RunEnded
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.runs.run_folder import RunFolder, find_runs
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.ui.canvas import canvas, comparing

pytestmark = pytest.mark.torch


def choose(panel, recipe):
    panel.form.recipes.setCurrentText("quick")
    panel.training.draft.take(recipe)
    panel.form.device.setCurrentIndex(panel.form.device.findData("cpu"))


def test_run_8_is_the_default_and_shows_what_the_source_reports(studio):
    panel = studio.panels["Train"]
    assert panel.form.recipes.currentText() == "run-8"
    assert "other split" in panel.form.about.text()
    assert "0.68" in panel.form.about.text()
    assert panel.training.draft.recipe.name == "run-8"


def test_changed_values_are_marked_and_wrong_ones_block_the_start(studio):
    panel = studio.panels["Train"]
    panel.form.editor.set_values(lr=0.001)
    assert "lr 0.001" in panel.form.effective.text()
    panel.form.editor.set_values(lr="fast")
    assert panel.training.draft.recipe is None
    assert panel.form.editor._faults["lr"].text() == "must be a number (such as 0.0001 or 1e-4), not 'fast'"
    assert panel.form.editor._faults["lr"].isVisibleTo(panel.form.editor)
    assert "learning rate (lr): must be a number" in panel.form.effective.text()
    assert not panel.start.isEnabled()


def test_training_runs_to_its_end_and_the_model_is_offered(opened, qtbot, tiny_recipe, settle):
    panel = opened.panels["Train"]
    choose(panel, tiny_recipe)
    panel.start.click()
    qtbot.waitUntil(lambda: panel.training.running, timeout=60_000)
    assert panel.stop.isEnabled()
    assert not panel.start.isEnabled()
    qtbot.waitUntil(lambda: not panel.training.running, timeout=120_000)
    settle()
    assert "Training is done" in panel.run.status.text()
    assert panel.start.isEnabled()
    run = find_runs(opened.model.training.runs_folder)[0]
    assert run.status == "completed"
    assert run.best.is_file()
    assert len(panel.curves._data["combo"][0]) == tiny_recipe.epochs
    assert panel.runs.table.rowCount() == 1
    assert opened.panels["Predict"].models.currentData() == str(run.path)


def test_stop_answers_within_a_batch_and_keeps_the_model(opened, qtbot, tiny_recipe, settle):
    panel = opened.panels["Train"]
    choose(panel, tiny_recipe.with_values(epochs=500))
    seen = []
    panel.training.events.connect(seen.extend)
    panel.start.click()
    qtbot.waitUntil(lambda: any(isinstance(e, BatchEnded) for e in seen), timeout=120_000)
    run = panel.training.run
    panel.stop.click()
    qtbot.waitUntil(lambda: not panel.training.running, timeout=60_000)
    settle()
    ends = [e for e in run.read_events() if isinstance(e, RunEnded)]
    assert [e.reason for e in ends] == ["stopped"]
    assert run.last.is_file()
    assert panel.start.isEnabled()
    assert RunFolder.open(run.path).status == "stopped"
    # and it goes on from there
    panel.training.resume(run)
    qtbot.waitUntil(lambda: panel.training.progress.step > ends[0].step, timeout=120_000)
    panel.stop.click()
    qtbot.waitUntil(lambda: not panel.training.running, timeout=60_000)
    settle()


def test_the_window_stays_alive_while_training(opened, qtbot, tiny_recipe, settle):
    """Not a timing: the event loop must turn many times between two events of the run."""
    from qtpy.QtCore import QTimer

    panel = opened.panels["Train"]
    choose(panel, tiny_recipe)
    turns = []
    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(lambda: turns.append(time.monotonic()))
    timer.start()
    panel.start.click()
    qtbot.waitUntil(lambda: panel.training.running, timeout=60_000)
    qtbot.waitUntil(lambda: not panel.training.running, timeout=120_000)
    assert len(turns) > 50
    settle()


def test_predict_then_review(opened, viewer, qtbot, tiny_run, settle):
    predict, review = opened.panels["Predict"], opened.panels["Review"]
    predict.predicting.offer(tiny_run)
    predict.predict()
    qtbot.waitUntil(lambda: canvas.find_layer(viewer, "predicted nuclei") is not None, timeout=120_000)
    opened.show_panel("Review")  # which compares what is open once it is looked at
    qtbot.waitUntil(lambda: review.model.comparison is not None, timeout=60_000)
    settle()
    image = canvas.find_layer(viewer, "image")
    for role in ("predicted semantic", "predicted ternary", "predicted nuclei"):
        layer = canvas.find_layer(viewer, role)
        assert layer.data.shape == image.data.shape[:2]
        assert tuple(layer.scale) == tuple(image.scale)
        assert layer.units == image.units
    assert canvas.find_layer(viewer, "predicting") is None
    assert 0 <= review.model.comparison.evaluation.pixels.combo <= 1
    assert len(review.errors.table.rows) == len(review.model.comparison.findings)
    review.ways["outlines"].click()
    truth, predicted = (canvas.find_layer(viewer, n) for n in (comparing.TRUTH, comparing.PREDICTED))
    assert truth.data.any()
    assert predicted is not None
    review.ways["difference"].click()
    assert canvas.find_layer(viewer, comparing.DIFFERENCE) is not None
    assert not canvas.find_layer(viewer, comparing.TRUTH).visible
    review.ways["layers"].click()
    if len(review.errors.table.rows):
        review.model.step(1)
        y, x = review.model.comparison.findings[0].centre
        scale = image.scale[0]
        assert viewer.scene.camera.center[-2:] == pytest.approx((y * scale, x * scale), abs=2)


def test_thresholds_act_without_predicting_again(opened, viewer, qtbot, settle):
    """Two nuclei, one sure and one uncertain: a slider takes the uncertain one away and gives it back."""
    predict, image = opened.panels["Predict"], canvas.find_layer(viewer, "image")
    shape = image.data.shape[:2]
    semantic, ternary = np.zeros((5, *shape), np.float32), np.zeros((3, *shape), np.float32)
    semantic[0], ternary[0] = 1, 1
    for y, sure in ((20, 1.0), (70, 0.8)):
        part = (slice(y, y + 20), slice(30, 50))
        semantic[(0, *part)], semantic[(2, *part)] = 1 - sure, sure
        ternary[(0, *part)], ternary[(1, *part)] = 1 - sure, sure
    prediction = Prediction(semantic, ternary, um_per_px=0.25)
    nuclei = instances_from_maps(semantic, ternary, um_per_px=0.25)
    predict.show(image, PredictedImage(prediction, nuclei))
    layer = canvas.find_layer(viewer, "predicted nuclei")
    assert len(np.unique(layer.data)) == 3
    predict.thresholds.confidence.setValue(0.85)
    qtbot.waitUntil(lambda: len(np.unique(layer.data)) == 2, timeout=10_000)
    assert predict.predicting.prediction is prediction
    predict.thresholds.confidence.setValue(0.0)
    qtbot.waitUntil(lambda: len(np.unique(layer.data)) == 3, timeout=10_000)
    viewer.layers.remove(layer)
    predict.thresholds.nucleus.setValue(0.6)
    settle()
    qtbot.wait(80)
    assert canvas.find_layer(viewer, "predicted nuclei") is None, "what the user deleted stays deleted"


def test_thresholds_hold_for_the_next_prediction_too(opened, viewer, qtbot, tiny_run, settle):
    predict = opened.panels["Predict"]
    predict.predicting.offer(tiny_run)
    predict.thresholds.nucleus.setValue(0.2)  # a network of a few steps is sure of little
    predict.predict()
    settle()
    assert len(canvas.find_layer(viewer, "predicted nuclei").features)
    predict.thresholds.confidence.setValue(0.95)
    predict.predict()
    settle()
    assert not len(canvas.find_layer(viewer, "predicted nuclei").features)
    assert predict.count.text() == "No nuclei at these thresholds."


def test_a_dragged_threshold_leaves_the_window_alive(opened, viewer, qtbot, monkeypatch):
    """Separating takes its time in a thread; of the values dragged over only the last is shown in the end."""

    predict, image = opened.panels["Predict"], canvas.find_layer(viewer, "image")
    shape = image.data.shape[:2]
    semantic, ternary = np.zeros((5, *shape), np.float32), np.zeros((3, *shape), np.float32)
    semantic[(2, slice(20, 40), slice(30, 50))] = ternary[(1, slice(20, 40), slice(30, 50))] = 1
    semantic[0], ternary[0] = 1 - semantic[2], 1 - ternary[1]
    prediction = Prediction(semantic, ternary, um_per_px=0.25)
    nuclei = instances_from_maps(semantic, ternary, um_per_px=0.25)
    predict.show(image, PredictedImage(prediction, nuclei))
    asked: list[float] = []

    def slow(prediction, thresholds):
        asked.append(thresholds["nucleus_threshold"])
        time.sleep(0.4)
        return instances_from_maps(prediction.semantic, prediction.ternary, um_per_px=0.25)

    monkeypatch.setattr("napari_monusac.app.prediction.nuclei_of", slow)
    shown: list[object] = []
    predict.model.predicted.connect(shown.append)
    start = time.perf_counter()
    for value in (0.3, 0.4, 0.5, 0.6):
        predict.thresholds.nucleus.setValue(value)
        predict.predicting.thresholds = predict.thresholds.shown()
    assert time.perf_counter() - start < 0.3
    qtbot.waitUntil(lambda: len(shown) == 2, timeout=10_000)
    qtbot.wait(500)
    assert asked == pytest.approx([0.3, 0.6])
    assert len(shown) == 2


def test_a_drawn_rectangle_lies_where_it_was_drawn(opened, viewer, qtbot, tiny_run, settle):
    predict = opened.panels["Predict"]
    predict.predicting.offer(tiny_run)
    image = canvas.find_layer(viewer, "image")
    scale = image.scale[0]
    corners = np.array([[20, 30], [20, 110], [100, 110], [100, 30]])
    viewer.add_shapes([corners * scale], shape_type="rectangle")
    predict.region.setCurrentText("Drawn rectangle")
    predict.predict()
    qtbot.waitUntil(lambda: canvas.find_layer(viewer, "predicted nuclei") is not None, timeout=120_000)
    layer = canvas.find_layer(viewer, "predicted nuclei")
    assert layer.data.shape == (80, 80)
    assert tuple(layer.translate) == pytest.approx((20 * scale, 30 * scale))
    settle()


def test_cancel_leaves_no_half_prediction(opened, viewer, qtbot, tiny_run):
    predict = opened.panels["Predict"]
    predict.predicting.offer(tiny_run)
    task = predict.predict()
    predict.progress.cancel.click()
    qtbot.waitUntil(lambda: not task.running, timeout=60_000)
    qtbot.wait(50)
    assert canvas.find_layer(viewer, "predicting") is None


@pytest.mark.gui
def test_torch_can_be_imported_after_the_viewer_drew(tissue_folder):
    """With Mesa's llvmpipe in the process, importing triton kills Python unless it is blocked first (NAPARI.md, 1)."""
    code = """
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
import numpy as np
viewer.add_image(np.zeros((64, 64), np.uint8))
for _ in range(20):
    QApplication.processEvents()
viewer.screenshot(canvas_only=True, flash=False)
from napari_monusac.network.unet import DualHeadUnet
from napari_monusac.core.recipe import load_recipe
import torch
network = DualHeadUnet(load_recipe("quick"))
optimiser = torch.optim.AdamW(network.parameters())
network.train()
s, t = network(torch.zeros(1, 3, 64, 64))
(s.sum() + t.sum()).backward()
optimiser.step()
viewer.screenshot(canvas_only=True, flash=False)
viewer.close()
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "alive" in done.stdout
