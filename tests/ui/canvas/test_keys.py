"""Keys of the table between Qt and napari, on layers, and which of napari's own they cover."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence

from napari_monusac.app.actions import ACTIONS, ANNOTATE, EDITS, REVIEW, WINDOW, Panel, help_line
from napari_monusac.ui.canvas.keys import Key, LayerKeys, keys_of, name_of, napari_name, shadowed

ALL_KEYS = sorted({key for action in ACTIONS for key in action.keys})
NONE = Qt.KeyboardModifier.NoModifier


def press(key, modifiers=NONE, *, kind=QEvent.Type.KeyPress, repeated=False):
    return QKeyEvent(kind, key, modifiers, "", repeated)


@pytest.mark.parametrize("key", ALL_KEYS)
def test_keys_are_written_as_qt_writes_them(key):
    assert QKeySequence(key).toString(QKeySequence.SequenceFormat.PortableText) == key


@pytest.mark.parametrize("key", [k for k in ALL_KEYS if k != "?"])  # Qt's shortcut hears that one, on any keyboard
def test_napari_knows_each_key(key):
    assert str(coerce_keybinding(napari_name(key))), key


def test_the_command_key_of_a_mac(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert napari_name("Ctrl+Shift+Z") == "Meta+Shift+Z"


@pytest.mark.parametrize(
    ("key", "held", "name"),
    [
        (Qt.Key.Key_X, NONE, "X"), (Qt.Key.Key_Delete, NONE, "Del"), (Qt.Key.Key_Escape, NONE, "Esc"),
        (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier, "Ctrl+Shift+Z"),
        (Qt.Key.Key_1, Qt.KeyboardModifier.KeypadModifier, "1"), (Qt.Key.Key_PageDown, NONE, "PgDown"),
        (Qt.Key.Key_Space, NONE, "Space"), (Qt.Key.Key_Shift, Qt.KeyboardModifier.ShiftModifier, ""),
        (Qt.Key.Key_X, Qt.KeyboardModifier.AltModifier, "Alt+X"),
    ],
)  # fmt: skip
def test_the_name_of_a_pressed_key(key, held, name):
    assert name_of(press(key, held)) == name


@pytest.fixture
def viewer():
    made = ViewerModel()
    for role in ("image", "nuclei"):
        made.add_layer(Labels(np.zeros((4, 4), int), name=role, metadata={"monusac": {"role": role}}))
    made.add_layer(Labels(np.zeros((4, 4), int), name="the user's"))
    return made


def bound(layer):
    return {str(k): f for k, f in layer.keymap.items()}


def test_keys_are_bound_on_our_layers_and_come_off_again(viewer):
    done = []
    keys = LayerKeys(
        viewer, [Key("X", lambda: done.append("x")), Key("Esc", lambda: done.append("esc"))], Panel.ANNOTATE
    )
    keys.bind()
    nuclei, theirs = viewer.layers["nuclei"], viewer.layers["the user's"]
    assert set(bound(nuclei)) == {"X", "Escape"}
    assert not bound(theirs)
    assert nuclei.help == help_line(Panel.ANNOTATE)
    bound(nuclei)["X"](nuclei)
    bound(nuclei)["Escape"](nuclei)
    assert done == ["x", "esc"]
    keys.unbind()
    assert not bound(nuclei)
    assert nuclei.help != help_line(Panel.ANNOTATE)


def test_keys_of_another_panel_come_back_where_that_is_asked(viewer):
    nuclei, done = viewer.layers["nuclei"], []
    below, above = (
        LayerKeys(viewer, [Key("Ctrl+Z", lambda w=word: done.append(w))], gives_back=word == "above")
        for word in ("below", "above")
    )
    below.bind()
    above.bind()
    bound(nuclei)["Ctrl+Z"](nuclei)
    above.unbind()
    bound(nuclei)["Ctrl+Z"](nuclei)
    assert done == ["above", "below"]
    below.unbind()
    assert not bound(nuclei)


def test_a_held_key_ends_when_it_is_let_go(viewer):
    done = []
    key = Key("B", lambda: done.append("on"), lambda: done.append("off"))
    keys = LayerKeys(viewer, [key])
    keys.bind()
    nuclei = viewer.layers["nuclei"]
    held = bound(nuclei)["B"](nuclei)
    next(held)
    assert done == ["on"]
    with pytest.raises(StopIteration):
        next(held)
    assert done == ["on", "off"]
    # and in the dock, where the key repeats by itself
    assert keys.pressed(press(Qt.Key.Key_B))
    assert not keys.pressed(press(Qt.Key.Key_B, repeated=True))
    assert keys.released(press(Qt.Key.Key_B, kind=QEvent.Type.KeyRelease))
    assert done == ["on", "off", "on", "off"]
    assert not keys.pressed(press(Qt.Key.Key_Q))


def test_each_action_has_its_keys():
    seen = []

    class On:
        def __getattr__(self, name):
            return lambda *_, **__: seen.append(name)

    for table in (WINDOW, EDITS, ANNOTATE, REVIEW):
        made = keys_of(table, On())
        assert [k.name for k in made] == [key for action in table for key in action.keys]
        for key in made:
            key.press()
    assert len(seen) == sum(len(a.keys) for a in ACTIONS)


def test_napari_s_keys_that_ours_cover():
    covered = dict(shadowed(ANNOTATE))
    assert covered["E"] == "Activate the label eraser"
    assert covered["M"].startswith("Set the currently selected label")
    assert "N" not in covered
    assert "Ctrl+Z" in dict(shadowed(EDITS))
    assert "H" not in dict(shadowed(WINDOW)), "napari has no use for it"
