"""What the labels of a run hold: nuclei to learn from, and what there is none of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import MonusacError, TrainingError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.collection.collection import Collection
from napari_monusac.io.splits import Split
from napari_monusac.masks.rasterize import label_maps


@dataclass(slots=True)
class NucleiSeen:
    """Nuclei that a part of a split shows to training or to validation.

    Attributes
    ----------
    crops : int
        Crops that could be read.
    by_class : Counter
        Nuclei by class; those that lie wholly beyond the image or under Ambiguous regions are not among them.
    outside, ambiguous : int
        Outlines wholly beyond the image; Ambiguous regions.
    """

    crops: int = 0
    by_class: Counter[NucleusClass] = field(default_factory=Counter)
    outside: int = 0
    ambiguous: int = 0

    @property
    def total(self) -> int:
        """Nuclei, of any class or none."""
        return sum(self.by_class.values())

    def lacking(self) -> list[str]:
        """Names of the classes that have no nucleus, in small letters."""
        return [c.label.lower() for c in CLASSES if not self.by_class[c]]


def nuclei_seen(collection: Collection, names: Iterable[str]) -> NucleiSeen:
    """Count the nuclei of crops by class; crops that cannot be read are left out (the run tells them).

    Parameters
    ----------
    collection : Collection
    names : iterable of str
        Names of crops.
    """
    seen = NucleiSeen()
    for name in names:
        try:
            crop = collection.crop(name)
            annotation = collection.annotation(crop)
            with collection.open(crop) as slide:
                shape = (int(slide.shape[0]), int(slide.shape[1]))
            ambiguous = sum(r.is_ambiguous for r in annotation)
            inside = [n for n in annotation.nuclei if _touches(n, shape)]
            seen.by_class.update(_uncovered(annotation, shape) if ambiguous else (n.nucleus_class for n in inside))
        except (MonusacError, OSError):
            continue
        seen.crops += 1
        seen.ambiguous += ambiguous
        seen.outside += len(annotation.nuclei) - len(inside)
    return seen


def check_labels(collection: Collection, split: Split) -> list[str]:
    """Check that there is something to learn, and say what cannot be learnt or scored.

    Parameters
    ----------
    collection : Collection
    split : Split

    Returns
    -------
    list of str
        Notes for people.

    Raises
    ------
    TrainingError
        No training crop holds a nucleus. (Where none can be read, the run says so by itself.)
    """
    training, validation = (nuclei_seen(collection, names) for names in (split.training, split.validation))
    if training.crops and not training.total:
        raise TrainingError(
            f"{collection.root}: no nucleus to learn from in {_crops(training)}{_instead(training)}",
            "label nuclei (an Ambiguous region is none), or choose another folder",
        )
    notes = []
    if not sum(training.by_class[c] for c in CLASSES) and training.total:
        notes.append(f"none of the {training.total} nuclei to learn from has a class: the model will tell none apart")
    elif training.total and training.lacking():
        notes.append(f"no {_or(training.lacking())} among the nuclei to learn from: the model cannot learn it")
    if validation.crops and not validation.total:
        notes.append(
            f"no nucleus in {_crops(validation, 'validation')}{_instead(validation)}: the scores of this run say nothing"
        )
    elif validation.total and validation.lacking():
        notes.append(f"no {_or(validation.lacking())} among the validation nuclei: its score cannot be given")
    return notes


def _touches(nucleus: Nucleus, shape: tuple[int, int]) -> bool:
    """Whether the box of an outline and the image have a pixel in common."""
    low, high = nucleus.vertices.min(0), nucleus.vertices.max(0)
    return bool((high >= 0).all() and (low <= (shape[0] - 1, shape[1] - 1)).all())


def _uncovered(annotation: Annotation, shape: tuple[int, int]) -> list[NucleusClass]:
    """Classes of the nuclei that have a pixel outside of every Ambiguous region."""
    maps = label_maps(annotation, shape)
    visible = set(maps.instances[~maps.ignore].ravel().tolist()) - {0}
    return [n.nucleus_class for k, n in enumerate(annotation.nuclei, 1) if k in visible]


def _crops(seen: NucleiSeen, kind: str = "training") -> str:
    return f"the {seen.crops} {kind} crops" if seen.crops != 1 else f"the one {kind} crop"


def _instead(seen: NucleiSeen) -> str:
    """What stands there instead of nuclei."""
    found = []
    if seen.ambiguous:
        found.append(f"{seen.ambiguous} Ambiguous region{'s' if seen.ambiguous != 1 else ''}")
    if seen.outside:
        found.append(f"{seen.outside} outline{'s' if seen.outside != 1 else ''} beyond the image")
    return f" (but {' and '.join(found)})" if found else ""


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
