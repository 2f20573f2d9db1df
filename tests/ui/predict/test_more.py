"""Counts, and the whole folder."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_monusac.app.prediction_jobs import PredictedImage
from napari_monusac.core.prediction import Prediction
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.ui.canvas import canvas


@pytest.fixture
def predicted(opened, viewer):
    """Two lymphocytes, one of which the heads disagree on, without any network."""
    image = canvas.find_layer(viewer, "image")
    shape = image.data.shape[:2]
    semantic, ternary = np.zeros((5, *shape), np.float32), np.zeros((3, *shape), np.float32)
    semantic[0], ternary[0] = 1, 1
    for y, by_ternary in ((20, 1.0), (70, 0.6)):
        part = (slice(y, y + 20), slice(30, 50))
        semantic[(0, *part)], semantic[(2, *part)] = 0, 1
        ternary[(0, *part)], ternary[(1, *part)] = 1 - by_ternary, by_ternary
    panel = opened.panels["Predict"]
    nuclei = instances_from_maps(semantic, ternary, um_per_px=0.25)
    panel.show(image, PredictedImage(Prediction(semantic, ternary, um_per_px=0.25), nuclei))
    return panel


def cells(table):
    return {
        table.item(i, 0).text(): (table.item(i, 1).text(), table.item(i, 2).text()) for i in range(table.rowCount())
    }


def test_counts_and_densities_of_the_crop(predicted):
    height, width = predicted.predicting.prediction.shape
    area_mm2 = height * width * 0.25**2 / 1e6
    found = cells(predicted.counts.table)
    assert found["Lymphocyte"] == ("2", f"{2 / area_mm2:.0f}")
    assert found["All"] == ("2", f"{2 / area_mm2:.0f}")
    assert found["Macrophage"] == ("0", "0")


def test_counts_inside_a_drawn_region(predicted, viewer):
    corners = np.array([[10, 20], [10, 60], [50, 60], [50, 20]]) * 0.25
    viewer.add_shapes([corners], shape_type="polygon")
    predicted.counts.inside.setChecked(True)
    assert cells(predicted.counts.table)["All"][0] == "1"


@pytest.mark.torch
def test_the_whole_folder_is_predicted_and_counted(opened, qtbot, tiny_run, tmp_path, settle):
    panel = opened.panels["Predict"]
    panel.predicting.offer(tiny_run)
    panel.folder.predict_folder()
    assert "Choose where" in panel.folder.progress.label.text()
    panel.folder.out.set_path(tmp_path / "predictions")
    panel.folder.predict_folder()
    settle()
    crops = opened.model.collection.crops
    assert f"{len(crops)} predictions" in panel.folder.progress.label.text()
    assert len(list((tmp_path / "predictions").glob("*.zarr"))) == len(crops)
    counts = pd.read_csv(tmp_path / "predictions" / "counts.csv")
    assert set(counts.loc[counts["level"] == "area", "name"]) == {c.name for c in crops}
    # a second start skips what is there
    panel.folder.predict_folder()
    settle()
    assert f"{len(crops)} predictions" in panel.folder.progress.label.text()
