"""Prediction as the window knows it: the model that predicts, how, what is shown, and the whole folder. No Qt, no torch."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_monusac.app.answers import Refused
from napari_monusac.app.facts import Fact, never
from napari_monusac.app.training import TrainingModel
from napari_monusac.app.work import Latest, Report, Task, Work
from napari_monusac.core.classes import CLASS_THRESHOLD
from napari_monusac.core.errors import CheckpointError
from napari_monusac.core.fitted import PART_THRESHOLD, FittedThresholds, with_fitted

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.io.collection.collection import Collection, Crop
    from napari_monusac.network.checkpoint import LoadedModel


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model that can predict.

    Attributes
    ----------
    path : str
        The run's folder, or a checkpoint file.
    name : str
    recipe : str
        Empty for a file.
    combo : float or None
        Its best score on its own validation crops; None where it was stopped before its first, or is a file.
    best : bool
        Whether no other has a higher one.
    """

    path: str
    name: str
    recipe: str = ""
    combo: float | None = None
    best: bool = False

    @property
    def text(self) -> str:
        """The score first: a name may be cut."""
        if not self.recipe:
            return f"File: {self.name}"
        score = "no score" if self.combo is None else f"{self.combo:.2f}{' (best)' if self.best else ''}"
        return f"{score}: {self.name}, {self.recipe}"


