"""The life of a crop in Annotate: restored, saved, left, done, trained on; and what napari gets back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShortcut
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_monusac.editing.commands import Delete, DrawBrush, EraseBrush, Reshape, Select, SetClass
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.collection.corrected_list import corrected_crops
from napari_monusac.review.places import FindingPlace
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.outlines import outlines_on
from napari_monusac.ui.canvas.styles import PREDICTION, TRUTH
from napari_monusac.ui.widgets import settings as annotate_settings

SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


def edit(hand, number=1):
    """Some finished edits."""
    label = min(hand.session.maps.boxes)
    for k in range(number):
        hand.controller.do(SetClass(1 + (hand.session.nuclei.row(label).class_id + k) % 4, [label]))
    return label


def reopened(hand, until, **how):
    old = hand.session
    hand.controller.open_again(**how)
    until(lambda: hand.session is not None and hand.session is not old)


def answer(hand, words):
    button = next(b for b in hand.panel.question.buttons if b.text().startswith(words))
    button.click()


def test_unsaved_edits_come_back_and_it_says_so(hand, until):
    label = edit(hand, 3)
    wanted = hand.session.nuclei.row(label).class_id
    reopened(hand, until)
    assert hand.session.nuclei.row(label).class_id == wanted
    assert "3 edits that were not saved came back" in hand.panel.message.text()
    assert hand.studio.unsaved.text()
    assert hand.in_step()
    features = canvas.find_layer(hand.viewer, "nuclei").features.set_index("index")
    assert features.loc[label, "class_id"] == wanted


def test_paint_that_no_event_told_of_is_in_the_journal_when_the_crop_is_left(hand, until):
    nuclei = canvas.find_layer(hand.viewer, "nuclei")
    y, x = (int(v) for v in hand.free())
    nuclei.data[y - 3 : y + 3, x - 3 : x + 3] = 4000
    reopened(hand, until)
    assert hand.session.maps.instances[y, x]


def test_saving_keeps_the_version_before(hand, until):
    edit(hand)
    path = hand.session.file.path
    before = path.read_bytes()
    hand.panel.save.click()
    until(lambda: not hand.session.unsaved and not hand.controller.busy)
    assert path.read_bytes() != before
    assert hand.session.file.earlier_versions()[-1].read_bytes() == before
    assert "Saved as" in hand.panel.message.text()
    assert not hand.studio.unsaved.text()
    assert not hand.panel.save.isEnabled()
    path.write_bytes(before)


def test_keys_pressed_during_a_saving_are_not_lost(hand, until):
    label = edit(hand)
    before = hand.session.file.path.read_bytes()
    hand.panel.saving.save()
    assert hand.controller.busy
    assert not canvas.find_layer(hand.viewer, "nuclei").editable
    hand.panel.commands.set_class(4, [label])
    until(lambda: not hand.controller.busy)
    assert hand.session.nuclei.row(label).class_id == 4
    assert hand.session.unsaved
    assert canvas.find_layer(hand.viewer, "nuclei").editable
    hand.session.file.path.write_bytes(before)


def test_somebody_else_s_version_is_not_overwritten(hand, until):
    edit(hand)
    path = hand.session.file.path
    mine, theirs = path.read_bytes(), path.read_bytes() + b"\n<!-- theirs -->\n"
    path.write_bytes(theirs)
    hand.panel.save.click()
    until(lambda: hand.panel.question.buttons and not hand.controller.busy)
    assert path.read_bytes() == theirs
    assert "Nothing was overwritten" in hand.panel.question.text.text()
    answer(hand, "Save mine as")
    until(lambda: "compare" in hand.panel.message.text())
    assert path.read_bytes() == theirs
    for copy in path.parent.glob(f"{path.stem}.mine*"):
        copy.unlink()
    path.write_bytes(mine)


def test_leaving_asks_and_each_answer_does_what_it_says(hand, until, settle):
    model = hand.studio.model
    first = model.crop
    second = model.collection.crops[1]
    label = edit(hand)
    wanted = hand.session.nuclei.row(label).class_id
    QTest.keyClick(hand.canvas, Qt.Key.Key_PageDown)
    assert model.crop is first
    assert "one unsaved edit." in hand.panel.question.text.text()
    answer(hand, "Stay")
    assert model.crop is first
    hand.studio.next.click()
    answer(hand, "Leave")
    until(lambda: model.crop is second and hand.session is not None)
    assert not hand.studio.unsaved.text()
    model.ask_for_crop(first)
    until(lambda: model.crop is first and hand.session is not None)
    assert hand.session.nuclei.row(label).class_id == wanted
    before = hand.session.file.path.read_bytes()
    hand.studio.next.click()
    answer(hand, "Save and go on")
    until(lambda: model.crop is second and hand.session is not None)
    path = first.annotation
    assert path.read_bytes() != before
    path.write_bytes(before)


def test_every_way_to_another_crop_asks_and_opens_the_right_one(hand, viewer, until):
    """The doctor's table, an item of Review, a folder: "Save and go on" opens what was asked for, and goes there."""
    from types import SimpleNamespace

    model, slides, review = hand.studio.model, hand.studio.panels["Slides"], hand.studio.panels["Review"]
    first, second, third = model.collection.crops[:3]
    path, before = first.annotation, first.annotation.read_bytes()
    # what was asked for and not gone to before is of no matter
    edit(hand)
    model.ask_for_crop(second)
    answer(hand, "Stay")
    finding = SimpleNamespace(image=third.name, at=(20.0, 30.0), nuclei=())
    slides.doctor._go_to_finding(SimpleNamespace(data=lambda _: finding))
    assert model.crop is first
    assert "one unsaved edit." in hand.panel.question.text.text()
    answer(hand, "Save and go on")
    until(lambda: model.crop is third and hand.session is not None)
    assert path.read_bytes() != before
    image = canvas.find_layer(viewer, "image")
    until(lambda: np.allclose(viewer.scene.camera.center[-2:], image.data_to_world((20.0, 30.0))[-2:], atol=1))
    # Review: an item of another crop
    edit(hand)
    place = FindingPlace(second.name, (20.0, 20.0), (10, 10, 30, 30))
    review.model.go_to(place)
    assert model.crop is third
    assert review.model.awaited is None, "nothing is waited for until the reader has decided"
    answer(hand, "Leave")
    until(lambda: model.crop is second and hand.session is not None)
    # another folder: the list stays the old one until then
    edit(hand)
    kept = model.collection
    task = slides.open_folder(second.image.parent)
    done = []
    task.finished.connect(lambda: done.append(True))
    until(lambda: done)
    assert model.collection is kept
    answer(hand, "Stay")
    assert model.crop is second
    path.write_bytes(before)


