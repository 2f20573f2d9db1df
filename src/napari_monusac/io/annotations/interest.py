"""Regions of interest: outlines around nuclei that are no nuclei themselves, told apart whatever the format.

Pathologists outline the part that they annotated (ImageScope: a rectangle, QuPath: an annotation or a TMA core) in the
same file as the nuclei. Drawn as a nucleus it wipes out all that lie in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import HostileFileError
from napari_monusac.core.geometry import Outline, outline_area
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.aperio_shapes import RECTANGLES

_NAMED = re.compile(
    r"rois?|regions?\W*(of interest)?|tma[ _-]*cores?|tissue( area| region)?|annotated( area| region)?|field of view|fov",
    re.IGNORECASE,
)
#: What QuPath calls objects that hold others, whatever lies in them.
_HOLDERS = {
    "tma core", "tma_core", "tmacore", "pathtmacoreobject", "root", "pathrootobject", "tile", "pathtileobject",
}  # fmt: skip
_ANNOTATIONS = {"annotation", "pathannotationobject"}
#: Only what has at most this share of an outline's area counts as lying in it: of two nuclei that overlap, or of one
#: drawn twice, neither does.
_SMALLER = 1 / 4
#: Nuclei inside, and area in typical nuclei inside, from which an unclassified outline is a region; `_HUGE` is enough
#: for one. Two nested nuclei are 1 and about 8 (a lymphocyte in a macrophage); nucleoli come in threes, and their nucleus
#: is then small (see below).
_MANY, _ROOMY = 3, 8
_HUGE = 30
#: Below this size an outline needs more than `_MANY` inside: nothing larger than 150 um² is a nucleus with nucleoli.
_SMALL_UM2, _SMALL_PX2, _CROWD = 150.0, 2400.0, 8
#: For an outline whose name is a word for one of the classes ("Tumor") and might yet be the tumour itself.
_WORDED = (5, 20)
#: Pairs of an outline and what lies in it: more, and the file is made to keep us busy.
_MAX_PAIRS = 20_000_000
_AT_ONCE = 1024


def with_regions_of_interest(annotation: Annotation) -> Annotation:
    """Return the annotation with the role "region" where an outline lies around nuclei and is none.

    An outline of one of the four classes stays a nucleus whatever it contains (a macrophage may hold another nucleus).
    Any other is a region where its name or object type says so, or where enough lies in it: three nuclei of an eighth
    of its area; one of a thirtieth; or one where it also looks unlike what it contains (a rectangle around outlines: a
    quarter of its area, an annotation around detections: an eighth).

    Parameters
    ----------
    annotation : Annotation
        As a reader made it.

    Raises
    ------
    HostileFileError
        Outlines lie in each other millions of times.
    """
    suspects = [
        k for k, r in enumerate(annotation.regions) if r.is_drawn and not r.is_ambiguous and not _has_class_name(r.label)
    ]  # fmt: skip
    if not suspects:
        return annotation
    found = {k for k in suspects if _says_so(annotation.regions[k])}
    found |= _around_nuclei(annotation, [k for k in suspects if k not in found])
    if not found:
        return annotation
    regions = (replace(r, role="region") if k in found else r for k, r in enumerate(annotation.regions))
    return replace(annotation, regions=tuple(regions))


def nuclei_within_regions(annotation: Annotation) -> tuple[Nucleus, ...]:
    """Return the nuclei whose middle lies in a region of interest; all of them where the annotation has no region."""
    regions, nuclei = annotation.regions_of_interest, annotation.nuclei
    if not regions or not nuclei:
        return nuclei
    import shapely

    middles: Any = shapely.points(_measured(list(nuclei))[1][:, ::-1])
    wide = [r for r in regions if outline_area(r.vertices) > 0]
    inside = shapely.STRtree(middles).query(_polygons(wide), predicate="contains")[1] if wide else np.empty(0, np.intp)
    return tuple(nuclei[k] for k in np.unique(inside).tolist())


def _has_class_name(label: str) -> bool:
    """Whether a label is the very name of one of the four classes, in singular or plural."""
    return label.strip().casefold().removesuffix("s") in {c.label.casefold() for c in CLASSES}


def _says_so(region: Nucleus) -> bool:
    return bool(_NAMED.fullmatch(region.label.strip().rstrip("*"))) or region.object_type.casefold() in _HOLDERS


def _around_nuclei(annotation: Annotation, suspects: list[int]) -> set[int]:
    """Positions of the suspects that hold enough nuclei."""
    drawn = [k for k, r in enumerate(annotation.regions) if r.is_drawn and not r.is_ambiguous]
    if not suspects or len(drawn) < 2:
        return set()
    outlines = [annotation.regions[k] for k in drawn]
    areas, middles = _measured(outlines)
    place = {k: i for i, k in enumerate(drawn)}
    # nothing smaller than four times the smallest outline can hold anything
    least = max(float(areas.min()) / _SMALLER, 1e-9)
    wide = np.array([place[k] for k in suspects if areas[place[k]] >= least], np.intp)
    scale = annotation.um_per_px
    small_px2 = _SMALL_UM2 / scale**2 if scale else _SMALL_PX2
    found = set()
    for i, inside in _contents(annotation, outlines, areas, middles, wide):
        held = [outlines[j] for j in inside]
        ratio = areas[i] / max(float(np.median(areas[inside])), 1e-9)
        if _is_region(outlines[i], held, float(ratio), small=bool(areas[i] < small_px2)):
            found.add(drawn[i])
    return found


def _is_region(outline: Nucleus, held: list[Nucleus], ratio: float, *, small: bool) -> bool:
    """Whether an outline is `ratio` times as large as the far smaller ones that it holds, and they are enough."""
    if _is_worded(outline):
        return len(held) >= _WORDED[0] and ratio >= _WORDED[1]
    for looks, at_least in ((_is_rectangle, 1 / _SMALLER), (_is_annotation, _ROOMY)):
        if ratio >= at_least and looks(outline) and 2 * sum(map(looks, held)) < len(held):
            return True
    if small and len(held) < _CROWD:
        return False
    return ratio >= _HUGE or (len(held) >= _MANY and ratio >= _ROOMY)


def _measured(outlines: list[Nucleus]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas (n,) in px² and means of the vertices (n, 2), (y, x): as `outline_area`, for all in one go."""
    counts = np.array([len(r.vertices) for r in outlines])
    starts = np.cumsum(counts) - counts
    points = np.concatenate([r.vertices for r in outlines])
    around = points - np.repeat(points[starts], counts, axis=0)
    following = np.arange(1, len(points) + 1)
    following[starts + counts - 1] = starts
    y, x = around.T
    twice = np.add.reduceat(x * y[following] - y * x[following], starts)
    return np.abs(twice) / 2, np.add.reduceat(points, starts) / counts[:, None]


