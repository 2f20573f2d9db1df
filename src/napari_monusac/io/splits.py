"""Training and validation crops: by patient, or the official two lists. Saved with the run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_monusac.core.classes import CLASSES
from napari_monusac.core.errors import AnnotationError, CollectionError
from napari_monusac.io.collection.collection import Collection, Crop
from napari_monusac.io.collection.corrected_list import corrected_crops
from napari_monusac.io.collection.patients import GUESSES, MEND

SplitKind = Literal["patient", "official"]
_CANDIDATES = 400
_GOOD_SHARE = 0.02
#: What corrected crops are to be of all that is seen in training, by their number, and the most that one is repeated.
_CORRECTED_SHARE, _MOST_OFTEN = 1 / 3, 20


class Split(BaseModel):
    """Which crops train and which validate. No patient stands on both sides, except those in `leaked_patients`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: SplitKind
    seed: int = 0
    validation_fraction: float = Field(0.25, gt=0, lt=1)
    training: tuple[str, ...] = Field(description="Names of crops")
    validation: tuple[str, ...] = Field(description="Names of crops")
    training_patients: tuple[str, ...] = ()
    validation_patients: tuple[str, ...] = ()
    leaked_patients: tuple[str, ...] = Field((), description="Patients on both sides (the official lists have two)")
    training_nuclei: dict[str, int] = Field(default_factory=dict, description="Number of nuclei by class")
    validation_nuclei: dict[str, int] = Field(default_factory=dict, description="Number of nuclei by class")
    notes: tuple[str, ...] = Field((), description="What the user should be told")
    grouping: str = Field("", description="How many crops of how many patients, and what told the patients")
    patient_sources: dict[str, int] = Field(
        default_factory=dict, description="Number of crops by what told their patient: given, barcode, folder, name"
    )
    guessed_patients: tuple[str, ...] = Field(
        (), description="Patients that a folder or a name told: nobody has vouched"
    )
    patients_file: str = Field("", description="The list of patients that was heeded")
    seen_more_often: dict[str, int] = Field(
        default_factory=dict,
        description="Training crops that were corrected, and how many times as often they are seen",
    )


def make_split(
    collection: Collection,
    kind: SplitKind = "patient",
    seed: int = 0,
    validation_fraction: float = 0.25,
    *,
    former_validation: Iterable[str] = (),
) -> Split:
    """Split the annotated crops of a collection.

    Parameters
    ----------
    collection : Collection
        Crops without an annotation are left out.
    kind : {"patient", "official"}
        ``"patient"`` draws whole patients so that every class stands on both sides where two patients have it, and
        shares of nuclei come near `validation_fraction`. ``"official"`` trains on the train root, validates on the test
        root.
    seed : int
        The same seed gives the same split.
    validation_fraction : float
        Share of validation, in 0 to 1; not used for ``"official"``.
    former_validation : iterable of str
        Patients that validated the model whose weights the training goes on from. Where crops were corrected, those of
        them that nobody has corrected validate again: the model has not seen them, and its scores can be compared.

    Notes
    -----
    Where the folder has a list of corrected crops (`napari_monusac.io.collection.corrected_list`), patients with such a
    crop train as long as there are others to validate, and their corrected crops are seen more often: together a third
    of what is seen, each 20 times as often at the most.

    Raises
    ------
    CollectionError
        There are not two patients, an official root is missing, nothing is annotated, or the folder's own list of
        patients is wrong.
    AnnotationError
        An annotation is damaged.
    """
    crops = collection.labelled
    if collection.wrong_list is not None:
        raise collection.wrong_list
    if not 0 < validation_fraction < 1:
        raise CollectionError(collection.root, f"validation fraction {validation_fraction}", "give a value in 0 to 1")
    if not crops:
        raise CollectionError(collection.root, "holds no annotated crop", "put the .xml files beside the images")
    corrected = frozenset(corrected_crops(collection))
    if kind == "official":
        training = [c for c in crops if c.part == "train"]
        validation = [c for c in crops if c.part == "test"]
        if not training or not validation:
            have = f"{len(training)} training and {len(validation)} test crops"
            raise CollectionError(
                collection.root, f"has {have}", "give the folder that holds both official roots, or split by patient"
            )
    elif kind == "patient":
        drawn_from = {c.patient for c in crops} - {c.patient for c in crops if c.name in corrected}
        held_out = drawn_from & set(former_validation) if corrected else set()
        if not held_out:
            held_out = _held_out_patients(collection, crops, seed, validation_fraction, drawn_from)
        training = [c for c in crops if c.patient not in held_out]
        validation = [c for c in crops if c.patient in held_out]
    else:
        raise CollectionError(collection.root, f"unknown split {kind!r}", "use patient or official")
    split = _described(collection, kind, seed, validation_fraction, training, validation)
    return _with_corrected(split, corrected) if corrected else split