def ranked(models: Sequence[OfferedModel]) -> tuple[OfferedModel, ...]:
    """Put the best first, and of equals the one that came first; those without a score come last."""
    scored = sorted((m for m in models if m.combo is not None), key=lambda m: -(m.combo or 0.0))
    first = [OfferedModel(m.path, m.name, m.recipe, m.combo, best=i == 0) for i, m in enumerate(scored)]
    return (*first, *(m for m in models if m.combo is None))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which probabilities on there is a nucleus.

    Attributes
    ----------
    inside, nucleus : float
        How sure the network must be that a pixel is inside a nucleus, and that it belongs to one at all.
    confidence : float
        Nuclei that it is less sure of are left out.
    classified : float
        Nuclei of which the class head sees less than this share are unclassified.
    smallest_um2 : float
        Smaller nuclei are left out.
    part : float
        How readily touching nuclei are parted; 0 never.
    agreement : float
        Nuclei of which the class head sees less than this share are left out.
    """

    inside: float = 0.5
    nucleus: float = 0.5
    confidence: float = 0.0
    classified: float = CLASS_THRESHOLD
    smallest_um2: float = 0.0
    part: float = PART_THRESHOLD
    agreement: float = 0.0

    def fitted(self, found: FittedThresholds | None) -> Thresholds:
        """The same with what was fitted for a model; with the defaults where nothing was."""
        best = found or FittedThresholds()
        return replace(self, inside=best.inside, nucleus=best.nucleus, part=best.part, agreement=best.agreement)

    def values(self, um_per_px: float | None) -> dict[str, float]:
        """By the names that `instances_from_maps` has for them; no smallest area where the scale is not known."""
        return {
            "inside_threshold": self.inside,
            "nucleus_threshold": self.nucleus,
            "min_confidence": self.confidence,
            "class_threshold": self.classified,
            "part_threshold": self.part,
            "agreement_threshold": self.agreement,
            "min_area_um2": self.smallest_um2 if um_per_px else 0.0,
        }


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """What became of a folder.

    Attributes
    ----------
    out : Path
        Where the predictions are.
    number : int
        Crops that are predicted now, those of an earlier start included.
    lines : tuple of str
        A line for each crop that failed, and for each thing that should be known of some.
    """

    out: Path
    number: int
    lines: tuple[str, ...]


class PredictionModel:
    """What predicts in one window, and what was predicted.

    Parameters
    ----------
    work : Work
        The window's.
    training : TrainingModel
        Knows where the runs are.

    Attributes
    ----------
    models : tuple of OfferedModel
        The best first (`models_changed`).
    checkpoint : str or None
        Path of the model that predicts: the best, until the user has chosen (`checkpoint_changed`).
    region : str
        Which part is predicted (`region_changed`).
    flips : bool
        Average over flips and turns (`flips_changed`).
    fitted : FittedThresholds or None
        What was fitted for the model that predicts; the thresholds follow it (`fitted_changed`).
    thresholds : Thresholds
        (`thresholds_changed`); a prediction that is shown is segmented again.
    prediction : Prediction or None
        The one that is shown, where it is in memory (`prediction_changed`).
    batch : Task or None
        The prediction of the whole folder that is under way.
    outcome : FolderOutcome or None
        What became of the last folder (`outcome_changed`).

    Notes
    -----
    Messages that are no state: `segmented` (the prediction that is shown, its nuclei by the thresholds), `failed` (why
    they cannot be had).
    """

    models_changed = Signal(object)
    checkpoint_changed = Signal(object)
    region_changed = Signal(str)
    flips_changed = Signal(bool)
    fitted_changed = Signal(object)
    thresholds_changed = Signal(object)
    prediction_changed = Signal(object)
    outcome_changed = Signal(object)

    segmented = Signal(object, object)
    failed = Signal(object)

    models: Fact[tuple[OfferedModel, ...]] = Fact("models_changed", (), never)
    checkpoint: Fact[str | None] = Fact("checkpoint_changed", None, operator.eq)
    region: Fact[str] = Fact("region_changed", "Whole image", operator.eq)
    flips: Fact[bool] = Fact("flips_changed", False, operator.eq)
    fitted: Fact[FittedThresholds | None] = Fact("fitted_changed", None, operator.eq)
    thresholds: Fact[Thresholds] = Fact("thresholds_changed", Thresholds(), operator.eq)
    prediction: Fact[Prediction | None] = Fact("prediction_changed", None)
    outcome: Fact[FolderOutcome | None] = Fact("outcome_changed", None)

    def __init__(self, work: Work, training: TrainingModel) -> None:
        self.work, self.training = work, training
        self.batch: Task | None = None
        self._by_user = False
        self._loaded: tuple[str, float, LoadedModel] | None = None
        self._again = Latest(work, self)
        self._again.done.connect(self._segmented)
        self._again.failed.connect(lambda error: self.failed.emit(error))
        self._listing = Latest(work, self)
        self._listing.done.connect(self._listed)
        self._reading = Latest(work, self)
        self._reading.done.connect(self._fitted_read)
        self.checkpoint_changed.connect(self.read_fitted)
        self.fitted_changed.connect(self.take_fitted)
        self.thresholds_changed.connect(self.segment)
        training.ended.connect(self.list_models)
        training.ended.connect(self.read_fitted)
        training.runs_folder_changed.connect(self.list_models)

    # -- which model

    def list_models(self) -> None:
        """Look for runs with a checkpoint in the background; what the user has chosen stays chosen."""
        folder = self.training.runs_folder

        def read() -> list[OfferedModel]:
            from napari_monusac.io.runs.run_folder import find_runs, progress_of

            return [
                OfferedModel(str(run.path), run.path.name, run.recipe.name, progress_of(run)[1])
                for run in find_runs(folder)
                if run.best.is_file() or run.last.is_file()
            ]

        self._listing.ask(read)

    def _listed(self, found: list[OfferedModel]) -> None:
        models = (*ranked(found), *(m for m in self.models if not m.recipe))
        paths = [m.path for m in models]
        self._by_user = self._by_user and self.checkpoint in paths  # a model that is gone is no choice
        self.models = models
        if not self._by_user:
            self.checkpoint = paths[0] if paths else None

    def choose(self, path: str) -> None:
        """Predict with this model from now on, whatever is trained meanwhile."""
        self._by_user = True
        self.checkpoint = path

    def offer(self, path: str | Path) -> None:
        """Offer a checkpoint file or a run folder, and choose it."""
        if str(path) not in (m.path for m in self.models):
            self.models = (*self.models, OfferedModel(str(path), Path(path).name))
        self.choose(str(path))

    def read_fitted(self) -> None:
        """Look in the background for what was fitted for the model that predicts."""
        path = self.checkpoint

        def read() -> tuple[str | None, FittedThresholds | None]:
            from napari_monusac.io.runs.fitted import fitted_in

            return path, fitted_in(path) if path else None

        self._reading.ask(read)

    def _fitted_read(self, found: tuple[str | None, FittedThresholds | None]) -> None:
        path, fitted = found
        if path == self.checkpoint:
            self.fitted = fitted

    def take_fitted(self) -> None:
        """Use the thresholds that were fitted for the model, whatever the user has tried."""
        self.thresholds = self.thresholds.fitted(self.fitted)

    def load(self, checkpoint: str) -> LoadedModel:
        """Load a checkpoint once; again only when its file has changed. Called in a worker.

        Raises
        ------
        CheckpointError
            It is gone, or is none.
        """
        from napari_monusac.network.checkpoint import load_checkpoint, resolve_checkpoint
        from napari_monusac.network.device import choose_device

        try:
            path = resolve_checkpoint(checkpoint)
            stamp = path.stat().st_mtime
            if self._loaded is None or self._loaded[:2] != (str(path), stamp):
                device, _ = choose_device("auto")
                self._loaded = (str(path), stamp, load_checkpoint(path, device=device))
        except OSError as error:
            raise CheckpointError(
                checkpoint, f"cannot be read ({error.strerror or error})", "choose another model"
            ) from error
        return self._loaded[2]

    # -- what is shown

    def segment(self) -> None:
        """Find the nuclei of the prediction that is shown again, in the background: of a large one it takes a while."""
        prediction = self.prediction
        if prediction is not None:
            thresholds = self.thresholds.values(prediction.um_per_px)
            self._again.ask(lambda: (prediction, nuclei_of(prediction, thresholds)))

    def _segmented(self, found: tuple[Prediction, Nuclei]) -> None:
        prediction, nuclei = found
        if prediction is self.prediction:  # else another crop is open, or it was predicted again meanwhile
            self.segmented.emit(prediction, nuclei)

    # -- the whole folder

    def predict_folder(self, collection: Collection | None, out: Path | None) -> Task | Refused:
        """Predict what is not predicted yet of a folder, crop by crop, with counts and densities at the end."""
        checkpoint = self.checkpoint
        if self.batch is not None:
            return Refused()
        if collection is None:
            return Refused("Open a folder first (Slides).")
        if not checkpoint:
            return Refused("Choose a model first.")
        if out is None:
            return Refused("Choose where the predictions go.")
        crops = [c for c in collection.crops if c.image is not None]
        options = {"flips": self.flips}
        self.outcome = None

        def done(outcome: FolderOutcome) -> None:
            self.outcome = outcome

        def finished() -> None:
            self.batch = None

        task = self.batch = self.work.task(
            lambda report: predict_crops(report, collection, crops, checkpoint, out, options), self,
            title=f"Predicting {len(crops)} crops",
        )  # fmt: skip
        task.done.connect(done)
        task.finished.connect(finished)
        return task


def nuclei_of(prediction: Prediction, thresholds: dict[str, float]) -> Nuclei:
    """Find the nuclei of a prediction in memory, by thresholds that `instances_from_maps` names."""
    from napari_monusac.masks.instances import instances_from_maps

    return instances_from_maps(
        prediction.semantic, prediction.ternary, boundary_width=prediction.boundary_width,
        um_per_px=prediction.um_per_px, offset_px=prediction.offset_px, **with_fitted(prediction.fitted, thresholds),
    )  # fmt: skip


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
    return FolderOutcome(
        out, len(counts), (*failed, *(f"{n} crop{'s' * (n > 1)}: {note}" for note, n in notes.items()))
    )
