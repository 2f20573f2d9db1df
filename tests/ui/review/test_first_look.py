"""Review as a newcomer meets it: how to begin, what is in sight on a small screen, what numbers mean."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QPoint, Qt

from napari_monusac.io.predictions.foreign import ForeignNuclei
from napari_monusac.io.predictions.open import certain_prediction
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.colors import classes_in
from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers
from napari_monusac.ui.review.errors import JUDGED
from napari_monusac.ui.widgets.tables import COUNTING


def tabs_of(review):
    return {review.tabs.tabText(i): review.tabs.isTabEnabled(i) for i in range(review.tabs.count())}


@pytest.fixture
def compared(opened, viewer, qtbot, settle, monkeypatch):
    """Review of the open crop: its first nucleus is missed, its second and third are merged."""
    monkeypatch.setattr("napari_monusac.ui.widgets.settings.reader", lambda: "A. Reader")
    qtbot.waitUntil(lambda: opened.model.editing.session is not None, timeout=30_000)
    layer = canvas.find_layer(viewer, "nuclei")
    instances, classes = layer.data.copy(), classes_in(layer.features)
    labels = sorted(classes)
    instances[instances == labels[0]] = 0
    instances[instances == labels[2]] = labels[1]
    nuclei = ForeignNuclei(instances, classes, dict.fromkeys(classes, 0.75)).nuclei(0.25)
    prediction = certain_prediction(nuclei)
    add_prediction_layers(viewer, canvas.find_layer(viewer, "image"), prediction, nuclei)
    opened.show_panel("Review")
    opened.model.last_prediction = (prediction, nuclei)
    review = opened.panels["Review"]
    qtbot.waitUntil(lambda: review.model.comparison is not None, timeout=30_000)
    review.tabs.setCurrentIndex(1)
    settle()
    return review


def test_without_a_prediction_buttons_say_how_to_begin(opened, qtbot, settle, monkeypatch):
    review = opened.panels["Review"]
    opened.show_panel("Review")
    assert "Predict this crop" in review.hint.text()
    assert tabs_of(review) == {"Scores": True, "Errors": False, "Tables": False, "Queue": True, "Compare": True}
    assert "prediction" in review.tabs.tabToolTip(1)
    assert "prediction" in review.folder.start.toolTip()
    asked = []
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *a: asked.append(a) or "")
    qtbot.mouseClick(review.start.choose, Qt.MouseButton.LeftButton)
    assert len(asked) == 1
    qtbot.mouseClick(review.start.predict, Qt.MouseButton.LeftButton)
    assert opened.tabs.currentWidget().widget() is opened.panels["Predict"]


def test_judging_is_in_sight_on_a_small_screen(compared, viewer, qtbot, settle):
    viewer.window.resize(1280, 800)
    qtbot.waitUntil(lambda: viewer.window.geometry()[3] == 800, timeout=5000)
    qtbot.wait(100)
    around = compared.parentWidget()
    for button in (*compared.judging.verdicts.values(), *compared.judging.mend.values()):
        assert button.mapTo(around, QPoint(0, button.height())).y() <= around.height(), button.text()
    small = compared.errors.table.height()
    viewer.window.resize(1280, 1100)
    qtbot.waitUntil(lambda: compared.errors.table.height() > small, timeout=5000)
    assert all(tabs_of(compared).values())


def test_judged_errors_have_a_tick_and_the_verdict(compared, qtbot, settle):
    errors = compared.errors
    assert errors.table.isColumnHidden(JUDGED)
    number = len(errors.table.rows)
    first = errors.table.rows[0]
    compared.model.go_to(first)
    compared.judging.verdicts["truth right"].click()
    settle()
    at = next(i for i, f in enumerate(errors.table.rows) if f.key == first.key)
    assert errors.table.text(at, JUDGED) == "✓ truth"
    assert "you said: truth right" in errors.table.model().index(at, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert not errors.table.isColumnHidden(JUDGED)
    assert f"1 of {number} judged" in errors.counts.text()
    compared.judging.undo()
    settle()
    assert errors.table.isColumnHidden(JUDGED)


def test_it_says_why_missed_is_several_numbers(compared):
    errors, review = compared.errors, compared.model.comparison
    assert [f.type.value for f in review.findings].count("missed") == 1
    assert review.evaluation.instances.fn >= 2, "of the merged ones one at least has no partner"
    assert "merged" in errors.counting.text()
    assert errors.counting.toolTip() == errors.counts.toolTip() == compared.scores.counting.toolTip() == COUNTING
    compared.ways["difference"].click()
    lines = {key: text for key, text, _ in compared.looking.legend_entries()}
    assert lines["missed"].endswith("  2")
    assert "merged" in lines["parts"]
    assert errors.sure.itemText(0) == "Any certainty"
    assert "SQ × DQ" in compared.scores.what.text()
    tables = (compared.scores.scorings, compared.scores.by_class, compared.folder.patients, compared.folder.organs)
    for table in tables:
        for column in range(1, table.columnCount()):
            assert table.horizontalHeaderItem(column).toolTip(), table.horizontalHeaderItem(column).text()
    compared.ways["layers"].click()
