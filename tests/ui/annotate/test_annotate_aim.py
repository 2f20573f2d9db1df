"""What keys act on, and what gives a stroke up, as a person meets it in the window."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest

from napari_monusac.ui.canvas import canvas

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


def circle(centre, radius, n=24):
    angles = np.linspace(0, 2 * np.pi, n)
    return [(centre[0] + radius * np.sin(a), centre[1] + radius * np.cos(a)) for a in angles]


def two(hand):
    return sorted(hand.session.maps.boxes)[:2]


def away(hand, viewer):
    """Move the slide so far that no nucleus is in the window; the pointer is over the glass beside it."""
    nuclei = canvas.find_layer(viewer, "nuclei")
    height, width = hand.session.shape
    viewer.scene.camera.center = tuple(nuclei.data_to_world((30 * height, 30 * width)))
    hand.hover((30 * height, 30 * width))


def flash(hand):
    return hand.controller.marking.marks._sets.get("flash") or []


def test_the_selected_nucleus_comes_before_the_one_under_the_pointer(hand):
    first, second = two(hand)
    kept = hand.session.nuclei.row(second).class_id
    hand.click(hand.centre(first))
    hand.hover(hand.centre(second))
    hand.key(Qt.Key.Key_4)
    assert hand.session.nuclei.row(first).class_id == 4
    assert hand.session.nuclei.row(second).class_id == kept
    assert hand.panel.pointer.text().startswith(f"1 selected: Macrophage {first}")
    hand.key(Qt.Key.Key_Escape)
    assert not hand.session.selection.ids
    hand.hover(hand.centre(second))
    hand.key(Qt.Key.Key_4)
    assert hand.session.nuclei.row(second).class_id == 4


def test_x_deletes_what_is_selected_one_or_three(hand):
    first, second, third = sorted(hand.session.maps.boxes)[:3]
    hand.click(hand.centre(first))
    hand.hover(hand.centre(second))
    hand.key(Qt.Key.Key_X)
    assert first not in hand.session.maps.boxes
    assert second in hand.session.maps.boxes
    hand.key(Qt.Key.Key_Z, CONTROL)
    hand.key(Qt.Key.Key_Escape)
    hand.click(hand.centre(first))
    hand.click(hand.centre(second), SHIFT)
    hand.click(hand.centre(third), SHIFT)
    assert hand.panel.pointer.text() == "3 selected"
    hand.key(Qt.Key.Key_Delete)
    assert not {first, second, third} & set(hand.session.maps.boxes)


@pytest.mark.parametrize("key", [Qt.Key.Key_4, Qt.Key.Key_X])
def test_a_selection_that_is_out_of_view_is_left_alone(hand, viewer, key):
    first, _ = two(hand)
    hand.click(hand.centre(first))
    state = hand.session.history.state
    away(hand, viewer)
    assert hand.panel.pointer.text() == "1 selected, out of view: keys leave it alone"
    hand.key(key)
    assert hand.session.history.state == state
    assert hand.session.selection.ids == {first}
    if key == Qt.Key.Key_X:
        assert "out of view" in hand.panel.message.text()
    viewer.reset_view()
    hand.qtbot.wait(20)
    hand.key(key)
    assert hand.session.history.state != state


def test_the_class_buttons_leave_what_is_out_of_view_alone(hand, viewer):
    first, _ = two(hand)
    hand.click(hand.centre(first))
    state = hand.session.history.state
    away(hand, viewer)
    hand.panel.classes.buttons[4].click()
    assert hand.session.history.state == state
    assert hand.session.selection.current_class == 4, "new ones get it"


@pytest.mark.parametrize("tool", ["lasso", "brush"])
def test_a_key_after_drawing_spares_the_new_nucleus_until_the_pointer_has_left_it(hand, qtbot, tool):
    first, _ = two(hand)
    hand.click(hand.centre(first))
    hand.tool(tool)
    middle = hand.free()
    number = len(hand.session.rows)
    path = circle(middle, 7) if tool == "lasso" else [(middle[0], middle[1] - 3), middle, (middle[0], middle[1] + 3)]
    hand.drag(path)
    qtbot.wait(20)
    assert len(hand.session.rows) == number + 1
    made = max(hand.session.rows)
    hand.hover(middle)
    hand.hover((middle[0] + 0.5, middle[1]))
    state = hand.session.history.state
    assert hand.panel.pointer.text().startswith("Just drawn: ")
    for key in (Qt.Key.Key_3, Qt.Key.Key_X):
        hand.key(key)
    assert hand.session.history.state == state, "neither the new nucleus nor what was selected before"
    assert not hand.session.selection.ids
    assert hand.session.selection.current_class == 3
    # the pointer comes back to it: now it is meant
    hand.hover((1, 1))
    hand.hover(middle)
    hand.key(Qt.Key.Key_4)
    assert hand.session.nuclei.row(made).class_id == 4


def test_a_lasso_with_shift_adds_to_the_one_that_was_drawn_last(hand):
    hand.click((0, 0))
    hand.tool("lasso")
    y, x = hand.free()
    hand.drag(circle((y, x), 5))
    made = max(hand.session.rows)
    area, number = hand.session.nuclei.facts(made).area_px, len(hand.session.rows)
    hand.drag(circle((y, x + 4), 5), SHIFT)
    assert len(hand.session.rows) == number
    assert hand.session.nuclei.facts(made).area_px > area


def test_after_a_step_and_a_deletion_the_next_key_spares_what_lies_under_the_idle_pointer(hand):
    first, second = two(hand)
    hand.hover(hand.centre(second))
    hand.panel.stepping.go_to(first)
    hand.key(Qt.Key.Key_X)
    hand.key(Qt.Key.Key_X)
    assert first not in hand.session.maps.boxes
    assert second in hand.session.maps.boxes


def test_what_a_key_has_meant_flashes(hand, until):
    first, _ = two(hand)
    hand.hover(hand.centre(first))
    hand.key(Qt.Key.Key_3)
    rings = flash(hand)
    assert rings, "a ring is drawn"
    around = np.concatenate(rings)
    top, left, bottom, right = hand.session.maps.boxes[first]
    assert around[:, 0].min() < top - 2
    assert around[:, 0].max() > bottom + 1
    assert np.abs(around.mean(0) - ((top + bottom) / 2, (left + right) / 2)).max() < 6
    until(lambda: not flash(hand), seconds=5)


# -- Escape


class Stroke:
    """A drag that is not over yet."""

    def __init__(self, hand, path, modifiers=NONE):
        self.hand, self.modifiers, self.last = hand, modifiers, path[-1]
        hand._send(QEvent.Type.MouseButtonPress, hand.at(path[0]), LEFT, LEFT, modifiers)
        self.go(path[1:])

    def go(self, path):
        for point in path:
            self.hand._send(QEvent.Type.MouseMove, self.hand.at(point), Qt.MouseButton.NoButton, LEFT, self.modifiers)
            self.last = point

    def release(self):
        hand = self.hand
        hand._send(QEvent.Type.MouseButtonRelease, hand.at(self.last), LEFT, Qt.MouseButton.NoButton, self.modifiers)
        hand.qtbot.wait(20)


@pytest.mark.parametrize("tool", ["lasso", "brush", "erase", "split", "merge", "accept", "pick", "pick box"])
def test_escape_gives_a_stroke_up_in_every_tool(hand, viewer, tool):
    nuclei = canvas.find_layer(viewer, "nuclei")
    name, _, box = tool.partition(" ")
    hand.tool(name)
    first = two(hand)[0]
    y, x = hand.centre(first) if name in ("erase", "split") else hand.free()
    before, state, shown = nuclei.data.copy(), hand.session.history.state, tuple(viewer.scene.camera.center)
    modifiers = NONE if name != "pick" else CONTROL if box else SHIFT
    stroke = Stroke(hand, [(y - 6, x - 6), (y - 3, x), (y, x), (y + 3, x + 2)], modifiers)
    if name in ("brush", "erase"):
        assert (nuclei.data != before).any(), "paint is on the layer while the stroke is under way"
    hand.key(Qt.Key.Key_Escape)
    assert (nuclei.data == before).all()
    stroke.go([(y + 6, x + 6), (y + 6, x - 6), (y, x - 8)])
    stroke.release()
    assert (nuclei.data == before).all(), "what is left of the drag is nothing"
    assert hand.session.history.state == state
    assert not hand.session.selection.ids
    assert not hand.controller.marking.marks._sets.get("stroke")
    assert np.allclose(viewer.scene.camera.center, shown), "nor does it move the slide"
    assert hand.panel.toolbox.tool == name, "the tool stays in hand"
    assert hand.in_step()
    # and the next stroke is whole
    if name in ("lasso", "brush"):
        number = len(hand.session.rows)
        hand.drag(circle((y, x), 6))
        hand.qtbot.wait(20)
        assert len(hand.session.rows) == number + 1
        hand.key(Qt.Key.Key_Z, CONTROL)


def test_escape_gives_a_polygon_up_and_so_does_another_tool(hand, viewer):
    nuclei = canvas.find_layer(viewer, "nuclei")
    before, state = nuclei.data.copy(), hand.session.history.state
    y, x = hand.free()
    for end in ("escape", "another tool"):
        hand.tool("polygon")
        for point in ((y - 5, x - 5), (y - 5, x + 5), (y + 5, x)):
            hand.click(point)
        assert hand.panel.toolbox.corners.points
        assert hand.controller.marking.marks._sets.get("stroke"), "a line, and the nucleus is seen through it"
        if end == "escape":
            hand.key(Qt.Key.Key_Escape)
            assert hand.panel.toolbox.tool == "polygon"
        else:
            hand.tool("lasso")
        assert not hand.panel.toolbox.corners.points
        assert not hand.controller.marking.marks._sets.get("stroke"), "no ghost stays"
        assert (nuclei.data == before).all()
        assert hand.session.history.state == state


def test_the_space_bar_keeps_the_corners_of_a_polygon(hand, viewer):
    nuclei = canvas.find_layer(viewer, "nuclei")
    y, x = hand.free()
    hand.tool("polygon")
    for point in ((y - 5, x - 5), (y - 5, x + 5)):
        hand.click(point)
    begun = list(hand.panel.toolbox.corners.points)
    assert begun
    QTest.keyPress(hand.canvas, Qt.Key.Key_Space)
    assert nuclei.mode == "pan_zoom"
    QTest.keyRelease(hand.canvas, Qt.Key.Key_Space)
    assert hand.panel.toolbox.tool == "polygon"
    assert hand.panel.toolbox.corners.points == begun
    hand.key(Qt.Key.Key_Escape)


def test_escape_deselects(hand):
    first, second = two(hand)
    hand.click(hand.centre(first))
    hand.click(hand.centre(second), SHIFT)
    hand.key(Qt.Key.Key_Escape)
    assert not hand.session.selection.ids
    assert not hand.controller.marking.marks._sets.get("selection")


# -- H


@pytest.mark.parametrize("panel", ["Annotate", "Slides", "Review"])
def test_h_hides_all_but_the_tissue_and_brings_it_back_as_it_was(hand, viewer, panel):
    hand.studio.show_panel(panel)
    hand.canvas.setFocus()
    hand.qtbot.wait(20)
    before = {layer.name: layer.visible for layer in viewer.layers}
    assert before["nuclei"]
    hand.key(Qt.Key.Key_H)
    assert [layer.name for layer in viewer.layers if layer.visible] == [canvas.find_layer(viewer, "image").name]
    assert "H" in hand.studio.notice.text()
    hand.key(Qt.Key.Key_H)
    assert {layer.name: layer.visible for layer in viewer.layers} == before


def test_an_edit_brings_back_what_is_hidden(hand, viewer):
    first, _ = two(hand)
    hand.hover(hand.centre(first))
    hand.key(Qt.Key.Key_H)
    assert not canvas.find_layer(viewer, "nuclei").visible
    hand.key(Qt.Key.Key_3)
    assert canvas.find_layer(viewer, "nuclei").visible


def test_h_works_while_the_dock_has_the_focus(hand, viewer):
    QTest.keyClick(hand.panel, Qt.Key.Key_H)
    assert not canvas.find_layer(viewer, "nuclei").visible
    QTest.keyClick(hand.panel, Qt.Key.Key_H)
    assert canvas.find_layer(viewer, "nuclei").visible
