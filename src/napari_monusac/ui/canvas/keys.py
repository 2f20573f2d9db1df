"""Keys of the table (`app.actions`) on layers and widgets: bound while a panel is shown, napari's own come back after."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from napari.layers import Layer
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence

from napari_monusac.app.actions import Action, Panel, called, help_line
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.help import give_help_back, show_help
from napari_monusac.ui.canvas.napari_private import keys_of_napari

T = TypeVar("T")
#: What napari calls keys that Qt calls otherwise.
_NAPARI = {"Return": "Enter", "PgDown": "PageDown", "PgUp": "PageUp", "Del": "Delete", "Esc": "Escape"}
_KEYPAD = Qt.KeyboardModifier.KeypadModifier


@dataclass(frozen=True, slots=True)
class Key:
    """A key with what it does; `release`, where it is held."""

    name: str
    press: Callable[[], object]
    release: Callable[[], object] | None = None


def keys_of(actions: Iterable[Action[T]], on: T) -> list[Key]:
    """Return the keys of some actions, and what each does on what a panel offers."""

    def doing(run: Callable[[T], object]) -> Callable[[], object]:
        return lambda: run(on)

    return [
        Key(name, doing(action.run), doing(action.end) if action.end is not None else None)
        for action in actions
        for name in action.keys
    ]


def name_of(event: Any) -> str:
    """Return the name in the table of the key of a Qt event; empty for none that a table could have."""
    held = event.modifiers() & ~_KEYPAD
    if event.key() in (Qt.Key.Key_unknown, Qt.Key.Key_Shift, Qt.Key.Key_Control, Qt.Key.Key_Alt, Qt.Key.Key_Meta):
        return ""
    return str(QKeySequence(event.key() | held.value).toString(QKeySequence.SequenceFormat.PortableText))


def napari_name(name: str) -> str:
    """Return what napari calls a key of the table."""
    *held, key = name.split("+") if name != "+" else [name]
    if sys.platform == "darwin":
        held = ["Meta" if each == "Ctrl" else each for each in held]  # Qt's Ctrl is the Command key there
    return "+".join([*held, _NAPARI.get(key, key)])


class LayerKeys:
    """Some keys, on all our layers of a viewer while they hold.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    keys : sequence of Key
        What is bound.
    panel : Panel, optional
        Whose keys napari's line at the foot of the window tells while they hold.
    gives_back : bool
        Those that another panel had there come back afterwards.
    """

    def __init__(
        self, viewer: Any, keys: Sequence[Key], panel: Panel | None = None, *, gives_back: bool = False
    ) -> None:
        self.viewer, self.keys, self._panel, self._gives_back = viewer, {k.name: k for k in keys}, panel, gives_back
        self._bound: list[tuple[Layer, str, Callable[..., Any], Any]] = []
        self._layers: list[Layer] | None = None

    def bind(self) -> None:
        """Bind the keys to all our layers that are there."""
        layers = canvas.our_layers(self.viewer)
        if self._layers == layers and all(f in layer.keymap.values() for layer, _, f, _ in self._bound):
            return
        self.unbind()
        self._layers = layers
        for layer in layers:
            for key in self.keys.values():
                self._bind(layer, key)
        if self._panel is not None:
            show_help(self.viewer, self, layers, help_line(self._panel))

    def _bind(self, layer: Layer, key: Key) -> None:
        name, function = napari_name(key.name), _function(key)
        before = layer.keymap.get(coerce_keybinding(name))
        layer.bind_key(name, function, overwrite=True)
        self._bound.append((layer, name, function, before))

    def unbind(self) -> None:
        """Take the keys off, unless another panel has bound them meanwhile; napari's own work again."""
        for layer, name, function, before in self._bound:
            if function in layer.keymap.values():
                layer.bind_key(name, before if self._gives_back else None, overwrite=True)
        self._bound, self._layers = [], None
        give_help_back(self.viewer, self)

    # -- while the dock has the focus

    def pressed(self, event: Any) -> bool:
        """Act on a Qt key event that no widget wanted; False where the key is not ours."""
        key = None if event.isAutoRepeat() else self.keys.get(name_of(event))
        if key is not None:
            key.press()
        return key is not None

    def released(self, event: Any) -> bool:
        """End what holds as long as a key is pressed; False where there is nothing to end."""
        key = None if event.isAutoRepeat() else self.keys.get(name_of(event))
        if key is None or key.release is None:
            return False
        key.release()
        return True


def _function(key: Key) -> Callable[[Any], Any]:
    """Make a function that napari calls; it would call what a function returns, and ends a generator at the release."""
    if key.release is None:

        def pressed(_: Any) -> None:
            key.press()

        return pressed
    release = key.release

    def held(_: Any) -> Generator[None, None, None]:
        key.press()
        yield
        release()

    return held


def shadowed(actions: Iterable[Action[Any]]) -> list[tuple[str, str]]:
    """Return the keys of napari's that ours cover on our layers: (key as it is read, what it does in napari)."""
    theirs = keys_of_napari()
    names = dict.fromkeys(name for action in actions for name in action.keys)
    return [(called(n), theirs[k]) for n in names if (k := str(coerce_keybinding(napari_name(n)))) in theirs]
