"""What the reader does to the layers changes nothing in the model, and what it needs comes back by one click."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_monusac.app.editing import LayerFault
from napari_monusac.editing.commands import Delete, Reshape
from napari_monusac.ui.canvas import canvas

pytestmark = pytest.mark.gui


def circle(middle, radius):
    angles = np.linspace(0, 2 * np.pi, 24)
    return [(middle[0] + radius * np.sin(a), middle[1] + radius * np.cos(a)) for a in angles]


def duplicate(viewer, name):
    """What napari's *Duplicate* does in the list of layers."""
    from napari.layers._layer_actions import _duplicate_layer

    viewer.layers.selection.active = canvas.find_layer(viewer, name)
    _duplicate_layer(viewer.layers)
    return next(layer for layer in viewer.layers if canvas.is_copy(layer))


def faults(hand):
    return {one.role: one.fault for one in hand.controller.editing.astray}


def facts(hand):
    """What the model holds, without the layers."""
    editing = hand.controller.editing
    return editing.place, editing.session, editing.tool, editing.current_class, editing.session.history.state


@pytest.fixture
def tidy(hand, viewer):
    """All layers are as they were afterwards."""
    yield hand
    for layer in [one for one in viewer.layers if canvas.is_copy(one)]:
        viewer.layers.remove(layer)
    hand.controller.bring_back()
    hand.qtbot.wait(20)
    assert not hand.controller.editing.astray


@pytest.mark.parametrize("name", ["image", "nuclei", "ambiguous"])
def test_a_deleted_layer_comes_back_as_it_was_by_one_click(tidy, viewer, name):
    hand, layer = tidy, canvas.find_layer(viewer, name)
    at, before, data = viewer.layers.index(layer), facts(hand), layer.data
    viewer.layers.remove(layer)
    hand.qtbot.wait(20)
    assert facts(hand) == before
    assert faults(hand) == {name: LayerFault.GONE}
    assert f"“{name}” was deleted" in hand.panel.astray.text()
    assert hand.panel.show_again.isVisible()
    hand.panel.show_again.click()
    hand.qtbot.wait(20)
    back = canvas.find_layer(viewer, name)
    assert viewer.layers.index(back) == at
    assert back.data is data
    assert not hand.panel.show_again.isVisible()
    assert not hand.panel.astray.text()
    assert facts(hand) == before


def test_a_click_on_the_open_crop_brings_deleted_layers_back(tidy, viewer):
    hand = tidy
    session = hand.session
    for name in ("image", "nuclei"):
        viewer.layers.remove(canvas.find_layer(viewer, name))
    hand.qtbot.wait(20)
    hand.studio.panels["Slides"]._chosen(hand.studio.model.crop)
    hand.qtbot.wait(20)
    assert canvas.find_layer(viewer, "image") is not None
    assert canvas.find_layer(viewer, "nuclei").data is session.maps.instances
    assert hand.session is session


def test_edits_go_on_without_the_nuclei_and_are_seen_when_they_are_back(tidy, viewer):
    hand = tidy
    label = min(hand.session.maps.boxes)
    y, x = (round(v) for v in hand.centre(label))
    viewer.layers.remove(canvas.find_layer(viewer, "nuclei"))
    hand.qtbot.wait(20)
    hand.controller.do(Reshape("grow", [label]))
    hand.controller.do(Delete([label]))
    hand.panel.show_again.click()
    hand.qtbot.wait(20)
    layer = canvas.find_layer(viewer, "nuclei")
    assert layer.data[y, x] == 0
    assert hand.in_step()
    state = hand.session.history.state
    hand.tool("lasso")
    hand.drag(circle(hand.free(), 6))
    assert hand.session.history.state != state, "strokes are taken as before"


@pytest.mark.parametrize("tool", ["brush", "lasso"])
def test_a_stroke_on_hidden_nuclei_shows_them_and_counts(tidy, viewer, tool):
    hand = tidy
    hand.tool(tool)
    nuclei = canvas.find_layer(viewer, "nuclei")
    nuclei.visible = False
    hand.qtbot.wait(20)
    assert hand.panel.toolbox.tool == tool, "napari puts its tool down with a hidden layer; ours stays in hand"
    assert faults(hand) == {"nuclei": LayerFault.HIDDEN}
    number = len(hand.session.rows)
    hand.drag(circle(hand.free(), 6))
    hand.qtbot.wait(30)
    assert nuclei.visible
    assert len(hand.session.rows) == number + 1
    assert not faults(hand)
    assert hand.panel.toolbox.tool == tool
    assert hand.in_step()
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)


def test_hidden_nuclei_are_shown_by_one_click_with_the_tool_that_was_chosen_meanwhile(tidy, viewer):
    hand = tidy
    hand.tool("brush")
    nuclei = canvas.find_layer(viewer, "nuclei")
    nuclei.visible = False
    hand.tool("lasso")
    hand.qtbot.wait(20)
    hand.panel.show_again.click()
    hand.qtbot.wait(20)
    assert nuclei.visible
    assert hand.panel.toolbox.tool == "lasso"
    assert nuclei.mode == "pan_zoom"


def test_all_hidden_by_a_key_is_no_fault_of_the_layers(tidy):
    hand = tidy
    hand.key(Qt.Key.Key_H)
    hand.qtbot.wait(20)
    assert not faults(hand)
    hand.key(Qt.Key.Key_H)


