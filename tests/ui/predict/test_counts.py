"""Counts in regions that are drawn by hand: every shape with an area, always the last one, and never a stale number."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.regions import last_outline
from napari_monusac.ui.predict.counts import Counted

UM = 0.25
SHAPE = (160, 192)


@pytest.fixture
def nuclei():
    """One nucleus in the middle of every pixel, epithelial three times as often as lymphocytes."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return pd.DataFrame(
        {"class_id": np.where(x % 4, 1, 2).ravel(), "centroid_y": y.ravel() * 1.0, "centroid_x": x.ravel() * 1.0}
    )


@pytest.fixture
def counts(opened, viewer, nuclei):
    """The table, with a nuclei layer that lies on the crop."""
    image = canvas.find_layer(viewer, "image")
    viewer.add_labels(
        np.zeros(SHAPE, np.int32), name="predicted nuclei", scale=image.scale, units=image.units,
        metadata={"monusac": {"role": "predicted nuclei"}},
    )  # fmt: skip
    counts = opened.panels["Predict"].counts
    counts.take(Counted(nuclei, SHAPE, UM, "predicted nuclei", part="whole image"))
    return counts


def box(y, x, height, width):
    return np.array([[y, x], [y, x + width], [y + height, x + width], [y + height, x]]) * UM


def total(counts):
    return counts.table.item(4, 1).text()


def test_an_ellipse_is_no_rectangle(counts, viewer):
    viewer.add_shapes([np.array([[80, 90], [40, 50]]) * UM], shape_type="ellipse")  # centre and radii, px
    counts.inside.setChecked(True)
    area_px = np.pi * 40 * 50
    assert int(total(counts)) == pytest.approx(area_px, rel=0.01)
    assert counts._table.loc[0, "area_mm2"] == pytest.approx(area_px * UM**2 * 1e-6, rel=0.01)


def test_an_ellipse_in_a_turned_layer(viewer):
    shapes = viewer.add_shapes([[[80, 90], [40, 20]]], shape_type="ellipse", rotate=30, scale=(0.5, 0.25))
    corners = last_outline(viewer).world
    centre = np.asarray(shapes.data_to_world((80, 90)))
    along = np.asarray(shapes.data_to_world((120, 90))) - centre
    distance = np.linalg.norm(corners - centre, axis=1)
    assert distance.max() == pytest.approx(20, rel=1e-3)
    assert distance.min() == pytest.approx(5, rel=1e-3)
    assert abs((corners - centre)[distance.argmax()] @ along) / 20 / 20 == pytest.approx(1, rel=1e-3)


def test_a_region_drawn_while_the_box_is_ticked_counts(counts, viewer, qtbot, tmp_path, monkeypatch):
    shapes = viewer.add_shapes([box(10, 10, 40, 40)], shape_type="polygon")
    counts.inside.setChecked(True)
    assert int(total(counts)) == pytest.approx(1600, rel=0.06)
    shapes.add_polygons(box(10, 10, 20, 20))
    qtbot.waitUntil(lambda: int(total(counts)) == pytest.approx(400, rel=0.11), timeout=3000)
    shapes.scale = (2, 2)  # no event of the data's: counted when it is saved
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "c.csv"), ""))
    counts.save.click()
    row = pd.read_csv(tmp_path / "c.csv").iloc[0]
    assert row["total"] == pytest.approx(1600, rel=0.06)
    assert row["region"] == "Shapes: polygon 2"
    # a shape that is taken away: the one before it
    shapes.scale = (1, 1)
    shapes.selected_data = {1}
    shapes.remove_selected()
    qtbot.waitUntil(lambda: "polygon 1" in counts.words.text(), timeout=3000)
    assert int(total(counts)) == pytest.approx(1600, rel=0.06)


def test_the_last_shape_with_an_area(counts, viewer, qtbot):
    shapes = viewer.add_shapes([box(10, 10, 40, 40)], shape_type="rectangle")
    counts.inside.setChecked(True)
    found = total(counts)
    shapes.add_lines(np.array([[0, 0], [5, 5]]) * UM)
    shapes.add_paths(box(0, 0, 9, 9))
    shapes.add_polygons(np.array([[0, 0], [3, 3], [6, 6]]) * UM)
    viewer.add_shapes([np.array([[0, 0], [5, 5]]) * UM], shape_type="line")
    qtbot.wait(120)
    assert total(counts) == found
    assert "rectangle 1" in counts.words.text()


@pytest.mark.parametrize("fault", ["none drawn", "only a line", "outside", "nuclei deleted"])
def test_no_numbers_where_there_is_no_region(counts, viewer, qtbot, monkeypatch, fault):
    if fault == "only a line":
        viewer.add_shapes([np.array([[0, 0], [5, 5]]) * UM], shape_type="line")
    elif fault != "none drawn":
        viewer.add_shapes([box(10 if fault == "nuclei deleted" else 900, 10, 40, 40)], shape_type="polygon")
    counts.inside.setChecked(True)
    if fault == "nuclei deleted":
        assert total(counts) != "–"
        viewer.layers.remove("predicted nuclei")
        qtbot.waitUntil(lambda: total(counts) == "–", timeout=3000)
    assert {counts.table.item(i, j).text() for i in range(5) for j in (1, 2, 3)} == {"–"}
    assert counts.words.text()
    assert not counts.save.isEnabled()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: pytest.fail("a file is asked for"))
    counts.save_counts()
    counts.inside.setChecked(False)
    assert total(counts) == str(SHAPE[0] * SHAPE[1])
    assert counts.save.isEnabled()
    assert not counts.words.text()


def test_shares_of_all_nuclei(counts, tmp_path, monkeypatch):
    assert [counts.table.item(i, 3).text() for i in range(5)] == ["75", "25", "0", "0", "100"]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "c.csv"), ""))
    counts.save.click()
    row = pd.read_csv(tmp_path / "c.csv").iloc[0]
    assert (row["epithelial_percent"], row["lymphocyte_percent"]) == (75, 25)
    assert row["region"] == "whole image"


def test_a_file_that_cannot_be_written_is_one_line(counts, qtbot, tmp_path, monkeypatch):
    bad = tmp_path / "a file"
    bad.write_text("")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(bad / "c.csv"), ""))
    with qtbot.captureExceptions() as raised:
        counts.save.click()
    assert not raised
    assert str(bad / "c.csv") in counts.words.text()
    assert "choose another" in counts.words.text()
    assert "\n" not in counts.words.text()


def test_one_nucleus_is_no_nuclei():
    import pandas as pd

    from napari_monusac.ui.predict.counts import count_words

    assert count_words(pd.DataFrame({"class": ["Macrophage"]})).startswith("1 nucleus: 1 macrophage. ")
    assert count_words(pd.DataFrame({"class": ["Macrophage"] * 2})).startswith("2 nuclei: 2 macrophage. ")
