"""The wand in the reader's hand: how far it grows, and over which stain."""

from __future__ import annotations

import math

from napari_monusac.app.work import error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.editing.commands import Point
from napari_monusac.masks.strokes import Stamp
from napari_monusac.masks.wand import WAND_TOLERANCE, wand_box, wand_stamp
from napari_monusac.ui.canvas.marks import Path, outlines_of
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.editing.pixels import SlidePixels

#: How far a click grows before anything was dragged: a nucleus of 12 µm. Without a scale, px.
_FIRST_UM, _FIRST_PX = 6.0, 20.0
#: A wand grows nuclei, not glands.
_MOST_PX = 150.0


class Wand:
    """What the wand has grown, by where it was pressed and where the pointer is.

    Parameters
    ----------
    controller : EditingController
        Whose slide it grows over.
    """

    def __init__(self, controller: EditingController) -> None:
        self._controller = controller
        self.tolerance: float = WAND_TOLERANCE
        self._last_px: float | None = None

    def set_tolerance(self, tolerance: float) -> None:
        """Set how unlike the stain may be that is still taken (CIELAB)."""
        self.tolerance = float(tolerance)

    def radius_px(self, start: Point, end: Point) -> float:
        """Return how far a drag lets it grow; a click: as far as the last drag."""
        dragged = math.dist(start, end)
        if dragged >= 1:
            self._last_px = min(dragged, _MOST_PX)
        if self._last_px is None:
            session = self._controller.session
            scale = session.nuclei.um_per_px if session is not None else None
            return _FIRST_PX if scale is None else _FIRST_UM / scale
        return self._last_px

    def preview(self, start: Point, end: Point) -> list[Path]:
        """Return the outlines of what would be drawn; none outside of the image."""
        try:
            stamp = self._stamp(start, end)
        except MonusacError:
            return []
        return [] if stamp is None else outlines_of([stamp])

    def stamp(self, start: Point, end: Point) -> Stamp | None:
        """Return what is drawn; None, and a line for the reader, where it cannot grow."""
        try:
            stamp = self._stamp(start, end)
        except MonusacError as error:
            self._controller.said.emit(error_line(error), "warning")
            return None
        if stamp is None:
            self._controller.said.emit("The wand needs the colour image of the slide: open it in Slides.", "warning")
        return stamp

    def _stamp(self, start: Point, end: Point) -> Stamp | None:
        session, pixels = self._controller.session, SlidePixels.under(self._controller)
        if session is None or pixels is None:
            return None
        radius = self.radius_px(start, end)
        box = wand_box(start, radius, session.shape)
        return wand_stamp(pixels.read(box), box, start, radius, self.tolerance)
