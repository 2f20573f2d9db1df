"""Four buttons and their opacity: they change the layers of a prediction, and follow whoever else does."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.core.prediction import Prediction
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers
from napari_monusac.ui.predict.uncertainty import UNCERTAINTY


@pytest.fixture
def shown(opened, viewer, settle):
    """The Predict panel with a prediction of one nucleus on the canvas."""
    panel, image = opened.panels["Predict"], canvas.find_layer(viewer, "image")
    shape = image.data.shape[:2]
    semantic, ternary = np.zeros((5, *shape), np.float32), np.zeros((3, *shape), np.float32)
    semantic[0], ternary[0] = 1, 1
    semantic[0, 20:40, 30:50], semantic[2, 20:40, 30:50] = 0, 1
    ternary[0, 20:40, 30:50], ternary[1, 20:40, 30:50] = 0, 1
    prediction = Prediction(semantic, ternary, um_per_px=0.25)
    assert not panel.layers.buttons["Nuclei"].isEnabled(), "nothing is predicted yet"
    add_prediction_layers(viewer, image, prediction, instances_from_maps(semantic, ternary, um_per_px=0.25))
    panel.uncertainty.take(prediction, image)
    settle()
    return panel


def test_each_button_shows_its_layer_and_its_slider_how_strongly(shown, viewer, settle):
    for name, role in (
        ("Semantic", "predicted semantic"),
        ("Ternary", "predicted ternary"),
        ("Nuclei", "predicted nuclei"),
    ):
        layer, button, slider = (
            canvas.find_layer(viewer, role),
            shown.layers.buttons[name],
            shown.layers.opacities[name],
        )
        assert button.isChecked() is layer.visible is (name == "Nuclei")
        button.click()
        assert layer.visible is (name != "Nuclei")
        slider.setValue(35)
        assert layer.opacity == pytest.approx(0.35)
        layer.visible, layer.opacity = True, 0.8  # in napari's list
        assert button.isChecked()
        assert slider.value() == 80
    assert canvas.find_layer(viewer, UNCERTAINTY) is None
    assert not shown.layers.opacities["Uncertainty"].isEnabled()
    shown.layers.buttons["Uncertainty"].click()
    settle()
    layer = canvas.find_layer(viewer, UNCERTAINTY)
    shown.layers.opacities["Uncertainty"].setValue(50)
    assert layer.opacity == pytest.approx(0.5)
    shown.layers.buttons["Uncertainty"].click()
    assert canvas.find_layer(viewer, UNCERTAINTY) is None


def test_a_layer_that_was_deleted_rests_its_button(shown, viewer):
    viewer.layers.remove(canvas.find_layer(viewer, "predicted ternary"))
    assert not shown.layers.buttons["Ternary"].isEnabled()
    assert not shown.layers.opacities["Ternary"].isEnabled()
    assert "deleted" in shown.layers.buttons["Ternary"].toolTip()
