"""What is marked on the canvas while a crop is edited: the selected nuclei, what a key has meant, the edge of a region."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from napari.layers import Layer
from numpy.typing import ArrayLike
from qtpy.QtCore import QObject, QTimer

from napari_monusac.app.editing import Editing
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.marks import MARKS_ROLE, Marks, around, outlines_of

#: What a key has meant flashes so long, with a ring so far outside.
_FLASH_MS, _RING_PX = 350, 4.0
#: The outlines of so many selected nuclei are drawn, not more.
_MOST_OUTLINED = 300


class SessionMarks:
    """The marks of a session. There are none while its nuclei are not shown.

    Parameters
    ----------
    viewer : napari.Viewer
    editing : Editing
        Whose selection is marked.
    parent : QObject
        Whose end is the end of it.
    """

    def __init__(self, viewer: Any, editing: Editing, parent: QObject) -> None:
        self._viewer, self._editing = viewer, editing
        self.marks: Marks | None = None
        self._flashing = QTimer(parent)
        self._flashing.setSingleShot(True)
        self._flashing.setInterval(_FLASH_MS)
        self._flashing.timeout.connect(lambda: self.show("flash", []))
        # what a flash marks may take as long as the flash: it lasts from when it is seen
        self._flash_seen = QTimer(parent)
        self._flash_seen.setSingleShot(True)
        self._flash_seen.timeout.connect(self._flashing.start)

    def begin(self, nuclei: Layer | None) -> None:
        """Mark on this layer from now on; without one nothing is marked."""
        self.end()
        while (left := canvas.find_layer(self._viewer, MARKS_ROLE)) is not None:
            self._viewer.layers.remove(left)  # of panels that were closed
        self.marks = Marks(self._viewer, nuclei) if nuclei is not None else None
        place = self._editing.place
        if place is not None and place.offset_px is not None:
            height, width = place.shape
            edge = [(0, 0), (0, width), (height, width), (height, 0), (0, 0)]
            self.show("region", [[(y - 0.5, x - 0.5) for y, x in edge]])

    def end(self, *, gone: bool = False) -> None:
        """Take the marks away; not where the window may be gone."""
        marks, self.marks = self.marks, None
        if marks is not None and not gone:
            marks.close()

    def show(self, what: str, paths: Iterable[ArrayLike]) -> None:
        """Show one set of lines, each (n, 2) points (y, x) in px of the nuclei; empty: none."""
        if self.marks is not None:
            self.marks.show(what, paths)

    def mark_selection(self) -> None:
        """Draw the outlines of the selected nuclei."""
        session = self._editing.session
        if session is not None and self.marks is not None:
            some = sorted(session.selection.ids)[:_MOST_OUTLINED]
            self.show("selection", outlines_of(session.maps.stamp(session.rows[k].plane, k) for k in some))

    def flash(self, ids: Iterable[int]) -> None:
        """Draw rings around nuclei for a moment: a key has meant these."""
        session = self._editing.session
        if session is not None and self.marks is not None:
            some = [k for k in ids if k in session.maps.boxes][:_MOST_OUTLINED]
            outlines = outlines_of(session.maps.stamp(session.rows[k].plane, k) for k in some)
            self.show("flash", [ring for path in outlines for ring in (path, around(path, _RING_PX))])
            self._flashing.stop()
            self._flash_seen.start()