def _with_corrected(split: Split, corrected: frozenset[str]) -> Split:
    """Let the corrected crops be seen more often, and say so."""
    mine = [name for name in split.training if name in corrected]
    rest = len(split.training) - len(mine)
    wanted = _CORRECTED_SHARE / (1 - _CORRECTED_SHARE) * rest / len(mine) if mine else 1.0
    times = int(np.clip(round(wanted), 1, _MOST_OFTEN))
    notes = list(split.notes)
    number = "one corrected crop trains" if len(mine) == 1 else f"{len(mine)} corrected crops train"
    if times > 1:
        notes.append(f"{number}, seen {times} times as often as the other {rest}")
    lost = sum(name in corrected for name in split.validation)
    if lost:
        notes.append(f"{lost} corrected crops validate and do not train: every patient has some")
    return split.model_copy(
        update={"notes": tuple(notes), "seen_more_often": dict.fromkeys(mine, times) if times > 1 else {}}
    )


def _class_counts(collection: Collection, crops: list[Crop] | tuple[Crop, ...]) -> NDArray[np.int64]:
    """Nuclei of the four classes and of all, int64 (5,)."""
    counts = np.zeros(5, np.int64)
    for crop in crops:
        try:
            found = collection.counts(crop)
        except AnnotationError:  # training leaves it out, and says so
            continue
        counts[:4] += [found.get(k, 0) for k in CLASSES]
        counts[4] += sum(found.values())
    return counts


def _held_out_patients(
    collection: Collection, crops: tuple[Crop, ...], seed: int, fraction: float, drawn_from: set[str]
) -> set[str]:
    """Draw patients at random a number of times and keep one whose classes are shared out well.

    Of `drawn_from` alone, where that is not empty.
    """
    patients = sorted({c.patient for c in crops})
    if len(patients) < 2:
        raise CollectionError(
            collection.root,
            f"has crops of one patient only ({_one_patient(collection, crops)}), and validation needs a patient that the "
            "model never saw",
            f"add crops of another patient, or {MEND}",
        )
    counts = np.stack([_class_counts(collection, [c for c in crops if c.patient == p]) for p in patients])
    may = [k for k, patient in enumerate(patients) if patient in drawn_from] or list(range(len(patients)))
    size = int(np.clip(round(fraction * len(patients)), 1, min(len(may), len(patients) - 1)))
    rng = np.random.default_rng(seed)
    draws = np.zeros((_CANDIDATES, len(patients)), bool)
    for draw in draws:
        draw[np.array(may)[rng.permutation(len(may))[:size]]] = True
    inside = draws @ counts
    total = counts.sum(0)
    splittable = (counts > 0).sum(0) >= 2
    share = inside / np.maximum(total, 1)
    unbalanced = (np.abs(share - fraction) * splittable).sum(1)
    one_sided = (((inside == 0) | (inside == total)) & splittable).sum(1)
    cost = unbalanced + 10.0 * one_sided
    good = cost <= np.quantile(cost, _GOOD_SHARE)
    best = draws[int(np.argmax(good))]  # the first good one: another seed gives another split
    return {p for p, taken in zip(patients, best, strict=True) if taken}


def _one_patient(collection: Collection, crops: tuple[Crop, ...]) -> str:
    """The patient, what told it, and which crops were taken as its."""
    names = ", ".join(c.name for c in crops[:3]) + (" ..." if len(crops) > 3 else "")
    return f"{crops[0].patient}, taken from {collection.grouping_of(crops).taken_from}: {names}"


def _described(
    collection: Collection, kind: SplitKind, seed: int, fraction: float, training: list[Crop], validation: list[Crop]
) -> Split:
    sides = [training, validation]
    patients = [tuple(dict.fromkeys(c.patient for c in side)) for side in sides]
    counts = [_class_counts(collection, side) for side in sides]
    nuclei = [{k.label: int(n) for k, n in zip(CLASSES, c[:4], strict=True)} for c in counts]
    leaked = tuple(sorted(set(patients[0]) & set(patients[1])))
    grouping = collection.grouping_of([*training, *validation])
    notes = [*grouping.notes]
    if leaked:
        notes.append(f"{', '.join(leaked)} stand in training and in validation: scores on them are too good")
    tests = len({c.patient for c in training if c.part == "test"})
    if kind == "patient" and tests:
        notes.append(f"{tests} patients of the official test list are used for training: do not report a test score")
    for name in nuclei[0]:
        have = [side[name] for side in nuclei]
        if sum(have) and not all(have):
            where = "training" if not have[0] else "validation"
            notes.append(f"no {name.lower()} stands in {where}: only one patient has it, or the draw left no choice")
    if grouping.warning:
        notes.append(grouping.warning)
    return Split(
        kind=kind, seed=seed, validation_fraction=fraction,
        training=tuple(c.name for c in training), validation=tuple(c.name for c in validation),
        training_patients=patients[0], validation_patients=patients[1], leaked_patients=leaked,
        training_nuclei=nuclei[0], validation_nuclei=nuclei[1], notes=tuple(notes),
        grouping=str(grouping), patient_sources={str(s): n for s, n in grouping.sources.items()},
        guessed_patients=tuple(dict.fromkeys(c.patient for c in [*training, *validation] if c.patient_source in GUESSES)),
        patients_file=str(grouping.file or ""),
    )  # fmt: skip
