"""Truth of a collection with predictions of a folder, crop by crop, and their evaluation."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.class_mapping import BY_NAME, ClassMapping, describe
from napari_monusac.core.errors import Cancelled, FileProblem
from napari_monusac.core.files import sha256_of
from napari_monusac.core.training_crops import SeenAs, TrainingCrops
from napari_monusac.io.annotations.class_names import names_in_words
from napari_monusac.io.collection.collection import Collection as Crops
from napari_monusac.io.collection.collection import Crop, open_collection
from napari_monusac.io.collection.patients import MEND
from napari_monusac.io.predictions.find import FORMS_IN_WORDS, PredictionFolder
from napari_monusac.io.predictions.open import PredictedCrop, info_of, open_prediction
from napari_monusac.io.training_crops import crops_of_checkpoint, seen_as
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.scoring.matching.matching import AmbiguousRule
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.matching.tolerance import TOLERANCES_PX
from napari_monusac.scoring.metrics.evaluation import ComparedWith, Evaluation, TrainingUse, created_now
from napari_monusac.scoring.metrics.tally import Tally
from napari_monusac.scoring.report.evaluate import BOOTSTRAP
from napari_monusac.scoring.report.training_use import TrainingCount

#: Called with (crops done, crops in all, name of the next).
TellCrop = Callable[[int, int, str], None]


@dataclass(slots=True)
class FolderPairs:
    """Pairs of truth and prediction from two folders; iterate over it, each crop is read when its turn comes.

    Attributes
    ----------
    collection : napari_monusac.io.collection.collection.Collection
        The truth.
    predictions : PredictionFolder
        The predictions.
    only : collection of str or None
        Names of the crops to take; None for all.
    within_regions : bool
        Whether what lies outside the regions of interest is left out, as Ambiguous regions are.
    with_regions : set of str
        Names of the crops read so far whose truth has regions of interest.
    fingerprints, checkpoints : list of str
        Of the predictions read so far, each once.
    unknown : list of str
        Crops whose stored prediction does not say of which image it is: it was written by an earlier version.
    said : list of str
        What the files of the predictions read so far leave open, each once.
    truth_said : list of str
        What the annotations read so far hold that is no nucleus or was read otherwise, each once.
    mappings : list of ClassMapping
        What the classes of the predictions read so far were taken for, each once; none where their names said it.
    """

    collection: Crops
    predictions: PredictionFolder
    only: Collection[str] | None = None
    within_regions: bool = False
    with_regions: set[str] = field(default_factory=set)
    fingerprints: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    _seen_as: dict[str, SeenAs] = field(default_factory=dict)
    _trained_on: dict[Path, TrainingCrops | None] = field(default_factory=dict)
    _of_checkpoint: dict[str, TrainingCrops | None] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    truth_said: list[str] = field(default_factory=list)
    mappings: list[ClassMapping] = field(default_factory=list)

    @property
    def crops(self) -> tuple[Crop, ...]:
        """Crops that have truth and were asked for."""
        chosen = (c for c in self.collection.crops if self.only is None or c.name in self.only)
        return tuple(c for c in chosen if c.annotation is not None)

    @property
    def pairable(self) -> tuple[tuple[Crop, Path], ...]:
        """Crops that have truth and prediction, with the latter's path."""
        found = ((c, self.predictions.find(c)) for c in self.crops)
        return tuple((c, path) for c, path in found if path is not None)

    def seen_as(self, crop: Crop) -> SeenAs:
        """Say what a crop is to the model that predicted it; without a prediction, to the models of the other crops.

        Raises
        ------
        StoreError
            A stored prediction is damaged.
        """
        if crop.name not in self._seen_as:  # asked for before the crop is read, and again with it
            self._seen_as[crop.name] = self._find_seen_as(crop)
        return self._seen_as[crop.name]

    def _find_seen_as(self, crop: Crop) -> SeenAs:
        path = self.predictions.find(crop)
        if path is not None and path.suffix != ".zarr":
            return SeenAs.NOT_ASKED
        lists = [self.trained_on(path)] if path is not None else self._all_trained_on()
        found = [SeenAs.UNKNOWN if known is None else seen_as(self.collection, crop, known) for known in lists]
        if path is not None:
            return found[0]
        return SeenAs.TRAINING if SeenAs.TRAINING in found else SeenAs.NOT_ASKED

    def trained_on(self, path: Path) -> TrainingCrops | None:
        """The crops that the model of a stored prediction was trained on; None where it is not known.

        A store that does not say it names its checkpoint: the run folder that this lies in has the split.
        """
        if path not in self._trained_on:
            info = info_of(path)
            known = None if info is None else info.trained_on
            if info is not None and known is None and info.checkpoint:
                if info.checkpoint not in self._of_checkpoint:
                    self._of_checkpoint[info.checkpoint] = crops_of_checkpoint(info.checkpoint)
                known = self._of_checkpoint[info.checkpoint]
            self._trained_on[path] = known
        return self._trained_on[path]

    def _all_trained_on(self) -> list[TrainingCrops | None]:
        lists: list[TrainingCrops | None] = []
        for _, path in self.pairable:
            known = self.trained_on(path) if path.suffix == ".zarr" else None
            if known is not None and known not in lists:
                lists.append(known)
        return lists

    @property
    def without_prediction(self) -> tuple[str, ...]:
        """Names of crops that have truth but no prediction."""
        return tuple(c.name for c in self.crops if self.predictions.find(c) is None)

    def __len__(self) -> int:
        return len(self.pairable)

    def __iter__(self) -> Iterator[CropPair]:
        for crop, path in self.pairable:
            yield self.pair(crop, path)

    def pair(self, crop: Crop, path: Path) -> CropPair:
        """Read one crop with its prediction.

        Raises
        ------
        MonusacError
            A file is damaged, the two differ in size, or the prediction is of another image.
        """
        predicted, shape, um_per_px = self.predicted(crop, path)
        annotation = self.collection.annotation(crop)
        maps = label_maps(annotation, shape, within_regions=self.within_regions)
        notes = (f"{crop.name}: {note}" for note in annotation.notes)
        self.truth_said += [note for note in notes if note not in self.truth_said]
        if annotation.regions_of_interest:
            self.with_regions.add(crop.name)
        part = predicted.region.slices
        return CropPair(
            crop=crop.name,
            patient=crop.patient,
            organ=crop.organ or "",
            truth=maps.instances[part],
            truth_classes={k: int(n.nucleus_class) for k, n in enumerate(annotation.nuclei, 1)},
            prediction=predicted.instances,
            prediction_classes=predicted.classes,
            ignore=maps.ignore[part] if maps.ignore.any() else None,
            confidence=predicted.confidence,
            um_per_px=um_per_px or annotation.um_per_px,
            semantic=predicted.semantic,
            ternary=predicted.ternary,
            boundary_width=predicted.boundary_width,
            seen_as=self.seen_as(crop),
            truth_file=crop.annotation,
            prediction_file=path,
            offset_px=(part[0].start, part[1].start),
            pixels=lambda: self._pixels(crop, part),
            fingerprint=predicted.fingerprint,
            checkpoint=predicted.checkpoint,
            nuclei=predicted.counted_in(),
        )

    def predicted(self, crop: Crop, path: Path) -> tuple[PredictedCrop, tuple[int, int], float | None]:
        """Read the prediction of a crop, with the crop's shape and scale, and see that it is of the crop's image.

        Raises
        ------
        MonusacError
            A file is damaged, or the prediction is of another image.
        """
        with self.collection.open(crop) as slide:
            shape, um_per_px = slide.shape, slide.um_per_px
            mapping = self.predictions.mapping(path)
            predicted = open_prediction(path, slide, um_per_px=um_per_px, mapping=mapping)
        if mapping is not BY_NAME and mapping not in self.mappings:
            self.mappings.append(mapping)
        for seen, values in (
            (self.fingerprints, (predicted.fingerprint,)),
            (self.checkpoints, (predicted.checkpoint,)),
            (self.unknown, (crop.name,) if predicted.image_unknown else ()),
            (self.said, predicted.notes),
        ):
            seen += [value for value in values if value and value not in seen]
        return predicted, shape, um_per_px

    def _pixels(self, crop: Crop, part: tuple[slice, slice]) -> NDArray[np.uint8]:
        with self.collection.open(crop) as slide:
            return slide.read(0, 0, *slide.shape)[part]


