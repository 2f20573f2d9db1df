"""What napari's own tools paint on the layers of a session becomes commands of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer

from napari_monusac.app.editing import Editing
from napari_monusac.app.work import error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.editing.commands import AdoptPaint
from napari_monusac.ui.editing.layers import SessionLayers
from napari_monusac.ui.editing.ready import PAINTED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_monusac.editing.nuclei.rows import Plane
    from napari_monusac.editing.session import EditingSession


class Paint:
    """Watches the layers that napari paints on.

    Parameters
    ----------
    editing : Editing
        Whose session takes the paint over.
    parent : QObject
        Whose end is the end of it.
    """

    def __init__(self, editing: Editing, parent: QObject) -> None:
        self._editing = editing
        self._shown: SessionLayers | None = None
        self._layers: list[Labels] = []
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self.adopt)

    def watch(self, shown: SessionLayers) -> None:
        """Watch the layers of a session, instead of those of the one before."""
        self.unwatch()
        self._shown = shown
        for name in PAINTED:
            layer = shown.get(name)
            if layer is not None:
                layer.events.paint.connect(self._soon)
                layer.events.set_data.connect(self._soon)
                self._layers.append(layer)

    def unwatch(self) -> None:
        """Watch no layer any more."""
        self._timer.stop()
        self._shown = None
        for layer in self._layers:
            layer.events.paint.disconnect(self._soon)
            layer.events.set_data.disconnect(self._soon)
        self._layers.clear()

    def _soon(self, _: object = None) -> None:
        # napari tells of a polygon before it has painted it: look when it is through
        self._timer.start()

    def hand_over(self) -> None:
        """A command is about to be done: what napari has told of comes first."""
        if self._timer.isActive():
            self.adopt()

    def adopt(self) -> None:
        """Make commands of what has been painted; it looks at every pixel."""
        self._timer.stop()
        session, shown = self._editing.session, self._shown
        if session is not None and shown is not None and not self._editing.busy:
            for name in PAINTED:
                self._adopt(session, shown, name)

    def _adopt(self, session: EditingSession, shown: SessionLayers, name: str) -> None:
        found = shown.painted(name)
        if found is not None:
            plane: Plane = "nuclei" if name == "nuclei" else "ambiguous"
            box, before, after = found
            _number(session, plane, before, after)
            try:
                session.do(AdoptPaint(box, before, after, plane))
            except MonusacError as error:
                shown.take_back(name, box)
                self._editing.said.emit(error_line(error), "error")
        shown.restore_array(name)


def _number(session: EditingSession, plane: Plane, before: NDArray[Any], after: NDArray[Any]) -> None:
    """Give new nuclei the session's next numbers: the one in napari's box may be taken, or huge."""
    new, fresh = after != before, session.nuclei.next_id
    for label in sorted({int(v) for v in after[new].tolist()} - {0}):
        if label not in session.rows or session.rows[label].plane != plane:
            after[(after == label) & new] = fresh
            fresh += 1