def test_a_dropped_image_waits_until_the_reader_has_decided(hand, viewer, until):
    model = hand.studio.model
    first, second = model.crop, model.collection.crops[1]
    label = edit(hand)
    session, layers = hand.session, set(canvas.our_layers(viewer))
    for again in range(2):
        viewer.open(str(second.image), plugin="napari-monusac")
        until(lambda: hand.panel.question.buttons)
        assert hand.session is session
        assert set(canvas.our_layers(viewer)) == layers
        assert model.crop is first
        answer(hand, ("Stay", "Leave")[again])
    until(lambda: model.crop is not first and hand.session not in (None, session))
    assert hand.controller.editing.place.image == str(second.image)
    assert {x.metadata["monusac"]["image"] for x in canvas.our_layers(viewer)} == {str(second.image)}
    assert label


def test_done_saves_marks_and_goes_on(hand, until):
    from napari_monusac.editing.progress import CropMarks

    model = hand.studio.model
    first = model.crop
    edit(hand)
    before = first.annotation.read_bytes()
    hand.key(Qt.Key.Key_D)
    until(lambda: model.crop is not first and hand.session is not None)
    assert first.annotation.read_bytes() != before
    marks = CropMarks(model.collection.root)
    assert marks.mark_of(first.name).mark == "done"
    assert "1 of" in hand.panel.progress.text()
    marks.set_mark(first.name, None)
    first.annotation.write_bytes(before)


