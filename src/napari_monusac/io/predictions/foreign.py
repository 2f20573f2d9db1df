"""Nuclei as other programs store them: label maps with a table of classes, outlines, JSON, the challenge's n-ary masks.

Each reader gives the same plain facts. A new form is a reader here and its ending in `find.FORMS`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.class_mapping import BY_NAME, PRESETS, ClassMapping
from napari_monusac.core.classes import AMBIGUOUS, IGNORED, NucleusClass
from napari_monusac.core.errors import FileProblem
from napari_monusac.core.files import whole_suffix
from napari_monusac.core.nuclei import Annotation
from napari_monusac.core.prediction import Nuclei
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.predictions.maskfiles import LABEL_SUFFIXES, read_labels
from napari_monusac.io.predictions.nary import read_nary
from napari_monusac.io.predictions.programs import ProgramFile, read_program_file, said_of
from napari_monusac.masks.lookup import majority_classes, measure
from napari_monusac.masks.rasterize import label_maps

#: What stands behind the crop's name in the names of label maps: ours, Cellpose's.
_MAP_ENDS = ("_instances", "_cp_masks", "_seg")
#: Largest number of a nucleus that is taken: maps are int32 in the window and in stores.
_MAX_LABEL = 2**31 - 1

_Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class ForeignNuclei:
    """The nuclei of a file that is none of ours.

    Attributes
    ----------
    instances : integers (y, x)
        Instance map, 0 is background; numbers may have gaps.
    classes : mapping
        Class number by nucleus; one that is not in it is unclassified.
    confidence : mapping
        0 to 1 by nucleus, as far as the file says it.
    um_per_px : float or None
        Scale that the file states.
    notes : tuple of str
        What the file leaves open.
    """

    instances: NDArray[np.integer]
    classes: Mapping[int, int]
    confidence: Mapping[int, float] = field(default_factory=dict)
    um_per_px: float | None = None
    notes: tuple[str, ...] = ()

    def nuclei(self, um_per_px: float | None = None, part: tuple[int, int, int, int] | None = None) -> Nuclei:
        """Measure them.

        Parameters
        ----------
        um_per_px : float, optional
            Scale of the map, by default what the file states.
        part : (y, x, height, width), optional
            Only what lies in this part of the map, px.
        """
        import pandas as pd

        um_per_px = um_per_px or self.um_per_px
        y, x, height, width = part or (0, 0, *self.instances.shape)
        instances = np.ascontiguousarray(self.instances[y : y + height, x : x + width], np.int32)
        ids, areas, centroids = measure(instances)
        classes = [NucleusClass(self.classes.get(k, NucleusClass.UNCLASSIFIED)) for k in ids.tolist()]
        table = pd.DataFrame(
            {
                "label": ids.astype(np.int32), "class": [c.label for c in classes],
                "class_id": np.array([int(c) for c in classes], np.uint8),
                "centroid_y": centroids[:, 0], "centroid_x": centroids[:, 1], "area_px": areas,
                "area_um2": areas * (np.nan if um_per_px is None else um_per_px**2),
            }
        )  # fmt: skip
        if self.confidence:
            table.insert(3, "confidence", [self.confidence.get(k, np.nan) for k in ids.tolist()])
        return Nuclei(instances, table, um_per_px, (y, x))


def read_foreign(
    path: Path, shape: _Shape | None, mapping: ClassMapping = BY_NAME, um_per_px: float | None = None
) -> ForeignNuclei:
    """Read the nuclei of a prediction that is no store of ours.

    Parameters
    ----------
    path : Path
        A label map (.tif, .png, .npy), an annotation file, JSON or .mat of another program, or a folder of n-ary masks.
    shape : (height, width), optional
        Of the crop, px: outlines are drawn into it, a map must have it. Without it outlines are drawn into as much as
        they need.
    mapping : ClassMapping
        What the file's classes mean.
    um_per_px : float, optional
        Scale of the crop: outlines of a file that says for which magnification they are come to its pixels.

    Raises
    ------
    MonusacError
        The file is damaged, not what its name says, or of another size than the crop.
    """
    found = _reader(path)(path, shape, mapping, um_per_px)
    if shape is not None and found.instances.shape != tuple(shape):
        (rows, columns), (height, width) = found.instances.shape, shape
        raise FileProblem(
            path, f"does not fit this crop: it is {rows} x {columns} px, the crop {height} x {width}",
            "choose the prediction of this crop, or predict it at its own size",
        )  # fmt: skip
    return found


_Reader = Callable[[Path, _Shape | None, ClassMapping, float | None], ForeignNuclei]


def _reader(path: Path) -> _Reader:
    suffix = whole_suffix(path).lower()
    if suffix in LABEL_SUFFIXES:
        return _label_map
    if suffix in (".mat", ".json", ".json.gz"):
        return _of_a_program
    return _nary if path.is_dir() else _outlines


def _label_map(path: Path, _: _Shape | None, mapping: ClassMapping, __: float | None) -> ForeignNuclei:
    """Instance map of an image file, classes from the .csv or the semantic map beside it (without either: unclassified)."""
    stem = path.name.removesuffix(path.suffix)
    stem = next((stem.removesuffix(end) for end in _MAP_ENDS if stem.endswith(end)), stem)
    instances, um_per_px = _labels_of(path, _MAX_LABEL)
    csv = path.with_name(f"{stem}.csv")
    if csv.is_file():
        said, confidence = _read_csv(csv, mapping)
        unmapped = ForeignNuclei(instances, {}, confidence, um_per_px, _not_in_table(csv, instances, said))
        return _classified(unmapped, said, mapping, path)
    for suffix in LABEL_SUFFIXES:
        semantic = path.with_name(f"{stem}_semantic{suffix}")
        if semantic.is_file():
            numbers = majority_classes(_classes_of(semantic, instances), instances)
            if mapping is BY_NAME:
                return ForeignNuclei(instances, numbers, um_per_px=um_per_px)
            named = {k: mapping.name_of(n) for k, n in numbers.items()}
            return _classified(ForeignNuclei(instances, {}, um_per_px=um_per_px), named, mapping, path)
    beside = f"{stem}.csv (label, class) or {stem}_semantic.tif"
    notes = (f"{path.name} has no classes: they would stand in {beside}",)
    return ForeignNuclei(instances, {}, um_per_px=um_per_px, notes=notes)


def _labels_of(path: Path, most: int) -> tuple[NDArray[np.integer], float | None]:
    labels, um_per_px = read_labels(path)
    highest = int(labels.max())
    if highest > most:
        raise FileProblem(path, f"holds the label {highest}", f"number its nuclei from 1 to {most}")
    return labels, um_per_px


def _classes_of(path: Path, instances: NDArray[np.integer]) -> NDArray[np.integer]:
    semantic, _ = _labels_of(path, int(NucleusClass.UNCLASSIFIED))
    if semantic.shape != instances.shape:
        raise FileProblem(path, f"is {semantic.shape}, its instances are {instances.shape}", "write both of one image")
    return semantic


def _not_in_table(path: Path, instances: NDArray[np.integer], classes: Mapping[int, Any]) -> tuple[str, ...]:
    lacking = int(np.isin(np.unique(instances[instances > 0]), list(classes), invert=True).sum())
    are = "nucleus has no row: it is" if lacking == 1 else "nuclei have no row: they are"
    return (f"{path.name}: {lacking} {are} unclassified",) if lacking else ()


def _outlines(path: Path, shape: _Shape | None, mapping: ClassMapping, _: float | None) -> ForeignNuclei:
    """Nuclei of an annotation file, drawn into the crop."""
    return _drawn(read_annotation(path), shape, mapping, path)


def _of_a_program(path: Path, shape: _Shape | None, mapping: ClassMapping, um_per_px: float | None) -> ForeignNuclei:
    """Nuclei of another program's file; of JSON that is none of theirs, of an annotation file."""
    found = read_program_file(path)
    if found is None:
        return _outlines(path, shape, mapping, um_per_px)
    if found.numbered:
        found = _named(found, mapping)
    if found.instances is not None:
        return _classified(ForeignNuclei(found.instances, {}), found.labels, mapping, path)
    annotation = found.annotation or Annotation(())
    notes: tuple[str, ...] = ()
    times = _times(found.um_per_px, um_per_px)
    if times != 1:
        annotation = _scaled(annotation, times)
        notes = (f"{path.name} is given for {found.magnification:g}x: its outlines are {times:g} times as large here",)
    drawn = _drawn(annotation, shape, mapping, path)
    return replace(drawn, notes=(*annotation.notes, *notes, *drawn.notes))


