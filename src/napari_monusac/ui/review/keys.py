"""Review's keys on our layers while it is shown; those of another panel that they cover come back after."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.help import KEY_WORDS, REVIEW_HELP, give_help_back, show_help


def key_list() -> QWidget:
    """The keys of Review as a small table."""
    widget = QWidget()
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setColumnStretch(1, 1)
    for at, (keys, words) in enumerate(KEY_WORDS):
        key, text = QLabel(keys), QLabel(words)
        font = key.font()
        font.setBold(True)
        key.setFont(font)
        text.setWordWrap(True)
        grid.addWidget(key, at, 0)
        grid.addWidget(text, at, 1)
    return widget


class ReviewKeys:
    """Binds keys on the layers of a viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    actions : dict of str to callable
        What each key does, by its name.
    hold : callable
        Called with ``on=True`` when B is pressed and ``on=False`` when it is let go.
    """

    def __init__(self, viewer: Any, actions: dict[str, Callable[[], object]], hold: Callable[..., object]) -> None:
        self.viewer, self.actions, self.hold = viewer, actions, hold
        self._bound: list[tuple[Layer, str, Callable[..., Any], Any]] = []

    def bind(self) -> None:
        """Bind our keys on all our layers that are there."""
        self.unbind()
        layers = canvas.our_layers(self.viewer)
        for layer in layers:
            for key, action in self.actions.items():
                self._bind(layer, key, _quiet(action))
            self._bind(layer, "B", self._held)
        show_help(self.viewer, self, layers, REVIEW_HELP)

    def _bind(self, layer: Layer, key: str, function: Callable[..., Any]) -> None:
        before = dict(layer.keymap)
        layer.bind_key(key, function, overwrite=True)
        ours = next(k for k, f in layer.keymap.items() if f is function)
        self._bound.append((layer, key, function, before.get(ours)))

    def unbind(self) -> None:
        """Take our keys off, unless another panel has bound them meanwhile."""
        for layer, key, function, before in self._bound:
            if function in layer.keymap.values():
                layer.bind_key(key, None)
                if before is not None:
                    layer.bind_key(key, before)
        self._bound = []
        give_help_back(self.viewer, self)

    def _held(self, _: Layer) -> Generator[None, None, None]:
        self.hold(on=True)
        yield
        self.hold(on=False)

    # -- while the dock has the focus

    def pressed(self, event: Any) -> bool:
        """Act on a key that no widget wanted; False where it is not ours."""
        held = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if held not in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier) or event.isAutoRepeat():
            return False
        name = chr(event.key()) if 0 < event.key() < 128 else ""
        if held == Qt.KeyboardModifier.ControlModifier:
            name = f"Control-{name}"
        if name == "B":
            self.hold(on=True)
            return True
        if name not in self.actions:
            return False
        self.actions[name]()
        return True

    def released(self, event: Any) -> bool:
        """End the blinking."""
        if event.key() == Qt.Key.Key_B and not event.isAutoRepeat():
            self.hold(on=False)
            return True
        return False


def _quiet(action: Callable[[], object]) -> Callable[[Any], None]:
    def pressed(_: Any) -> None:
        action()

    return pressed
