"""Tools on the canvas: what a press, a drag and a release of the mouse do while Annotate is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.editing.commands import (
    DrawPolygon,
    DrawStamp,
    Merge,
    Move,
    Point,
    Select,
    SelectWithin,
    SplitAsSuggested,
    SplitByStroke,
)
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID
from napari_monusac.masks.strokes import ellipse, rectangle
from napari_monusac.ui.annotate.corners import Corners
from napari_monusac.ui.annotate.ruler import Ruler
from napari_monusac.ui.annotate.wand import Wand
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.marks import Path, outlines_of
from napari_monusac.ui.canvas.moves import EveryMove, keep_moves_apart
from napari_monusac.ui.canvas.napari_private import zooming_clicks
from napari_monusac.ui.editing.commands import Commands
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets import settings as annotate_settings


class Strokes:
    """Clicks and strokes (y, x), px, by tool; modifiers are napari's names ("Shift", "Control").

    Parameters
    ----------
    controller : EditingController
        Whose session they act on.
    commands : Commands
        What they are turned into.
    """

    def __init__(self, controller: EditingController, commands: Commands) -> None:
        self.controller, self.commands = controller, commands
        self.wand = Wand(controller)
        self.ruler = Ruler(controller)

    def show(self, tool: str, path: list[Point], modifiers: frozenset[str]) -> None:
        """Draw the stroke as far as it is."""
        if tool == "pick" and not modifiers:
            return
        if tool == "wand":
            self.controller.marking.show("stroke", self.wand.preview(path[0], path[-1]))
            return
        if tool == "ruler":
            self.ruler.measure(path[0], path[-1])
            return
        if tool == MOVE:
            self.controller.marking.show("stroke", self._moved(path[0], path[-1]))
            return
        if tool in BOXED or (tool == "pick" and "Control" in modifiers):
            path = BOXED.get(tool, rectangle)(path[0], path[-1])
        closed = tool in ("lasso", "accept", "pick", *BOXED)
        self.controller.marking.show("stroke", [[*path, path[0]] if closed else path])

    def clicked(self, tool: str, point: Point, modifiers: frozenset[str]) -> None:
        """Act on a click."""
        commands, session = self.commands, self.controller.session
        if session is None:
            return
        label = commands.under(point)
        if tool == "accept":
            commands.accept(point, replace="Shift" in modifiers)
        elif tool == "wand":
            self._draw_by_wand(point, point, over=False)
        elif tool == "ruler":
            self.ruler.clear()
        elif tool == "split" and label:
            self.controller.do(SplitAsSuggested(label))
            commands.show_cut(0)
        elif tool == "merge" and label and len(session.selection.ids) == 1 and label not in session.selection.ids:
            self.controller.do(Merge(ids=[*session.selection.ids, label]))
        else:
            many = bool(modifiers & {"Shift", "Control"})
            self.controller.do(Select([label] if label else [], "toggle" if many else "replace"))

    def stroked(self, tool: str, path: list[Point], modifiers: frozenset[str], *, over: bool) -> None:
        """Act on a finished stroke; `over`: what is drawn wins over nuclei that are there."""
        do = self.controller.do
        if tool in ("lasso", "polygon"):
            self._draw(path, modifiers, over)
        elif tool in BOXED:
            self._draw(BOXED[tool](path[0], path[-1]), modifiers, over)
        elif tool == "wand":
            self._draw_by_wand(path[0], path[-1], over=over)
        elif tool == "ruler":
            self.ruler.measure(path[0], path[-1])
        elif tool == MOVE:
            do(Move(*_step(path[0], path[-1])))
        elif tool == "split":
            do(SplitByStroke(path))
            self.commands.show_cut(0)
        elif tool == "merge":
            do(Merge(path))
        elif tool == "accept":
            self.commands.accept_all(path)
        elif tool == "pick" and "Control" in modifiers:
            do(SelectWithin(rectangle(path[0], path[-1])))
        elif tool == "pick" and "Shift" in modifiers:
            do(SelectWithin(path))

    def _draw(self, path: list[Point], modifiers: frozenset[str], over: bool) -> None:
        """Draw a nucleus around; with Shift, add to the selected one, or to the one that was drawn last."""
        session = self.controller.session
        chosen = sorted(session.selection.ids) if session is not None else []
        last = self.commands.aim.drawn_last
        into = chosen[0] if len(chosen) == 1 else last if session is not None and last in session.rows else None
        into = into if "Shift" in modifiers else None
        self.controller.do(DrawPolygon(path, into, over="all" if over else "free"))

    def moves(self, tool: str, start: Point, modifiers: frozenset[str]) -> bool:
        """Whether a drag that begins here moves the selected nuclei, not the slide."""
        selected = self.controller.editing.selected
        return tool == "pick" and not modifiers and bool(selected) and self.commands.under(start) in selected

    def _moved(self, start: Point, end: Point) -> list[Path]:
        """Return the outlines of the selected nuclei where they would be moved to."""
        session, by = self.controller.session, _step(start, end)
        if session is None:
            return []
        stamps = (session.maps.stamp(session.rows[k].plane, k) for k in session.selection.ids)
        return [path + np.array(by) for path in outlines_of(stamps)]

    def _draw_by_wand(self, start: Point, end: Point, *, over: bool) -> None:
        """Grow a nucleus from where the stroke began; one that lies there already grows itself."""
        session, stamp = self.controller.session, self.wand.stamp(start, end)
        here = self.commands.under(start)
        if session is not None and stamp is not None:
            into = here if here and session.rows[here].plane == "nuclei" else None
            self.controller.do(DrawStamp(stamp, into, over="all" if over else "free"))


def _step(start: Point, end: Point) -> tuple[int, int]:
    return round(end[0] - start[0]), round(end[1] - start[1])


#: What a drag of *Pick* does that begins on a selected nucleus.
MOVE = "move"
#: Tools that draw what lies in a box from where the drag began to where it ends.
BOXED = {"rectangle": rectangle, "ellipse": ellipse}
#: Tools that napari's Labels layer has itself, and its name for them. What they paint becomes a command.
NATIVE = {"brush": "paint", "erase": "erase"}
_CURSORS = {
    "pick": "pointing",
    "lasso": "cross",
    "polygon": "cross",
    "wand": "cross",
    "rectangle": "cross",
    "ellipse": "cross",
    "ruler": "cross",
    "split": "cross",
    "merge": "cross",
    "accept": "pointing",
}
#: A stroke is redrawn no more often than this.
_REDRAW_S = 0.03


class Toolbox(QObject):
    """The tools of one viewer.

    Signals
    -------
    tool_changed(str) : another tool is in hand; empty while one of napari's own is that we have no name for.
    described(str) : what is under the pointer.
    menu_asked() : a right click; a drag of that button is napari's.
    """

    tool_changed = Signal(str)
    described = Signal(str)
    menu_asked = Signal()

    def __init__(self, controller: EditingController, commands: Commands, parent: QObject) -> None:
        super().__init__(parent)
        self.controller, self.commands = controller, commands
        self.viewer = controller.viewer
        self.strokes, self.corners, self._drawn = Strokes(controller, commands), Corners(controller), 0.0
        self.active = False
        self.over = False
        self.brush_size = 10
        self._setting = False
        #: a stroke is under way; it was given up, and what is left of the drag is nothing
        self._stroking = self._given_up = False
        self._zoomers: list[Callable[..., Any]] = []
        self._watched: list[Labels] = []
        #: layers that the reader has hidden: napari puts its tool down with them, and takes it up again
        self._hidden: set[Labels] = set()
        commands.choose_tool = self.set_tool
        controller.session_changed.connect(self._session_changed)
        hear(self, controller.editing.current_class_changed, self._apply)
        hear(self, controller.editing.changed, self._describe)
        hear(self, controller.editing.tool_changed, self._tell_tool)

    # -- in hand

    def _tell_tool(self, tool: str) -> None:
        self.tool_changed.emit(tool)

    @property
    def tool(self) -> str:
        """The tool in hand."""
        return self.controller.editing.tool

    def open(self) -> None:
        """Annotate is shown: the mouse is ours."""
        if self.active:
            return
        if self.controller.toolbox is not None:
            self.controller.toolbox.close()  # of another panel on the same session: one hand on the mouse is enough
        self.controller.toolbox = self
        self.active = True
        keep_moves_apart(True)
        self.viewer.mouse_drag_callbacks.append(self._drag)
        self.viewer.mouse_move_callbacks.append(self._move)
        self.viewer.events.mouse_over_canvas.connect(self._over_canvas)
        self.viewer.layers.events.inserted.connect(self._inserted)
        self.viewer.layers.selection.events.active.connect(self._chosen_in_list)
        for moved in self._camera_events():
            moved.connect(self._describe)
        # napari zooms on a double click: two quick clicks are two clicks here
        double = self.viewer.mouse_double_click_callbacks
        self._zoomers = zooming_clicks(self.viewer)
        for zoomer in self._zoomers:
            double.remove(zoomer)
        double.append(self._double)
        self._session_changed()

    def close(self) -> None:
        """Annotate is hidden: napari's mouse comes back."""
        if not self.active:
            return
        self.active = False
        keep_moves_apart(False)
        self.controller.toolbox = None
        self.viewer.mouse_drag_callbacks.remove(self._drag)
        self.viewer.mouse_move_callbacks.remove(self._move)
        self.viewer.events.mouse_over_canvas.disconnect(self._over_canvas)
        self.viewer.layers.events.inserted.disconnect(self._inserted)
        self.viewer.layers.selection.events.active.disconnect(self._chosen_in_list)
        for moved in self._camera_events():
            moved.disconnect(self._describe)
        double = self.viewer.mouse_double_click_callbacks
        double.remove(self._double)
        double.extend(self._zoomers)
        self._zoomers = []
        self._let_go()
        self._unwatch()
        for layer in canvas.our_layers(self.viewer):
            if getattr(layer, "mode", "") == "pan_zoom":
                layer.mouse_pan = True
                layer.cursor = "standard"
            elif isinstance(layer, Labels):
                layer.mode = "pan_zoom"

    def _camera_events(self) -> tuple[Any, ...]:
        """What tells that other nuclei are in view."""
        events = self.viewer.scene.camera.events
        return events.center, events.zoom

    def _over_canvas(self, event: Any) -> None:
        if not event.value:
            self.commands.left()

    def _session_changed(self) -> None:
        self._unwatch()
        self.corners.give_up()
        self.commands.left()
        layers = self.controller.layers
        if not self.active or layers is None:
            return
        for name in ("nuclei", "ambiguous"):
            layer = layers.get(name)
            if layer is not None:
                layer.events.mode.connect(self._mode_changed)
                layer.events.visible.connect(self._hidden_or_shown)
                self._watched.append(layer)
                if not layer.visible:
                    self._hidden.add(layer)
        self._apply()

    def _unwatch(self) -> None:
        for layer in self._watched:
            layer.events.mode.disconnect(self._mode_changed)
            layer.events.visible.disconnect(self._hidden_or_shown)
        self._watched.clear()
        self._hidden.clear()

    # -- what the reader does in the list of layers

    def _hidden_or_shown(self, event: Any) -> None:
        if not event.source.visible:
            self._hidden.add(event.source)
        else:
            self._hidden.discard(event.source)
            self._apply()  # the tool is what the model says, whatever napari remembers

    def _inserted(self, event: Any) -> None:
        """A copy of a layer of ours takes the mouse in napari: the layer that is edited keeps it."""
        if canvas.role(event.value) and canvas.is_copy(event.value):
            QTimer.singleShot(0, self._apply)

    def _chosen_in_list(self, event: Any) -> None:
        layer = event.value
        if layer is not None and canvas.is_copy(layer) and canvas.role(layer):
            words = f"“{layer.name}” is a copy of yours and has the mouse now. A tool above goes back to the nuclei."
            self.controller.said.emit(words, "hint")

    def _see_target(self) -> bool:
        """See that what is drawn on is there and is seen; False, and a line, where it was deleted."""
        layer = self.target()
        if layer is None and not self.controller.editing.astray:
            self.controller.bring_back()  # a crop that came without it
            layer = self.target()
        if layer is None:
            self.controller.said.emit("The layer for this was deleted: Show again brings it back.", "warning")
            return False
        if not layer.visible:
            layer.visible = True
            self.controller.said.emit(f"“{layer.name}” was hidden and is shown again.", "hint")
        if self.tool in NATIVE and self.viewer.layers.selection.active != layer:
            self._apply()
        return True

    def end_polygon(self) -> None:
        """Draw the polygon under way; one of fewer than three corners is given up."""
        points = self.corners.take()
        if points:
            self.strokes.stroked("polygon", points, frozenset(), over=self.over)

    def give_up(self) -> None:
        """Give up the stroke under way, of any tool: no pixel of it stays. Without one, deselect."""
        session = self.controller.session
        if not self._cancel() and session is not None and session.selection.ids:
            self.controller.do(Select([]))

    def _cancel(self) -> bool:
        """Give up the stroke or the polygon under way; False where there is none."""
        begun = self.corners.give_up()
        stroking, self._given_up = self._stroking and not self._given_up, self._stroking
        if stroking:
            self.clear_marks()
            self._take_paint_back()
        return begun or stroking

    def _take_paint_back(self) -> None:
        """Take back what napari's brush or eraser has painted since the press; the rest of the drag paints nothing."""
        layers = self.controller.layers
        if layers is None or self.tool not in NATIVE:
            return
        with self._quietly():
            for layer in self._watched:
                layer.mode = "pan_zoom"
                layer.mouse_pan = False
        for name in ("nuclei", "ambiguous"):
            found = layers.painted(name)
            if found is not None:
                layers.take_back(name, found[0])

    def pan(self, *, on: bool) -> None:
        """Let the mouse move the slide, or the tool in hand work again."""
        layer = self.target()
        if not on:
            self._apply()
        elif layer is not None and self.active:
            with self._quietly():
                layer.mode = "pan_zoom"
                layer.mouse_pan = True

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Change napari's mode without it meaning another tool."""
        self._setting = True
        try:
            yield
        finally:
            self._setting = False

    def set_tool(self, tool: str) -> None:
        """Take a tool in hand (one of `app.actions.TOOL`)."""
        if tool != self.tool:
            self._let_go()
        self.controller.editing.tool = tool
        self._apply()

    def _let_go(self) -> None:
        """Put the tool in hand down: no stroke is left on the canvas, and napari's bucket may fill nuclei again."""
        self._cancel()
        self.clear_marks()
        if self.tool == "brush":
            for layer in self._watched:
                layer.preserve_labels = False

    def target(self) -> Labels | None:
        """The layer that is painted on: the nuclei, or the Ambiguous regions when that is what new ones are."""
        layers, session = self.controller.layers, self.controller.session
        if layers is None or session is None:
            return None
        return layers.get("ambiguous" if self.controller.editing.current_class == AMBIGUOUS_ID else "nuclei")

    def _apply(self) -> None:
        layer = self.target()
        if not self.active or layer is None or self.controller.busy:
            return
        with self._quietly():
            if self.viewer.layers.selection.active != layer:
                self.viewer.layers.selection.active = layer
            mode = NATIVE.get(self.tool, "pan_zoom")
            if layer.mode != mode:
                layer.mode = mode
            if self.tool in ("brush", "erase"):
                layer.brush_size = self.brush_size
            if self.tool not in NATIVE:
                for each in canvas.our_layers(self.viewer):
                    each.mouse_pan = self.tool == "pick"
                    each.cursor = _CURSORS.get(self.tool, "standard")

    def set_brush_size(self, size: int) -> None:
        """Set the brush's width in image px."""
        self.brush_size = size
        layer = self.target()
        if layer is not None and self.active:
            layer.brush_size = size

    def set_over(self, over: bool) -> None:
        """Whether what is drawn wins over nuclei that are there already."""
        self.over = over
        layer = self.target()
        if layer is not None and self.tool == "brush":
            layer.preserve_labels = not over

    def _mode_changed(self, event: Any) -> None:
        """The reader took a tool in napari's own controls."""
        layer = event.source
        if self._setting or not self.active or self.controller.busy or layer in self._hidden or not layer.visible:
            return
        names = {"polygon": "polygon"} | {mode: tool for tool, mode in NATIVE.items()}
        mode = str(event.mode)
        tool = names.get(mode, "pick" if mode == "pan_zoom" else "")
        if tool != self.tool:
            self._let_go()
            self.controller.editing.tool = tool
            if tool:
                self._apply()

    def clear_marks(self) -> None:
        """Take strokes and suggestions off the canvas."""
        for what in ("stroke", "cut"):
            self.controller.marking.show(what, [])
        self.strokes.ruler.clear()

    # -- the mouse

    def _ours(self) -> bool:
        layer = self.viewer.layers.selection.active
        return (
            self.controller.session is not None
            and not self.controller.busy
            and self.viewer.dims.ndisplay == 2
            and (layer is None or (bool(canvas.role(layer)) and not canvas.is_copy(layer)))
        )

    def point_of(self, event: Any) -> Point:
        """Where an event is, (y, x) in px of the nuclei."""
        layer = self._measured()
        position = event.position if layer is None else layer.world_to_data(event.position)
        return float(position[-2]), float(position[-1])

    def _points_of(self, event: Any, moves: EveryMove) -> list[Point]:
        """Return where the pointer was since the last event, (y, x) in px of the nuclei; the event's own place is the last."""
        layer, before = self._measured(), tuple(event.position[:-2])
        points = [*moves.take(event), np.asarray(event.position, float)[-2:]]
        if layer is not None:
            points = [np.asarray(layer.world_to_data((*before, *point)))[-2:] for point in points]
        return [(float(y), float(x)) for y, x in points]

    def _measured(self) -> Labels | None:
        """The layer in whose px strokes are: all of a session lie alike."""
        layers = self.controller.layers
        return self.target() or (None if layers is None else layers.get("nuclei") or layers.get("ambiguous"))

    def _move(self, _viewer: Any, event: Any) -> None:
        if not self._ours():
            return
        self.commands.moved(self.point_of(event))
        self._describe()
        if self.tool == "polygon" and time.monotonic() - self._drawn > _REDRAW_S:
            self.corners.show(self.point_of(event))
            self._drawn = time.monotonic()
        if self.tool == "accept":
            label = self.commands.predicted_under()
            self.commands.show_predicted(label)
            if label:
                self.described.emit(self.commands.words_predicted(label))

    def _describe(self, _: object = None) -> None:
        words = self.commands.describe() if self.active else None
        if words is not None:
            self.described.emit(words)
            if self.tool == "split":
                self.commands.show_cut(self.commands.under())

    def _double(self, _viewer: Any, event: Any) -> None:
        # Qt sends a double click in place of the second press
        if self._ours() and event.button == 1 and self.tool == "polygon":
            self.end_polygon()
        elif self._ours() and event.button == 1 and self.tool not in NATIVE and self.tool:
            self.strokes.clicked(self.tool, self.point_of(event), frozenset(event.modifiers))

    def _drag(self, _viewer: Any, event: Any) -> Generator[None, None, None]:
        if self.tool == "polygon" and event.button == 2 and self.corners.points:
            self.corners.take_last_back()
        elif self._ours() and event.button == 2 and self.tool not in NATIVE:  # those use it themselves
            yield from self._right_click(event)
        if not self._ours() or event.button != 1 or not self.tool:
            return
        self.controller.model.hidden = False  # what is drawn is seen
        if not self._see_target():
            return
        if self.tool == "polygon":
            self.corners.add(self.point_of(event))
            return
        self._stroking, self._given_up = True, False
        try:
            yield from self._native(event) if self.tool in NATIVE else self._stroke(event)
        finally:
            given_up, self._stroking, self._given_up = self._given_up, False, False
        if given_up:
            self._apply()

    def _right_click(self, event: Any) -> Generator[None, None, None]:
        """Ask for the menu where the right button is let go in the place it was pressed in."""
        pressed = np.asarray(event.pos, float)
        self.commands.moved(self.point_of(event))
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.asarray(event.pos, float) - pressed).max() <= annotate_settings.tolerance_px():
            self.menu_asked.emit()

    def _native(self, event: Any) -> Generator[None, None, None]:
        """Follow a stroke of napari's own tools."""
        start = self.point_of(event)
        self.commands.moved(start)
        layer = self.viewer.layers.selection.active
        if isinstance(layer, Labels) and layer.mode == NATIVE[self.tool]:
            self._prepare(layer, start)
        yield
        while event.type == "mouse_move":
            yield

    def _stroke(self, event: Any) -> Generator[None, None, None]:
        """Follow a stroke of ours, and act on it at its end."""
        start, tool = self.point_of(event), self.tool
        self.commands.moved(start)
        modifiers = frozenset(event.modifiers)
        path, drawn = [start], 0.0
        what = MOVE if self.strokes.moves(tool, start, modifiers) else tool
        if what == MOVE:
            self._hold_slide()
        moves = EveryMove(event, self.viewer.scene.camera)
        try:
            yield
            while event.type == "mouse_move":
                path += [] if self._given_up else self._points_of(event, moves)
                far = moves.slipped > annotate_settings.tolerance_px() and not self._given_up
                if far and time.monotonic() - drawn > _REDRAW_S:
                    self.strokes.show(what, path, modifiers)
                    drawn = time.monotonic()  # from when it is drawn: a slow window still hears the moves
                yield
            path += self._points_of(event, moves)
        finally:
            moves.end()
        self.controller.marking.show("stroke", [])
        if what == MOVE:
            self._apply()
        if self._given_up:
            return
        if moves.slipped <= annotate_settings.tolerance_px():
            self.strokes.clicked(tool, start, modifiers)
        else:
            self.strokes.stroked(what, path, modifiers, over=self.over)

    def _hold_slide(self) -> None:
        """The drag that begins moves a nucleus, not the slide."""
        for each in canvas.our_layers(self.viewer):
            each.mouse_pan = False

    def _prepare(self, layer: Labels, start: Point) -> None:
        """Tell napari's own tool which nucleus it draws: the one where the stroke begins, or a new one."""
        session = self.controller.session
        if session is None:
            return
        if self.tool == "erase":
            layer.preserve_labels = False
            return
        here = self.commands.under(start)
        plane = "ambiguous" if canvas.role(layer) == "ambiguous" else "nuclei"
        into = here if here and session.rows[here].plane == plane else 0
        layer.selected_label = into or session.nuclei.next_id
        layer.preserve_labels = not self.over
