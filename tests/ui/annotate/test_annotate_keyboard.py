"""Keys of the window while a crop is edited: Ctrl+S, Tab, and what napari's line at the foot says of them."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton, QScrollArea

from napari_monusac.app.actions import Panel, help_line
from napari_monusac.editing.commands import SetClass
from napari_monusac.ui.canvas import canvas

CONTROL = Qt.KeyboardModifier.ControlModifier


def edit(hand):
    label = min(hand.session.maps.boxes)
    hand.controller.do(SetClass(hand.session.nuclei.row(label).class_id % 4 + 1, [label]))
    return label


@pytest.mark.parametrize("panel", ["Annotate", "Slides"])
def test_control_s_saves_the_crop_from_each_panel(hand, until, panel, monkeypatch):
    dialogs = []
    monkeypatch.setattr("napari._qt.qt_viewer.QtViewer._save_layers_dialog", lambda *a, **k: dialogs.append(a))
    path = hand.session.file.path
    before = path.read_bytes()
    edit(hand)
    until(lambda: hand.studio.model.editing.unsaved)
    hand.studio.show_panel(panel)
    hand.studio.window().activateWindow()
    until(lambda: hand.studio.window().isActiveWindow())
    QTest.keyClick(hand.canvas, Qt.Key.Key_S, CONTROL)
    until(lambda: not hand.session.unsaved and not hand.controller.busy)
    assert path.read_bytes() != before
    words = hand.panel.message if panel == "Annotate" else hand.studio.notice
    assert "Saved as" in words.text()
    assert not dialogs
    # nothing to save now: in another panel it is napari's own again
    QTest.keyClick(hand.canvas, Qt.Key.Key_S, CONTROL)
    assert len(dialogs) == (panel == "Slides")
    path.write_bytes(before)


def test_control_s_without_edits_says_so(hand, until):
    hand.panel.saving.save_now()
    assert "Everything is saved" in hand.panel.message.text()
    assert "Ctrl+S" in hand.panel.save.text()


def test_napari_s_line_tells_our_keys_while_they_hold(hand, viewer):
    nuclei = canvas.find_layer(viewer, "nuclei")
    assert viewer.help == nuclei.help == help_line(Panel.ANNOTATE)
    hand.tool("brush")  # napari writes the help of its tools at each change of mode
    assert nuclei.help == help_line(Panel.ANNOTATE)
    hand.tool("pick")
    hand.studio.show_panel("Review")
    hand.qtbot.waitUntil(lambda: nuclei.help == help_line(Panel.REVIEW), timeout=5000)
    hand.studio.show_panel("Slides")
    hand.qtbot.wait(20)
    assert "use <" in nuclei.help
    assert viewer.help == nuclei.help
    hand.studio.show_panel("Annotate")
    assert viewer.help == help_line(Panel.ANNOTATE)


def test_the_status_says_class_and_area_only(hand, viewer):
    label = min(hand.session.maps.boxes)
    layer = canvas.find_layer(viewer, "nuclei")
    y, x = hand.centre(label)
    area = round((hand.session.maps.instances == label).sum() * 0.25**2)
    world = layer.data_to_world((y, x))
    said = layer.get_status(world, view_direction=None, dims_displayed=[0, 1], world=True)
    assert said["value"].endswith(f"{label}; {layer.features['class'][0]}, {area} µm²")
    assert "provenance" not in said["coordinates"]
    free = layer.data_to_world(hand.free())
    assert "Properties" not in layer.get_status(free, view_direction=None, dims_displayed=[0, 1], world=True)["value"]


def test_tab_reaches_the_buttons_and_a_click_leaves_the_canvas_its_keys(hand, qtbot):
    window = hand.studio.window()
    window.activateWindow()
    buttons = [b for b in hand.panel.findChildren(QPushButton) if b.isVisible()]
    assert buttons
    assert all(b.focusPolicy() & Qt.FocusPolicy.TabFocus for b in buttons)
    areas = hand.studio.tabs.findChildren(QScrollArea)
    assert areas
    assert all(a.focusPolicy() == Qt.FocusPolicy.NoFocus for a in areas if a.widget() is hand.panel)
    hand.canvas.setFocus()
    qtbot.waitUntil(lambda: window.focusWidget() is hand.canvas, timeout=5000)
    qtbot.mouseClick(hand.panel.tools.buttons["lasso"], Qt.MouseButton.LeftButton)
    # the canvas, or napari's window, which passes keys on to it
    assert window.focusWidget() in (hand.canvas, window)
    assert hand.panel.toolbox.tool == "lasso"
    QTest.keyClick(window.focusWidget(), Qt.Key.Key_V)
    assert hand.panel.toolbox.tool == "pick"
    # on a focused button Space presses it, and our letters still work
    brush = hand.panel.tools.buttons["brush"]
    brush.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(brush, Qt.Key.Key_Space)
    assert hand.panel.toolbox.tool == "brush"
    QTest.keyClick(brush, Qt.Key.Key_V)
    assert hand.panel.toolbox.tool == "pick"


def test_while_a_crop_opens_annotate_says_so(hand, until):
    hand.controller.open_again()
    hand.panel._session_changed()
    assert hand.controller.editing.opening
    assert hand.panel.hint.text().startswith("Opening ")
    until(lambda: hand.session is not None)
    assert hand.panel.hint.text() == ""
