"""Regression guard: two predictions of the same crops, nucleus by nucleus: what is fixed, what is newly broken."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_monusac.core.class_mapping import ClassMapping
from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import MonusacError, ShapeError
from napari_monusac.core.training_crops import SeenAs
from napari_monusac.scoring.matching.matching import AmbiguousRule, Matching, Objects, match_instances
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.crop_tally import CropTally, tally_crop
from napari_monusac.scoring.metrics.evaluation import Interval, TrainingUse, defined
from napari_monusac.scoring.metrics.intervals import FEWEST_PATIENTS, SIGN_CHOICES, difference_interval
from napari_monusac.scoring.metrics.levels import Level
from napari_monusac.scoring.metrics.panoptic import class_array
from napari_monusac.scoring.metrics.scorings import HEADLINE, SCORINGS, Floats, patient_values
from napari_monusac.scoring.report.folders import folder_pairs
from napari_monusac.scoring.report.training_use import TrainingCount


class ChangeKind(StrEnum):
    """What the new prediction did to a nucleus."""

    FIXED = "fixed"
    BROKEN = "newly broken"
    SPURIOUS_GONE = "spurious gone"
    SPURIOUS_NEW = "newly spurious"


class NucleusChange(BaseModel):
    """One nucleus that the two predictions treat differently. Right is: matched (IoU > 0.5) with the right class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ChangeKind
    crop: str
    patient: str
    nucleus_class: NucleusClass = Field(description="Of the true nucleus; of the prediction where it is spurious")
    truth_id: int | None = None
    before_id: int | None = None
    after_id: int | None = None
    before: str = Field("", description="Class that the first prediction gave it, or Missed")
    after: str = Field("", description="Class that the second prediction gave it, or Missed")
    centre: tuple[float, float]
    box: tuple[int, int, int, int]


class ClassChange(BaseModel):
    """What changed for one class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fixed: int = 0
    broken: int = 0
    spurious_gone: int = 0
    spurious_new: int = 0
    pq_before: float | None = None
    pq_after: float | None = None
    interval: Interval | None = Field(None, description="Of the difference after - before")
    patients: int = Field(0, description="In whom the class is scored in both predictions")


GuardVerdict = Literal["better", "worse", "no clear difference", "too few patients to tell"]


class Guard(BaseModel):
    """Verdict on two predictions of the same crops: what the new one fixed and broke."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: GuardVerdict
    reason: str = Field(description="One sentence with the numbers")
    pq_before: float | None
    pq_after: float | None
    interval: Interval | None = Field(None, description="Of the difference after - before, per patient, 95 %")
    by_class: dict[str, ClassChange] = Field(default_factory=dict)
    changes: tuple[NucleusChange, ...] = ()
    crops: int = 0
    patients: int = 0
    training: TrainingUse = Field(default_factory=TrainingUse)
    notes: tuple[str, ...] = ()

    def with_notes(self, *notes: str) -> Self:
        """Return the guard with further notes."""
        return self.model_copy(update={"notes": (*self.notes, *notes)})


def compare_predictions(
    before: Iterable[CropPair],
    after: Iterable[CropPair],
    *,
    ambiguous: AmbiguousRule = "mask",
    bootstrap: int = SIGN_CHOICES,
    seed: int = 0,
    include_training: bool = False,
) -> Guard:
    """Compare two predictions of the same crops.

    Parameters
    ----------
    before, after : iterable of CropPair
        The same crops in the same order, each with the same truth.
    ambiguous : {"mask", "discount"}
        See `napari_monusac.scoring.matching.matching.match_instances`.
    bootstrap, seed : int
        Random choices of signs where there are more than 16 patients, and their seed; see
        `napari_monusac.scoring.metrics.intervals.difference_interval`.
    include_training : bool
        Compare crops too that one of the models was trained on.

    Returns
    -------
    Guard
        The verdict, counts by class and every changed nucleus. ``better`` and ``worse`` mean that a paired permutation
        test over the patients' PQ rejects at 5 % that the two are alike: its 95 % interval of the difference lies above
        or below 0. With fewer than six patients there is no verdict.

    Raises
    ------
    MonusacError
        There is no crop, or the two do not hold the same crops, or all of them are training crops.
    """
    training, counted = TrainingCount(include_training), _Counted(ambiguous)
    for one, other in _together(before, after):
        if training.takes(one.crop, one.patient, one.seen_as, other.seen_as):
            counted.add(one, other)
    training.check()
    return _told(counted.guard(bootstrap, seed), training)


