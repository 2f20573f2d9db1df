"""The magnification presets of the Studio: 5x to 40x as a microscope shows them, and the whole image."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_monusac.app.actions import SNAPSHOT
from napari_monusac.ui.canvas import canvas


class ZoomBar(QWidget):
    """A button a magnification, and *Fit*.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.presets: dict[float, QPushButton] = {}
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(4)
        box.addWidget(QLabel("Zoom"))
        for times in canvas.MAGNIFICATIONS:
            button = QPushButton(f"{times}x")
            button.clicked.connect(lambda _=False, t=times: canvas.set_magnification(self.viewer, t))
            self.presets[times] = button
            box.addWidget(button)
        self.fit = QPushButton("Fit")
        self.fit.setToolTip("Show the whole image")
        self.fit.clicked.connect(lambda: self.viewer.reset_view())
        self.picture = QPushButton(SNAPSHOT.text)
        self.picture.setToolTip(SNAPSHOT.tooltip)
        box.addWidget(self.fit)
        box.addWidget(self.picture)
        box.addStretch(1)
        self.refresh()

    def refresh(self) -> None:
        """Offer what the image on the canvas allows."""
        known = canvas.magnification(self.viewer) is not None
        for times, button in self.presets.items():
            button.setEnabled(known)
            button.setToolTip(
                f"Zoom to {times}x (a screen pixel shows {10 / times:g} µm)"
                if known
                else "Needs an image whose scale (µm per pixel) is known"
            )
        self.fit.setEnabled(bool(self.viewer.layers))
        self.picture.setEnabled(bool(self.viewer.layers))