def folder_pairs(
    truth: str | Path,
    prediction: str | Path,
    *,
    crops: Collection[str] | None = None,
    patients: str | Path | None = None,
    within_regions: bool = False,
    mapping: ClassMapping | None = None,
) -> FolderPairs:
    """Pair the crops of a collection with the predictions of a folder.

    Parameters
    ----------
    truth : str or Path
        A MoNuSAC folder: images and annotations.
    prediction : str or Path
        Predictions; see `napari_monusac.io.predictions.find` for the forms.
    crops : collection of str, optional
        Names of the crops to take.
    patients : str or Path, optional
        A table (crop, patient); see `napari_monusac.io.collection.collection.open_collection`.
    within_regions : bool
        Leave out what lies outside the regions of interest of the truth (crops without any: nothing).
    mapping : ClassMapping, optional
        What the classes of another program's predictions mean; by default what ``class_mapping.csv`` beside them says.

    Raises
    ------
    CollectionError, FileProblem
        A folder is missing or holds nothing.
    """
    found = PredictionFolder(prediction, mapping)
    return FolderPairs(open_collection(truth, patients=patients), found, crops, within_regions)


def evaluate_folders(
    truth: str | Path,
    prediction: str | Path,
    *,
    crops: Collection[str] | None = None,
    patients: str | Path | None = None,
    within_regions: bool = False,
    ambiguous: AmbiguousRule = "mask",
    tolerances_px: tuple[int, ...] = TOLERANCES_PX,
    boundary_width: int | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
    include_training: bool = False,
    progress: TellCrop | None = None,
    should_stop: Callable[[], bool] | None = None,
    each: Callable[[CropPair], None] | None = None,
    command: str = "",
    mapping: ClassMapping | None = None,
) -> Evaluation:
    """Evaluate the predictions of a folder against the truth of a collection.

    Crops without a prediction are left out, and so are those that the model was trained on: `Evaluation.notes` says
    which.

    Parameters
    ----------
    truth, prediction, crops, patients, within_regions, mapping
        See `folder_pairs`.
    ambiguous, tolerances_px, boundary_width, bootstrap, seed, include_training
        See `napari_monusac.scoring.report.evaluate.evaluate`.
    progress : callable, optional
        Called with (done, total, crop) before each crop, and once at the end.
    should_stop : callable, optional
        Asked before each crop.
    each : callable, optional
        Called with each pair after it is scored, for example `napari_monusac.scoring.report.pictures.Evidence.add`.
    command : str
        What to type to repeat it, for the report; made from the two folders where it is not given.

    Raises
    ------
    CollectionError, FileProblem
        A folder is missing, or there is no crop with truth and prediction.
    MonusacError
        The model was trained on all of them.
    Cancelled
        `should_stop` said so.
    """
    pairs = folder_pairs(
        truth, prediction, crops=crops, patients=patients, within_regions=within_regions, mapping=mapping
    )
    training = TrainingCount(include_training)
    found = scored_crops(pairs, training)
    training.check()
    _check_pairs(pairs, Path(prediction))
    digests = hashlib.sha256(), hashlib.sha256()

    def watched() -> Iterator[CropPair]:
        for done, (crop, path) in enumerate(found):
            if should_stop is not None and should_stop():
                raise Cancelled("the evaluation was stopped", "start it again")
            if progress is not None:
                progress(done, len(found), crop.name)
            for digest, file in zip(digests, (crop.annotation, path), strict=True):
                if file is not None:
                    digest.update(f"{crop.name} {sha256_of(file)}\n".encode())
            pair = pairs.pair(crop, path)
            yield pair
            if each is not None:
                each(pair)
        if progress is not None:
            progress(len(found), len(found), "")

    tally = Tally(ambiguous=ambiguous, tolerances_px=tolerances_px, boundary_width=boundary_width)
    for pair in watched():
        tally.add(pair)
    result = training.told_in(tally.result(bootstrap=bootstrap, seed=seed))
    result = result.model_copy(update={"notes": (*result.notes, *_notes(pairs, training.use))})
    provenance = _provenance(pairs, truth, prediction, digests[0].hexdigest(), digests[1].hexdigest())
    if command:
        provenance = provenance.model_copy(update={"command": command})
    return result.model_copy(update={"provenance": provenance, "within_regions": within_regions})


