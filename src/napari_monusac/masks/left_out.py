"""What an annotation holds that its label maps do not show, by reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.nuclei import Annotation
from napari_monusac.masks.rasterize import LabelMaps

_WORDS = {
    "outside": "outside the image",
    "hidden": "hidden under later ones",
    "too_small": "too small for a pixel",
    "degenerate": "of fewer than three vertices",
    "regions": "regions of interest",
    "marks": "shapes without an area",
    "ignored": "ignored by their name",
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Numbers of regions that are in no instance map.

    Attributes
    ----------
    outside, hidden, too_small, degenerate : int
        Nuclei outside the image; covered by later nuclei; between all pixel centres; of fewer than three vertices.
    regions, marks : int
        What is no nucleus: regions of interest; arrows, rulers, points and shapes that cannot be read.
    ignored : int
        Outlines whose class name the user wants ignored.
    """

    outside: int = 0
    hidden: int = 0
    too_small: int = 0
    degenerate: int = 0
    regions: int = 0
    marks: int = 0
    ignored: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, f.name) for f in fields(self))

    def counts(self) -> dict[str, int]:
        """Number by reason, reasons without any left out."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}

    def __str__(self) -> str:
        said = [f"{number} {_WORDS[reason]}" for reason, number in self.counts().items()]
        return f"left out: {', '.join(said)}" if said else "nothing left out"

    @classmethod
    def sum(cls, several: Iterable[LeftOut]) -> LeftOut:
        """Add up what several crops leave out."""
        found = list(several)
        return cls(*(sum(getattr(each, f.name) for each in found) for f in fields(cls)))


def left_out(annotation: Annotation, maps: LabelMaps) -> LeftOut:
    """Count what label maps do not show of the annotation that they were drawn from.

    Parameters
    ----------
    annotation : Annotation
        All regions.
    maps : LabelMaps
        ``label_maps(annotation, shape)``.
    """
    nuclei = annotation.nuclei
    drawn = drawn_nuclei(maps, len(nuclei))
    covered = {o.earlier for o in maps.overlaps}
    limit = np.array(maps.instances.shape) - 1
    outside = hidden = too_small = 0
    for k in np.flatnonzero(~drawn).tolist():
        vertices = nuclei[k].vertices
        if k + 1 in covered:
            hidden += 1
        elif (vertices.max(0) < 0).any() or (vertices.min(0) > limit).any():
            outside += 1
        else:
            too_small += 1
    degenerate = sum(r.role == "nucleus" and len(r.vertices) < 3 for r in annotation.regions)
    ignored = sum(r.role == "nucleus" and len(r.vertices) >= 3 and not r.is_drawn for r in annotation.regions)
    regions, marks = len(annotation.regions_of_interest), len(annotation.marks)
    return LeftOut(outside, hidden, too_small, degenerate, regions, marks, ignored)


def drawn_nuclei(maps: LabelMaps, count: int) -> NDArray[np.bool_]:
    """Whether each of `count` nuclei has a pixel in the instance map, bool (count,)."""
    drawn = np.zeros(count + 1, np.bool_)
    drawn[maps.instances.reshape(-1)] = True
    return drawn[1:]
