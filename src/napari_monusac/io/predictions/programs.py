"""Nuclei in the files of other programs: HoVer-Net, CellViT, HistomicsUI, COCO results, by what they hold.

Their outlines run through the centres of border pixels (OpenCV's contours), those of HistomicsUI through slide pixels.
A new form is a reader here and its mark in `_FORMS`.

Sources: HoVer-Net (github.com/vqdang/hover_net, README "output format"), CellViT (TIO-IKIM/CellViT-Inference, ``cells.json``),
HistomicsUI (Digital Slide Archive's annotation schema), COCO results (cocodataset.org/#format-results).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.class_mapping import ClassMapping
from napari_monusac.core.errors import AnnotationError, HostileFileError, ShapeError
from napari_monusac.core.geometry import Outline
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.bounds import DEFAULT_BOUNDS, Bounds, too_many
from napari_monusac.io.annotations.corners import centre_outline
from napari_monusac.io.annotations.jsonfile import confidence_in, hovernet_nuclei, load_json, numbers
from napari_monusac.io.predictions.matlab import MatError, MatTooLarge, read_array

#: What an objective of 1x resolves, um per px: HoVer-Net says its magnification alone.
_UM_PER_PX_AT_1X = 10.0
#: Largest map that is taken, px.
_MOST_PX = 1 << 28
_MOST_NUCLEI = 5_000_000
_AGAIN = "write it again with the program that made it"


@dataclass(frozen=True, slots=True, eq=False)
class ProgramFile:
    """What the file of another program says.

    Attributes
    ----------
    program : str
        Which one wrote it, for people.
    annotation : Annotation or None
        Its outlines as (y, x) pixel centres; `Nucleus.label` is the class as the file names it, or the number as text.
    instances : integers (y, x) or None
        Its instance map, of a form that has one; `labels` then says the class of each.
    labels : mapping of int to str
        Class of each nucleus of `instances`, as the file names it.
    numbered : bool
        Whether classes are numbers that the file does not name.
    magnification : float or None
        Of the objective that outlines are given for, where the file says it; else they are in px of its image.
    """

    program: str
    annotation: Annotation | None = None
    instances: NDArray[np.integer[Any]] | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    numbered: bool = False
    magnification: float | None = None

    @property
    def um_per_px(self) -> float | None:
        """Scale that the magnification stands for, um per px."""
        return None if not self.magnification else _UM_PER_PX_AT_1X / self.magnification


def program_of(content: Any) -> str:
    """Return which program wrote loaded JSON; empty where none of them did."""
    return next((name for name, (mark, _) in _FORMS.items() if mark(content)), "")


def read_program_json(content: Any, path: Path, bounds: Bounds = DEFAULT_BOUNDS) -> ProgramFile:
    """Read the nuclei of another program's JSON.

    Parameters
    ----------
    content : Any
        The loaded JSON, for which `program_of` names a program.
    path : Path
        Where it came from.
    bounds : Bounds
        What the file may ask for.

    Raises
    ------
    AnnotationError
        It is damaged.
    HostileFileError
        It goes beyond `bounds`.
    """
    program = program_of(content)
    return _FORMS[program][1](_Source(path, bounds), content)


def read_hovernet_mat(path: Path) -> ProgramFile:
    """Read HoVer-Net's ``.mat``: the map ``inst_map`` and the classes ``inst_type`` of its nuclei, in their order.

    Raises
    ------
    AnnotationError
        It is none, damaged, or its classes do not fit its map.
    """
    instances = _of_mat(path, "inst_map")
    if instances is None or instances.ndim != 2:
        raise AnnotationError(path, "has no map under 'inst_map'", "choose a .mat of HoVer-Net (or NAME/<class>/*.mat)")
    whole = np.asarray(instances)
    if not ((whole >= 0) & (whole < 2**31) & (whole == np.floor(whole))).all():
        raise AnnotationError(path, "holds numbers of nuclei that are no whole numbers from 0", _AGAIN)
    whole = whole.astype(np.int32)
    ids = np.unique(whole[whole > 0]).tolist()
    types, uid = _of_mat(path, "inst_type"), _of_mat(path, "inst_uid")
    if types is None:
        return ProgramFile("HoVer-Net", instances=whole)
    own = ids if uid is None else np.asarray(uid).ravel().astype(int).tolist()
    if np.size(types) != len(own):
        raise AnnotationError(path, f"has {np.size(types)} classes for {len(own)} nuclei", _AGAIN)
    labels = {k: _number_text(t) for k, t in zip(own, np.asarray(types).ravel().tolist(), strict=True)}
    return ProgramFile("HoVer-Net", instances=whole, labels=labels, numbered=True)


def _of_mat(path: Path, name: str) -> NDArray[np.number[Any]] | None:
    try:
        return read_array(path, name, _MOST_PX)
    except MatTooLarge as error:
        raise too_many(path, "px", _MOST_PX) from error
    except (MatError, OSError, MemoryError) as error:
        raise AnnotationError(path, f"cannot be read as .mat ({error})", "write it again, as MATLAB v5") from error


def read_program_file(path: Path, bounds: Bounds = DEFAULT_BOUNDS) -> ProgramFile | None:
    """Read a JSON or .mat of another program; None of JSON that is none of theirs (GeoJSON, a COCO data set)."""
    if path.suffix.lower() == ".mat":
        return read_hovernet_mat(path)
    content = load_json(path, bounds)
    return read_program_json(content, path, bounds) if program_of(content) else None


# ------------------------------------------------------------------ the forms


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that is read: where it lies and what it may ask for."""

    path: Path
    bounds: Bounds

    def damaged(self, what: str) -> AnnotationError:
        return AnnotationError(self.path, what, _AGAIN)

    def counted(self, entries: Any, what: str) -> Any:
        if len(entries) > min(self.bounds.max_regions, _MOST_NUCLEI):
            raise too_many(self.path, what, min(self.bounds.max_regions, _MOST_NUCLEI))
        return entries

    def points(self, values: Any, where: str, columns: int = 2) -> Outline:
        """A list of [x, y] as (y, x)."""
        found = numbers(values, self.path, where, self.bounds)
        if found.ndim != 2 or found.shape[1] < columns or not len(found):
            raise self.damaged(f"{where}: the outline is no list of [x, y]")
        return np.ascontiguousarray(found[:, 1::-1])

    def contour(self, entry: Mapping[str, Any], where: str) -> Outline:
        return every_border_pixel(self.points(entry.get("contour"), where))

    def members(self, entry: Any, where: str) -> dict[str, Any]:
        if not isinstance(entry, dict):
            raise self.damaged(f"{where} is no object")
        return entry


