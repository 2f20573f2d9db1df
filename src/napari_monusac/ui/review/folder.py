"""The whole folder: its scores with intervals, per patient and organ; and stored predictions on the canvas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Task
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers
from napari_monusac.ui.model import hear
from napari_monusac.ui.review.scores import ScoresView
from napari_monusac.ui.widgets.basic import Heading, Section, column
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import Table, number
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel
    from napari_monusac.app.review_jobs import ScoredFolder
    from napari_monusac.io.predictions.open import PredictedCrop

_HOW = (
    "To score many crops: choose the folder of their predictions above (Predict writes one, and so does "
    "napari-monusac predict)."
)


class FolderScores(QWidget):
    """Scores all crops of the open folder that have a prediction."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
        self.hint = Note()
        self.start = QPushButton("Score the folder")
        self.start.clicked.connect(self.score)
        self.training = QCheckBox("Training crops too")
        self.training.setToolTip(
            "Crops that the model was trained on are left out and counted: a score on them says how well it has learnt "
            "them by heart. Tick to score them all the same"
        )
        self.progress = TaskRow()
        self.view = ScoresView()
        self.view.rule_changed.connect(lambda _: self.score())
        self.patients = Table(["Patient", "PQ", "F1", "Nuclei"], rows_at_most=14)
        self.organs = Table(["Organ", "PQ", "F1", "Patients"])
        self.view.what.hide()  # said above already
        self.after = column(
            self.view, Section("By organ", self.organs), Section("By patient", self.patients, opened=False)
        )
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (Heading("The whole folder"), self.hint, self.training, self.start, self.progress, self.after):
            box.addWidget(widget)
        for signal in (model.predictions_changed, model.studio.collection_changed):
            hear(self, signal, lambda _: self._say_what_next())
        hear(self, model.folder_scored, self._show)
        self._say_what_next()
        self._show(model.scored)

    def _say_what_next(self) -> None:
        collection = self.model.studio.collection
        ready = self.model.predictions is not None and collection is not None
        self.start.setEnabled(ready)
        self.start.setToolTip(
            "Scores of all crops of the folder that have labels and a prediction, with 95 % intervals"
            if ready
            else "Open a folder of crops (Slides) and choose the folder of their predictions above: then they can be scored"
        )
        self.hint.say("" if ready else "Open a folder of crops first (Slides)." if collection is None else _HOW)

    def score(self) -> Task | None:
        """Score the folder in the background."""
        job = self.model.scoring(self.view.rule, training=self.training.isChecked())
        if job is None:
            return None
        folder = self.model.predictions
        task = self.model.studio.work.task(job, self)
        task.done.connect(
            lambda scored: setattr(self.model, "scored", scored) if self.model.predictions == folder else None
        )
        task.finished.connect(lambda: self.start.setEnabled(True))
        self.start.setEnabled(False)
        return self.progress.follow(task, "Scoring…")

    def _show(self, scored: ScoredFolder | None) -> None:
        self.after.setVisible(scored is not None)
        if scored is None:
            return
        e = scored.evaluation
        self.view.set_evaluation(e, e.title, both=True)
        self.organs.fill(
            [
                (
                    o.name.capitalize(),
                    number(o.pq),
                    number(o.detection.f1),
                    str(len({p.name for p in e.patients if p.organ == o.name})),
                )
                for o in e.organs
            ]
        )
        self.patients.fill(
            [(p.name, number(p.pq), number(p.detection.f1), str(p.instances.tp + p.instances.fn)) for p in e.patients]
        )


class StoredPrediction(QObject):
    """Shows the stored prediction of the open crop, where the chosen folder has one.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose image it is laid on.
    model : ReviewModel
        Is told what was found.
    progress : TaskRow
        Shows how far it is.
    """

    def __init__(self, viewer: Any, model: ReviewModel, progress: TaskRow) -> None:
        super().__init__(progress)
        self.viewer, self.model, self.progress = viewer, model, progress
        self._task: Task | None = None
        for signal in (model.predictions_changed, model.trusted_changed, model.studio.crop_changed):
            hear(self, signal, lambda _: self.look())

    def look(self) -> Task | None:
        """Read and show the stored prediction of the open crop; nothing happens where there is none."""
        image, crop, folder = canvas.image_layer(self.viewer), self.model.studio.crop, self.model.predictions
        if self._task is not None:
            self._task.stop()
            self._task = None
        if image is None or crop is None or folder is None:
            return None
        pixels = image.data
        y, x = image.metadata.get("monusac", {}).get("offset_px", (0, 0))
        job = self.model.finding_prediction(pixels[0] if image.multiscale else pixels, (y, x), canvas.um_per_px(image))
        if job is None:
            return None
        task = self._task = self.model.studio.work.task(job, self)
        task.done.connect(lambda found: self._show(task, image, pixels, folder, found))
        task.failed.connect(lambda _: self._failed(task))
        return self.progress.follow(task, f"Reading the prediction of {crop.name}…")

    def _show(self, task: Task, image: Any, pixels: Any, folder: Path, found: PredictedCrop | None) -> None:
        if self._task is not task or not canvas.still_shows(self.viewer, image, pixels):
            return
        self._task = None
        if found is None or (found.image_unknown and folder not in self.model.trusted):
            self.model.looked(None if found is None else found.path)
            return
        prediction = found.prediction()
        add_prediction_layers(self.viewer, image, prediction, found.nuclei)
        self.model.looked((prediction, found.nuclei))

    def _failed(self, task: Task) -> None:
        """It cannot be used, which the row says: what was waited for is shown all the same."""
        if self._task is task:
            self._task = None
            self.model.arrive()


class UnknownImage(QWidget):
    """Asks whether predictions that do not say of which image they are may be used; hidden while nothing is asked."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.words = Note(kind="warning")
        self.button = QPushButton("They are of these crops: use them")
        self.button.setToolTip(
            "Predictions of this folder are then taken by the name of their crop, until napari is closed"
        )
        self.button.clicked.connect(model.trust)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.button):
            box.addWidget(widget)
        hear(self, model.asked_about_changed, self._ask)
        self._ask(model.asked_about)

    def _ask(self, store: Path | None) -> None:
        if store is not None:
            self.words.say(f"{store.name} does not say of which image it is: an earlier version wrote it.", "warning")
        self.setVisible(store is not None)
