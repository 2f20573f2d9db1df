"""What napari's own brush, eraser, bucket and polygon paint becomes commands of the session: undo is then ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QTimer

from napari_monusac.core.errors import MonusacError
from napari_monusac.ui.editing_layers import SessionLayers
from napari_monusac.ui.editing_ready import PAINTED
from napari_monusac.ui.work import error_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_monusac.session.rows import Plane
    from napari_monusac.session.session import EditingSession
    from napari_monusac.ui.editing import EditingController


class Paint:
    """Watches the layers that napari paints on.

    Parameters
    ----------
    controller : EditingController
        Whose session takes the paint over.
    """

    def __init__(self, controller: EditingController) -> None:
        self._controller = controller
        self._layers: list[Labels] = []
        self._timer = QTimer(controller)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self.adopt)

    def watch(self) -> None:
        """Watch the layers of the controller's session."""
        self.unwatch()
        layers = self._controller.layers
        for name in PAINTED:
            layer = layers.get(name) if layers is not None else None
            if layer is not None:
                layer.events.paint.connect(self._soon)
                layer.events.set_data.connect(self._soon)
                self._layers.append(layer)

    def unwatch(self) -> None:
        """Watch no layer any more."""
        self._timer.stop()
        for layer in self._layers:
            layer.events.paint.disconnect(self._soon)
            layer.events.set_data.disconnect(self._soon)
        self._layers.clear()

    @property
    def pending(self) -> bool:
        """Whether napari has told of paint that is not taken over yet."""
        return bool(self._timer.isActive())

    def _soon(self, _: object = None) -> None:
        # napari tells of a polygon before it has painted it: look when it is through
        self._timer.start()

    def adopt(self) -> None:
        """Make commands of what has been painted."""
        self._timer.stop()
        controller = self._controller
        if controller.session is not None and controller.layers is not None and not controller.busy:
            self.adopt_from(controller.session, controller.layers)

    def adopt_from(self, session: EditingSession, layers: SessionLayers) -> None:
        """Make commands of what has been painted on these layers."""
        for name in PAINTED:
            found = layers.painted(name)
            if found is not None:
                plane: Plane = "nuclei" if name == "nuclei" else "ambiguous"
                box, before, after = found
                _number(session, plane, before, after)
                try:
                    session.adopt(box, before, after, plane=plane)
                except MonusacError as error:
                    layers.take_back(name, box)
                    self._controller.said.emit(error_line(error), "error")
            layers.restore_array(name)


def _number(session: EditingSession, plane: Plane, before: NDArray[Any], after: NDArray[Any]) -> None:
    """Give new nuclei the session's next numbers: the one in napari's box may be taken, or huge."""
    new, fresh = after != before, session.next_id
    for label in sorted({int(v) for v in after[new].tolist()} - {0}):
        if label not in session.rows or session.rows[label].plane != plane:
            after[(after == label) & new] = fresh
            fresh += 1
