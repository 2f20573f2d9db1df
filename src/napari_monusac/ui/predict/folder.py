"""Predict the whole folder: in the background, crop by crop, finished ones skipped; counts and densities at the end."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_monusac.app.actions import PREDICT_FOLDER
from napari_monusac.app.prediction_jobs import FolderOutcome
from napari_monusac.app.studio import StudioModel
from napari_monusac.app.work import Task
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import form_button
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.task_row import TaskRow


class FolderPrediction(QWidget):
    """A view of the predictions of every crop of the open folder, as OME-Zarr stores.

    Parameters
    ----------
    model : StudioModel
    """

    def __init__(self, model: StudioModel) -> None:
        super().__init__()
        self.model = model
        self.out = PathPicker(
            "predictions",
            "folder",
            tooltip="One OME-Zarr store a crop; opens in napari, Fiji and QuPath",
            placeholder="Write predictions to…",
        )
        self.start = form_button(PREDICT_FOLDER, self)
        self.progress = TaskRow()
        self.failures = Note(kind="warning")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.out, self.start, self.progress, self.failures):
            box.addWidget(widget)
        hear(self, model.prediction.outcome_changed, self._show)

    def predict_folder(self) -> Task | None:
        """Predict what is not predicted yet."""
        answer = self.model.prediction.predict_folder(self.model.collection, self.out.path)
        if isinstance(answer, Task):
            return self.progress.follow(answer, "Loading the model…")
        if answer.why:
            self.progress.label.say(answer.why, "warning")
        return None

    def _show(self, outcome: FolderOutcome | None) -> None:
        self.failures.say("\n".join(outcome.lines) if outcome is not None else "", "warning")
        if outcome is not None:
            self.progress.label.say(
                f"{outcome.number} predictions are in {outcome.out}, with counts and densities in counts.csv.", "good"
            )
