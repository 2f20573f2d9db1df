"""The whole folder: its scores with intervals, per patient and organ; and stored predictions on the canvas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Report, Task
from napari_monusac.core.errors import FileProblem
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers
from napari_monusac.ui.model import hear
from napari_monusac.ui.review.scores import ScoresView
from napari_monusac.ui.widgets.basic import Heading, Note, Section, TaskRow, column
from napari_monusac.ui.widgets.tables import Table, number

if TYPE_CHECKING:
    from napari_monusac.scoring.metrics.evaluation import Evaluation
    from napari_monusac.ui.review.reading import Reading

_HOW = (
    "To score many crops: choose the folder of their predictions above (Predict writes one, and so does "
    "napari-monusac predict)."
)


class FolderScores(QWidget):
    """Score all crops of the open folder that have a prediction.

    Signals
    -------
    scored() : there are scores.
    """

    scored = Signal()

    def __init__(self, model: Any, reading: Reading) -> None:
        super().__init__()
        self.model, self.reading = model, reading
        self.evaluation: Evaluation | None = None
        self.evidence: Any = None
        self.nuclei: Any = None
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
        self.after.hide()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (Heading("The whole folder"), self.hint, self.training, self.start, self.progress, self.after):
            box.addWidget(widget)
        reading.predictions_changed.connect(self._reset)
        hear(self, model.collection_changed, lambda _: self._reset())
        self._reset()

    def _reset(self) -> None:
        self.evaluation = self.evidence = self.nuclei = None
        self.after.hide()
        ready = self.reading.predictions is not None and self.model.collection is not None
        self.start.setEnabled(ready)
        self.start.setToolTip(
            "Scores of all crops of the folder that have labels and a prediction, with 95 % intervals"
            if ready
            else "Open a folder of crops (Slides) and choose the folder of their predictions above: then they can be scored"
        )
        self.hint.say(
            "" if ready else "Open a folder of crops first (Slides)." if self.model.collection is None else _HOW
        )

    def score(self) -> Task | None:
        """Score the folder in the background."""
        collection, predictions = self.model.collection, self.reading.predictions
        if collection is None or predictions is None:
            return None
        rule, training = self.view.rule, self.training.isChecked()

        def work(report: Report) -> Any:
            import pandas as pd

            from napari_monusac.scoring.metrics.nuclei import nuclei_table
            from napari_monusac.scoring.report.folders import evaluate_folders
            from napari_monusac.scoring.report.pictures import Evidence

            evidence, tables = Evidence(), []

            def each(pair: Any) -> None:
                evidence.add(pair)
                tables.append(nuclei_table(pair).assign(counted_in=pair.nuclei))

            result = evaluate_folders(
                collection.root, predictions, ambiguous=rule, include_training=training, each=each,
                should_stop=lambda: report.stopping,
                progress=lambda done, total, name: report(done / max(1, total), f"Scoring {name}"),
            )  # fmt: skip
            return result, evidence, pd.concat(tables, ignore_index=True)

        task = self.model.work.task(work, self)
        task.done.connect(self._show)
        task.finished.connect(lambda: self.start.setEnabled(True))
        self.start.setEnabled(False)
        return self.progress.follow(task, "Scoring…")

    def _show(self, result: tuple[Evaluation, Any, Any]) -> None:
        self.evaluation, self.evidence, self.nuclei = result
        e = self.evaluation
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
        self.after.show()
        self.scored.emit()


class StoredPrediction(QObject):
    """Shows the stored prediction of the open crop, where the chosen folder has one.

    Signals
    -------
    shown() : its layers are there, or there are none to be shown.
    """

    shown = Signal()

    def __init__(self, viewer: Any, model: Any, reading: Reading, progress: TaskRow) -> None:
        super().__init__(progress)
        self.viewer, self.model, self.reading, self.progress = viewer, model, reading, progress
        #: what asks whether a prediction that does not say of which image it is may be used
        self.asking = UnknownImage()
        self.asking.trusted.connect(self.look)
        self._task: Task | None = None
        #: the folder was looked through, and holds no prediction of the open crop
        self.missing = False
        reading.predictions_changed.connect(self.look)

    def look(self) -> Task | None:
        """Read and show the stored prediction of the open crop; nothing happens where there is none."""
        image, crop, folder = canvas.image_layer(self.viewer), self.model.crop, self.reading.predictions
        self.missing = False
        if image is None or crop is None or folder is None:
            return None
        if self._task is not None:
            self._task.stop()
        pixels, um_per_px = image.data, canvas.um_per_px(image)
        data = pixels[0] if image.multiscale else pixels
        whole = not any(image.metadata.get("monusac", {}).get("offset_px", (0, 0)))
        trusted = self.asking.trusts(folder)
        self.asking.hide()

        def work(_: Report) -> Any:
            from napari_monusac.io.predictions.identity import ArrayPixels
            from napari_monusac.io.slides.slide import open_slide

            shown = ArrayPixels(data, crop.image)
            images = (shown,) if whole else (shown, open_slide(crop.image))
            return read_stored(folder, crop, data.shape[:2], um_per_px, images, unknown=trusted)

        task = self.model.work.task(work, self)
        self._task = task
        task.done.connect(lambda found: self._show(task, image, pixels, folder, found))
        return self.progress.follow(task, f"Reading the prediction of {crop.name}…")

    def _show(self, task: Task, image: Any, pixels: Any, folder: Path, found: Any) -> None:
        if self._task is not task or not canvas.still_shows(self.viewer, image, pixels):
            return
        self._task, self.missing = None, found is None
        if isinstance(found, Path):
            self.asking.ask(folder, found)
        elif found is not None:
            add_prediction_layers(self.viewer, image, *found)
            self.model.last_prediction = found
        self.shown.emit()


class UnknownImage(QWidget):
    """Asks whether predictions that do not say of which image they are may be used; hidden while nothing is asked.

    Signals
    -------
    trusted() : those of the folder may be.
    """

    trusted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._folder: Path | None = None
        self._trusted: set[Path] = set()
        self.words = Note(kind="warning")
        self.button = QPushButton("They are of these crops: use them")
        self.button.setToolTip(
            "Predictions of this folder are then taken by the name of their crop, until napari is closed"
        )
        self.button.clicked.connect(self.trust)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.button):
            box.addWidget(widget)
        self.hide()

    def trusts(self, folder: Path) -> bool:
        """Whether the reader has said so of a folder."""
        return folder in self._trusted

    def ask(self, folder: Path, store: Path) -> None:
        """Ask about a store of a folder."""
        self._folder = folder
        self.words.say(f"{store.name} does not say of which image it is: an earlier version wrote it.", "warning")
        self.show()

    def trust(self) -> None:
        """Use what lies in the folder that was asked about."""
        if self._folder is not None:
            self._trusted.add(self._folder)
            self.hide()
            self.trusted.emit()


def read_stored(
    folder: Any, crop: Any, shape: tuple[int, int], um_per_px: float | None, images: Any = (), *, unknown: bool = True
) -> Any:
    """Read prediction and nuclei of a crop out of a folder, in any form (in a worker).

    Returns
    -------
    (Prediction, Nuclei), Path or None
        None where there is none; without `unknown`, the path of one that does not say of which image it is.

    Raises
    ------
    MonusacError
        A file is damaged, or the prediction is of another image.
    """
    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.io.predictions.identity import check_image
    from napari_monusac.io.predictions.store import read_prediction
    from napari_monusac.scoring.report.folders import FolderPairs
    from napari_monusac.scoring.report.predictions import PredictionFolder

    predictions = PredictionFolder(folder)
    # only the crop is asked for: its collection is not needed
    path = FolderPairs(None, predictions).prediction_of(crop)  # type: ignore[arg-type]
    if path is None:
        return None
    stored = predictions.read(path, shape)
    if stored.info is not None and images and check_image(path, stored.info, *images).same is None and not unknown:
        return path
    _check_numbers(path, stored.instances)
    nuclei = Nuclei(stored.instances.astype(np.int32), _table(stored, um_per_px), um_per_px, stored.offset_px)
    if path.suffix == ".zarr":
        return read_prediction(path), nuclei
    semantic, ternary = _certain(stored)
    return Prediction(semantic, ternary, um_per_px, stored.offset_px, checkpoint=stored.checkpoint), nuclei


def _check_numbers(path: Path, instances: Any) -> None:
    """Refuse maps whose tables by number would fill the memory."""
    highest = int(instances.max(initial=0))
    if highest > 4 * instances.size + 1024:
        problem = f"numbers a nucleus {highest} in a map of {instances.size} px"
        raise FileProblem(path, problem, "number its nuclei 1, 2, 3 ... without large gaps")


def _table(stored: Any, um_per_px: float | None) -> Any:
    import pandas as pd

    from napari_monusac.core.classes import NucleusClass

    if stored.table is not None:
        return stored.table
    areas = np.bincount(stored.instances.ravel())
    labels = [k for k in np.flatnonzero(areas).tolist() if k]
    classes = [int(stored.classes.get(k, NucleusClass.UNCLASSIFIED)) for k in labels]
    table = pd.DataFrame({"label": labels, "class": [NucleusClass(c).label for c in classes], "class_id": classes})
    table["area_px"] = areas[labels]
    table["area_um2"] = np.nan if um_per_px is None else areas[labels] * um_per_px**2
    if stored.confidence:
        table["confidence"] = [stored.confidence.get(k, np.nan) for k in labels]
    return table


def _certain(stored: Any) -> tuple[Any, Any]:
    """Probabilities of a prediction that has none: 1 for what it says."""
    from napari_monusac.masks.lookup import paint
    from napari_monusac.masks.ternary import ternary_map

    ids = np.array(sorted(stored.classes), np.int64)
    classes = np.array([stored.classes[int(k)] for k in ids], np.uint8)
    semantic = paint(stored.instances, ids, np.where(classes > 4, 0, classes).astype(np.uint8))
    ternary = ternary_map(stored.instances.astype(np.int32))
    return _one_hot(semantic, 5), _one_hot(ternary, 3)


def _one_hot(values: Any, n: int) -> Any:
    return (np.arange(n)[:, None, None] == values[None]).astype(np.float32)
