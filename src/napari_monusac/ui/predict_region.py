"""Which part of the image is predicted: a list, and a button that makes ready for a rectangle to be drawn."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from napari_monusac.ui.predict_image import ImageChoice
from napari_monusac.ui.regions import RECTANGLE, REGIONS, draw_rectangle


class RegionChoice(QWidget):
    """The part that is predicted.

    Parameters
    ----------
    viewer : napari.Viewer
    image : ImageChoice
        Says over which image a rectangle is drawn.
    """

    #: A rectangle can be dragged over the image now.
    drawing = Signal()

    def __init__(self, viewer: Any, image: ImageChoice) -> None:
        super().__init__()
        self._viewer, self._image = viewer, image
        self.region = QComboBox()
        self.region.addItems(REGIONS)
        self.region.setToolTip(
            "The whole image, what the window shows now, or the rectangle around the shape drawn last in a Shapes layer"
        )
        self.draw = QPushButton("Draw it")
        self.draw.setToolTip("Then drag a rectangle over the image")
        self.draw.hide()
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.region, 1)
        box.addWidget(self.draw)
        self.region.currentTextChanged.connect(lambda text: self.draw.setVisible(text == RECTANGLE))
        self.draw.clicked.connect(self._draw)

    def _draw(self) -> None:
        if self._image.image is not None:
            draw_rectangle(self._viewer, self._image.image)
            self.drawing.emit()
