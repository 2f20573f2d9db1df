"""Our keys on our layers: bound while Annotate is open, napari's own come back after."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtCore import Qt

from napari_monusac.ui.annotate.tools import NATIVE
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.help import ANNOTATE_HELP, give_help_back, show_help

if TYPE_CHECKING:
    from napari_monusac.ui.annotate.tools import Toolbox
    from napari_monusac.ui.editing.commands import Commands

UNDO, REDO = "Control-Z", "Control-Shift-Z"
_MODIFIERS = Qt.KeyboardModifier


class Keys:
    """The keys of Annotate.

    Parameters
    ----------
    commands : Commands
        What classes, splits, deletions ... are done with.
    toolbox : Toolbox
        The tools.
    """

    def __init__(self, commands: Commands, toolbox: Toolbox) -> None:
        self.commands, self.toolbox = commands, toolbox
        self.viewer = toolbox.viewer
        #: what the panel does: step through nuclei (1 or -1), mend the audit item, outline or fill, done
        self.step: Callable[[int], object] = lambda _: None
        self.mend: Callable[[], object] = lambda: None
        self.toggle_fill: Callable[[], object] = lambda: None
        self.toggle_fill_of: Callable[[], object] = lambda: None
        self.done: Callable[[], object] = lambda: None
        self._bound: list[tuple[Layer, str, Callable[..., Any]]] = []
        self._for: tuple[list[Layer], bool] | None = None

    def actions(self) -> dict[str, Callable[[], object]]:
        """Return what each key does, by napari's name of the key."""
        c = self.commands
        classes = {str(k): (lambda k=k: c.set_class(k)) for k in range(6)}
        return {
            **classes,
            "N": lambda: self.step(1),
            "P": lambda: self.step(-1),
            "S": c.split,
            "Shift-S": lambda: self.toolbox.set_tool("split"),
            "M": c.merge,
            "A": c.accept,
            "Shift-A": lambda: c.accept(replace=True),
            "X": c.delete,
            "Delete": c.delete,
            "V": lambda: self.toolbox.set_tool("pick"),
            "B": lambda: self.toolbox.set_tool("brush"),
            "L": lambda: self.toolbox.set_tool("lasso"),
            "G": lambda: self.toolbox.set_tool("polygon"),
            "E": lambda: self.toolbox.set_tool("erase"),
            "F": lambda: self.mend(),
            "O": lambda: self.toggle_fill(),
            "Shift-O": lambda: self.toggle_fill_of(),
            "D": lambda: self.done(),
            UNDO: c.undo,
            REDO: c.redo,
        }

    def bind(self, *, shown: bool) -> None:
        """Bind our keys to all our layers that are there; only undo and redo while Annotate is not shown."""
        layers = canvas.our_layers(self.viewer)
        if self._still_bound(layers, shown):
            return
        self.unbind()
        self._for = layers, shown
        actions = self.actions()
        for layer in layers:
            for key, action in actions.items():
                if shown or key in (UNDO, REDO):
                    self._bind(layer, key, _quiet(action))
            if shown:
                self._bind(layer, "Space", self._pan)
        if shown:
            show_help(self.viewer, self, layers, ANNOTATE_HELP)

    def _still_bound(self, layers: list[Layer], shown: bool) -> bool:
        """Whether our keys lie on these very layers already, and nobody has put others over them."""
        return self._for == (layers, shown) and all(f in layer.keymap.values() for layer, _, f in self._bound)

    def _bind(self, layer: Layer, key: str, function: Callable[..., Any]) -> None:
        layer.bind_key(key, function, overwrite=True)
        self._bound.append((layer, key, function))

    def unbind(self) -> None:
        """Take our keys off, unless another panel has bound them meanwhile; napari's own work again."""
        for layer, key, function in self._bound:
            if function in layer.keymap.values():
                layer.bind_key(key, None)
        self._bound, self._for = [], None
        give_help_back(self.viewer, self)

    def _pan(self, layer: Any) -> Generator[None, None, None]:
        """Hold the space bar to move the slide with any tool."""
        tool = self.toolbox.tool
        if tool in NATIVE:
            layer.mode = "pan_zoom"
        layer.mouse_pan = True
        yield
        self.toolbox.set_tool(tool or "pick")

    # -- keys pressed while the dock has the focus

    def pressed(self, event: Any) -> bool:
        """Act on a Qt key event that no widget of the dock wanted; False where the key is not ours."""
        name = _name_of(event)
        action = self.actions().get(name)
        if action is None:
            return False
        action()
        return True


def _quiet(action: Callable[[], object]) -> Callable[[Any], None]:
    """Make a key's function of an action: napari would call what it returns."""

    def pressed(_layer: Any) -> None:
        action()

    return pressed


def _name_of(event: Any) -> str:
    """Return napari's name of the key of a Qt event."""
    key, held = event.key(), event.modifiers()
    if key == Qt.Key.Key_Delete:
        letter = "Delete"
    elif Qt.Key.Key_A <= key <= Qt.Key.Key_Z or Qt.Key.Key_0 <= key <= Qt.Key.Key_9:
        letter = chr(key)
    else:
        return ""
    names = [
        word
        for flag, word in ((_MODIFIERS.ControlModifier, "Control"), (_MODIFIERS.ShiftModifier, "Shift"))
        if held & flag
    ]
    if held & (_MODIFIERS.AltModifier | _MODIFIERS.MetaModifier):
        return ""
    return "-".join([*names, letter])
