"""What the labels of a run hold: nuclei to learn from, and what there is none of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import MonusacError, TrainingError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.interest import nuclei_within_regions
from napari_monusac.io.collection.collection import Collection
from napari_monusac.io.splits import Split
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.scanline import fill_polygons


@dataclass(slots=True)
class NucleiSeen:
    """Nuclei that a part of a split shows to training or to validation.

    Attributes
    ----------
    crops : int
        Crops that could be read.
    by_class : Counter
        Nuclei by class; those without a pixel to learn from are not among them.
    outside, ambiguous, too_small : int
        Outlines wholly beyond the image; Ambiguous regions; outlines in which no pixel's centre lies.
    beyond_regions : int
        Nuclei outside of the regions of interest, where those are taken for the border of what was annotated.
    """

    crops: int = 0
    by_class: Counter[NucleusClass] = field(default_factory=Counter)
    outside: int = 0
    ambiguous: int = 0
    too_small: int = 0
    beyond_regions: int = 0

    @property
    def total(self) -> int:
        """Nuclei, of any class or none."""
        return sum(self.by_class.values())

    def add(self, other: NucleiSeen) -> None:
        """Count what another part shows, too."""
        self.by_class.update(other.by_class)
        for each in ("crops", "outside", "ambiguous", "too_small", "beyond_regions"):
            setattr(self, each, getattr(self, each) + getattr(other, each))

    def lacking(self) -> list[str]:
        """Names of the classes that have no nucleus, in small letters."""
        return [c.label.lower() for c in CLASSES if not self.by_class[c]]


def nuclei_seen(collection: Collection, names: Iterable[str], *, within_regions: bool = False) -> NucleiSeen:
    """Count the nuclei of crops by class; crops that cannot be read are left out (the run tells them).

    Parameters
    ----------
    collection : Collection
    names : iterable of str
        Names of crops.
    within_regions : bool
        See `napari_monusac.masks.rasterize.label_maps`.
    """
    seen = NucleiSeen()
    for name in names:
        try:
            crop = collection.crop(name)
            annotation = collection.annotation(crop)
            with collection.open(crop) as slide:
                shape = (int(slide.shape[0]), int(slide.shape[1]))
            here = _seen_in(annotation, shape, within_regions)
        except (MonusacError, OSError):
            continue
        seen.add(here)
    return seen


def check_labels(collection: Collection, split: Split, *, within_regions: bool = False) -> list[str]:
    """Check that there is something to learn, and say what cannot be learnt or scored.

    Parameters
    ----------
    collection : Collection
    split : Split
    within_regions : bool
        As the recipe has it.

    Returns
    -------
    list of str
        Notes for people.

    Raises
    ------
    TrainingError
        No training crop holds a nucleus. (Where none can be read, the run says so by itself.)
    """
    training, validation = (
        nuclei_seen(collection, names, within_regions=within_regions) for names in (split.training, split.validation)
    )
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


def _seen_in(annotation: Annotation, shape: tuple[int, int], within_regions: bool) -> NucleiSeen:
    """Count the nuclei of one crop that leave a pixel on its maps, and why the others do not."""
    nuclei, seen = annotation.nuclei, NucleiSeen(crops=1, ambiguous=len(annotation.ambiguous))
    seen.outside = sum(not _touches(n, shape) for n in nuclei)
    drawn = np.zeros(len(nuclei), bool)
    for _, number in fill_polygons([n.vertices for n in nuclei], shape):
        drawn[number] = True
    seen.too_small = len(nuclei) - int(drawn.sum()) - seen.outside
    if annotation.ambiguous or (within_regions and annotation.regions_of_interest):
        bare = label_maps(annotation, shape, within_regions=within_regions)
        visible = np.isin(np.arange(1, len(nuclei) + 1), bare.instances[~bare.ignore])
        if within_regions and annotation.regions_of_interest:
            inside = {id(n) for n in nuclei_within_regions(annotation)}
            seen.beyond_regions = sum(id(n) not in inside for n, there in zip(nuclei, drawn, strict=True) if there)
        drawn &= visible
    seen.by_class.update(n.nucleus_class for n, there in zip(nuclei, drawn, strict=True) if there)
    return seen


def _touches(nucleus: Nucleus, shape: tuple[int, int]) -> bool:
    """Whether the box of an outline and the image have a pixel in common."""
    low, high = nucleus.vertices.min(0), nucleus.vertices.max(0)
    return bool((high >= 0).all() and (low <= (shape[0] - 1, shape[1] - 1)).all())


def _crops(seen: NucleiSeen, kind: str = "training") -> str:
    return f"the {seen.crops} {kind} crops" if seen.crops != 1 else f"the one {kind} crop"


def _instead(seen: NucleiSeen) -> str:
    """What stands there instead of nuclei."""
    reasons = (
        (seen.ambiguous, "Ambiguous region", ""),
        (seen.outside, "outline", " beyond the image"),
        (seen.too_small, "outline", " too small for a pixel"),
        (seen.beyond_regions, "outline", " beyond the regions of interest"),
    )
    found = [f"{n} {what}{'s' if n != 1 else ''}{why}" for n, what, why in reasons if n]
    return f" (but {' and '.join(found)})" if found else ""


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