def guard_folders(
    truth: str | Path,
    before: str | Path,
    after: str | Path,
    *,
    crops: Collection[str] | None = None,
    patients: str | Path | None = None,
    within_regions: bool = False,
    bootstrap: int = SIGN_CHOICES,
    seed: int = 0,
    include_training: bool = False,
    mapping: ClassMapping | None = None,
) -> Guard:
    """Compare the predictions of two folders on the crops that both hold; see `compare_predictions`, `folder_pairs`.

    Raises
    ------
    CollectionError, FileProblem
        A folder is missing.
    MonusacError
        They hold no crop in common, or one of the models was trained on all of those.
    """
    first, second = (
        folder_pairs(truth, folder, crops=crops, patients=patients, within_regions=within_regions, mapping=mapping)
        for folder in (before, after)
    )
    training, names, alone = TrainingCount(include_training), set(), 0
    for crop in first.crops:
        seen = [pairs.seen_as(crop) for pairs in (first, second)]
        stand = [pairs.predictions.find(crop) is not None for pairs in (first, second)]
        if not all(stand) and (include_training or SeenAs.TRAINING not in seen):
            alone += any(stand)
            if any(stand):
                training.leaves()
        elif training.takes(crop.name, crop.patient, *seen, predicted=any(stand)):
            names.add(crop.name)
    training.check()
    first.only = second.only = names
    counted = _Counted("mask")
    for one, other in _together(first, second):
        counted.add(one, other)
    guard = _told(counted.guard(bootstrap, seed), training)
    return guard.with_notes(f"{alone} crops stand in one folder only and are left out") if alone else guard


def _together(before: Iterable[CropPair], after: Iterable[CropPair]) -> Iterator[tuple[CropPair, CropPair]]:
    """Crop by crop, both predictions."""
    for one, other in zip_longest(before, after):
        if one is None or other is None or one.crop != other.crop or one.truth.shape != other.truth.shape:
            names = [p.crop if p is not None else "nothing" for p in (one, other)]
            raise ShapeError(f"{names[0]} stands against {names[1]}", "compare two predictions of the same crops")
        yield one, other


def _told(guard: Guard, training: TrainingCount) -> Guard:
    """The guard with what is to be said of training crops."""
    notes = (*training.notes(), *guard.notes)
    return guard.model_copy(update={"training": training.use, "notes": notes})


class _Counted:
    """Both predictions of each crop, counted."""

    def __init__(self, ambiguous: AmbiguousRule) -> None:
        self.ambiguous: AmbiguousRule = ambiguous
        self.old: list[CropTally] = []
        self.new: list[CropTally] = []
        self.changes: list[NucleusChange] = []

    def add(self, before: CropPair, after: CropPair) -> None:
        """Count one crop."""
        self.old.append(tally_crop(before, self.ambiguous, ()))
        self.new.append(tally_crop(after, self.ambiguous, ()))
        self.changes += changed_nuclei(before, after, ambiguous=self.ambiguous)

    def guard(self, choices: int, seed: int) -> Guard:
        """Compare what has been counted.

        Raises
        ------
        MonusacError
            There is no crop.
        """
        if not self.old:
            raise MonusacError("there is no crop that both predictions hold", "check both folders")
        return guard_of(Level(self.old), Level(self.new), self.changes, choices, seed)


def changed_nuclei(before: CropPair, after: CropPair, *, ambiguous: AmbiguousRule = "mask") -> list[NucleusChange]:
    """The nuclei of one crop that two predictions treat differently."""
    sides = [_Side(pair, ambiguous) for pair in (before, after)]
    old, new = sides
    found = []
    truth = old.matching.truth
    for t in np.flatnonzero(old.right != new.right).tolist():
        kind = ChangeKind.FIXED if new.right[t] else ChangeKind.BROKEN
        cls = int(old.truth_classes[t])
        if cls == int(NucleusClass.UNCLASSIFIED):
            continue
        ids = [side.id_of(side.partner[t]) for side in sides]
        words = [side.word_of(side.partner[t]) for side in sides]
        found.append(_change(kind, before, truth, t, cls, (int(truth.ids[t]), *ids), words))
    gone, come = _unmatched_in_one(old, new)
    for kind, side, chosen in ((ChangeKind.SPURIOUS_GONE, old, gone), (ChangeKind.SPURIOUS_NEW, new, come)):
        for p in chosen.tolist():
            number = int(side.matching.prediction.ids[p])
            ids = [number if s is side else None for s in sides]
            words = [side.word_of(p) if s is side else "" for s in sides]
            cls = int(side.prediction_classes[p])
            found.append(_change(kind, before, side.matching.prediction, p, cls, (None, *ids), words))
    return found