def every_border_pixel(contour: Outline) -> Outline:
    """Put the pixels between the corners of a contour back (OpenCV leaves them out), so that its mask is drawn exactly.

    Parameters
    ----------
    contour : float64 (n, 2)
        Pixel centres, (y, x); the last is joined to the first.

    Returns
    -------
    float64 (m, 2)
        Vertices no more than a pixel apart; three at least.
    """
    closed = np.concatenate([contour, contour[:1]])
    pieces = []
    for start, end in pairwise(closed):
        steps = max(1, int(np.ceil(np.abs(end - start).max())))
        pieces.append(start + (end - start) * (np.arange(steps)[:, None] / steps))
    dense = np.concatenate(pieces)
    return np.concatenate([dense, np.repeat(dense[-1:], max(0, 3 - len(dense)), axis=0)])


def _is_hovernet(content: Any) -> bool:
    return hovernet_nuclei(content) is not None


def _hovernet(source: _Source, content: dict[str, Any]) -> ProgramFile:
    """``{"mag": 40, "nuc": {"1": {"contour": [[x, y] ...], "type": 2, "type_prob": 0.9} ...}}``; tiles without ``mag``."""
    entries = source.counted(hovernet_nuclei(content), "nuclei")
    regions = []
    for key, entry in entries.items():
        where = f"nucleus {key}"
        entry = source.members(entry, where)
        regions.append(
            Nucleus(source.contour(entry, where), _number_text(entry.get("type")), confidence=confidence_in(entry))
        )
    stated = content.get("mag")
    known = (
        float(stated)
        if isinstance(stated, int | float) and not isinstance(stated, bool) and 1 <= stated <= 200
        else None
    )
    annotation = Annotation(tuple(regions), source=source.path)
    return ProgramFile("HoVer-Net", annotation, numbered=any(r.label for r in regions), magnification=known)


def _is_cellvit(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("cells"), list) and "type_map" in content


def _cellvit(source: _Source, content: dict[str, Any]) -> ProgramFile:
    """``{"type_map": {"1": "Neoplastic" ...}, "cells": [{"contour": [[x, y] ...], "type": 1, "type_prob": 0.9} ...]}``."""
    names = source.members(content["type_map"], "type_map")
    named = {str(k): str(v) for k, v in names.items()}
    regions = []
    for k, entry in enumerate(source.counted(content["cells"], "cells"), 1):
        where = f"cell {k}"
        entry = source.members(entry, where)
        if "contour" not in entry:
            raise AnnotationError(source.path, "has no outlines, only centres", "choose cells.json of the same folder")
        kind = _number_text(entry.get("type"))
        regions.append(Nucleus(source.contour(entry, where), named.get(kind, kind), confidence=confidence_in(entry)))
    return ProgramFile("CellViT", Annotation(tuple(regions), source=source.path))


