"""A polygon under way: a line from corner to corner, through which the nucleus is seen."""

from __future__ import annotations

from napari_monusac.editing.commands import Point
from napari_monusac.ui.editing.controller import EditingController


class Corners:
    """The corners of a polygon that were clicked so far.

    Parameters
    ----------
    controller : EditingController
        On whose canvas they are drawn.
    """

    def __init__(self, controller: EditingController) -> None:
        self._controller = controller
        self.points: list[Point] = []

    def add(self, point: Point) -> None:
        """Put a corner (y, x), px; one on the last is none."""
        if self.points[-1:] != [point]:
            self.points.append(point)
        self.show(point)

    def take_last_back(self) -> None:
        """Take the last corner back."""
        self.points = self.points[:-1]
        self._draw(self.points)

    def give_up(self) -> bool:
        """Give the polygon up; False where none was begun."""
        begun, self.points = bool(self.points), []
        if begun:
            self._draw([])
        return begun

    def take(self) -> list[Point]:
        """Return the corners of a polygon that is ended, none where it has fewer than three; the next one begins anew."""
        points = self.points
        self.give_up()
        return points if len(points) > 2 else []

    def show(self, pointer: Point) -> None:
        """Draw it with the line to the pointer."""
        if self.points:
            self._draw([*self.points, pointer])

    def _draw(self, points: list[Point]) -> None:
        self._controller.marking.show("stroke", [[*points, points[0]]] if len(points) > 1 else [])