def _named(found: ProgramFile, mapping: ClassMapping) -> ProgramFile:
    """With the mapping's names of the numbers."""
    labels = {k: said_of(mapping, v, numbered=True) for k, v in found.labels.items()}
    annotation = found.annotation
    if annotation is not None:
        regions = (replace(r, label=said_of(mapping, r.label, numbered=True)) for r in annotation.regions)
        annotation = replace(annotation, regions=tuple(regions))
    return replace(found, annotation=annotation, labels=labels)


def _times(theirs: float | None, um_per_px: float | None) -> float:
    """How many px of the crop a px of the file is: a power of two, as magnifications are; 1 where nobody says."""
    if not theirs or not um_per_px:
        return 1.0
    return float(2.0 ** round(math.log2(theirs / um_per_px)))


def _scaled(annotation: Annotation, times: float) -> Annotation:
    """Outlines at another scale: pixel (0, 0) then covers the first ``times`` x ``times`` px."""
    regions = (replace(r, vertices=(r.vertices + 0.5) * times - 0.5) for r in annotation.regions)
    return replace(annotation, regions=tuple(regions))


def _drawn(annotation: Annotation, shape: _Shape | None, mapping: ClassMapping, path: Path) -> ForeignNuclei:
    """Outlines as an instance map, with what their classes mean; what is left out covers its pixels all the same."""
    if shape is None:
        corners = [r.vertices.max(0) for r in annotation.regions if len(r.vertices)]
        height, width = np.ceil(np.max(corners, 0)).astype(int).tolist() if corners else (0, 0)
        shape = (max(1, height + 1), max(1, width + 1))
    ambiguous = [mapping.meaning(r.label) == AMBIGUOUS for r in annotation.regions]
    drawn = replace(
        annotation,
        regions=tuple(
            replace(r, label=AMBIGUOUS if a else NucleusClass.UNCLASSIFIED.label)
            for r, a in zip(annotation.regions, ambiguous, strict=True)
        ),
    )
    nuclei = [
        r for r, d, a in zip(annotation.regions, drawn.regions, ambiguous, strict=True) if d.is_drawn and not a
    ]  # fmt: skip
    found = ForeignNuclei(
        instances=label_maps(drawn, shape).instances,
        classes={},
        confidence={k: n.confidence for k, n in enumerate(nuclei, 1) if n.confidence is not None},
        um_per_px=annotation.um_per_px,
    )
    return _classified(found, {k: n.label for k, n in enumerate(nuclei, 1)}, mapping, path)


