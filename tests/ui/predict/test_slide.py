"""A region too large for the memory goes to disk and is shown from there; free-hand counts; what ran is said."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_monusac.app import prediction_jobs
from napari_monusac.app.prediction_jobs import small_tile
from napari_monusac.core.errors import StoreError
from napari_monusac.io.predictions.lazy import open_lazily
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.masks.uncertainty import disagreement_map, entropy_map
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.predicted_layers import LivePrediction
from napari_monusac.ui.predict.counts import Counted

pytestmark = [pytest.mark.gui, pytest.mark.torch]


@pytest.fixture
def panel(opened, tiny_run, tmp_path, monkeypatch):
    """The Predict panel, to which every image is too large."""
    monkeypatch.setattr(prediction_jobs, "WHOLE_PX", 100 * 100)
    panel = opened.panels["Predict"]
    panel.predicting.offer(tiny_run)
    return panel


def test_a_large_image_is_predicted_to_disk(panel, viewer, settle, tmp_path):
    image = canvas.find_layer(viewer, "image")
    panel.slide.folder.set_path("")
    assert panel.predict() is None
    assert "choose a folder" in panel.slide.words.text()
    panel.slide.folder.set_path(tmp_path / "Vorhersagen")
    panel.predict()
    settle()
    (store,) = (tmp_path / "Vorhersagen").glob("*.zarr")
    assert store.name.startswith(panel.model.crop.image.stem)
    classes, nuclei = (canvas.find_layer(viewer, f"stored {n}") for n in ("classes", "nuclei"))
    for layer in (classes, nuclei, canvas.find_layer(viewer, "stored ternary")):
        np.testing.assert_allclose(layer.extent.world, image.extent.world[:, :2])
        assert layer.units == image.units[:2]
        assert layer.metadata["monusac"]["engine"].startswith(("torch", "OpenVINO"))
        assert not isinstance(layer.data, np.ndarray)  # read as it is looked at
    opened = PredictionStore.open(store)
    np.testing.assert_array_equal(np.asarray(nuclei.data), opened.labels("instances")[:])
    np.testing.assert_array_equal(
        np.asarray(canvas.find_layer(viewer, "stored ternary").data), opened.read_maps()[5:].argmax(0)
    )
    maps = opened.read_maps()
    expected = np.maximum(disagreement_map(maps[:5], maps[5:], opened.info.boundary_width), entropy_map(maps[:5]))
    np.testing.assert_allclose(np.asarray(canvas.find_layer(viewer, "stored uncertainty").data), expected, atol=1e-6)
    assert "Ran on" in panel.engine.text()
    assert panel.counts.table.item(4, 1).text() == str(len(opened.read_table()))
    assert canvas.find_layer(viewer, "predicting") is None
    # the thresholds, without the network
    panel.thresholds.confidence.setValue(0.95)
    panel.slide.segment()
    settle()
    again = PredictionStore.open(store)
    assert again.info.settings["min_confidence"] == pytest.approx(0.95)
    assert panel.counts.table.item(4, 1).text() == str(len(again.read_table()))


def test_a_stopped_one_goes_on(panel, viewer, settle, tmp_path, monkeypatch):
    from napari_monusac.infer import slide

    panel.slide.folder.set_path(tmp_path / "out")
    true = slide.predict_slide
    seen: list[int] = []

    def small_tiles(*args, progress, should_stop, **options):
        def told(done):
            seen.append(done.done)
            if len(seen) == 2:
                panel.progress.task.stop()
            progress(done)

        return true(*args, progress=told, should_stop=should_stop, tile_px=64, overlap_px=16, **options)

    monkeypatch.setattr(slide, "predict_slide", small_tiles)
    panel.predict()
    settle()
    assert "topped" in panel.progress.label.text()
    assert not list((tmp_path / "out").glob("*.zarr"))
    assert canvas.find_layer(viewer, "predicting") is None
    done = len(seen)
    panel.predict()
    settle()
    assert seen[done] > 2  # finished tiles are not predicted again
    assert canvas.find_layer(viewer, "stored classes") is not None


def test_the_live_layer_of_a_large_image_is_coarse_and_in_its_place(opened, viewer, monkeypatch):
    monkeypatch.setattr(prediction_jobs, "LIVE_PX", 50)
    image = canvas.find_layer(viewer, "image")
    live = LivePrediction(viewer, image, (130, 170), (10, 20))
    assert live.layer.data.shape == (33, 43)
    truth = np.random.default_rng(0).integers(0, 3, (130, 170))
    for y in range(0, 130, 37):
        for x in range(0, 170, 51):
            part = truth[y : y + 37, x : x + 51]
            live.show(*small_tile((y, x, *part.shape), np.eye(3)[part].transpose(2, 0, 1), 4))
    np.testing.assert_array_equal(live.layer.data, truth[::4, ::4])
    low, high = live.layer.extent.world  # of the centres of the outermost px: each is four px of the image wide
    np.testing.assert_allclose(low, (np.array([10, 20]) + 1.5) * image.scale[:2])
    np.testing.assert_allclose(high, (np.array([10, 20]) + 1.5 + np.array([32, 42]) * 4) * image.scale[:2])
    live.remove()


def test_free_hand_counts_are_those_inside_the_outline(panel, viewer, settle, tmp_path, monkeypatch):
    """A triangle over half the image, against shapely; table and CSV."""
    from qtpy.QtWidgets import QFileDialog
    from shapely import Point, Polygon

    panel.slide.folder.set_path(tmp_path / "out")
    panel.predict()
    settle()
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"class_id": rng.integers(1, 5, 200), "centroid_y": rng.uniform(0, 159, 200)})
    table["centroid_x"] = rng.uniform(0, 191, 200)
    panel.counts.take(Counted(table, (160, 192), 0.25, "stored classes", part="whole image"))
    corners = np.array([[0.0, 0.0], [150.0, 10.0], [80.0, 190.0]])
    viewer.add_shapes([corners * 0.25], shape_type="polygon")
    panel.counts.inside.setChecked(True)
    outline = Polygon(corners)
    inside = [outline.contains(Point(y, x)) for y, x in table[["centroid_y", "centroid_x"]].to_numpy()]
    found = int(panel.counts.table.item(4, 1).text())
    assert abs(found - sum(inside)) <= 2  # a centroid counts by its pixel
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "counts.csv"), ""))
    panel.counts.save.click()
    row = pd.read_csv(Path(tmp_path / "counts.csv")).iloc[0]
    assert row["total"] == found
    assert row["name"] == panel.model.crop.name
    assert row["region"] == "Shapes: polygon 1"
    assert row["area_mm2"] == pytest.approx(outline.area * 0.25**2 * 1e-6, rel=0.02)
    assert row["total_per_mm2"] == pytest.approx(found / row["area_mm2"], rel=1e-4)


def test_a_finished_store_gets_the_thresholds_of_now(panel, settle, tmp_path):
    panel.slide.folder.set_path(tmp_path / "out")
    panel.predict()
    settle()
    (store,) = (tmp_path / "out").glob("*.zarr")
    assert PredictionStore.open(store).info.settings["min_confidence"] == 0
    panel.thresholds.confidence.setValue(0.95)
    panel.predict()
    settle()
    again = PredictionStore.open(store)
    assert again.info.settings["min_confidence"] == pytest.approx(0.95)
    assert (again.read_table()["confidence"] >= 0.95).all()


@pytest.fixture
def separating(panel, settle, tmp_path, monkeypatch):
    """A finished store whose next separation waits at a gate."""
    panel.slide.folder.set_path(tmp_path / "out")
    panel.predict()
    settle()
    from napari_monusac.infer import blocks

    gate, true = threading.Event(), blocks.segment_store
    started: list[object] = []

    def slow(*args, **options):
        started.append(args)
        assert gate.wait(20)
        return true(*args, **options)

    monkeypatch.setattr(blocks, "segment_store", slow)
    yield gate, started
    gate.set()


def test_what_is_separated_for_one_crop_is_not_shown_on_the_next(panel, viewer, qtbot, settle, separating):
    gate, first = separating[0], panel.model.crop
    task = panel.slide.segment()
    panel.model.ask_for_crop(panel.model.neighbour(1))
    qtbot.waitUntil(lambda: panel.model.crop.name != first.name, timeout=20_000)
    assert task.stopping
    gate.set()
    settle()
    assert canvas.find_layer(viewer, "stored classes") is None
    assert not panel.after.isVisible()


def test_nuclei_of_an_image_that_was_closed_are_not_shown(panel, viewer, settle, separating):
    panel.slide.segment()
    viewer.layers.remove(canvas.find_layer(viewer, "stored classes"))
    viewer.layers.remove(canvas.find_layer(viewer, "image"))
    viewer.add_image(np.zeros((160, 192, 3), np.uint8), name="of somebody else")
    separating[0].set()
    settle()
    assert canvas.find_layer(viewer, "stored classes") is None


def test_one_task_at_a_time_writes_a_store(panel, settle, separating):
    gate, started = separating
    assert panel.slide.again.isEnabled()
    task = panel.slide.segment()
    assert not panel.slide.again.isEnabled()
    assert not panel.start.isEnabled()
    assert panel.slide.segment() is None
    assert panel.predict() is None
    panel.slide.progress.cancel.click()
    assert task.stopping
    gate.set()
    settle()
    assert len(started) == 1
    assert panel.slide.again.isEnabled()
    assert panel.start.isEnabled()
    panel.predict()
    assert not panel.slide.again.isEnabled()
    settle()
    assert panel.slide.again.isEnabled()


def test_a_stopped_separation_keeps_the_nuclei_and_the_panel(panel, viewer, qtbot, settle, separating):
    gate, _ = separating
    before = len(PredictionStore.open(panel.predicting.shown.found.path).read_table())
    panel.thresholds.confidence.setValue(0.95)
    panel.slide.segment().stop()
    gate.set()
    settle()
    assert "topped" in panel.slide.progress.label.text()
    assert len(PredictionStore.open(panel.predicting.shown.found.path).read_table()) == before
    with qtbot.captureExceptions() as raised:
        panel.predict()
        settle()
    assert not raised
    assert canvas.find_layer(viewer, "stored classes") is not None


def test_a_store_without_nuclei_is_one_line_and_they_can_be_had(panel, viewer, qtbot, settle, tmp_path, monkeypatch):
    panel.slide.folder.set_path(tmp_path / "out")
    panel.predict()
    settle()
    store = panel.predicting.shown.found.path
    for part in ("labels", "table"):
        shutil.rmtree(store / part)
    with pytest.raises(StoreError, match="nuclei are not segmented"):
        open_lazily(store).nuclei  # noqa: B018
    with qtbot.captureExceptions() as raised:
        with monkeypatch.context() as patch:
            patch.setattr("napari_monusac.infer.blocks.segment_store", lambda *_, **__: None)
            panel.slide.segment()
            settle()
        assert "nuclei are not segmented" in panel.slide.progress.label.text()
        panel.predict()
        settle()
    assert not raised
    assert PredictionStore.open(store).read_table() is not None


def test_a_damaged_store_is_one_line(panel, qtbot, settle, tmp_path):
    panel.slide.folder.set_path(tmp_path / "out")
    panel.predict()
    settle()
    shutil.rmtree(panel.predicting.shown.found.path / "table" / "class_id")
    with qtbot.captureExceptions() as raised:
        panel.predict()
        settle()
    assert not raised
    assert str(panel.predicting.shown.found.path) in panel.progress.label.text()
    assert "fault in napari-monusac" not in panel.progress.label.text()


def test_tables_are_read_in_the_worker(panel, settle, tmp_path, monkeypatch):
    threads: list[str] = []
    true = PredictionStore.read_table

    def spied(self):
        threads.append(threading.current_thread().name)
        return true(self)

    monkeypatch.setattr(PredictionStore, "read_table", spied)
    panel.slide.folder.set_path(tmp_path / "out")
    panel.predict()
    settle()
    panel.slide.segment()
    settle()
    assert threads
    assert threading.main_thread().name not in threads
