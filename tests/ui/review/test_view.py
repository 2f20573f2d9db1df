"""Review beside the other panels: each owns its view; layers are shown for the model and decide nothing in it."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers._layer_actions import _duplicate_layer
from qtpy.QtCore import Qt

from napari_monusac.editing.commands import Delete
from napari_monusac.io.predictions.foreign import ForeignNuclei
from napari_monusac.io.predictions.open import certain_prediction
from napari_monusac.review.places import FindingPlace
from napari_monusac.ui.canvas import canvas, comparing
from napari_monusac.ui.canvas.colors import classes_in
from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers
from napari_monusac.ui.model import studio_model

OURS = {*comparing.COMPARED_ROLES, "frames"}


@pytest.fixture
def panel(opened, viewer, qtbot, settle, monkeypatch):
    """Review of the open crop, whose prediction misses the first nucleus."""
    monkeypatch.setattr("napari_monusac.ui.widgets.settings.reader", lambda: "Weber")
    qtbot.waitUntil(lambda: opened.model.editing.session is not None, timeout=30_000)
    layer = canvas.find_layer(viewer, "nuclei")
    classes = classes_in(layer.features)
    instances = np.where(layer.data == min(classes), 0, layer.data).astype(np.int32)
    found = ForeignNuclei(instances, {k: c for k, c in classes.items() if k != min(classes)}).nuclei(0.25)
    latest = certain_prediction(found), found
    add_prediction_layers(viewer, canvas.find_layer(viewer, "image"), *latest)
    opened.show_panel("Review")
    opened.model.last_prediction = latest
    review = opened.panels["Review"]
    qtbot.waitUntil(lambda: review.model.comparison is not None, timeout=30_000)
    settle()
    return review


def shown(viewer):
    return {canvas.role(layer) for layer in viewer.layers if layer.visible}


def legend(viewer):
    return [n for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_looking_") and o.visible]


def test_after_review_edits_in_annotate_are_seen(panel, opened, viewer, qtbot, settle):
    panel.ways["difference"].click()
    panel.model.go_to(panel.model.errors[0])
    before = shown(viewer)
    assert {comparing.DIFFERENCE, "frames"} <= before
    assert "nuclei" not in before
    assert legend(viewer)
    opened.show_panel("Annotate")
    assert "nuclei" in shown(viewer)
    assert not shown(viewer) & OURS
    assert not legend(viewer)
    session = opened.model.editing.session
    gone = max(k for k, r in session.rows.items() if r.plane == "nuclei")
    pq = panel.model.comparison.evaluation.pq
    opened.panels["Annotate"].controller.do(Delete([gone]))
    layer = canvas.find_layer(viewer, "nuclei")
    assert layer.visible
    assert not (layer.data == gone).any()
    qtbot.wait(400)
    assert panel.model.comparison.evaluation.pq == pq, "nothing is compared while another panel is in front"
    opened.show_panel("Review")
    assert shown(viewer) == before
    assert panel.model.way == "difference"
    assert legend(viewer)
    qtbot.waitUntil(lambda: panel.model.comparison.evaluation.pq != pq, timeout=30_000)
    settle()
    assert shown(viewer) == before
    panel.ways["layers"].click()
    assert {"nuclei", "predicted nuclei"} <= shown(viewer)


def test_swipe_and_side_by_side_are_put_away_too(panel, opened, viewer, settle):
    panel.ways["beside"].click()
    settle()
    assert panel.looking._second.is_open
    opened.show_panel("Slides")
    assert not panel.looking._second.is_open
    opened.show_panel("Review")
    assert panel.looking._second.is_open
    panel.ways["swipe"].click()
    follow = panel.looking.swipe._moved
    assert follow in viewer.mouse_move_callbacks
    opened.show_panel("Annotate")
    assert follow not in viewer.mouse_move_callbacks
    opened.show_panel("Review")
    assert follow in viewer.mouse_move_callbacks
    panel.ways["layers"].click()


def test_what_the_user_does_with_layers_changes_nothing_in_the_model(panel, opened, viewer, qtbot, settle):
    model = panel.model
    comparison, errors = model.comparison, model.errors
    for role in ("nuclei", "predicted nuclei"):
        layer = canvas.find_layer(viewer, role)
        viewer.layers.selection = {layer}
        _duplicate_layer(viewer.layers)
        layer.name, layer.visible = "mine", False
        viewer.layers.remove(layer)
    panel.comparing.start()
    settle()
    assert model.comparison is not comparison
    assert [f.key for f in model.errors] == [f.key for f in errors]
    assert model.comparison.evaluation.pq == comparison.evaluation.pq
    assert panel.hint.text() == ""
    assert panel.again.isVisibleTo(panel)
    qtbot.mouseClick(panel.again, Qt.MouseButton.LeftButton)
    for role, data in (("nuclei", comparison.pair.truth), ("predicted nuclei", comparison.pair.prediction)):
        assert np.array_equal(canvas.find_layer(viewer, role).data, data), role
    assert not panel.again.isVisibleTo(panel)
    panel.ways["outlines"].click()
    viewer.layers.remove(canvas.find_layer(viewer, comparing.TRUTH))
    panel.ways["outlines"].click()
    assert canvas.find_layer(viewer, comparing.TRUTH).visible, "the way is chosen again: what it needs comes back"
    panel.ways["layers"].click()


def test_review_that_is_docked_alone_opens_crops_or_says_why_not(viewer, qtbot, settle, tissue_folder):
    from napari_monusac.io.collection.collection import open_collection

    review = viewer.window.add_plugin_dock_widget("napari-monusac", "Review")[1]
    studio, model = studio_model(viewer), review.model
    place = FindingPlace("nowhere", (1.0, 1.0), (0, 0, 2, 2))
    assert not model.go_to(place)
    assert "open its folder first" in review.judging.message.text()
    studio.collection = open_collection(tissue_folder)
    crop = studio.collection.crops[1]
    model.go_to(FindingPlace(crop.name, (40.0, 50.0), (30, 40, 50, 60)))
    qtbot.waitUntil(lambda: studio.crop is crop, timeout=60_000)
    settle()
    assert model.awaited is None
    image = canvas.find_layer(viewer, "image")
    assert viewer.scene.camera.center[-2:] == pytest.approx(tuple(image.data_to_world((40.0, 50.0))[-2:]), abs=0.5)
