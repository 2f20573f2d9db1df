"""The table of nuclei, notes and the menu in a real window."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest

from napari_monusac.editing.commands import Delete, Select, SetNote
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.widgets.basic import Section

SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
RIGHT = Qt.MouseButton.RightButton


@pytest.fixture
def listing(hand, qtbot):
    """The table, unfolded."""
    (section,) = (s for s in hand.panel.findChildren(Section) if s.content is hand.panel.listing)
    section.toggle.setChecked(True)
    qtbot.waitUntil(hand.panel.listing.isVisible)
    yield hand.panel.listing
    hand.panel.listing.search.clear()
    section.toggle.setChecked(False)


def texts(listing, column):
    return [listing.table.text(k, column) for k in range(len(listing.table.rows))]


def chosen(listing):
    return {listing.table.rows[i.row()].id for i in listing.table.selectionModel().selectedRows()}


def test_the_table_lists_sorts_and_follows_edits(hand, listing, qtbot):
    session = hand.session
    assert texts(listing, 0) == [str(k) for k in sorted(session.rows)]
    listing.table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    areas = [one.area_px for one in listing.table.rows]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] == np.bincount(session.maps.instances.ravel())[1:].max()
    label = listing.table.rows[0].id
    hand.click(hand.centre(label))
    assert chosen(listing) == {label}
    hand.key(Qt.Key.Key_X)
    qtbot.waitUntil(lambda: label not in {one.id for one in listing.table.rows})
    hand.key(Qt.Key.Key_Z, CONTROL)
    qtbot.waitUntil(lambda: label in {one.id for one in listing.table.rows})
    listing.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)


def test_rows_and_canvas_select_each_other_and_ctrl_a_takes_what_is_found(hand, listing, qtbot):
    table, session = listing.table, hand.session
    a, b = (session.rows[k].id for k in sorted(session.rows)[:2])
    qtbot.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualRect(table.model().index(0, 0)).center()
    )
    assert session.selection.ids == {a}
    assert table.window().focusWidget() is not table, "the keys stay the canvas's"
    qtbot.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, SHIFT, table.visualRect(table.model().index(1, 0)).center()
    )
    assert session.selection.ids == {a, b}
    hand.key(Qt.Key.Key_Escape)
    assert chosen(listing) == set()
    name = session.rows[a].class_name
    wanted = {k for k, row in session.rows.items() if row.class_name == name}
    listing.search.setText(name[:5].lower())
    assert {one.id for one in table.rows} == wanted
    hand.canvas.setFocus()
    hand.key(Qt.Key.Key_A, CONTROL)
    assert session.selection.ids == wanted
    assert chosen(listing) == wanted
    assert f"{len(wanted)} selected" in listing.words.text()
    hand.key(Qt.Key.Key_Escape)


def test_a_note_is_written_by_key_and_given_up_by_another(hand, qtbot):
    label = min(hand.session.maps.boxes)
    hand.click(hand.centre(label))
    hand.key(Qt.Key.Key_T)
    line = hand.panel.noting.line
    assert line.isVisible()
    assert line.window().focusWidget() is line.text  # without a window manager no window is active
    QTest.keyClicks(line.text, "mitosis 4 x")
    QTest.keyClick(line.text, Qt.Key.Key_Return)
    assert hand.session.rows[label].note == "mitosis 4 x"
    assert hand.session.rows[label].class_id != 4 or hand.session.history.undo_name == "note"
    assert not line.isVisible()
    assert line.window().focusWidget() is hand.canvas
    hand.key(Qt.Key.Key_T)
    assert line.text.text() == "mitosis 4 x"
    QTest.keyClicks(line.text, "other")
    QTest.keyClick(line.text, Qt.Key.Key_Escape)
    assert not line.isVisible()
    assert hand.session.rows[label].note == "mitosis 4 x"
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert hand.session.rows[label].note == ""


def entries(menu):
    return {a.text().partition("\t")[0]: a for a in menu.actions() if a.text()}


def test_the_menu_does_what_it_says_to_just_those(hand):
    a, b = sorted(k for k in hand.session.maps.boxes if hand.session.rows[k].plane == "nuclei")[:2]
    menus = hand.panel.noting.nuclei_menu
    menu = entries(menus.make([a, b]))
    assert "2 nuclei" in menu
    assert "Merge" in menu
    before = {k: hand.session.rows[k].class_id for k in (a, b)}
    hand.session.do(Select([]))
    menu["Neutrophil"].trigger()
    assert {hand.session.rows[k].class_id for k in (a, b)} == {3}
    checked = [t for t, e in entries(menus.make([a, b])).items() if e.isChecked()]
    assert checked == ["Neutrophil"]
    assert [t for t, e in entries(menus.make([a, b])).items() if e.font().bold()] == checked, "seen beside its colour"
    assert next(iter(entries(menus.make([a])))) == f"Neutrophil {a}", "its facts stand in the panel: it stays narrow"
    hand.session.undo()
    assert {k: hand.session.rows[k].class_id for k in (a, b)} == before
    one = entries(menus.make([a]))
    assert "Merge" not in one
    like = entries(one["Select like this"].menu())
    next(e for t, e in like.items() if t.startswith("All: ")).trigger()
    assert hand.session.selection.ids == {
        k for k, row in hand.session.rows.items() if row.class_id == hand.session.rows[a].class_id
    }
    one["Delete"].trigger()
    assert a not in hand.session.rows
    hand.session.undo()
    assert menus.make([]) is None
    hand.session.do(Select([]))


def test_a_right_click_opens_the_menu_of_the_nucleus_there(hand, qtbot, monkeypatch):
    label = min(hand.session.maps.boxes)
    opened = []
    menus = hand.panel.noting.nuclei_menu
    monkeypatch.setattr(menus, "open", lambda ids, at: opened.append(sorted(ids)))
    where = hand.at(hand.centre(label))

    def press(end):
        hand._send(QEvent.Type.MouseButtonPress, where, RIGHT, RIGHT, Qt.KeyboardModifier.NoModifier)
        if end != where:
            hand._send(QEvent.Type.MouseMove, end, Qt.MouseButton.NoButton, RIGHT, Qt.KeyboardModifier.NoModifier)
        hand._send(QEvent.Type.MouseButtonRelease, end, RIGHT, Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier)

    hand.session.do(Select([]))
    press(where)
    assert opened == [[label]]
    other = sorted(hand.session.maps.boxes)[1]
    hand.session.do(Select([label, other]))
    press(where)
    assert opened[-1] == sorted([label, other])
    hand.session.do(Select([other]))
    press(where)
    assert opened[-1] == [label], "the click means the one that it is on"
    zoom = hand.viewer.scene.camera.zoom, hand.viewer.scene.camera.center
    number = len(opened)
    press(where + type(where)(0, 40))
    assert len(opened) == number, "a drag of the right button is napari's"
    hand.viewer.scene.camera.zoom, hand.viewer.scene.camera.center = zoom
    hand.session.do(SetNote("", [label]))
    hand.session.do(Select([]))


def test_the_density_lies_on_the_slide_and_a_hot_spot_is_gone_to(hand, viewer, qtbot):
    densities = hand.panel.densities
    active = viewer.layers.selection.active
    densities.radius.setValue(10)
    densities.show_map.setChecked(True)
    qtbot.waitUntil(lambda: canvas.find_layer(viewer, "density") is not None)
    layer = canvas.find_layer(viewer, "density")
    nuclei = canvas.find_layer(viewer, "nuclei")
    assert viewer.layers.selection.active is active
    # its pixels cover the slide from its first pixel's edge on
    corner = np.asarray(layer.data_to_world((-0.5, -0.5)))
    assert np.allclose(corner, nuclei.data_to_world((-0.5, -0.5)), atol=1e-6)
    assert (np.asarray(layer.data.shape) * layer.scale >= np.asarray(nuclei.data.shape) * nuclei.scale - 1e-6).all()
    assert densities.spots.count()
    centre = tuple(viewer.scene.camera.center)
    densities.spots.itemClicked.emit(densities.spots.item(0))
    spot, _ = densities.spots.item(0).data(int(Qt.ItemDataRole.UserRole))
    assert np.allclose(viewer.scene.camera.center[-2:], nuclei.data_to_world((spot.y_px, spot.x_px)))
    viewer.scene.camera.center = centre
    before = layer.data.sum()
    hand.session.do(Delete(sorted(hand.session.maps.boxes)[:3]))
    qtbot.waitUntil(lambda: canvas.find_layer(viewer, "density").data.sum() < before)
    hand.session.undo()
    viewer.layers.remove(canvas.find_layer(viewer, "density"))
    assert not densities.show_map.isChecked()
    densities.show_map.setChecked(True)
    densities.show_map.setChecked(False)
    assert canvas.find_layer(viewer, "density") is None