class _Side:
    """One prediction against the truth."""

    def __init__(self, pair: CropPair, ambiguous: AmbiguousRule) -> None:
        m: Matching = match_instances(pair.truth, pair.prediction, ignore=pair.ignore, ambiguous=ambiguous)
        self.map = pair.prediction
        if pair.ignore is not None and ambiguous == "mask":
            self.map = np.where(pair.ignore, 0, pair.prediction)
        self.matching, self.partner = m, m.partner_of_truth
        self.truth_classes = class_array(m.truth.ids, pair.truth_classes)
        self.prediction_classes = class_array(m.prediction.ids, pair.prediction_classes)
        found = self.partner >= 0
        self.right = np.zeros(len(m.truth), bool)
        self.right[found] = self.prediction_classes[self.partner[found]] == self.truth_classes[found]
        self.spurious = np.flatnonzero((m.partner_of_prediction < 0) & ~m.discounted)

    def id_of(self, p: int) -> int | None:
        return int(self.matching.prediction.ids[p]) if p >= 0 else None

    def word_of(self, p: int) -> str:
        return NucleusClass(int(self.prediction_classes[p])).label if p >= 0 else "Missed"


def _unmatched_in_one(old: _Side, new: _Side) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Spurious predictions of each side that the other does not have (IoU > 0.5 with a spurious one of its own)."""
    m = match_instances(old.map, new.map)
    pairs = m.matches
    both = np.isin(m.pair_truth[pairs], old.spurious) & np.isin(m.pair_prediction[pairs], new.spurious)
    kept_old, kept_new = m.pair_truth[pairs[both]], m.pair_prediction[pairs[both]]
    return np.setdiff1d(old.spurious, kept_old), np.setdiff1d(new.spurious, kept_new)


def _change(
    kind: ChangeKind,
    pair: CropPair,
    objects: Objects,
    index: int,
    cls: int,
    ids: tuple[int | None, ...],
    words: list[str],
) -> NucleusChange:
    y0, x0, y1, x1 = objects.boxes[index].tolist()
    cy, cx = objects.centres[index].tolist()
    return NucleusChange(
        kind=kind,
        crop=pair.crop,
        patient=pair.patient,
        nucleus_class=NucleusClass(cls),
        truth_id=ids[0],
        before_id=ids[1],
        after_id=ids[2],
        before=words[0],
        after=words[1],
        centre=(cy, cx),
        box=(y0, x0, y1, x1),
    )


def guard_of(
    old: Level, new: Level, changes: Sequence[NucleusChange] = (), choices: int = SIGN_CHOICES, seed: int = 0
) -> Guard:
    """Compare the counts of two predictions of the same crops.

    Parameters
    ----------
    old, new : Level
        Counts of the crops, in the same order.
    changes : sequence of NucleusChange
        Handed on, and counted by class.
    choices, seed : int
        See `napari_monusac.scoring.metrics.intervals.difference_interval`.
    """
    (before, by_class_before), (after, by_class_after) = (SCORINGS[HEADLINE].score(x.counts) for x in (old, new))
    values, class_values = zip(*(patient_values(x.counts) for x in (old, new)), strict=True)
    interval = difference_interval(values[1] - values[0], choices=choices, seed=seed)
    by_class = {}
    for k, cls in enumerate(CLASSES):
        kinds = [c.kind for c in changes if c.nucleus_class is cls]
        differences = class_values[1][:, k] - class_values[0][:, k]
        by_class[cls.label] = ClassChange(
            fixed=kinds.count(ChangeKind.FIXED),
            broken=kinds.count(ChangeKind.BROKEN),
            spurious_gone=kinds.count(ChangeKind.SPURIOUS_GONE),
            spurious_new=kinds.count(ChangeKind.SPURIOUS_NEW),
            pq_before=defined(float(by_class_before[k])),
            pq_after=defined(float(by_class_after[k])),
            interval=difference_interval(differences, choices=choices, seed=seed),
            patients=int((~np.isnan(differences)).sum()),
        )
    verdict, reason = _verdict(before, after, values[1] - values[0], interval)
    n = old.counts.n_patients
    unscored = int(np.isnan(values[1] - values[0]).sum())
    return Guard(
        verdict=verdict,
        reason=reason,
        pq_before=defined(before),
        pq_after=defined(after),
        interval=interval,
        by_class=by_class,
        changes=tuple(changes),
        crops=len(old.counts.values),
        patients=n,
        notes=(f"{unscored} of {n} patients have no nucleus in the truth and in a prediction: no say",)
        if unscored
        else (),
    )


def _verdict(before: float, after: float, differences: Floats, interval: Interval | None) -> tuple[GuardVerdict, str]:
    numbers = f"PQ per patient {before:.3f} before, {after:.3f} after"
    paired = differences[~np.isnan(differences)]
    if interval is None:
        return (
            "too few patients to tell",
            f"{numbers}; n = {len(paired)} patients, and a verdict needs {FEWEST_PATIENTS} or more",
        )
    ends = f"95 % interval {interval.low:+.3f} to {interval.high:+.3f}, n = {interval.n} patients"
    span = f"{numbers}; difference {paired.mean():+.3f} ({ends})"
    if interval.low > 0:
        return "better", span
    return ("worse", span) if interval.high < 0 else ("no clear difference", span)