def test_a_prediction_is_accepted_by_click_key_and_region(hand, viewer, qtbot):
    label = min(hand.session.maps.boxes)
    y, x = hand.centre(label)
    predicted = hand.session.maps.instances.copy()
    ids = np.unique(predicted)[1:]
    table = pd.DataFrame(
        {"label": ids, "class_id": 2, "class": "Lymphocyte", "confidence": np.linspace(0.4, 0.99, ids.size)}
    )
    hand.controller.do(Delete([int(k) for k in ids]))
    assert len(hand.session.maps.boxes) == 0
    nuclei = type("Nuclei", (), {"instances": predicted, "table": table})()
    prediction = type("P", (), {"offset_px": (0, 0)})()
    hand.studio.model.last_prediction = (prediction, nuclei)
    hand.hover((y, x))
    hand.key(Qt.Key.Key_A)
    assert len(hand.session.maps.boxes) == 1
    row = hand.session.nuclei.row(max(hand.session.maps.boxes))
    assert (row.provenance, row.class_id) == ("model", 2)
    hand.tool("accept")
    other = int(ids[-1])
    top, left, bottom, right = (v for v in _box(predicted, other))
    middle = ((top + bottom) / 2, (left + right) / 2)
    hand.click(_inside(predicted, other, middle))
    assert len(hand.session.maps.boxes) == 2
    hand.panel.accepting.confidence.setValue(0.7)
    assert f"{int((table.confidence >= 0.7).sum())} of {len(table)}" in hand.panel.accepting.hint.text()
    hand.panel.accepting.in_view.click()
    accepted = {r.confidence for r in hand.session.rows.values()}
    assert {c for c in table.confidence if c >= 0.7} <= accepted
    hand.panel.accepting.confidence.setValue(0.0)
    height, width = hand.session.shape
    hand.drag([(1, 1), (1, width - 2), (height - 2, width - 2), (height - 2, 1)])
    assert len(hand.session.maps.boxes) == ids.size
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert len(hand.session.maps.boxes) < ids.size
    assert hand.in_step()
    hand.studio.model.last_prediction = None


def _box(labels, k):
    y, x = np.nonzero(labels == k)
    return y.min(), x.min(), y.max() + 1, x.max() + 1


def _inside(labels, k, near):
    y, x = np.nonzero(labels == k)
    i = int(np.argmin((y - near[0]) ** 2 + (x - near[1]) ** 2))
    return float(y[i]), float(x[i])


def test_n_and_p_step_through_nuclei(hand):
    ids = hand.panel.stepping.sequence(hand.session)
    hand.key(Qt.Key.Key_N)
    assert hand.session.selection.ids == {ids[0]}
    hand.key(Qt.Key.Key_N)
    assert hand.session.selection.ids == {ids[1]}
    hand.key(Qt.Key.Key_P)
    hand.key(Qt.Key.Key_P)
    assert hand.session.selection.ids == {ids[-1]}
    hand.key(Qt.Key.Key_3)
    assert hand.session.nuclei.row(ids[-1]).class_id == 3, (
        "a key means the nucleus that was stepped to, wherever the pointer is"
    )
    assert str(ids[-1]) in hand.panel.pointer.text()


def test_the_audit_lists_and_mends(hand, until):
    y, x = hand.free(12)
    hand.controller.do(DrawBrush([(y, x - 6), (y, x + 6)], 7))
    label = max(hand.session.rows)
    hand.controller.do(EraseBrush([(y, x)], 3, ids=[label]))
    hand.panel.stepping.look.click()
    stepping = hand.panel.stepping
    until(lambda: stepping.list.count() and stepping.progress.task is None)
    number = stepping.list.count()
    assert stepping.list.currentRow() == 0, "the first finding and its mend are shown"
    hand.key(Qt.Key.Key_N)
    assert stepping.list.currentRow() == 1
    found = [i for i in range(number) if stepping.list.item(i).text().startswith("Hole")]
    stepping.list.setCurrentRow(found[0])
    assert "background inside" in stepping.words.text()
    area = hand.session.nuclei.facts(label).area_px
    hand.key(Qt.Key.Key_F)
    assert hand.session.nuclei.facts(label).area_px > area
    assert stepping.list.count() < number
    hand.panel.classes.buttons[2].click()
    assert stepping.list.count(), "choosing a class leaves the list alone"


