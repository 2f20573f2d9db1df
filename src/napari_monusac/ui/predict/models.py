"""Which model predicts: the trained ones, the best first, or a file."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QWidget
from superqt.utils import signals_blocked

from napari_monusac.app.actions import BROWSE_MODELS, TRAIN_ONE
from napari_monusac.app.studio import StudioModel
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import form_button


class ModelChoice(QWidget):
    """A view of the models that can predict, and a button for a file.

    Parameters
    ----------
    model : StudioModel
    """

    def __init__(self, model: StudioModel) -> None:
        super().__init__()
        self.model, self.prediction = model, model.prediction
        self.models = QComboBox()
        self.models.setToolTip("Trained models, the best first, by their best combo on their own validation crops")
        self.models.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.models.setMinimumContentsLength(6)  # a long name must not make the panel wider than its dock
        self.browse, self.train = form_button(BROWSE_MODELS, self), form_button(TRAIN_ONE, self)
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.models, 1)
        box.addWidget(self.browse)
        box.addWidget(self.train)
        self.models.currentIndexChanged.connect(lambda _: self.prediction.choose(self.models.currentData()))
        hear(self, self.prediction.models_changed, lambda _: self._show())
        hear(self, self.prediction.checkpoint_changed, lambda _: self._show_chosen())
        self._show()

    def _show(self) -> None:
        with signals_blocked(self.models):
            self.models.clear()
            for at, one in enumerate(self.prediction.models):
                self.models.addItem(one.text, one.path)
                self.models.setItemData(at, f"{one.text}\n{one.path}", Qt.ItemDataRole.ToolTipRole)
        self._show_chosen()
        self.train.setVisible(self.models.count() == 0)

    def _show_chosen(self) -> None:
        with signals_blocked(self.models):
            self.models.setCurrentIndex(self.models.findData(self.prediction.checkpoint))

    def train_one(self) -> None:
        """Go to the panel that trains."""
        self.model.panel_asked.emit("Train")

    def browse_models(self) -> None:
        """Ask for a checkpoint file, and offer it."""
        chosen = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", str(self.prediction.training.runs_folder), "Models (*.safetensors *.zip)"
        )[0]
        if chosen:
            self.prediction.offer(chosen)