def _polygons(outlines: list[Nucleus]) -> Any:
    """Shapely polygons (x, y) of outlines that have an area."""
    import shapely

    points = np.concatenate([r.vertices[:, ::-1] for r in outlines])
    rings = shapely.linearrings(
        points, indices=np.repeat(np.arange(len(outlines)), [len(r.vertices) for r in outlines])
    )
    return shapely.polygons(rings)


def _contents(
    annotation: Annotation,
    outlines: list[Nucleus],
    areas: NDArray[np.float64],
    middles: NDArray[np.float64],
    wide: NDArray[np.intp],
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each of the `wide` outlines that holds the middle of far smaller ones, with those."""
    import shapely

    points: Any = shapely.points(middles[:, ::-1])
    tree, pairs = shapely.STRtree(points), 0
    for first in range(0, len(wide), _AT_ONCE):
        some = wide[first : first + _AT_ONCE]
        holder, held = tree.query(_polygons([outlines[i] for i in some]), predicate="contains")
        pairs += len(held)
        if pairs > _MAX_PAIRS:
            raise HostileFileError(
                annotation.source or Path("annotation"),
                f"outlines lie in each other more than {_MAX_PAIRS} times",
                "check the outlines: they repeat each other",
            )
        far_smaller = areas[held] <= _SMALLER * areas[some[holder]]
        holder, held = holder[far_smaller], held[far_smaller]
        order = np.argsort(holder, kind="stable")
        holders, starts = np.unique(holder[order], return_index=True)
        if len(holders):
            yield from zip(some[holders].tolist(), np.split(held[order], starts[1:]), strict=True)


def _is_worded(region: Nucleus) -> bool:
    """Whether the table of names takes the label for one of the four classes."""
    return region.nucleus_class is not NucleusClass.UNCLASSIFIED


def _is_rectangle(region: Nucleus) -> bool:
    kind = dict(region.attributes).get("Type", "").strip().casefold()
    return kind in RECTANGLES or _is_upright_box(region.vertices)


def _is_annotation(region: Nucleus) -> bool:
    return region.object_type.casefold() in _ANNOTATIONS


def _is_upright_box(vertices: Outline) -> bool:
    """Whether an outline is a rectangle along the axes, however often its corners are repeated."""
    if len(vertices) > 12:
        return False
    low, high = vertices.min(0), vertices.max(0)
    corners = {(y, x) for y, x in vertices.tolist()}
    return corners == {(low[0], low[1]), (low[0], high[1]), (high[0], low[1]), (high[0], high[1])}