def _is_histomics(content: Any) -> bool:
    return next(_histomics_elements(content), None) is not None or (
        isinstance(content, dict) and content.get("elements") == []
    )


def _histomics_elements(content: Any) -> Iterator[dict[str, Any]]:
    """The elements of one annotation document, of a list of them, or of what the server wraps around one."""
    for document in content if isinstance(content, list) else [content]:
        inner = document.get("annotation", document) if isinstance(document, dict) else None
        elements = inner.get("elements") if isinstance(inner, dict) else None
        for element in elements if isinstance(elements, list) else ():
            if isinstance(element, dict) and "type" in element:
                yield element


def _histomics(source: _Source, content: Any) -> ProgramFile:
    """Closed polylines ``{"type": "polyline", "closed": true, "points": [[x, y, z] ...], "label": {"value": "tumor"}}``."""
    regions, others = [], 0
    for k, element in enumerate(source.counted(list(_histomics_elements(content)), "elements"), 1):
        if element["type"] != "polyline" or not element.get("closed", False):
            others += 1
            continue
        corners = source.points(element.get("points"), f"element {k}", columns=2)
        if len(corners) < 3:
            others += 1
            continue
        label = element.get("label")
        named = label.get("value") if isinstance(label, dict) else element.get("group")
        outline = _from_corners(source, corners, f"element {k}")
        regions.append(Nucleus(outline, str(named or ""), confidence=confidence_in(element)))
    notes = (f"{others} elements are no closed outlines: left out",) if others else ()
    return ProgramFile("HistomicsUI", Annotation(tuple(regions), source=source.path, notes=notes))


def _from_corners(source: _Source, corners: Outline, where: str) -> Outline:
    try:
        return centre_outline([[corners]])
    except ShapeError as error:
        raise HostileFileError(source.path, f"{where}: {error.problem}", error.mend) from error


def _is_coco_results(content: Any) -> bool:
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and {"image_id", "category_id", "segmentation"} <= set(first)


def _coco_results(source: _Source, content: list[Any]) -> ProgramFile:
    """``[{"image_id": 1, "category_id": 2, "segmentation": ..., "score": 0.9} ...]`` of one image; ids of categories are numbers."""
    entries = [source.members(e, f"result {k}") for k, e in enumerate(source.counted(content, "results"), 1)]
    images = {repr(e.get("image_id")) for e in entries}
    if len(images) > 1:
        raise AnnotationError(
            source.path, f"holds the results of {len(images)} images", "write one file an image, NAME.json for each"
        )
    regions = [
        Nucleus(_segmentation(source, e, f"result {k}"), _number_text(e.get("category_id")), confidence=confidence_in(e))
        for k, e in enumerate(entries, 1)
    ]  # fmt: skip
    return ProgramFile("COCO results", Annotation(tuple(regions), source=source.path), numbered=True)


def _segmentation(source: _Source, entry: dict[str, Any], where: str) -> Outline:
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        from napari_monusac.io.annotations.rle import outline_of_rle

        size = segmentation.get("size")
        if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
            raise source.damaged(f"{where}: the mask has no size")
        return outline_of_rle(segmentation, (size[0], size[1]), source.path, where)
    if not isinstance(segmentation, list) or not segmentation:
        raise source.damaged(f"{where} has no segmentation")
    parts = []
    for part in segmentation if isinstance(segmentation[0], list) else [segmentation]:
        flat = numbers(part, source.path, where, source.bounds)
        if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2:
            raise source.damaged(f"{where}: a polygon is no list of x, y, x, y ...")
        parts.append([np.ascontiguousarray(flat.reshape(-1, 2)[:, ::-1])])
    try:
        return centre_outline(parts)
    except ShapeError as error:
        raise HostileFileError(source.path, f"{where}: {error.problem}", error.mend) from error


def _number_text(value: Any) -> str:
    """A class number as text; empty where there is none."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return str(int(value)) if value == value and abs(value) < 2**31 and value == int(value) else str(value)
    return str(value)


_FORMS: Mapping[str, tuple[Callable[[Any], bool], Callable[[_Source, Any], ProgramFile]]] = {
    "CellViT": (_is_cellvit, _cellvit),
    "HoVer-Net": (_is_hovernet, _hovernet),
    "COCO results": (_is_coco_results, _coco_results),
    "HistomicsUI": (_is_histomics, _histomics),
}


def said_of(mapping: ClassMapping, label: str, *, numbered: bool) -> str:
    """Return the name of a class of a file: that which the mapping gives to its number, where it has numbers alone."""
    if not numbered or not label.isdecimal() or label in mapping.meanings:
        return label
    return mapping.name_of(int(label))