def _classified(found: ForeignNuclei, said: Mapping[int, str], mapping: ClassMapping, path: Path) -> ForeignNuclei:
    """Nuclei of a map with what their classes mean; those that mean no nucleus are taken out of the map."""
    counts: Counter[str] = Counter()
    classes, out = {}, []
    present = set(np.unique(found.instances).tolist())
    for k, label in said.items():
        meaning = mapping.meaning(label)
        if k in present and (meaning is None or meaning == IGNORED):
            counts[label] += 1
        if meaning in (AMBIGUOUS, IGNORED):
            out.append(k)
        else:
            classes[k] = int(meaning) if isinstance(meaning, NucleusClass) else int(NucleusClass.UNCLASSIFIED)
    instances = np.where(np.isin(found.instances, out), 0, found.instances) if out else found.instances
    return replace(found, instances=instances, classes=classes, notes=(*found.notes, *_said(path, counts, mapping)))


def _said(path: Path, counts: Counter[str], mapping: ClassMapping) -> tuple[str, ...]:
    """What is left out, and which classes nobody knows."""
    out = {name: n for name, n in counts.items() if mapping.meaning(name) == IGNORED}
    unknown = {name: n for name, n in counts.items() if name not in out}
    notes = []
    if out:
        notes.append(f"{path.name}: {_listed(out)} left out, as {mapping.name!r} says")
    if unknown:
        presets = ", ".join(PRESETS)
        notes.append(
            f"{path.name}: {_listed(unknown)} without a class here: no class mapping names them (choose {presets}, or a file)"
        )
    return tuple(notes)


