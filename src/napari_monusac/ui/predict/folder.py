"""Predict the whole folder: in the background, crop by crop, finished ones skipped; counts and densities at the end."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_monusac.app.actions import PREDICT_FOLDER, REVIEW_WRITTEN
from napari_monusac.app.prediction_jobs import FolderOutcome
from napari_monusac.app.review import ReviewModel
from napari_monusac.app.studio import StudioModel
from napari_monusac.app.work import Task
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import form_button
from napari_monusac.ui.widgets.export_row import ExportRow
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.task_row import TaskRow


class FolderPrediction(QWidget):
    """A view of the predictions of every crop of the open folder, as OME-Zarr stores.

    Parameters
    ----------
    model : StudioModel
    review : ReviewModel
        Takes what was written.
    """

    def __init__(self, model: StudioModel, review: ReviewModel) -> None:
        super().__init__()
        self.model, self.review = model, review
        self.out = PathPicker(
            "predictions",
            "folder",
            tooltip="One OME-Zarr store a crop; opens in napari, Fiji and QuPath",
            placeholder="Write predictions to…",
        )
        self.start = form_button(PREDICT_FOLDER, self)
        self.progress = TaskRow()
        self.failures = Note(kind="warning")
        self.look = form_button(REVIEW_WRITTEN, self)
        self.exports = ExportRow(model.work, self._written)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.out, self.start, self.progress, self.failures, self.look, self.exports):
            box.addWidget(widget)
        hear(self, model.prediction.outcome_changed, self._show)
        self._show(model.prediction.outcome)

    def predict_folder(self) -> Task | None:
        """Predict what is not predicted yet."""
        answer = self.model.prediction.predict_folder(self.model.collection, self.out.path)
        if isinstance(answer, Task):
            return self.progress.follow(answer, "Loading the model…")
        if answer.why:
            self.progress.label.say(answer.why, "warning")
        return None

    def _written(self) -> Path | None:
        outcome = self.model.prediction.outcome
        return outcome.out if outcome is not None and outcome.number else None

    def review_written(self) -> None:
        """Review what was written."""
        written = self._written()
        if written is not None:
            self.review.review_folder(written)

    def _show(self, outcome: FolderOutcome | None) -> None:
        self.failures.say("\n".join(outcome.lines) if outcome is not None else "", "warning")
        for widget in (self.look, self.exports):
            widget.setVisible(self._written() is not None)
        if outcome is None:
            return
        stopped = "Stopped. " if outcome.stopped else ""
        self.progress.label.say(
            f"{stopped}{outcome.number} predictions are in {outcome.out}, with counts and densities in counts.csv.",
            "hint" if outcome.stopped else "good",
        )