def colours_of(hand, viewer, label):
    """What the graphics card shows of a nucleus: the opacities of its pixels."""
    layer = canvas.find_layer(viewer, "nuclei")
    alpha = np.array([color[3] for color in layer.colormap._values_mapping_to_minimum_values_set()[1].values()])
    return alpha[np.asarray(layer._slice.image.view)][layer.data == label]


def test_outline_or_filled_for_one_class_by_key_and_by_mouse(hand, viewer):
    session = hand.session
    first = {}
    for k, row in session.rows.items():
        if row.plane == "nuclei":
            first.setdefault(row.class_id, k)
    (one, a), (_, b) = sorted(first.items())[:2]

    def strength(label):
        assert label in outlines_on(viewer, canvas.find_layer(viewer, "nuclei")).labels, "the outline is always there"
        return set(np.unique(colours_of(hand, viewer, label)).tolist())

    assert strength(a) == strength(b) == {0.0}
    hand.panel.classes.chips[one].click()
    assert 0 < min(strength(a)) < 1, "a filling lets the tissue through"
    assert strength(b) == {0.0}
    hand.hover(hand.centre(b))
    hand.key(Qt.Key.Key_O, SHIFT)
    assert min(strength(b)) > 0
    hand.key(Qt.Key.Key_O, SHIFT)
    assert strength(b) == {0.0}
    hand.key(Qt.Key.Key_O)
    assert min(strength(a)) > 0
    assert min(strength(b)) > 0
    assert hand.panel.seeing.fill.isChecked()
    # an edit and napari's own brush draw the same as the whole layer drawn anew
    hand.controller.do(Reshape("grow", [a]))
    layer = canvas.find_layer(viewer, "nuclei")
    before = np.array(layer._slice.image.view)
    layer.refresh()
    assert (np.asarray(layer._slice.image.view) == before).all()
    hand.key(Qt.Key.Key_O)
    assert strength(a) == strength(b) == {0.0}


def test_what_a_model_found_is_dashed(hand, viewer, until):
    labels = np.zeros((60, 60), np.int32)
    labels[10:50, 10:50] = 1
    table = pd.DataFrame({"index": [1], "class_id": [2], "class": ["Lymphocyte"]})
    layer = viewer.add_labels(
        labels, name="predicted nuclei", features=table,
        metadata={"monusac": {"role": "predicted nuclei"}},
    )  # fmt: skip
    until(lambda: outlines_on(viewer, layer) is not None)
    assert outlines_on(viewer, layer).style == PREDICTION
    assert outlines_on(viewer, canvas.find_layer(viewer, "nuclei")).style == TRUTH
    assert outlines_on(viewer, layer).labels.tolist() == [1]
    assert layer.contour == 0
    viewer.layers.remove(layer)


def test_a_layer_that_was_hidden_at_first_shows_later_edits(hand, viewer, until):
    for name in ("nuclei", "ambiguous"):
        canvas.find_layer(viewer, name).visible = False
    reopened(hand, until)
    y, x = (int(v) for v in hand.free(12))
    hand.controller.editing.current_class = 5
    hand.controller.do(DrawBrush([(y, x)], 9))
    hand.controller.editing.current_class = 1
    hand.controller.do(DrawBrush([(y, x + 4)], 9, over="all"))
    for name, place in (("nuclei", 1), ("ambiguous", 6)):
        layer = canvas.find_layer(viewer, name)
        layer.visible = True
        assert np.asarray(layer._slice.image.view)[y, x] == place
        found = outlines_on(viewer, layer)
        until(lambda f=found: f.ready)
        assert set(found.labels.tolist()) == set(np.unique(layer.data).tolist()) - {0}


