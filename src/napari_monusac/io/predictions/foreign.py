"""Nuclei as other programs store them: label maps with a table of classes, outlines, the challenge's n-ary masks.

Each reader gives the same plain facts. A new form is a reader here and its ending in `find.FORMS`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import FileProblem
from napari_monusac.core.prediction import Nuclei
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.predictions.maskfiles import read_labels
from napari_monusac.io.predictions.nary import read_nary
from napari_monusac.masks.lookup import majority_classes, measure
from napari_monusac.masks.rasterize import label_maps

LABEL_SUFFIXES = (".tif", ".tiff")
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


def read_foreign(path: Path, shape: _Shape | None) -> ForeignNuclei:
    """Read the nuclei of a prediction that is no store of ours.

    Parameters
    ----------
    path : Path
        A label map (.tif), an annotation file, or a folder of n-ary masks.
    shape : (height, width), optional
        Of the crop, px: outlines are drawn into it, a map must have it. Without it outlines are drawn into as much as
        they need.

    Raises
    ------
    MonusacError
        The file is damaged, not what its name says, or of another size than the crop.
    """
    found = _reader(path)(path, shape)
    if shape is not None and found.instances.shape != tuple(shape):
        (rows, columns), (height, width) = found.instances.shape, shape
        raise FileProblem(
            path, f"does not fit this crop: it is {rows} x {columns} px, the crop {height} x {width}",
            "choose the prediction of this crop, or predict it at its own size",
        )  # fmt: skip
    return found


def _reader(path: Path) -> Callable[[Path, _Shape | None], ForeignNuclei]:
    if path.suffix.lower() in LABEL_SUFFIXES:
        return _label_map
    return _nary if path.is_dir() else _outlines


def _label_map(path: Path, _: _Shape | None) -> ForeignNuclei:
    """Instance map of a .tif, classes from the .csv or the semantic .tif beside it (without either: unclassified)."""
    stem = path.name.removesuffix(path.suffix).removesuffix("_instances")
    instances, um_per_px = _labels_of(path, _MAX_LABEL)
    csv = path.with_name(f"{stem}.csv")
    if csv.is_file():
        classes, confidence = _read_csv(csv)
        return ForeignNuclei(instances, classes, confidence, um_per_px, _not_in_table(csv, instances, classes))
    for suffix in LABEL_SUFFIXES:
        semantic = path.with_name(f"{stem}_semantic{suffix}")
        if semantic.is_file():
            classes = majority_classes(_classes_of(semantic, instances), instances)
            return ForeignNuclei(instances, classes, um_per_px=um_per_px)
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


def _not_in_table(path: Path, instances: NDArray[np.integer], classes: Mapping[int, int]) -> tuple[str, ...]:
    lacking = int(np.isin(np.unique(instances[instances > 0]), list(classes), invert=True).sum())
    are = "nucleus has no row: it is" if lacking == 1 else "nuclei have no row: they are"
    return (f"{path.name}: {lacking} {are} unclassified",) if lacking else ()


def _outlines(path: Path, shape: _Shape | None) -> ForeignNuclei:
    """Nuclei of an annotation file, drawn into the crop."""
    annotation = read_annotation(path)
    if shape is None:
        corners = [r.vertices.max(0) for r in annotation.regions if len(r.vertices)]
        height, width = np.ceil(np.max(corners, 0)).astype(int).tolist() if corners else (0, 0)
        shape = (max(1, height + 1), max(1, width + 1))
    nuclei = list(enumerate(annotation.nuclei, 1))
    return ForeignNuclei(
        instances=label_maps(annotation, shape).instances,
        classes={k: int(n.nucleus_class) for k, n in nuclei},
        confidence={k: n.confidence for k, n in nuclei if n.confidence is not None},
        um_per_px=annotation.um_per_px,
    )


def _nary(folder: Path, _: _Shape | None) -> ForeignNuclei:
    """Nuclei of the challenge's n-ary masks, numbered through over the classes; Ambiguous regions are none."""
    masks = read_nary(folder)
    return ForeignNuclei(masks.instances, {k: int(c) for k, c in masks.classes.items()})


# ------------------------------------------------------------------ tables of classes


def _read_csv(path: Path) -> tuple[dict[int, int], dict[int, float]]:
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
    classes = [_class_number(path, v) for v in table["class_id" if "class_id" in table else "class"].tolist()]
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


def _class_number(path: Path, value: object) -> int:
    known = NucleusClass.from_label(value) if isinstance(value, str) else None
    if known is None:
        number = _number(value)
        if number is None or number not in tuple(NucleusClass):
            raise FileProblem(path, f"has the class {value!r}", "use the class names or 1 to 4")
        known = NucleusClass(int(number))
    return int(known)
