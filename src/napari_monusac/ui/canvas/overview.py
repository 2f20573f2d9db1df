"""The whole slide, small, with a frame around what the window shows; a click or a drag goes there."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_monusac.app.work import Latest, Work
from napari_monusac.ui.canvas import canvas

#: Longest sides of the small picture, px; images up to so many px are seen whole anyway.
_HEIGHT_PX, _SMALL_PX = 130, 4_000_000
_FRAME, _EDGE = QColor(255, 40, 40), QColor(255, 255, 255)


def small_picture(level: Any, most: int = 2 * _HEIGHT_PX) -> NDArray[np.uint8]:
    """Return an image, uint8 (y, x, 3), no longer than `most` on its longer side; the level is read in steps.

    Parameters
    ----------
    level : array (y, x[, c])
        The smallest level of a pyramid; it may be read from disk where it is cut.
    most : int
        px.
    """
    step = max(1, max(level.shape[:2]) // (2 * most))
    read = np.asarray(level[::step, ::step])
    rgb = np.ascontiguousarray(read[..., :3] if read.ndim == 3 else np.repeat(read[..., None], 3, 2), np.uint8)
    scale = min(1.0, most / max(rgb.shape[:2]))
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


class Overview(QWidget):
    """A small picture of the open slide, where it is too large to be seen whole; else it takes no room.

    Parameters
    ----------
    viewer : napari.Viewer
    work : Work
        The window's: the picture is read in the background.
    """

    def __init__(self, viewer: Any, work: Work) -> None:
        super().__init__()
        self.viewer = viewer
        self._image: Image | None = None
        self._data: Any = None
        self._shape = (1, 1)
        self._pixmap: QPixmap | None = None
        self._latest = Latest(work, self)
        self._latest.done.connect(self._read)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(30)
        self._soon.timeout.connect(self.update)
        self.setFixedHeight(_HEIGHT_PX)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("The whole slide; the frame is what the window shows. Click or drag: go there")
        self.setAccessibleName("Overview of the slide")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        events = viewer.scene.camera.events
        for moved in (events.center, events.zoom):
            moved.connect(self._moved)
        self.hide()

    def _moved(self, _: object = None) -> None:
        if self.isVisible():
            self._soon.start()

    def refresh(self) -> None:
        """Show the image that is open now, if it is a large one."""
        image = canvas.find_layer(self.viewer, "image")
        levels: list[Any] = []
        if isinstance(image, Image):
            levels = list(image.data) if image.multiscale else [image.data]
        large = bool(levels) and levels[0].shape[0] * levels[0].shape[1] > _SMALL_PX
        if not large or not isinstance(image, Image):
            self._image = self._data = self._pixmap = None
            self._latest.forget()
            self.hide()
            return
        if image is self._image and levels[0] is self._data:
            return
        self._image, self._data, self._pixmap = image, levels[0], None
        self._shape = int(levels[0].shape[0]), int(levels[0].shape[1])
        smallest = levels[-1]
        self._latest.ask(lambda: (smallest, small_picture(smallest)))
        self.show()

    def _read(self, answer: tuple[Any, NDArray[np.uint8]]) -> None:
        if self._image is not None:
            picture = answer[1]
            height, width = picture.shape[:2]
            image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            self._pixmap = QPixmap.fromImage(image.copy())
            self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """As high as it is, as wide as there is room."""
        return QSize(200, _HEIGHT_PX)

    def place(self) -> QRectF:
        """Return where the slide is drawn in the widget, px."""
        height, width = self._shape
        scale = min(self.width() / width, self.height() / height)
        return QRectF(
            (self.width() - width * scale) / 2, (self.height() - height * scale) / 2, width * scale, height * scale
        )

    def frame(self) -> QPolygonF:
        """Return what the window shows, in px of the widget: four corners, for the slide may be turned."""
        if self._image is None:
            return QPolygonF()
        where, (height, width) = self.place(), self._shape
        corners = canvas.view_corners(self.viewer, self._image)
        return QPolygonF(
            [
                QPointF(
                    where.left() + float(x) / width * where.width(), where.top() + float(y) / height * where.height()
                )
                for y, x in corners
            ]
        )

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the slide and the frame."""
        if self._pixmap is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(self.place(), self._pixmap, QRectF(self._pixmap.rect()))
        for color, wide in ((_EDGE, 4), (_FRAME, 2)):
            painter.setPen(QPen(color, wide))
            painter.drawPolygon(self.frame())

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Go where was clicked."""
        self._go(event.position())

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Follow the drag."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position())

    def _go(self, at: QPointF) -> None:
        if self._image is None:
            return
        where, (height, width) = self.place(), self._shape
        y = min(max((at.y() - where.top()) / where.height(), 0.0), 1.0) * height
        x = min(max((at.x() - where.left()) / where.width(), 0.0), 1.0) * width
        canvas.center_on(self.viewer, self._image, y, x)
