"""The doctor on the whole set: leaks, twins, rare classes, stain far from the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.io.collection.collection import Collection
from napari_monusac.io.collection.crop import Crop
from napari_monusac.io.doctor.images import ImageFacts
from napari_monusac.io.doctor.report import DoctorFinding, finding

#: The most frequent class may have this many times the nuclei of another one.
_IMBALANCE = 20.0
#: Robust standard deviations from the median of the set.
_STAIN_DISTANCE = 4.0
_FEWEST_FOR_STAIN = 8
#: Smallest spread of (log density, red share, blue share) that is taken for real.
_LEAST_SPREAD = np.array([0.10, 0.02, 0.02])


def leaks(collection: Collection) -> list[DoctorFinding]:
    """Report patients that stand in both official lists."""
    parts: dict[str, set[str]] = defaultdict(set)
    for crop in collection:
        if crop.part is not None:
            parts[crop.patient].add(crop.part)
    return [
        finding("patient-in-both-lists", f"{patient} stands in the training and in the test list", patient=patient)
        for patient, found in parts.items() if len(found) > 1
    ]  # fmt: skip


def patient_list_gaps(collection: Collection) -> list[DoctorFinding]:
    """Report crops that the list of patients leaves out, and rows of it without a crop."""
    grouping = collection.grouping
    return [finding("patient-list", note, path=grouping.file or collection.root) for note in grouping.notes]


def twins(crops: tuple[Crop, ...], facts: Mapping[str, ImageFacts]) -> list[DoctorFinding]:
    """Report crops with the same pixels, each against the first one of its kind."""
    groups: dict[str, list[Crop]] = defaultdict(list)
    for crop in crops:
        if crop.name in facts:
            groups[facts[crop.name].pixels].append(crop)
    found = []
    for first, *others in groups.values():
        for other in others:
            message = f"has the same pixels as {first.name}"
            found.append(finding("identical-images", message, other))
    return found


def rare_classes(collection: Collection, counts: Mapping[str, Mapping[NucleusClass, int]]) -> list[DoctorFinding]:
    """Report classes that are missing, rare, or in one patient only.

    Parameters
    ----------
    collection : Collection
        The crops.
    counts : mapping of str to mapping
        Nuclei by class, for each crop that has some.
    """
    total = {k: sum(c.get(k, 0) for c in counts.values()) for k in CLASSES}
    most = max(total.values(), default=0)
    if not most:
        return []
    commonest = max(total, key=lambda k: total[k]).label.lower()
    said = ", ".join(f"{n} {k.label.lower()}" for k, n in total.items())
    found = []
    for kind, number in total.items():
        name = kind.label.lower()
        patients = {c.patient for c in collection if counts.get(c.name, {}).get(kind, 0)}
        if not number:
            found.append(finding("class-missing", f"there is no {name} ({said})"))
            continue
        if most > _IMBALANCE * number:
            message = f"{name} is rare: one nucleus for every {most / number:.0f} {commonest} nuclei ({said})"
            found.append(finding("class-imbalance", message))
        if len(patients) == 1 and len(collection.patients) > 1:
            (patient,) = patients
            found.append(finding("class-in-one-patient", f"only {patient} has {name}", patient=patient))
    return found


def stain_outliers(crops: tuple[Crop, ...], facts: Mapping[str, ImageFacts]) -> list[DoctorFinding]:
    """Report crops whose stain lies more than 4 robust standard deviations (1.48 x MAD) from the median of the set."""
    known = [(c, facts[c.name].stain) for c in crops if c.name in facts and facts[c.name].stain is not None]
    if len(known) < _FEWEST_FOR_STAIN:
        return []
    prints = np.array([s for _, s in known])
    middle = np.median(prints, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(prints - middle), axis=0), _LEAST_SPREAD)
    away = (prints - middle) / spread
    words = (("pale", "dark"), ("little red light taken", "much red light taken"), ("blue", "yellow or red"))
    found = []
    for (crop, _), distance in zip(known, away, strict=True):
        worst = int(np.abs(distance).argmax())
        if abs(distance[worst]) > _STAIN_DISTANCE:
            word = words[worst][int(distance[worst] > 0)]
            message = f"stain far from the rest of the set: {word} ({abs(distance[worst]):.1f} robust sd)"
            found.append(finding("stain-outlier", message, crop))
    return found
