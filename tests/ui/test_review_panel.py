"""Review in a real window: scores, errors, ways of looking, judging, tables, the report."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.core.prediction import Prediction
from napari_monusac.masks.ternary import ternary_map
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.ui import canvas, comparing
from napari_monusac.ui.predicted_layers import add_prediction_layers


def faulty(truth, classes):
    """A prediction with known faults: one nucleus missed, one spurious, one of the wrong class."""
    labels = [k for k in np.unique(truth) if k]
    instances = truth.copy()
    instances[instances == labels[0]] = 0
    wrong = {**classes, labels[1]: classes[labels[1]] % 4 + 1}
    free = next(
        (y, x)
        for y in range(4, truth.shape[0] - 20, 4)
        for x in range(4, truth.shape[1] - 20, 4)
        if not truth[y - 4 : y + 16, x - 4 : x + 16].any()
    )
    new = max(labels) + 1
    instances[free[0] : free[0] + 12, free[1] : free[1] + 12] = new
    wrong[new] = 2
    return instances, wrong


@pytest.fixture
def reviewed(opened, viewer, qtbot, settle):
    """The Studio with a faulty prediction of the open crop, Review shown."""
    from napari_monusac.masks.instances import Nuclei
    from napari_monusac.ui.review_folder import _certain, _table
    from napari_monusac.scoring.predictions import PredictedNuclei

    truth = canvas.find_layer(viewer, "nuclei")
    instances, classes = faulty(np.asarray(truth.data), comparing.classes_of(truth))
    found = PredictedNuclei(instances, classes, dict.fromkeys(classes, 0.75))
    prediction = Prediction(*_certain(found), um_per_px=0.25)
    nuclei = Nuclei(instances.astype(np.int32), _table(found, 0.25), 0.25)
    add_prediction_layers(viewer, canvas.find_layer(viewer, "image"), prediction, nuclei)
    opened.model.last_prediction = (prediction, nuclei)
    opened.show_panel("Review")
    opened.model.predicted.emit(prediction)
    panel = opened.panels["Review"]
    qtbot.waitUntil(lambda: panel.review is not None, timeout=30_000)
    settle()
    return panel


def test_scores_and_errors_of_known_faults(reviewed):
    kinds = {f.type.value for f in reviewed.review.findings}
    assert {"missed", "spurious", "wrong class"} <= kinds
    assert reviewed.scores.scorings.columnCount() == 5
