"""Each tool as a person uses it: mouse and keys on a real canvas."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt

from napari_monusac.editing.commands import DrawPolygon, EraseBrush, SplitByStroke, Undo
from napari_monusac.ui.canvas import canvas

NONE = Qt.KeyboardModifier.NoModifier
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


def circle(centre, radius, n=24):
    angles = np.linspace(0, 2 * np.pi, n)
    return [(centre[0] + radius * np.sin(a), centre[1] + radius * np.cos(a)) for a in angles]


def test_the_panel_counts_and_the_layers_are_views(hand, viewer):
    counts = hand.session.nuclei.counts()
    for number, button in hand.panel.classes.buttons.items():
        assert button.text().endswith(f"   {counts.get(number, 0)}")
    assert hand.in_step()
    assert not hand.panel.save.isEnabled()
    assert not hand.studio.unsaved.text()


def test_pick_selects_and_keys_class(hand):
    label = min(hand.session.maps.boxes)
    hand.click(hand.centre(label))
    assert hand.session.selection.ids == {label}
    hand.key(Qt.Key.Key_3)
    assert hand.session.nuclei.row(label).class_id == 3
    assert "unsaved" in hand.studio.unsaved.text()
    hand.key(Qt.Key.Key_0)
    assert hand.session.nuclei.row(label).class_id == 255
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert hand.session.nuclei.row(label).class_id == 3
    hand.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert hand.session.nuclei.row(label).class_id == 255
    assert hand.in_step()


def test_a_key_means_the_nucleus_under_the_pointer(hand):
    second = sorted(hand.session.maps.boxes)[1]
    hand.hover(hand.centre(second))
    hand.key(Qt.Key.Key_4)
    assert hand.session.nuclei.row(second).class_id == 4
    words = hand.panel.pointer.text()
    assert f"Macrophage {second}" in words
    assert "µm²" in words


def test_a_click_that_slips_is_a_click(hand, viewer):
    label = min(hand.session.maps.boxes)
    before = tuple(viewer.scene.camera.center)
    hand.click(hand.centre(label), slip=(2, 2))
    assert hand.session.selection.ids == {label}
    hand.tool("split")
    hand.tool("lasso")
    edits = hand.session.history.state
    hand.click(hand.centre(label), slip=(2, -2))
    assert hand.session.history.state == edits, "a slipped click draws nothing"
    assert np.allclose(viewer.scene.camera.center, before, atol=3)


def test_a_click_beside_a_nucleus_means_it(hand):
    label = min(hand.session.maps.boxes)
    _, _, _, right = hand.session.maps.boxes[label]
    rows = np.flatnonzero(hand.session.maps.instances[:, right - 1] == label)
    assert hand.panel.commands.under((float(rows[0]), right - 1 + min(1.0, hand.panel.commands.tolerance()))) == label


def test_several_are_selected_by_shift_lasso_and_box(hand):
    height, width = hand.session.shape
    a, b = sorted(hand.session.maps.boxes)[:2]
    hand.click(hand.centre(a))
    hand.click(hand.centre(b), SHIFT)
    assert hand.session.selection.ids == {a, b}
    around = [(2, 2), (2, width - 3), (height - 3, width - 3), (height - 3, 2), (2, 2)]
    hand.drag(around, SHIFT)
    everything = {k for k, box in hand.session.maps.boxes.items()}
    assert len(hand.session.selection.ids) >= 0.8 * len(everything)
    hand.click((1, 1))
    hand.drag([(1, 1), (height / 2, width / 2), (height - 2, width - 2)], CONTROL)
    assert len(hand.session.selection.ids) >= 0.8 * len(everything)
    hand.panel.classes.buttons[2].click()
    assert hand.session.nuclei.counts().get(2, 0) >= 0.8 * len(everything)


def test_lasso_draws_a_nucleus_of_the_chosen_class(hand):
    hand.click((0, 0))
    hand.panel.classes.buttons[2].click()
    hand.tool("lasso")
    middle = hand.free()
    number = hand.session.nuclei.counts().get(2, 0)
    hand.drag(circle(middle, 7))
    label = int(hand.session.maps.instances[int(middle[0]), int(middle[1])])
    assert label
    assert hand.session.nuclei.row(label).class_id == 2
    assert hand.session.nuclei.row(label).provenance == "human"
    assert hand.session.nuclei.counts()[2] == number + 1
    area = hand.session.nuclei.facts(label).area_px
    assert abs(area - np.pi * 49) < 0.25 * np.pi * 49
    assert hand.in_step()


def test_brush_paints_anew_adds_and_undo_is_ours(hand, viewer, qtbot):
    hand.click((0, 0))
    hand.panel.classes.buttons[1].click()
    hand.tool("brush")
    nuclei = canvas.find_layer(viewer, "nuclei")
    assert nuclei.mode == "paint"
    middle = hand.free()
    number = len(hand.session.rows)
    hand.drag([(middle[0], middle[1] - 3), middle, (middle[0], middle[1] + 3)])
    qtbot.wait(10)
    assert len(hand.session.rows) == number + 1
    label = int(nuclei.data[int(middle[0]), int(middle[1])])
    area = hand.session.nuclei.facts(label).area_px
    hand.drag([middle, (middle[0] + 4, middle[1])])
    qtbot.wait(10)
    assert len(hand.session.rows) == number + 1, "a stroke that begins inside adds to the nucleus"
    assert hand.session.nuclei.facts(label).area_px > area
    for _ in range(2):
        hand.key(Qt.Key.Key_Z, CONTROL)
    assert len(hand.session.rows) == number
    assert not nuclei.data[int(middle[0]), int(middle[1])]
    assert hand.in_step()


def test_napari_s_bucket_and_code_are_taken_over(hand, viewer, qtbot):
    nuclei = canvas.find_layer(viewer, "nuclei")
    label = min(hand.session.maps.boxes)
    nuclei.fill([int(v) for v in hand.centre(label)], 60_000)
    qtbot.waitUntil(lambda: hand.session.history.can_undo)
    assert label not in hand.session.maps.boxes, hand.panel.message.text()
    new = max(hand.session.maps.boxes)
    assert new < 60_000, "numbers are the session's own"
    hand.controller.do(Undo())
    assert label in hand.session.maps.boxes
    data = nuclei.data.copy()
    data[data == label] = 0
    nuclei.data = data
    qtbot.wait(10)
    assert label not in hand.session.maps.boxes
    assert hand.in_step()


def test_polygon_by_clicks(hand, qtbot):
    hand.click((0, 0))
    hand.tool("polygon")
    y, x = hand.free()
    number = len(hand.session.rows)
    for corner in ((y - 6, x - 6), (y - 6, x + 6), (y + 6, x + 6)):
        hand.click(corner)
        hand.hover((y + 3, x))
    hand.double_click((y + 6, x - 6))
    qtbot.waitUntil(lambda: len(hand.session.rows) == number + 1)
    label = int(hand.session.maps.instances[int(y), int(x)])
    assert hand.session.nuclei.row(label).class_id == hand.session.selection.current_class
    assert hand.in_step()


def test_a_polygon_is_ended_by_enter_and_a_right_click_takes_a_corner_back(hand):
    y, x = hand.free()
    hand.tool("polygon")
    number = len(hand.session.rows)
    for corner in ((y - 6, x - 6), (y - 6, x + 6), (y + 60, x + 60)):
        hand.click(corner)
    right = Qt.MouseButton.RightButton
    where = hand.at((y, x))
    hand._send(QEvent.Type.MouseButtonPress, where, right, right, NONE)
    hand._send(QEvent.Type.MouseButtonRelease, where, right, Qt.MouseButton.NoButton, NONE)
    assert len(hand.panel.toolbox.corners.points) == 2
    hand.key(Qt.Key.Key_Return)
    assert len(hand.session.rows) == number, "two corners are no nucleus"
    for corner in ((y - 6, x - 6), (y - 6, x + 6), (y + 6, x + 6), (y + 6, x - 6)):
        hand.click(corner)
    hand.key(Qt.Key.Key_Return)
    assert len(hand.session.rows) == number + 1
    label = int(hand.session.maps.instances[int(y), int(x)])
    assert hand.session.nuclei.facts(label).area_px == pytest.approx(12 * 12, abs=30)


def test_erase(hand, qtbot):
    label = max(hand.session.maps.boxes, key=lambda k: hand.session.nuclei.facts(k).area_px)
    area = hand.session.nuclei.facts(label).area_px
    hand.tool("erase")
    hand.panel.tools.size.setValue(4)
    y, x = hand.centre(label)
    hand.drag([(y, x - 2), (y, x + 2)])
    qtbot.wait(10)
    assert 0 < hand.session.nuclei.facts(label).area_px < area
    assert hand.in_step()


def test_split_by_a_stroke_and_merge_by_a_stroke(hand):
    label = max(hand.session.maps.boxes, key=lambda k: hand.session.nuclei.facts(k).area_px)
    _, left, _, right = hand.session.maps.boxes[label]
    y, x = hand.centre(label)
    number = len(hand.session.rows)
    hand.tool("split")
    hand.drag([(y, left - 3), (y, x), (y, right + 3)])
    assert len(hand.session.rows) == number + 1
    hand.tool("merge")
    hand.drag([(y - 4, x), (y, x), (y + 4, x)])
    assert len(hand.session.rows) == number
    assert hand.in_step()


def test_merge_by_two_clicks(hand):
    label = max(hand.session.maps.boxes, key=lambda k: hand.session.nuclei.facts(k).area_px)
    y, x = hand.centre(label)
    hand.controller.do(SplitByStroke([(y, x - 60), (y, x + 60)], label=label))
    number = len(hand.session.rows)
    hand.tool("merge")
    hand.click((y - 5, x))
    hand.click((y + 5, x))
    assert len(hand.session.rows) == number - 1


def clump(hand):
    """Two discs that touch, drawn as one nucleus."""
    y, x = hand.free(14)
    outline = [*circle((y, x - 5), 6, 20)]
    change = hand.session.do(DrawPolygon(outline))
    label = change.created[0]
    hand.session.do(DrawPolygon(circle((y, x + 5), 6, 20), into=label))
    return label, (y, x)


def test_the_suggested_split_is_taken_with_one_key(hand):
    _, (y, x) = clump(hand)
    number = len(hand.session.rows)
    hand.hover((1, 1))  # it was just drawn: the pointer comes back to it
    hand.hover((y, x - 4))
    hand.key(Qt.Key.Key_S)
    assert len(hand.session.rows) == number + 1
    ids = {int(hand.session.maps.instances[int(y), int(x + d)]) for d in (-5, 5)}
    assert len(ids) == 2
    hand.key(Qt.Key.Key_Z, CONTROL)
    hand.tool("split")
    hand.click((y, x - 4))
    assert len(hand.session.rows) == number + 1, "a click with the split tool does the same"


def test_s_without_a_neck_takes_the_split_tool(hand):
    hand.hover(hand.free())
    hand.click(hand.free())
    hand.key(Qt.Key.Key_S)
    assert hand.panel.toolbox.tool == "split"


@pytest.mark.parametrize("name", ["grow", "shrink", "smooth", "fill_holes", "delete"])
def test_buttons_act_on_the_selection(hand, name):
    label = max(hand.session.maps.boxes, key=lambda k: hand.session.nuclei.facts(k).area_px)
    y, x = (int(v) for v in hand.centre(label))
    if name == "fill_holes":
        hand.session.do(EraseBrush([(y, x)], 3, ids=[label]))
    area = hand.session.nuclei.facts(label).area_px
    hand.click((y - (4 if name == "fill_holes" else 0), x))
    hand.panel.shapes[f"annotate.{name}"].click()
    after = 0 if label not in hand.session.rows else hand.session.nuclei.facts(label).area_px
    wanted = {"grow": after > area, "shrink": after < area, "smooth": after > 0, "fill_holes": after > area}
    assert wanted.get(name, after == 0)
    assert hand.in_step()


def test_ambiguous_regions_lie_on_their_own_layer(hand, viewer, qtbot):
    hand.click((0, 0))
    hand.panel.classes.buttons[5].click()
    hand.tool("brush")
    y, x = hand.free()
    assert viewer.layers.selection.active is canvas.find_layer(viewer, "ambiguous")
    hand.drag([(y, x - 3), (y, x + 3)])
    qtbot.wait(10)
    assert hand.session.maps.ambiguous[int(y), int(x)]
    assert not hand.session.maps.instances[int(y), int(x)]
    assert hand.session.nuclei.counts()[5] == 1
    hand.controller.settle()
    assert hand.panel.classes.buttons[5].text().endswith("1")
    label = min(hand.session.maps.boxes)
    hand.tool("pick")
    hand.click(hand.centre(label))
    hand.key(Qt.Key.Key_5)
    assert hand.session.nuclei.row(label).plane == "ambiguous"
    assert hand.in_step()
