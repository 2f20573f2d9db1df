"""Prediction as the window knows it: the model that predicts, how, what is shown, and the whole folder. No Qt, no torch."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_monusac.app.answers import Refused
from napari_monusac.app.facts import Fact, never
from napari_monusac.app.prediction_jobs import (
    FolderOutcome,
    ImageRequest,
    OpenImage,
    PredictedImage,
    needs_store,
    nuclei_of,
    predict_crops,
    predict_image,
    predict_to_store,
    segment_again,
)
from napari_monusac.app.training import TrainingModel
from napari_monusac.app.work import Latest, Report, Task, Work
from napari_monusac.core.boxes import Region
from napari_monusac.core.classes import CLASS_THRESHOLD
from napari_monusac.core.errors import CheckpointError
from napari_monusac.core.fitted import PART_THRESHOLD, FittedThresholds

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.io.collection.collection import Collection
    from napari_monusac.io.predictions.lazy import PredictedSlide
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


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A prediction that is shown, and the image that it lies on."""

    image: OpenImage
    found: PredictedImage | PredictedSlide


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
    shown : Shown or None
        The prediction that is shown, in memory or on disk (`shown_changed`).
    task : Task or None
        The open image is being predicted, or the nuclei of its store are being segmented again (`task_changed`). One at
        a time: two could write the same store.
    batch : Task or None
        The prediction of the whole folder that is under way.
    outcome : FolderOutcome or None
        What became of the last folder (`outcome_changed`).

    Notes
    -----
    A message that is no state: `failed` (why the nuclei of what is shown cannot be had by the thresholds of now).
    """

    models_changed = Signal(object)
    checkpoint_changed = Signal(object)
    region_changed = Signal(str)
    flips_changed = Signal(bool)
    fitted_changed = Signal(object)
    thresholds_changed = Signal(object)
    shown_changed = Signal(object)
    task_changed = Signal(object)
    outcome_changed = Signal(object)

    failed = Signal(object)

    models: Fact[tuple[OfferedModel, ...]] = Fact("models_changed", (), never)
    checkpoint: Fact[str | None] = Fact("checkpoint_changed", None, operator.eq)
    region: Fact[str] = Fact("region_changed", "Whole image", operator.eq)
    flips: Fact[bool] = Fact("flips_changed", False, operator.eq)
    fitted: Fact[FittedThresholds | None] = Fact("fitted_changed", None, operator.eq)
    thresholds: Fact[Thresholds] = Fact("thresholds_changed", Thresholds(), operator.eq)
    shown: Fact[Shown | None] = Fact("shown_changed", None)
    task: Fact[Task | None] = Fact("task_changed", None)
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

    # -- the open image

    def predict(self, image: OpenImage, region: Region, folder: Path | None = None) -> Task | Refused:
        """Predict a part of the open image; what is found is `shown`, unless the image is gone by then.

        Parameters
        ----------
        image : OpenImage
        region : Region
            Which part of it, px.
        folder : Path, optional
            Where the prediction of a region that is too large for the memory (`needs_store`) is kept.

        Returns
        -------
        Task or Refused
            Not started. Each report has a finished tile as its payload, as `small_tile` gives it.
        """
        checkpoint = self.checkpoint
        if self.task is not None:
            return Refused()
        if not checkpoint:
            return Refused("Choose a model first.")
        if needs_store(region) and folder is None:
            size = region.height * region.width / 1e6
            return Refused(f"{size:.0f} megapixels: choose a folder to keep the prediction in.")
        asked = ImageRequest(image, region, checkpoint, self.flips, self.thresholds.values(image.um_per_px))

        def work(report: Report) -> PredictedImage | PredictedSlide:
            report(None, "Loading the model")
            loaded = self.load(checkpoint)
            report(None, "Preparing the model for this computer")
            if folder is not None and needs_store(region):
                return predict_to_store(report, asked, loaded, folder)
            return predict_image(report, asked, loaded)

        task = self.work.task(work, self)
        task.done.connect(lambda found: self.show(image, found))
        return self._follow(task)

    def segment_again(self) -> Task | Refused:
        """Segment the nuclei of the stored prediction that is shown again, by the thresholds of now."""
        shown = self.shown
        if self.task is not None:
            return Refused()
        if shown is None or isinstance(shown.found, PredictedImage):
            return Refused("No prediction on disk is shown.")
        image, stored = shown.image, shown.found
        thresholds = self.thresholds.values(stored.info.um_per_px)
        task = self.work.task(lambda report: segment_again(report, image, stored, thresholds), self)
        task.done.connect(lambda again: self.show(image, again) if self.shown is shown else None)
        return self._follow(task)

    def _follow(self, task: Task) -> Task:
        self.task = task
        task.finished.connect(lambda: setattr(self, "task", None))
        return task

    def show(self, image: OpenImage, found: PredictedImage | PredictedSlide) -> None:
        """Show a prediction of an image; of one that is no longer there nothing is shown."""
        if image.is_there():
            self.shown = Shown(image, found)

    def forget(self) -> None:
        """Another crop is open: what is predicted or shown is not of it."""
        if self.task is not None:
            self.task.stop()
        self.shown = None

    @property
    def prediction(self) -> Prediction | None:
        """The prediction that is shown, where it is in memory."""
        return self.shown.found.prediction if self.shown and isinstance(self.shown.found, PredictedImage) else None

    def segment(self) -> None:
        """Find the nuclei of the prediction that is shown again, in the background: of a large one it takes a while."""
        prediction = self.prediction
        if prediction is not None:
            thresholds = self.thresholds.values(prediction.um_per_px)
            self._again.ask(lambda: (prediction, nuclei_of(prediction, thresholds)))

    def _segmented(self, found: tuple[Prediction, Nuclei]) -> None:
        prediction, nuclei = found
        if self.shown is not None and prediction is self.prediction:  # else it is another one by now
            self.shown = Shown(self.shown.image, PredictedImage(prediction, nuclei))

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
        crops = collection.crops
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
