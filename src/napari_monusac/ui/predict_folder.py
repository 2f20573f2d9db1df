"""Predict the whole folder: in the background, crop by crop, finished ones skipped; counts and densities at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.core.errors import MonusacError, StoreError
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.widgets import Note, PathPicker, TaskRow
from napari_monusac.ui.work import Report, Task


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
        options = self._options()
        self.failures.say("")

        def work(report: Report) -> tuple[int, list[str]]:
            return predict_crops(report, collection, crops, checkpoint, out, options)

        task = Task(work)
        task.done.connect(lambda outcome: self._done(out, *outcome))
        return self.progress.follow(task, "Loading the model…")

    def _done(self, out: Path, number: int, failed: list[str]) -> None:
        self.progress.label.say(f"{number} predictions are in {out}, with counts and densities in counts.csv.", "good")
        self.failures.say("\n".join(failed), "warning")


def predict_crops(
    report: Report, collection: Any, crops: list[Any], checkpoint: str, out: Path, options: dict[str, Any]
) -> tuple[int, list[str]]:
    """Predict crops one after another (in a worker). One that fails is told and the rest go on.

    Returns
    -------
    int
        Crops that are predicted now, those of an earlier start included.
    list of str
        One line for each crop that failed.
    """
    from napari_monusac.infer.batch import output_paths
    from napari_monusac.infer.crop import predict_crop
    from napari_monusac.learn.checkpoint import load_checkpoint
    from napari_monusac.scoring.density import count_nuclei, density_table, write_density_table

    report(None, "Loading the model")
    loaded = load_checkpoint(checkpoint)
    targets = output_paths([c.image for c in crops], out)
    Path(out).mkdir(parents=True, exist_ok=True)
    failed, counts = [], []
    for i, crop in enumerate(crops):
        report(i / len(crops), f"{crop.name} ({i + 1} of {len(crops)})")
        target = targets[Path(crop.image)]
        try:
            if not target.exists():
                predict_crop(collection.open(crop), loaded, target, should_stop=lambda: report.stopping, **options)
            table, shape, um = stored_nuclei(target)
            counts.append(count_nuclei(table, shape, um, name=crop.name, patient=crop.patient))
        except MonusacError as error:
            if report.stopping:
                raise
            failed.append(str(error))
    if counts:
        write_density_table(density_table(counts), Path(out) / "counts.csv")
    return len(counts), failed


def stored_nuclei(store: Path) -> tuple[Any, tuple[int, int], float | None]:
    """Table, shape (y, x) in px and um/px of a stored prediction's nuclei."""
    from napari_monusac.io.prediction_store import PredictionStore

    opened = PredictionStore.open(store)
    table = opened.read_table()
    if table is None:
        raise StoreError(store, "holds no table of nuclei", "delete this store and predict the crop again")
    return table, opened.shape, opened.info.um_per_px
