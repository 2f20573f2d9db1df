"""How to begin with Review: what there is to press while there is no prediction to compare."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.ui.annotate_parts import calm
from napari_monusac.ui.widgets import Note, PathPicker, row

_NO_CROP = "Open a crop (Slides) and predict it (Predict); then its scores and errors stand here."
_NO_PREDICTION = (
    "Predict this crop (Predict), or choose a folder of predictions: then its scores and errors stand here."
)
_NO_TRUTH = "This crop has no labels to compare with. Its doubtful nuclei can be gone through: see Queue."


class StartView(QWidget):
    """The next step, as buttons; hidden once there is a prediction.

    Parameters
    ----------
    model : StudioModel
        Is asked for panels.
    predictions : PathPicker
        Chooses the folder of predictions.
    """

    def __init__(self, model: Any, predictions: PathPicker) -> None:
        super().__init__()
        self.open = calm(QPushButton("Open a crop"))
        self.open.setToolTip("Goes to Slides")
        self.open.clicked.connect(lambda: model.panel_asked.emit("Slides"))
        self.predict = calm(QPushButton("Predict this crop"))
        self.predict.setToolTip("Goes to Predict; come back when it is done")
        self.predict.clicked.connect(lambda: model.panel_asked.emit("Predict"))
        self.choose = calm(QPushButton("Choose a folder of predictions…"))
        self.choose.setToolTip(predictions.box.toolTip())
        self.choose.clicked.connect(predictions.button.click)
        self.hint = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        self.buttons = row(self.open, self.predict, self.choose)
        box.addWidget(self.hint)
        box.addWidget(self.buttons)

    def show_for(self, *, crop: bool, prediction: bool, truth: bool, folder: bool, waiting: bool) -> None:
        """Say what to do next.

        Parameters
        ----------
        crop, prediction, truth : bool
            Whether a crop is open, its prediction is there, it has labels.
        folder : bool
            Whether a folder of predictions is chosen.
        waiting : bool
            Whether another crop is being opened to show a nucleus of it.
        """
        self.hint.say(
            "Opening the crop of this nucleus…" if waiting
            else _NO_TRUTH if prediction and not truth
            else "" if prediction
            else _NO_PREDICTION if crop
            else _NO_CROP
        )  # fmt: skip
        self.buttons.setVisible(not prediction and not waiting)
        self.open.setVisible(not crop)
        self.predict.setVisible(crop)
        self.choose.setVisible(not folder)