def test_what_is_filled_holds_for_the_next_crop(hand, until):
    hand.panel.classes.chips[2].click()
    reopened(hand, until)
    assert 2 in hand.controller.layers.look.filled
    shades = hand.controller.layers.colormap._values_mapping_to_minimum_values_set()[1]
    assert sorted(k for k in range(1, 7) if shades[k][3] > 0) == [2, 6]
    hand.panel.classes.chips[2].click()


def test_seeing(hand, viewer, until):
    nuclei = canvas.find_layer(viewer, "nuclei")
    seeing = hand.panel.seeing
    seeing.opacity.setValue(40)
    assert nuclei.opacity == pytest.approx(0.4)
    a = min(hand.session.maps.boxes)
    hand.controller.do(SetClass(3, [a]))
    blue = nuclei.colormap.map(np.array([a]))[0]
    seeing.colour_blind.setChecked(True)
    other = nuclei.colormap.map(np.array([a]))[0]
    assert not np.allclose(blue, other)
    hand.panel.classes.buttons[1].click()
    seeing.only.setChecked(True)
    shown = nuclei.colormap.map(np.array(sorted(hand.session.maps.boxes)))[:, 3] > 0
    classes = [
        hand.session.nuclei.row(k).class_id == hand.session.selection.current_class
        for k in sorted(hand.session.maps.boxes)
    ]
    assert shown.tolist() == classes
    seeing.only.setChecked(False)
    seeing.colour_blind.setChecked(False)
    image = canvas.find_layer(viewer, "image").data.copy()
    seeing.stain.setCurrentText("Haematoxylin")
    until(lambda: canvas.find_layer(viewer, "view") is not None)
    assert (canvas.find_layer(viewer, "image").data == image).all(), "the image itself is never changed"
    viewer.layers.remove(canvas.find_layer(viewer, "view"))
    assert seeing.stain.currentText() == "H&E"
    seeing.contrast.setValue(2.0)
    until(lambda: canvas.find_layer(viewer, "view") is not None)
    assert canvas.find_layer(viewer, "view").data.mean() < image[..., :3].mean()
    seeing.contrast.setValue(1.0)
    assert canvas.find_layer(viewer, "view") is None


def test_napari_s_own_keys_and_double_click_come_back(hand, viewer):
    nuclei = canvas.find_layer(viewer, "nuclei")
    viewer.layers.selection.active = nuclei
    hand.key(Qt.Key.Key_2)
    assert nuclei.mode == "pan_zoom", "2 is a class while Annotate is shown"
    assert not any(f.__name__ == "double_click_to_zoom" for f in viewer.mouse_double_click_callbacks)
    edit(hand)
    hand.studio.show_panel("Masks")
    hand.canvas.setFocus()
    assert any(f.__name__ == "double_click_to_zoom" for f in viewer.mouse_double_click_callbacks)
    hand.key(Qt.Key.Key_2)
    assert nuclei.mode == "paint", "2 is napari's brush otherwise"
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert not hand.session.history.can_undo, "undo stays ours"
    hand.studio.show_panel("Annotate")
    hand.canvas.setFocus()
    hand.key(Qt.Key.Key_V)
    assert nuclei.mode == "pan_zoom"


def test_keys_work_while_the_dock_has_the_focus(hand):
    label = min(hand.session.maps.boxes)
    hand.session.do(Select([label]))
    hand.panel.commands.stepped()
    QTest.keyClick(hand.panel, Qt.Key.Key_4)
    assert hand.session.nuclei.row(label).class_id == 4
    QTest.keyClick(hand.panel, Qt.Key.Key_Z, CONTROL)
    assert hand.session.nuclei.row(label).class_id != 4


