"""The ruler: how far it is from one point of the slide to another."""

from __future__ import annotations

import math

from napari_monusac.editing.commands import Point
from napari_monusac.ui.editing.controller import EditingController


def length_words(start: Point, end: Point, um_per_px: float | None) -> str:
    """Return the distance of two points (y, x), px, in words: "12.4 µm (50 px)"."""
    px = math.dist(start, end)
    return f"{px:.0f} px (the scale is unknown)" if um_per_px is None else f"{px * um_per_px:.1f} µm ({px:.0f} px)"


class Ruler:
    """A line that is measured; it stays until the next one, another tool, or a click.

    Parameters
    ----------
    controller : EditingController
        Whose slide is measured.
    """

    def __init__(self, controller: EditingController) -> None:
        self._controller = controller

    def measure(self, start: Point, end: Point) -> None:
        """Draw the line, and say how long it is."""
        session = self._controller.session
        if session is not None:
            self._controller.marking.show("ruler", [[start, end]])
            self._controller.said.emit(f"Ruler: {length_words(start, end, session.nuclei.um_per_px)}", "hint")

    def clear(self) -> None:
        """Take the line away."""
        self._controller.marking.show("ruler", [])
