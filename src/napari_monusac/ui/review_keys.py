"""Review's keys on our layers while it is shown: N P step, 1-4 A X mend, W the curtain, B (held) blinks."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Qt

from napari_monusac.ui import canvas


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
        self._bound: list[tuple[Layer, str, Callable[..., Any]]] = []

    def bind(self) -> None:
        """Bind our keys on all our layers that are there."""
        self.unbind()
        for layer in canvas.our_layers(self.viewer):
            for key, action in self.actions.items():
                self._bind(layer, key, _quiet(action))
            self._bind(layer, "B", self._held)

    def _bind(self, layer: Layer, key: str, function: Callable[..., Any]) -> None:
        layer.bind_key(key, function, overwrite=True)
        self._bound.append((layer, key, function))

    def unbind(self) -> None:
        """Take our keys off, unless another panel has bound them meanwhile."""
        for layer, key, function in self._bound:
            if function in layer.keymap.values():
                layer.bind_key(key, None)
        self._bound = []

    def _held(self, _: Layer) -> Generator[None, None, None]:
        self.hold(on=True)
        yield
        self.hold(on=False)

    # -- while the dock has the focus

    def pressed(self, event: Any) -> bool:
        """Act on a key that no widget wanted; False where it is not ours."""
        if event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier or event.isAutoRepeat():
            return False
        name = chr(event.key()) if 0 < event.key() < 128 else ""
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