def test_space_moves_the_slide_with_any_tool(hand, viewer):
    hand.tool("lasso")
    nuclei = canvas.find_layer(viewer, "nuclei")
    assert not nuclei.mouse_pan
    QTest.keyPress(hand.canvas, Qt.Key.Key_Space)
    assert nuclei.mouse_pan
    QTest.keyRelease(hand.canvas, Qt.Key.Key_Space)
    assert not nuclei.mouse_pan
    assert hand.panel.toolbox.tool == "lasso"


def test_the_key_map_opens_and_closes(hand, qtbot):
    from qtpy.QtWidgets import QLabel

    from napari_monusac.app.actions import ACTIONS, called

    hand.studio.show_panel("Slides")
    (shortcut,) = (s for s in hand.studio.findChildren(QShortcut) if s.key().toString() == "?")
    shortcut.activated.emit()
    window = hand.panel._keymap
    assert window.isVisible(), "from any panel"
    room = window.screen().availableSize()
    assert window.width() <= room.width()
    assert window.height() <= room.height()
    hand.studio.show_panel("Annotate")
    assert not window.isModal()
    QTest.keyClicks(window, "?")
    assert not window.isVisible()
    shown = [label.text() for label in window.findChildren(QLabel)]
    for action in ACTIONS:
        if action.keys:
            assert "   ".join(map(called, action.keys)) in shown
            assert action.line in shown
    assert any("M (set the currently selected label" in words for words in shown), "napari's own that rest"


def test_deleted_layers_break_nothing(hand, viewer, qtbot):
    label = edit(hand)
    viewer.layers.remove(canvas.find_layer(viewer, "semantic"))
    viewer.layers.remove(canvas.find_layer(viewer, "ternary"))
    hand.controller.do(Reshape("grow", [label]))
    viewer.layers.remove(canvas.find_layer(viewer, "nuclei"))
    qtbot.wait(20)
    hand.controller.do(Reshape("shrink", [label]))
    for key in (Qt.Key.Key_N, Qt.Key.Key_O, Qt.Key.Key_S):
        hand.key(key)
    hand.controller.settle()
    assert hand.panel.show_again.isVisible()
    hand.panel.show_again.click()
    qtbot.wait(20)
    assert not hand.panel.show_again.isVisible()
    assert hand.in_step()
    hand.controller.do(Reshape("grow", [label]))
    assert hand.in_step()


def test_the_reader_is_asked_once_and_stands_on_edits(hand):
    hand.panel.reader.setVisible(True)
    hand.panel.reader.field.setText(" Dr. Blau ")
    hand.panel.reader.keep.click()
    assert annotate_settings.reader() == "Dr. Blau"
    assert not hand.panel.reader.isVisible()
    label = edit(hand)
    assert hand.session.nuclei.row(label).author == "Dr. Blau"
    annotate_settings.set_reader("")


def test_corrected_crops_go_back_into_training(hand, until, settle):
    model = hand.studio.model
    asked = []
    model.training.data_changed.connect(asked.append)
    edit(hand)
    before = model.crop.annotation.read_bytes()
    hand.panel.train.click()
    until(lambda: bool(asked))
    folder = asked[0]
    assert model.training.draft.value("start_from") == ""
    gathered = open_collection(folder)
    assert {c.name for c in gathered.labelled} == {c.name for c in model.collection.labelled}, "the others come along"
    assert corrected_crops(gathered) == (model.crop.name,)
    assert hand.studio.tabs.tabText(hand.studio.tabs.currentIndex()) == "Train"
    assert hand.studio.panels["Train"].form.data.path == folder
    model.crop.annotation.write_bytes(before)
    hand.studio.show_panel("Annotate")