def scored_crops(pairs: FolderPairs, training: TrainingCount) -> tuple[tuple[Crop, Path], ...]:
    """The crops with truth and prediction that are to be scored; `training` counts what all of them are to the model.

    Raises
    ------
    StoreError
        A stored prediction is damaged.
    """
    taken = []
    for crop in pairs.crops:
        seen, path = pairs.seen_as(crop), pairs.predictions.find(crop)
        if path is None and (seen is not SeenAs.TRAINING or training.include_training):
            training.leaves()  # named among those without a prediction
        elif training.takes(crop.name, crop.patient, seen, predicted=path is not None) and path is not None:
            taken.append((crop, path))
    return tuple(taken)


def _check_pairs(pairs: FolderPairs, folder: Path) -> None:
    """Say what is looked for where nothing fits together."""
    if not pairs.crops:
        raise FileProblem(pairs.collection.root, "there is no crop with truth", "give a folder with annotations")
    if len(pairs) == 0:
        names = pairs.without_prediction
        raise FileProblem(
            folder, f"there is no crop with truth and prediction: nothing here is of {_some(names)}",
            f"expected {FORMS_IN_WORDS}",
        )  # fmt: skip


def _notes(pairs: FolderPairs, training: TrainingUse) -> tuple[str, ...]:
    notes = []
    missing = [name for name in pairs.without_prediction if name not in training.left_out]
    if missing:
        notes.append(
            f"{len(missing)} of {len(pairs.crops)} crops have no prediction and are left out: {_some(missing)}"
        )
    grouping = pairs.collection.grouping_of(pairs.crops)
    notes += grouping.notes
    if grouping.guessed:
        notes.append(
            f"patients are guesses, taken from {grouping.taken_from}: scores per patient rest on them — {MEND}"
        )
    if pairs.with_regions:
        where = f"{len(pairs.with_regions)} of {len(pairs)} crops have regions of interest"
        what = (
            "what lies outside of them is left out" if pairs.within_regions else "they are scored outside of them too"
        )
        notes.append(f"{where}: {what}")
    if len(pairs.fingerprints) > 1:
        notes.append(f"the predictions come from {len(pairs.fingerprints)} recipes: {', '.join(pairs.fingerprints)}")
    for mapping in pairs.mappings:
        lost = f"; lost: {mapping.lost}" if mapping.lost else ""
        notes.append(f"class mapping of the predictions, {mapping.name}: {describe(mapping)}{lost}")
    names = names_in_words()
    if names:
        said = ", ".join(f"{name} = {meaning}" for name, meaning in names.items())
        notes.append(f"class names of the user: {said}")
    return (*notes, *_first(pairs.truth_said), *left_open(pairs))