def _listed(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda one: -one[1])
    rest = f" and {len(most) - 6} more" if len(most) > 6 else ""
    total = sum(counts.values())
    named = ", ".join(f"{_kind(name)} {n}" for name, n in most[:6])
    return f"{total} {'nucleus' if total == 1 else 'nuclei'} ({named}{rest})"


def _kind(name: str) -> str:
    return f"type {name}" if name.isdecimal() else name or "no name"


def _nary(folder: Path, _: _Shape | None, __: ClassMapping, ___: float | None) -> ForeignNuclei:
    """Nuclei of the challenge's n-ary masks, numbered through over the classes; Ambiguous regions are none."""
    masks = read_nary(folder)
    return ForeignNuclei(masks.instances, {k: int(c) for k, c in masks.classes.items()})


# ------------------------------------------------------------------ tables of classes


def _read_csv(path: Path, mapping: ClassMapping) -> tuple[dict[int, str], dict[int, float]]:
    """Class by nucleus, as the mapping names it, and confidence by nucleus."""
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise FileProblem(path, f"is no table ({error})", "write label, class, confidence") from error
    if "label" not in table or not ({"class", "class_id"} & set(table)):
        raise FileProblem(path, f"has columns {', '.join(map(str, table))}", "it needs label and class")
    labels = [_whole_number(path, v) for v in table["label"].tolist()]
    twice = [k for k, n in Counter(labels).items() if n > 1]
    if twice:
        raise FileProblem(path, f"has the label {twice[0]} twice", "write one row a nucleus")
    values = table[
        "class_id" if ("class_id" in table and mapping is BY_NAME) or "class" not in table else "class"
    ].tolist()
    classes = [_class_name(path, v, mapping) for v in values]
    sure = [_confidence(path, v) for v in table["confidence"].tolist()] if "confidence" in table else []
    confidence = {k: v for k, v in zip(labels, sure, strict=False) if v is not None}
    return dict(zip(labels, classes, strict=True)), confidence


def _whole_number(path: Path, value: object) -> int:
    number = _number(value)
    if number is None or number != int(number) or not 0 < number <= _MAX_LABEL:
        raise FileProblem(path, f"has the label {value!r}", f"number the nuclei from 1 to {_MAX_LABEL}")
    return int(number)


def _confidence(path: Path, value: object) -> float | None:
    """A confidence; None where the cell is empty."""
    if value is None or value != value:
        return None
    number = _number(value)
    if number is None or not 0 <= number <= 1:
        raise FileProblem(path, f"has the confidence {value!r}", "write 0 to 1, or leave it empty")
    return number


def _number(value: object) -> float | None:
    """A finite number, None for all else."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _class_name(path: Path, value: object, mapping: ClassMapping) -> str:
    number = _number(value)
    if mapping is not BY_NAME:
        return str(value) if number is None or number != int(number) else mapping.name_of(int(number))
    known = NucleusClass.from_label(value) if isinstance(value, str) else None
    if known is None:
        if number is None or number not in tuple(NucleusClass):
            raise FileProblem(
                path, f"has the class {value!r}", "use the class names or 1 to 4, or choose a class mapping"
            )
        known = NucleusClass(int(number))
    return known.label
