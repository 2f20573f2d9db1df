"""Predict the whole folder: in the background, crop by crop, finished ones skipped; counts and densities at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Report, Task
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.widgets.basic import Note, PathPicker, TaskRow

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop


class FolderPrediction(QWidget):
    """Predictions of every crop of the open folder, as OME-Zarr stores.

    Parameters
    ----------
    model : StudioModel
    checkpoint : callable
        Gives the chosen checkpoint or None, on the Qt thread.
    options : callable
        Gives further parameters of `napari_monusac.infer.crop.predict_crop`.
    """

    def __init__(
        self, model: StudioModel, checkpoint: Callable[[], str | None], options: Callable[[], dict[str, Any]]
    ) -> None:
        super().__init__()
        self.model = model
        self._checkpoint = checkpoint
        self._options = options
        self.out = PathPicker(
            "predictions",
            "folder",
            tooltip="One OME-Zarr store a crop; opens in napari, Fiji and QuPath",
            placeholder="Write predictions to…",
        )
        self.start = QPushButton("Predict every crop of the folder")
        self.progress = TaskRow()
        self.failures = Note(kind="warning")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.out, self.start, self.progress, self.failures):
            box.addWidget(widget)
        self.start.clicked.connect(self.predict)

    def predict(self) -> Task | None:
        """Predict what is not predicted yet."""
        collection, checkpoint, out = self.model.collection, self._checkpoint(), self.out.path
        missing = (
            "Open a folder first (Slides)."
            if collection is None
            else "Choose a model first."
            if not checkpoint
            else "Choose where the predictions go."
            if out is None
            else ""
        )
        if missing or collection is None or checkpoint is None or out is None:
            self.progress.label.say(missing, "warning")
            return None
        crops = [c for c in collection.crops if c.image is not None]
        if self.progress.task is not None:
            return None
        options = self._options()
        self.failures.say("")

        def work(report: Report) -> FolderOutcome:
            return predict_crops(report, collection, crops, checkpoint, out, options)

        task = self.model.work.task(work, self, title=f"Predicting {len(crops)} crops")
        task.done.connect(lambda outcome: self._done(out, outcome))
        return self.progress.follow(task, "Loading the model…")

    def _done(self, out: Path, outcome: FolderOutcome) -> None:
        self.progress.label.say(
            f"{outcome.number} predictions are in {out}, with counts and densities in counts.csv.", "good"
        )
        self.failures.say("\n".join(outcome.lines), "warning")


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """What became of a folder.

    Attributes
    ----------
    number : int
        Crops that are predicted now, those of an earlier start included.
    lines : list of str
        A line for each crop that failed, and for each thing that should be known of some.
    """

    number: int
    lines: list[str]


def predict_crops(
    report: Report, collection: Collection, crops: list[Crop], checkpoint: str, out: Path, options: dict[str, Any]
) -> FolderOutcome:
    """Predict crops one after another (in a worker). One that fails is told and the rest go on."""
    from napari_monusac.infer.batch import job_of, predict_one
    from napari_monusac.io.predictions.store import crop_store
    from napari_monusac.network.checkpoint import load_checkpoint
    from napari_monusac.scoring.metrics.stored_counts import count_store, write_counts

    report(None, "Loading the model")
    loaded = load_checkpoint(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    failed, counts, notes = [], [], Counter[str]()
    try:
        for i, crop in enumerate(crops):
            said = f"{crop.name} ({i + 1} of {len(crops)})"
            report(i / len(crops), said)

            def told(part: float, i: int = i, said: str = said) -> None:
                report((i + float(part)) / len(crops), said)

            target = crop_store(out, crop.name)
            more = {**options, "progress": told, "should_stop": lambda: report.stopping}
            result = predict_one(job_of(collection, crop, target), checkpoint, more, model=loaded)
            if result.status == "failed":
                failed.append(result.message)
                continue
            notes.update(result.notes)
            counts.append(count_store(target, name=crop.name, patient=crop.patient))
    finally:
        if counts:  # of what is done, also where it was stopped
            write_counts(counts, out / "counts.csv")
    return FolderOutcome(len(counts), [*failed, *(f"{n} crop{'s' * (n > 1)}: {note}" for note, n in notes.items())])