def left_open(pairs: FolderPairs) -> tuple[str, ...]:
    """Say what the predictions that were read leave open: of which image they are, which classes they have."""
    notes = []
    if pairs.unknown:
        stores = "1 store does" if len(pairs.unknown) == 1 else f"{len(pairs.unknown)} stores do"
        notes.append(
            f"{stores} not say of which image the prediction is (written by an earlier version, or by hand), taken by "
            f"name: {_some(pairs.unknown)}"
        )
    return (*notes, *_first(pairs.said))


def _first(said: Sequence[str]) -> list[str]:
    return [*said[:5], *([f"and {len(said) - 5} files more like these"] if len(said) > 5 else [])]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _provenance(pairs: FolderPairs, truth: str | Path, prediction: str | Path, of: str, by: str) -> ComparedWith:
    from napari_monusac import __version__

    checkpoint = pairs.checkpoints[0] if len(pairs.checkpoints) == 1 else ", ".join(pairs.checkpoints)
    file = Path(checkpoint) / "best.safetensors" if Path(checkpoint).is_dir() else Path(checkpoint)
    command = ["napari-monusac", "evaluate", "--truth", str(truth), "--pred", str(prediction)]
    command += ["--within-regions"] if pairs.within_regions else []
    return ComparedWith(
        truth=str(truth),
        prediction=str(prediction),
        truth_sha256=of,
        prediction_sha256=by,
        recipe=", ".join(pairs.fingerprints),
        checkpoint=checkpoint,
        checkpoint_sha256=sha256_of(file) if checkpoint and file.is_file() else "",
        command=shlex.join(command),
        version=f"napari-monusac {__version__}, Python {sys.version_info.major}.{sys.version_info.minor}",
        created=created_now(),
    )
