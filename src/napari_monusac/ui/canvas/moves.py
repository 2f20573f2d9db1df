"""Every move of the pointer while a stroke is drawn.

Qt puts moves together that wait while the window draws, and vispy leaves those out that come within 10 ms of another: of a
circle drawn in half a second a third of the area would be missing. They are heard where they come in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QCoreApplication, QEvent, QObject, Qt
from qtpy.QtWidgets import QApplication

_TOGETHER = Qt.ApplicationAttribute.AA_CompressHighFrequencyEvents
#: How many windows are drawn on.
_DRAWN_ON = [0]


def keep_moves_apart(on: bool) -> None:
    """Let Qt tell of each move while a window is drawn on (moves that wait with the press belong to its stroke)."""
    _DRAWN_ON[0] += 1 if on else -1
    QCoreApplication.setAttribute(_TOGETHER, not _DRAWN_ON[0])


class EveryMove(QObject):
    """Hears every move over the canvas of a press, from then on until `end`.

    Parameters
    ----------
    event : napari mouse event
        The press.
    camera : napari.components.Camera
        Of the viewer: says what is up.
    """

    def __init__(self, event: Any, camera: Any) -> None:
        super().__init__()
        self._camera = camera
        self._points: list[tuple[float, float]] = []
        self._pressed = np.asarray(event.pos, float)
        #: how far from the press the pointer has been, px of the screen
        self.slipped = 0.0
        # the canvas is what lies there: napari's event knows Qt's, but not whose it was
        self._canvas = QApplication.widgetAt(event.native.globalPosition().toPoint())
        if self._canvas is not None:
            self._canvas.installEventFilter(self)

    def eventFilter(self, _: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Take note of a move, and let it pass."""
        if event.type() == QEvent.Type.MouseMove:
            where = event.position()
            self._points.append((where.y(), where.x()))
            self._slip(where.x(), where.y())
        return False

    def take(self, event: Any) -> NDArray[np.float64]:
        """Return the moves since the last time in world coordinates, (n, 2) (y, x); `event` is the newest, which napari knows.

        Parameters
        ----------
        event : napari mouse event
            Says where its place on the canvas lies in the world.
        """
        points, self._points = self._points, []
        self._slip(*event.pos)
        here = np.asarray(event.position, float)[-2:]
        if not points:
            return here[None]
        pixels = np.asarray(points) - np.asarray(event.pos, float)[::-1]
        down, right = (str(way) for way in self._camera.orientation2d)
        signs = np.array([1 if down == "down" else -1, 1 if right == "right" else -1])
        return np.asarray(here + pixels * signs / float(event.camera_zoom))

    def _slip(self, x: float, y: float) -> None:
        self.slipped = max(self.slipped, abs(x - self._pressed[0]), abs(y - self._pressed[1]))

    def end(self) -> None:
        """Hear nothing any more."""
        if self._canvas is not None:
            self._canvas.removeEventFilter(self)
            self._canvas = None
