"""Wand, rectangle and ellipse on a real canvas."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

from napari_monusac.editing.commands import Delete, Select
from napari_monusac.ui.annotate.ruler import length_words
from napari_monusac.ui.canvas import canvas

SHIFT = Qt.KeyboardModifier.ShiftModifier


def new_ones(hand, before):
    return sorted(set(hand.session.rows) - before)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def largest(hand):
    counts = np.bincount(hand.session.maps.instances.ravel())
    counts[0] = 0
    return int(counts.argmax())


def test_the_wand_finds_a_nucleus_that_is_there_and_grows_it(hand):
    label = largest(hand)
    at = hand.centre(label)
    truth = hand.session.maps.instances == label
    reach = np.hypot(*(np.argwhere(truth) - at).T).max()
    hand.session.do(Select([]))
    hand.session.do(Delete([label]))
    before = set(hand.session.rows)
    hand.key(Qt.Key.Key_W)
    assert hand.panel.toolbox.tool == "wand"
    assert hand.panel.tools.tolerance.isVisible()
    assert not hand.panel.tools.size.isVisible()
    hand.panel.tools.tolerance.setValue(30)
    hand.drag([at, (at[0], at[1] + reach / 2), (at[0], at[1] + reach)])
    (new,) = new_ones(hand, before)
    drawn = hand.session.maps.instances == new
    assert iou(drawn, truth) > 0.5
    assert hand.session.rows[new].provenance == "human"
    assert hand.in_step()
    # from inside, farther: the same nucleus grows
    hand.drag([at, (at[0], at[1] + 1.3 * reach)])
    assert new_ones(hand, before) == [new]
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    if new in hand.session.rows:  # the second drag found nothing more
        hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not new_ones(hand, before)


def test_rectangle_and_ellipse_from_corner_to_corner(hand):
    y, x = hand.free(7)
    before = set(hand.session.rows)
    hand.key(Qt.Key.Key_R)
    assert hand.panel.toolbox.tool == "rectangle"
    hand.drag([(y - 4, x - 4), (y, x), (y + 4, x + 4)])
    (box,) = new_ones(hand, before)
    assert 49 <= hand.session.nuclei.facts(box).area_px <= 90
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hand.key(Qt.Key.Key_R, SHIFT)
    assert hand.panel.toolbox.tool == "ellipse"
    hand.drag([(y - 4, x - 4), (y, x), (y + 4, x + 4)])
    (oval,) = new_ones(hand, before)
    assert 38 <= hand.session.nuclei.facts(oval).area_px <= 66
    assert hand.in_step()


def test_without_the_image_the_wand_says_so(hand, viewer):
    image = canvas.find_layer(viewer, "image")
    role = image.metadata["monusac"]["role"]
    image.metadata["monusac"]["role"] = "somebody's"
    try:
        hand.tool("wand")
        edits = hand.session.history.state
        hand.drag([(20, 20), (20, 30)])
    finally:
        image.metadata["monusac"]["role"] = role
    assert hand.session.history.state == edits
    assert "colour image" in hand.panel.message.text()


def test_a_drag_of_a_selected_nucleus_moves_it_and_not_the_slide(hand, viewer):
    label = largest(hand)
    at = hand.centre(label)
    hand.session.do(Select([label]))
    hand.tool("pick")
    camera, mask = tuple(viewer.scene.camera.center), hand.session.maps.instances == label
    hand.drag([at, (at[0] + 3, at[1] + 2), (at[0] + 9, at[1] + 4)])
    assert tuple(viewer.scene.camera.center) == camera
    assert hand.session.history.undo_name == "move"
    moved = hand.session.maps.instances == label
    before = np.argwhere(mask).mean(0)
    assert np.hypot(*(np.argwhere(moved).mean(0) - before - (9, 4))) < 3, "but for what was cut by others"
    assert hand.in_step()
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(hand.session.maps.instances == label, mask)
    # one that is not selected: the slide moves
    hand.session.do(Select([]))
    hand.drag([at, (at[0] + 3, at[1] + 2), (at[0] + 9, at[1] + 4)])
    assert np.array_equal(hand.session.maps.instances == label, mask)
    assert tuple(viewer.scene.camera.center) != camera
    viewer.scene.camera.center = camera


def test_the_ruler_says_how_far_it_is(hand):
    hand.key(Qt.Key.Key_U)
    assert hand.panel.toolbox.tool == "ruler"
    edits = hand.session.history.state
    hand.drag([(20, 20), (40, 20), (50, 60)])
    um = float(hand.panel.message.text().partition("Ruler: ")[2].partition(" µm")[0])
    assert abs(um - 50 * hand.session.nuclei.um_per_px) < 0.6
    assert hand.session.history.state == edits
    assert hand.controller.marking.marks._sets["ruler"]
    hand.click((20, 20))
    assert not hand.controller.marking.marks._sets["ruler"]


def test_a_length_in_words():
    assert length_words((0, 0), (30, 40), 0.25) == "12.5 µm (50 px)"
    assert length_words((0, 0), (30, 40), None) == "50 px (the scale is unknown)"
