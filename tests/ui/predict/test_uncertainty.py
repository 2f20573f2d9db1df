"""Where the model is uncertain: both kinds, found in the background, of predictions in memory and on disk."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_monusac.app.prediction_jobs import PredictedImage
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.lazy import open_lazily
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.masks import uncertainty
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.uncertainty import disagreement_map, entropy_map
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.predict.uncertainty import STORED, UNCERTAINTY


@pytest.fixture
def maps(opened, viewer):
    """Three nuclei: sure; the heads disagree; the class is undecided."""
    shape = canvas.find_layer(viewer, "image").data.shape[:2]
    semantic, ternary = np.zeros((5, *shape), np.float32), np.zeros((3, *shape), np.float32)
    semantic[0], ternary[0] = 1, 1
    for y, by_ternary, sure in ((20, 1.0, 1.0), (70, 0.6, 1.0), (120, 1.0, 0.5)):
        part = (slice(y, y + 20), slice(30, 50))
        semantic[(0, *part)], semantic[(2, *part)], semantic[(1, *part)] = 0, sure, 1 - sure
        ternary[(0, *part)], ternary[(1, *part)] = 1 - by_ternary, by_ternary
    return semantic, ternary


@pytest.fixture
def panel(opened):
    return opened.panels["Predict"]


def show(panel, viewer, maps):
    image = canvas.find_layer(viewer, "image")
    prediction = Prediction(*maps, um_per_px=0.25)
    nuclei = instances_from_maps(*maps, um_per_px=0.25)
    panel.show(image, PredictedImage(prediction, nuclei))


def expected(maps):
    heads, classes = disagreement_map(*maps), entropy_map(maps[0])
    return {"Both kinds": np.maximum(heads, classes), "Heads disagree": heads, "Class undecided": classes}


def test_each_kind_of_uncertainty_is_shown(panel, viewer, maps, settle):
    show(panel, viewer, maps)
    panel.uncertainty.box.setChecked(True)
    settle()
    layer = canvas.find_layer(viewer, UNCERTAINTY)
    assert layer.data[80, 40] == pytest.approx(0.4, abs=0.01)
    assert layer.data[130, 40] == pytest.approx(np.log(2) / np.log(5), abs=0.01)
    assert layer.data[30, 40] < 0.05
    assert tuple(layer.scale) == (0.25, 0.25)
    assert viewer.layers.index(layer) < viewer.layers.index("predicted nuclei")  # the outlines are seen over it
    for kind, values in expected(maps).items():
        panel.uncertainty.kind.setCurrentText(kind)
        settle()
        assert canvas.find_layer(viewer, UNCERTAINTY) is layer  # what the user has set of it stays
        np.testing.assert_array_equal(layer.data, values)
    panel.uncertainty.box.setChecked(False)
    assert canvas.find_layer(viewer, UNCERTAINTY) is None


def test_every_nucleus_says_both(panel, viewer, maps):
    show(panel, viewer, maps)
    table = canvas.find_layer(viewer, "predicted nuclei").features.set_index("centroid_y").sort_index()
    assert (table["disagreement"].to_numpy() > 0.3).tolist() == [False, True, False]
    assert (table["entropy"].to_numpy() > 0.3).tolist() == [False, False, True]


def test_every_kind_is_explained(panel):
    texts = set()
    for i in range(panel.uncertainty.kind.count()):
        panel.uncertainty.kind.setCurrentIndex(i)
        texts.add(panel.uncertainty.kind.toolTip())
    assert len(texts) == 3
    assert all(texts)


def test_it_is_found_in_the_background_and_the_last_wish_wins(panel, viewer, maps, settle, monkeypatch):
    gate, threads = threading.Event(), []

    true = uncertainty.uncertainty_map

    def slow(*asked):
        threads.append(threading.current_thread())
        assert gate.wait(20)
        return true(*asked)

    monkeypatch.setattr(uncertainty, "uncertainty_map", slow)
    show(panel, viewer, maps)
    panel.uncertainty.box.setChecked(True)
    panel.uncertainty.kind.setCurrentText("Class undecided")
    panel.uncertainty.kind.setCurrentText("Heads disagree")
    assert canvas.find_layer(viewer, UNCERTAINTY) is None
    gate.set()
    settle()
    assert threading.main_thread() not in threads
    assert len(threads) == 2
    np.testing.assert_array_equal(canvas.find_layer(viewer, UNCERTAINTY).data, expected(maps)["Heads disagree"])


def test_what_is_unticked_meanwhile_does_not_come(panel, viewer, maps, settle):
    show(panel, viewer, maps)
    panel.uncertainty.box.setChecked(True)
    panel.uncertainty.box.setChecked(False)
    settle()
    assert canvas.find_layer(viewer, UNCERTAINTY) is None


def test_what_the_user_deletes_stays_deleted(panel, viewer, maps, settle):
    show(panel, viewer, maps)
    panel.uncertainty.box.setChecked(True)
    settle()
    viewer.layers.remove(UNCERTAINTY)
    assert not panel.uncertainty.box.isChecked()
    panel.uncertainty.kind.setCurrentIndex(1)
    settle()
    assert canvas.find_layer(viewer, UNCERTAINTY) is None
    panel.uncertainty.box.setChecked(True)
    settle()
    assert canvas.find_layer(viewer, UNCERTAINTY) is not None


def test_the_next_crop_shows_its_uncertainty_too(panel, viewer, maps, qtbot, settle):
    show(panel, viewer, maps)
    panel.uncertainty.box.setChecked(True)
    settle()
    first = panel.model.crop.name
    panel.model.ask_for_crop(panel.model.neighbour(1))
    qtbot.waitUntil(lambda: panel.model.crop.name != first, timeout=20_000)
    settle()
    assert canvas.find_layer(viewer, UNCERTAINTY) is None
    assert panel.uncertainty.box.isChecked()
    show(panel, viewer, maps)
    settle()
    assert canvas.find_layer(viewer, UNCERTAINTY) is not None


def test_stored_uncertainty_has_its_kinds_too(panel, viewer, maps, tmp_path, settle):
    nuclei = instances_from_maps(*maps, um_per_px=0.25)
    prediction = Prediction(*maps, um_per_px=0.25)
    path = write_prediction(prediction, tmp_path / "a.zarr", instances=nuclei.instances, table=nuclei.table)
    panel.show(canvas.find_layer(viewer, "image"), open_lazily(path))
    assert not canvas.find_layer(viewer, STORED).visible
    panel.uncertainty.box.setChecked(True)
    layer = canvas.find_layer(viewer, STORED)
    assert layer.visible
    for kind, values in expected(maps).items():
        panel.uncertainty.kind.setCurrentText(kind)
        np.testing.assert_allclose(np.asarray(layer.data), values, atol=0.02)  # stored in 255ths
    assert "disagreement" in canvas.find_layer(viewer, "stored nuclei").features
    viewer.layers.remove(layer)
    assert not panel.uncertainty.box.isChecked()
    panel.uncertainty.box.setChecked(True)
    again = canvas.find_layer(viewer, STORED)
    np.testing.assert_allclose(again.extent.world, canvas.find_layer(viewer, "image").extent.world[:, :2])


def test_the_panel_is_no_wider_than_the_dock(panel, viewer, maps, qtbot, opened):
    """Beside the scroll bar nothing is cut off."""
    opened.show_panel("Predict")
    show(panel, viewer, maps)
    qtbot.wait(50)
    assert panel.minimumSizeHint().width() <= 360