def test_a_crop_without_labels_is_begun_by_a_button(hand, viewer, until, tmp_path):
    model = hand.studio.model
    crop = model.crop
    hidden = crop.annotation.rename(crop.annotation.with_suffix(".aside"))
    try:
        bare = type(crop)(**{**{f: getattr(crop, f) for f in crop.__dataclass_fields__}, "annotation": None})
        hand.controller.leave()
        model.may_leave_crop, kept = (lambda _: True), model.may_leave_crop
        model.ask_for_crop(bare)
        model.may_leave_crop = kept
        until(lambda: model.crop is bare and hand.session is None)
        until(lambda: hand.panel.begin.isVisible())
        assert "Nobody has outlined" in hand.panel.hint.text()
        hand.panel.begin.click()
        until(lambda: hand.session is not None)
        assert len(hand.session.rows) == 0
        hand.tool("lasso")
        height, width = hand.session.shape
        middle = (height / 2, width / 2)
        hand.drag([(middle[0] + dy, middle[1] + dx) for dy, dx in ((-9, -9), (-9, 9), (9, 9), (9, -9), (-9, -8))])
        assert len(hand.session.rows) == 1
        assert hand.in_step()
        hand.panel.save.click()
        until(lambda: not hand.session.unsaved and not hand.controller.busy)
        assert crop.annotation.is_file()
    finally:
        hidden.replace(crop.annotation)


def test_a_folder_that_cannot_be_written(hand, until, tmp_path, monkeypatch):
    from napari_monusac.app import place
    from napari_monusac.ui.editing.shown import place_shown

    monkeypatch.setenv("MONUSAC_WORK", str(tmp_path / "work"))
    monkeypatch.setattr(place, "writable", lambda folder: tmp_path in (folder, *folder.parents))
    before = hand.studio.model.crop.annotation.read_bytes()
    hand.controller.editing.place = place_shown(hand.viewer)
    reopened(hand, until)
    assert "cannot be written" in hand.panel.message.text()
    edit(hand)
    hand.panel.save.click()
    until(lambda: not hand.session.unsaved and not hand.controller.busy)
    assert hand.session.file.path.is_relative_to(tmp_path)
    assert hand.studio.model.crop.annotation.read_bytes() == before
    assert not (hand.studio.model.crop.annotation.parent / ".monusac").exists()
    monkeypatch.undo()
    hand.controller.editing.place = place_shown(hand.viewer)


def test_a_journal_that_does_not_fit_is_a_question(hand, until):
    edit(hand, 2)
    path = hand.session.file.path
    before = path.read_bytes()
    hand.session.close()
    path.write_bytes(before + b"\n<!-- another hand -->\n")
    hand.controller.open_again()
    until(lambda: bool(hand.panel.question.buttons))
    assert "changed by somebody else" in hand.panel.question.text.text()
    answer(hand, "Bring the edits back")
    until(lambda: hand.session is not None)
    assert hand.session.unsaved
    path.write_bytes(before)


def test_two_panels_share_one_session_and_one_hand(hand, viewer, until, qtbot):
    label = min(hand.session.maps.boxes)
    second, panel = viewer.window.add_plugin_dock_widget("napari-monusac", "Annotate")
    qtbot.wait(50)
    assert panel.controller is hand.controller
    assert not hand.panel.toolbox.active
    hand.click(hand.centre(label), SHIFT)
    assert hand.session.selection.ids == {label}, "toggled once"
    viewer.window.remove_dock_widget(second)
    qtbot.wait(50)
    assert hand.session is not None
    hand.studio.show_panel("Slides")
    hand.studio.show_panel("Annotate")
    hand.click(hand.centre(label), SHIFT)
    assert not hand.session.selection.ids
    assert hand.in_step()


def test_close_events_of_other_kinds_pass(hand):
    assert not hand.panel.watch.eventFilter(hand.panel.window(), QEvent(QEvent.Type.WindowActivate))
    assert QApplication.instance() is not None


def test_a_suggested_cut_is_one_line_along_the_border():
    from napari_monusac.ui.canvas.marks import boundary_of, dashes

    labels = np.zeros((12, 20), int)
    labels[1:11, 1:10], labels[1:11, 10:19] = 3, 7
    (line,) = boundary_of(labels)
    assert np.allclose(line[:, 1], 9.5)
    assert sorted((line[0, 0], line[-1, 0])) == [0.5, 10.5]
    assert len(dashes([line], 2.0)) == 5
    assert boundary_of(np.zeros((4, 4), int)) == []
