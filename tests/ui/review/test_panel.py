"""Review in a real window, as a person drives it: scores, errors, ways of looking, judging, tables, the report."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_monusac.app.actions import REVIEW_ACCEPT
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.predictions.foreign import ForeignNuclei
from napari_monusac.io.predictions.open import certain_prediction
from napari_monusac.ui.canvas import canvas, comparing
from napari_monusac.ui.canvas.colors import classes_in
from napari_monusac.ui.canvas.outlines import outlines_on
from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers
from napari_monusac.ui.canvas.styles import PREDICTION, TRUTH


def faulty(truth, classes):
    """A prediction with known faults: one nucleus missed, one spurious, one of the wrong class."""
    labels = [int(k) for k in np.unique(truth) if k]
    instances = np.asarray(truth).astype(np.int32)
    instances[instances == labels[0]] = 0
    wrong = {**classes, labels[1]: classes[labels[1]] % 4 + 1}
    free = next(
        (y, x)
        for y in range(4, truth.shape[0] - 20, 2)
        for x in range(4, truth.shape[1] - 20, 2)
        if not truth[y - 4 : y + 16, x - 4 : x + 16].any()
    )
    new = max(labels) + 1
    instances[free[0] : free[0] + 12, free[1] : free[1] + 12] = new
    return instances, {**wrong, new: 2}


@pytest.fixture
def panel(opened, viewer, qtbot, settle, monkeypatch):
    """The review panel, shown, with a faulty prediction of the open crop."""
    monkeypatch.setattr("napari_monusac.ui.widgets.settings.reader", lambda: "")
    monkeypatch.setattr("napari_monusac.ui.widgets.settings.set_reader", lambda _: None)
    qtbot.waitUntil(lambda: opened.model.editing.session is not None, timeout=30_000)
    layer = canvas.find_layer(viewer, "nuclei")
    instances, classes = faulty(np.asarray(layer.data), classes_in(layer.features))
    nuclei = ForeignNuclei(instances, classes, dict.fromkeys(classes, 0.75)).nuclei(0.25)
    prediction = certain_prediction(nuclei)
    add_prediction_layers(viewer, canvas.find_layer(viewer, "image"), prediction, nuclei)
    opened.show_panel("Review")
    opened.model.last_prediction = (prediction, nuclei)
    review = opened.panels["Review"]
    qtbot.waitUntil(lambda: review.model.comparison is not None, timeout=30_000)
    settle()
    yield review
    review.model.look("layers")


def kinds(panel):
    return [f.type.value for f in panel.model.comparison.findings]


def go(panel, kind):
    """Choose the error of a kind in the list."""
    row = next(i for i, f in enumerate(panel.model.errors) if f.type.value == kind)
    panel.model.go_to(panel.model.errors[row])
    return panel.model.finding


def test_errors_are_stepped_through_filtered_mended_and_undone(panel, opened, viewer, qtbot, settle):
    assert sorted(kinds(panel)) == ["missed", "spurious", "wrong class"]
    panel.tabs.setCurrentIndex(1)
    assert panel.judging.isVisibleTo(panel)
    layer = canvas.find_layer(viewer, "nuclei")
    qtbot.waitUntil(lambda: "N" in {str(k) for k in layer.keymap}, timeout=5000)
    step = next(f for k, f in layer.keymap.items() if str(k) == "N")
    step(layer)
    first = panel.model.finding
    step(layer)
    assert panel.model.finding is not first
    y, x = panel.model.finding.centre
    assert viewer.scene.camera.center[-2:] == pytest.approx((y * 0.25, x * 0.25), abs=0.5)
    panel.errors.kind.setCurrentIndex(panel.errors.kind.findData("spurious"))
    assert len(panel.errors.table.rows) == 1
    panel.errors.kind.setCurrentIndex(0)
    panel.errors.sure.setCurrentIndex(1)
    assert len(panel.errors.table.rows) == 0, "nothing is 0.8 sure, and the missed one has no confidence"
    panel.errors.sure.setCurrentIndex(0)
    # the wrong class: the truth takes the model's class by a key; the score follows; undo brings it back
    finding = go(panel, "wrong class")
    before = panel.model.comparison.evaluation.pq
    panel.judging.set_class(int(finding.predicted_class))
    qtbot.waitUntil(lambda: "wrong class" not in kinds(panel), timeout=20_000)
    settle()
    assert panel.model.comparison.evaluation.pq > before
    panel.judging.undo_button.click()
    qtbot.waitUntil(lambda: "wrong class" in kinds(panel), timeout=20_000)
    # a spurious nucleus is accepted into the labels
    go(panel, "spurious")
    panel.judging.mend[REVIEW_ACCEPT.id].click()
    qtbot.waitUntil(lambda: "spurious" not in kinds(panel), timeout=20_000)
    settle()
    # tolerance: the same score, edges forgiven
    panel.scores.tolerance.setValue(3)
    pq = [panel.scores.scorings.item(0, i).text() for i in range(1, 5)]
    assert pq == [f"{s.pq:.2f}" for s in panel.model.comparison.evaluation.tolerance[-1].scorings]
    # keys go back to the next panel
    opened.show_panel("Slides")
    assert "W" not in {str(k) for k in layer.keymap}


def test_every_way_of_looking(panel, viewer, qtbot, settle):
    truth, predicted = canvas.find_layer(viewer, "nuclei"), canvas.find_layer(viewer, "predicted nuclei")
    review, looking = panel.model.comparison, panel.looking
    panel.ways["outlines"].click()
    assert not truth.visible
    pair = review.pair
    for role, instances, style in (
        (comparing.TRUTH, pair.truth, TRUTH), (comparing.PREDICTED, pair.prediction, PREDICTION)
    ):  # fmt: skip
        layer = canvas.find_layer(viewer, role)
        assert np.array_equal(layer.data, instances)
        assert outlines_on(viewer, layer).style == style
        assert set(outlines_on(viewer, layer).labels.tolist()) == set(np.unique(instances).tolist()) - {0}
    panel.ways["difference"].click()
    assert not canvas.find_layer(viewer, comparing.TRUTH).visible
    assert canvas.find_layer(viewer, comparing.DIFFERENCE).visible
    legend = {e[1].split("  ")[0]: e[1].split("  ")[1] for e in looking.legend_entries()}
    assert (legend["missed"], legend["spurious"], legend["wrong class"]) == ("1", "1", "1")
    shown = [n for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_looking_") and o.visible]
    assert len(shown) == 5
    # the swipe: truth left, prediction right, on every column
    panel.model.toggle_swipe()
    data = canvas.find_layer(viewer, comparing.SWIPE).data
    for column in (150, 20, 90):
        looking.swipe.to(column)
        edge = np.unique(np.nonzero(data == comparing.SWIPE_EDGE)[1])
        assert np.abs(edge - column).max() <= looking.swipe.edge_px()
        assert not np.delete(data, edge, axis=1).any(), "the tissue is seen but under the edge"
        clips = [outlines_on(viewer, canvas.find_layer(viewer, r)).clip for r in (comparing.TRUTH, comparing.PREDICTED)]
        assert clips == [(-np.inf, column), (column, np.inf)]
    panel.model.toggle_swipe()
    assert panel.model.way == "difference"
    # blink while the key is held
    layer = canvas.find_layer(viewer, "image")
    held = next(f for k, f in layer.keymap.items() if str(k) == "B")(layer)
    next(held)
    outlines = [canvas.find_layer(viewer, n) for n in (comparing.TRUTH, comparing.PREDICTED)]
    shown = [o.visible for o in outlines]
    assert sorted(shown) == [False, True]
    looking._blink_on()
    assert [o.visible for o in outlines] == shown[::-1]
    next(held, None)
    assert panel.model.way == "difference"
    # side by side: two cameras as one
    panel.ways["beside"].click()
    second = looking._second.model
    viewer.scene.camera.center = (0, 12, 14)
    assert tuple(second.scene.camera.center[-2:]) == (12, 14)
    second.scene.camera.zoom = 7
    assert viewer.scene.camera.zoom == pytest.approx(7)
    panel.ways["uncertainty"].click()
    settle()
    assert not looking._second.is_open
    assert canvas.find_layer(viewer, comparing.UNCERTAINTY).data.max() <= 1
    # what the user deletes stays deleted and breaks nothing
    viewer.layers.remove(canvas.find_layer(viewer, comparing.UNCERTAINTY))
    panel.comparing.start()
    settle()
    assert canvas.find_layer(viewer, comparing.UNCERTAINTY) is None
    panel.ways["layers"].click()
    assert truth.visible
    assert predicted.visible
    viewer.layers.remove(predicted)
    panel.comparing.start()
    panel.ways["outlines"].click()
    settle()


def test_ways_that_were_looked_at_come_back_without_new_layers(panel, viewer, settle):
    for way in ("outlines", "difference", "swipe", "uncertainty", "beside"):
        panel.ways[way].click()
        settle()
    second, changes = panel.looking._second.view, []
    for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
        event.connect(changes.append)
    for way in ("layers", "outlines", "difference", "swipe", "uncertainty", "beside", "layers"):
        panel.ways[way].click()
        settle()
        shown = {canvas.role(layer) for layer in viewer.layers if layer.visible} & set(comparing.COMPARED_ROLES)
        assert shown == {
            "layers": set(), "outlines": {comparing.TRUTH, comparing.PREDICTED}, "difference": {comparing.DIFFERENCE},
            "swipe": {comparing.TRUTH, comparing.PREDICTED, comparing.SWIPE}, "uncertainty": {comparing.UNCERTAINTY}, "beside": {comparing.TRUTH},
        }[way]  # fmt: skip
        assert panel.looking._second.is_open == (way == "beside")
    assert not changes
    assert panel.looking._second.view is second


def test_judging_by_two_readers(panel, opened, qtbot, settle):
    judging, crop = panel.judging, opened.model.crop
    original = crop.annotation.read_bytes()
    panel.tabs.setCurrentIndex(1)
    go(panel, "missed")
    judging.verdicts["model right"].click()
    assert not panel.model.folder.exists(), "nobody is named: nothing is written"
    judging.reader.setText("Weber")
    go(panel, "missed")
    qtbot.keyClicks(judging.note, "debris")
    judging.verdicts["model right"].click()
    qtbot.waitUntil(lambda: panel.model.comparison.judged is not None, timeout=20_000)
    assert panel.model.comparison.judged.detection.f1 > panel.model.comparison.evaluation.detection.f1
    assert "As judged" in judging.score.text()
    go(panel, "spurious")
    judging.verdicts["truth right"].click()
    judging.undo_button.click()
    assert len(panel.model.judgements_of(crop.name)) == 1
    go(panel, "spurious")
    judging.verdicts["truth right"].click()
    settle()
    judging.corrected.button.click()
    settle()
    written = panel.model.folder / "corrected" / crop.patient / f"{crop.name}.xml"
    assert len(read_annotation(written).nuclei) == len(read_annotation(crop.annotation).nuclei) - 1
    assert crop.annotation.read_bytes() == original
    # the second reader sees nothing of it
    judging.reader.setText("Okoye")
    judging.reader.editingFinished.emit()
    settle()
    assert panel.model.judgements_of(crop.name) == []
    go(panel, "missed")
    assert "you said" not in judging.about.text()
    judging.verdicts["truth right"].click()
    go(panel, "spurious")
    judging.verdicts["truth right"].click()
    settle()
    panel.readers.look()
    panel.readers.compare()
    settle()
    assert panel.model.agreement[0].both == 2
    assert panel.model.agreement[0].agreed == 1
    assert panel.readers.differences.rowCount() == 1


def test_cells_open_their_nuclei_and_the_report_is_written(panel, viewer, qtbot, settle, monkeypatch):
    confusion = panel.model.comparison.evaluation.confusion
    panel.tabs.setCurrentIndex(2)
    table = panel.tables.confusion
    row, column = table.rowCount() - 1, 1 + confusion.columns.index("Lymphocyte")
    item = table.item(row, column)
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(item).center())
    settle()
    gallery = panel.tables.gallery
    assert gallery.list.count() == int(item.text()) == 1
    assert not gallery.list.item(0).icon().isNull()
    assert canvas.find_layer(viewer, "frames") is not None
    spurious = next(f for f in panel.model.comparison.findings if f.type.value == "spurious")
    gallery.list.itemClicked.emit(gallery.list.item(0))
    assert viewer.scene.camera.center[-2:] == pytest.approx([c * 0.25 for c in spurious.centre], abs=0.5)
    assert panel.model.finding == spurious
    addresses = []
    monkeypatch.setattr("qtpy.QtGui.QDesktopServices.openUrl", addresses.append)
    panel.report.button.click()
    settle()
    html = panel.model.folder / f"report-{panel.model.comparison.pair.crop}.html"
    assert "research use" in html.read_text("utf-8")
    assert html.with_suffix(".csv").is_file()
    assert [a.toLocalFile() for a in addresses] == [str(html)]


def test_maps_that_are_compared(panel, viewer, settle):
    from napari_monusac.masks.ternary import ternary_map

    review, looking = panel.model.comparison, panel.looking
    pair = review.pair
    panel.ways["swipe"].click()
    panel.ways_view.map.setCurrentIndex(panel.ways_view.map.findData("semantic"))
    settle()
    truth, predicted = looking._maps
    for label, number in pair.truth_classes.items():
        assert (truth[pair.truth == label] == number).all()
    assert ((truth > 0) == (pair.truth > 0)).all()
    assert np.array_equal(predicted, pair.semantic)
    column = looking.swipe.column
    data = canvas.find_layer(viewer, comparing.SWIPE).data
    left = column - looking.swipe.edge_px()
    assert np.array_equal(data[:, :left], truth[:, :left])
    panel.ways_view.map.setCurrentIndex(panel.ways_view.map.findData("ternary"))
    settle()
    assert np.array_equal(looking._maps[0], ternary_map(pair.truth.astype(np.int32), 3))
    panel.ways_view.map.setCurrentIndex(panel.ways_view.map.findData("nuclei"))
    settle()
    truth, predicted = looking._maps
    both = (pair.truth > 0) & (pair.prediction > 0)  # here a matched nucleus has the same pixels in both
    assert np.array_equal(truth[both], predicted[both])
    # blink shows the maps, and outlines come back
    looking.blink(on=True)
    assert np.array_equal(canvas.find_layer(viewer, comparing.TRUTH).data, truth)
    looking.blink(on=False)
    panel.ways_view.map.setCurrentIndex(0)
    settle()
    assert not canvas.find_layer(viewer, comparing.SWIPE).data[:, :3].any()
    assert np.array_equal(canvas.find_layer(viewer, comparing.TRUTH).data, pair.truth)
    assert outlines_on(viewer, canvas.find_layer(viewer, comparing.TRUTH)) is not None


def test_keys_that_review_covers_come_back(panel, opened, viewer, qtbot):
    layer = canvas.find_layer(viewer, "nuclei")
    by_name = lambda: {str(k): f for k, f in layer.keymap.items()}  # noqa: E731 - one line, used thrice
    qtbot.waitUntil(lambda: "N" in by_name(), timeout=5000)
    ours = by_name()
    assert {"N", "P", "1", "2", "3", "4", "A", "X", "B", "W", "O", "Ctrl+Z"} <= set(ours)
    filled = opened.model.editor.look.filled
    ours["O"](layer)
    assert opened.model.editor.look.filled != filled
    predicted = canvas.find_layer(viewer, "predicted nuclei")
    fillings = lambda: list(predicted.colormap._values_mapping_to_minimum_values_set()[1].values())[1:]  # noqa: E731
    assert all(0 < color[3] < 1 for color in fillings())
    ours["O"](layer)
    assert opened.model.editor.look.filled <= filled
    opened.show_panel("Slides")
    assert "Ctrl+Z" in by_name(), "undo of edits stays, as it does wherever the Studio is"
    assert by_name()["Ctrl+Z"] is not ours["Ctrl+Z"]
    assert "N" not in by_name()
