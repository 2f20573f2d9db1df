"""From the prediction: take over what a network found, above a confidence."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider

from napari_monusac.core.errors import MonusacError
from napari_monusac.ui.annotate_parts import calm
from napari_monusac.ui.annotate_stored import StoredPredictions
from napari_monusac.ui.editing import EditingController
from napari_monusac.ui.editing_commands import Commands
from napari_monusac.ui.regions import VIEW, chosen_region
from napari_monusac.ui.widgets import Note, row
from napari_monusac.ui.work import error_line


class Accepting(QWidget):
    """The least confidence, how many are that sure, and a button for all that the window shows.

    Parameters
    ----------
    controller : EditingController
        Whose session takes them.
    commands : Commands
        What accepts them.
    """

    def __init__(self, controller: EditingController, commands: Commands) -> None:
        super().__init__()
        self.controller, self.commands = controller, commands
        self.confidence = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.confidence.setRange(0.0, 1.0)
        self.confidence.setSingleStep(0.05)
        self.confidence.setDecimals(2)
        self.confidence.setValue(commands.min_confidence)
        self.confidence.setToolTip("Predicted nuclei that the network is less sure of stay out")
        self.in_view = calm(QPushButton("Accept all in view"))
        self.in_view.setToolTip("Take over every predicted nucleus in the window that is at least this sure")
        self.hint = Note()
        self.stored = StoredPredictions(controller)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.stored)
        self.controls = row(self.confidence, self.in_view, stretch_first=True)
        box.addWidget(self.controls)
        box.addWidget(self.hint)
        self.confidence.valueChanged.connect(self._confidence_moved)
        self.in_view.clicked.connect(self.accept_in_view)
        controller.session_changed.connect(self.count)
        controller.model.predicted.connect(self._predicted)
        self.count()

    def _predicted(self, _: object) -> None:
        self.count()

    def _confidence_moved(self, value: float) -> None:
        self.commands.min_confidence = float(value)
        self.count()

    def count(self) -> None:
        """Say how many predicted nuclei are sure enough."""
        latest: Any = self.controller.model.last_prediction
        self.controls.setVisible(latest is not None)
        if latest is None:
            self.hint.say("")
            return
        table = latest[1].table
        least = self.commands.min_confidence
        sure = int((table["confidence"] >= least).sum()) if "confidence" in table else len(table)
        self.hint.say(
            f"{sure} of {len(table)} predicted nuclei (dashed) are that sure. A takes the one under the pointer, the tool "
            "Accept many; what is outlined already stays. Model output, research use."
        )

    def accept_in_view(self) -> None:
        """Accept the predicted nuclei that the window shows, above the confidence."""
        layers = self.controller.layers
        layer = layers.get("nuclei") if layers is not None else None
        if layer is None:
            return
        try:
            y, x, height, width = chosen_region(self.controller.viewer, layer, VIEW)
        except MonusacError as error:
            self.controller.said.emit(error_line(error), "warning")
            return
        corners = [(y, x), (y, x + width - 1), (y + height - 1, x + width - 1), (y + height - 1, x)]
        self.commands.accept_all(corners)