def test_a_stroke_without_its_layer_is_refused_with_a_line(tidy, viewer):
    hand = tidy
    viewer.layers.remove(canvas.find_layer(viewer, "nuclei"))
    hand.qtbot.wait(20)
    before = facts(hand)
    hand.tool("pick")
    hand.panel.toolbox.set_tool("lasso")
    hand.drag([(30, 30), (30, 40), (40, 40), (40, 30)])
    assert "was deleted" in hand.panel.message.text()
    assert facts(hand)[4] == before[4]


def test_a_renamed_layer_is_the_same(tidy, viewer):
    hand, layer = tidy, canvas.find_layer(viewer, "nuclei")
    layer.name = "mine"
    hand.tool("lasso")
    number = len(hand.session.rows)
    hand.drag(circle(hand.free(), 6))
    assert len(hand.session.rows) == number + 1
    assert not faults(hand)
    layer.visible = False
    hand.qtbot.wait(20)
    assert "“mine” is hidden" in hand.panel.astray.text()
    layer.name = "nuclei"


def test_nuclei_that_were_moved_off_the_tissue_are_said_and_put_back(tidy, viewer):
    hand, layer = tidy, canvas.find_layer(viewer, "nuclei")
    before = np.array(layer.translate)
    layer.translate = before + 3.0
    hand.qtbot.wait(20)
    assert faults(hand) == {"nuclei": LayerFault.MOVED}
    hand.panel.show_again.click()
    hand.qtbot.wait(20)
    assert np.allclose(layer.translate, before)
    assert not faults(hand)


def test_another_scale_for_all_layers_is_no_fault(tidy, viewer):
    hand = tidy
    before = {layer: np.array(layer.scale) for layer in canvas.our_layers(viewer)}
    for layer in before:
        layer.scale = before[layer] * 2
    hand.qtbot.wait(20)
    assert not faults(hand)
    for layer, scale in before.items():
        layer.scale = scale


@pytest.mark.parametrize("tool", ["brush", "lasso"])
def test_a_copy_does_not_get_the_mouse(tidy, viewer, tool):
    hand = tidy
    hand.tool(tool)
    nuclei = canvas.find_layer(viewer, "nuclei")
    copy = duplicate(viewer, "nuclei")
    hand.qtbot.wait(30)
    assert viewer.layers.selection.active is nuclei
    assert hand.panel.toolbox.tool == tool
    before, number = copy.data.copy(), len(hand.session.rows)
    hand.drag(circle(hand.free(), 6))
    hand.qtbot.wait(30)
    assert len(hand.session.rows) == number + 1
    assert (copy.data == before).all()
    assert not faults(hand)


def test_a_copy_that_is_chosen_by_hand_has_the_mouse_and_a_tool_takes_it_back(tidy, viewer):
    hand = tidy
    hand.tool("lasso")
    nuclei, copy = canvas.find_layer(viewer, "nuclei"), duplicate(viewer, "nuclei")
    hand.qtbot.wait(30)
    viewer.layers.selection.active = copy
    assert "copy of yours and has the mouse" in hand.panel.message.text()
    state = hand.session.history.state
    hand.drag(circle(hand.free(), 6))
    assert hand.session.history.state == state, "what is theirs is not ours"
    hand.tool("lasso")
    assert viewer.layers.selection.active is nuclei
    hand.drag(circle(hand.free(), 6))
    assert hand.session.history.state != state


# -- words that are of now


def test_the_top_line_forgets_the_nucleus_of_the_crop_before(hand, until):
    model = hand.studio.model
    hand.hover(hand.centre(min(hand.session.maps.boxes)))
    assert "µm²" in hand.panel.pointer.text()
    second = model.collection.crops[1]
    model.ask_for_crop(second)
    until(lambda: model.crop is second and hand.session is not None)
    assert hand.panel.pointer.text() == "Point at a nucleus."


def test_the_question_counts_what_no_file_has(hand, until):
    path = hand.session.file.path
    before = path.read_bytes()
    labels = sorted(hand.session.maps.boxes)[:3]
    for label in labels[:2]:
        hand.controller.do(Reshape("grow", [label]))
    hand.panel.save.click()
    until(lambda: not hand.session.unsaved and not hand.controller.busy)
    hand.controller.do(Reshape("grow", [labels[2]]))
    hand.studio.next.click()
    assert "one unsaved edit." in hand.panel.question.text.text()
    hand.panel.question.buttons[-1].click()
    path.write_bytes(before)


def test_napari_s_line_follows_a_key(hand, viewer, until):
    label = min(hand.session.maps.boxes)
    hand.hover(hand.centre(label))
    viewer.mouse_over_canvas = True
    hand.key(Qt.Key.Key_4)
    until(lambda: "Macrophage" in str(viewer.status), seconds=10)
    hand.key(Qt.Key.Key_2)
    until(lambda: "Lymphocyte" in str(viewer.status), seconds=10)


def test_a_dock_that_is_opened_again_knows_the_open_crop(hand, viewer, until):
    """The model outlives its panels: the crop's name, its place in the folder and its edits are there at once."""
    model = hand.studio.model
    crop, position = model.crop, hand.studio.place.text()
    hand.controller.do(Reshape("grow", [min(hand.session.maps.boxes)]))
    place = model.editing.place
    other = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    from napari_monusac.ui.studio import Studio

    made = other if other is not hand.studio else Studio(viewer)
    assert made.where.text() == crop.name
    assert made.place.text() == position
    assert "unsaved" in made.unsaved.text()
    assert made.model.editing.place is place
    if made is not hand.studio:
        made.deleteLater()
