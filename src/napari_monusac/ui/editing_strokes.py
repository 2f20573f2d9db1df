"""What clicks and finished strokes of each of our own tools do."""

from __future__ import annotations

from typing import Any

from napari_monusac.ui.editing import EditingController
from napari_monusac.ui.editing_commands import Commands, Point


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

    def show(self, tool: str, path: list[Point], modifiers: frozenset[str]) -> None:
        """Draw the stroke as far as it is."""
        marks = self.controller.marks
        if marks is None or (tool == "pick" and not modifiers):
            return
        if tool == "pick" and "Control" in modifiers:
            path = _corners(path[0], path[-1])
        closed = tool in ("lasso", "accept", "pick")
        marks.show("stroke", [[*path, path[0]] if closed else path])

    def clicked(self, tool: str, point: Point, modifiers: frozenset[str]) -> None:
        """Act on a click."""
        commands, session = self.commands, self.controller.session
        if session is None:
            return
        label = commands.under(point)
        if tool == "accept":
            commands.accept(point, replace="Shift" in modifiers)
        elif tool == "split" and label:
            self.controller.run(lambda s: s.split_as_suggested(label))
            commands.show_cut(0)
        elif tool == "merge" and label and len(session.selected) == 1 and label not in session.selected:
            ids = [*session.selected, label]
            self.controller.run(lambda s: s.merge(ids=ids))
        else:
            many = bool(modifiers & {"Shift", "Control"})
            self.controller.run(lambda s: s.select([label] if label else [], "toggle" if many else "replace"))

    def stroked(self, tool: str, path: list[Point], modifiers: frozenset[str], *, over: bool) -> None:
        """Act on a finished stroke; `over`: what is drawn wins over nuclei that are there."""
        run = self.controller.run
        if tool == "lasso":
            self._draw(path, modifiers, over)
        elif tool == "split":
            run(lambda s: s.split(path))
            self.commands.show_cut(0)
        elif tool == "merge":
            run(lambda s: s.merge(path))
        elif tool == "accept":
            self.commands.accept_all(path)
        elif tool == "pick" and "Control" in modifiers:
            run(lambda s: s.select_lasso(_corners(path[0], path[-1])))
        elif tool == "pick" and "Shift" in modifiers:
            run(lambda s: s.select_lasso(path))

    def _draw(self, path: list[Point], modifiers: frozenset[str], over: bool) -> None:
        """Draw a nucleus around; with Shift, add to the selected one."""
        session = self.controller.session
        chosen = sorted(session.selected) if session is not None else []
        into = chosen[0] if len(chosen) == 1 and "Shift" in modifiers else None
        way = "all" if over else "free"

        def draw(s: Any) -> None:
            change = s.draw_polygon(path, into=into, over=way)
            if change is not None and change.created:
                s.select(change.created[:1])

        self.controller.run(draw)


def _corners(first: Point, last: Point) -> list[Point]:
    return [first, (first[0], last[1]), last, (last[0], first[1])]
