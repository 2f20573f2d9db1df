"""Predictions of a folder, in any of the forms that people have them in.

For a crop named NAME one of these is looked for, anywhere under the folder, in this order:

- ``NAME.zarr`` (ours: probabilities and nuclei)
- ``NAME_instances.tif``, or ``NAME.tif`` with ``NAME.csv`` or ``NAME_semantic.tif`` beside it. The CSV has a row a
  nucleus: ``label``, ``class`` (name or number), ``confidence`` (optional).
- ``NAME.xml`` (Aperio ImageScope), ``NAME.geojson`` (QuPath; also packed, ``.geojson.gz``)
- ``NAME/<class name>/*.mat`` (the challenge's n-ary masks)
- ``NAME.tif`` alone, where it is a label map (StarDist, Cellpose): its nuclei have no class
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import FileProblem
from napari_monusac.core.training_crops import TrainingCrops
from napari_monusac.io.outputs import REVIEW_FOLDER as REVIEW_FOLDER
from napari_monusac.io.predictions.maskfiles import is_label_map, read_labels
from napari_monusac.io.predictions.nary import read_nary
from napari_monusac.scoring.metrics.panoptic import classes_by_id

if TYPE_CHECKING:
    from napari_monusac.io.predictions.store_info import StoreInfo

_LABEL_SUFFIXES = (".tif", ".tiff")
_FORMS = (".zarr", "_instances.tif", "_instances.tiff", ".tif", ".tiff", ".xml", ".geojson", ".geojson.gz", "/")
#: For a person whose predictions are not found.
FORMS_IN_WORDS = (
    "NAME.zarr, NAME_instances.tif or NAME.tif (label map; classes in NAME.csv with label and class, or in "
    "NAME_semantic.tif), NAME.xml, NAME.geojson, or NAME/<class>/*.mat, NAME being that of the crop"
)
#: Largest number of a nucleus that is taken: maps are int32 in the window and in stores.
_MAX_LABEL = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class PredictedNuclei:
    """The nuclei that a prediction holds.

    Attributes
    ----------
    instances : integers (y, x)
        Instance map.
    classes : mapping
        Class number by id.
    confidence : mapping
        0 to 1 by id; empty where the form has none.
    semantic, ternary : uint8 (y, x) or None
        The network's own maps, where the form has them.
    offset_px : tuple of int
        (y, x) of the maps' first pixel in the crop.
    boundary_width : int or None
        Width of the boundary in `ternary`, px; None where the form has no such map.
    fingerprint, checkpoint : str
        What they were made with, where the form says so.
    trained_on : TrainingCrops or None
        The crops that the model was trained on, where the form says so.
    table : pandas.DataFrame or None
        One row a nucleus with class probabilities and uncertainty, where the form has it.
    info : StoreInfo or None
        What a store of ours says of itself, its image above all.
    notes : tuple of str
        What should be said of it.
    """

    instances: NDArray[Any]
    classes: Mapping[int, int]
    confidence: Mapping[int, float] = field(default_factory=dict)
    semantic: NDArray[np.uint8] | None = None
    ternary: NDArray[np.uint8] | None = None
    offset_px: tuple[int, int] = (0, 0)
    boundary_width: int | None = None
    fingerprint: str = ""
    checkpoint: str = ""
    trained_on: TrainingCrops | None = None
    table: Any = None
    info: StoreInfo | None = None
    notes: tuple[str, ...] = ()


class PredictionFolder:
    """Finds and reads the predictions of a folder.

    Raises
    ------
    FileProblem
        There is no such folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileProblem(self.root, "is no folder", "give the folder that holds the predictions")
        self._paths: dict[str, Path] = {}
        for folder, names, files in os.walk(self.root):
            here = Path(folder)
            for name in [*names, *files]:
                path = here / name
                end = "/" if name in names and not name.endswith(".zarr") else ""
                self._paths.setdefault(name + end, path)
                self._paths.setdefault(path.relative_to(self.root).as_posix() + end, path)
            names[:] = sorted(n for n in names if not n.startswith(".") and not n.endswith((".zarr", REVIEW_FOLDER)))

    def find(self, crop: str, *others: str) -> Path | None:
        """The prediction of a crop, by its name or by `others` that it may have; None where there is none.

        A name with folders in it (crops of the same name) is never looked for by its last part: another has it too.
        """
        for name in (crop, crop.replace("/", "_"), *others):
            for form in _FORMS:
                path = self._paths.get(name + form)
                if path is not None and self._is_prediction(name, form, path):
                    return path
        for name in (crop, crop.replace("/", "_"), *others):
            for suffix in _LABEL_SUFFIXES:  # last: it may be an image all the same
                path = self._paths.get(name + suffix)
                if path is not None and is_label_map(path):
                    return path
        return None

    def _is_prediction(self, name: str, form: str, path: Path) -> bool:
        if form == "/":
            return any(path.glob("*/*.mat"))
        if form in _LABEL_SUFFIXES:  # an image of that name is no prediction, unless its classes lie beside it
            return any(name + beside in self._paths for beside in (".csv", "_semantic.tif", "_semantic.tiff"))
        return True

    def read(self, path: Path, shape: tuple[int, int]) -> PredictedNuclei:
        """Read what `find` found; `shape` is that of the crop, for forms that hold outlines.

        Raises
        ------
        MonusacError
            The file is damaged or not what its name says.
        """
        if path.suffix == ".zarr":
            return read_store(path)
        if path.suffix in _LABEL_SUFFIXES:
            return read_label_tif(path)
        return read_mat_folder(path)[0] if path.is_dir() else read_outlines(path, shape)


def read_store(path: Path) -> PredictedNuclei:
    """Nuclei of a stored prediction; segmented here where that was not done yet.

    Raises
    ------
    StoreError
        The store is missing, foreign or damaged.
    """
    from napari_monusac.io.predictions.store import PredictionStore, read_prediction, read_stored_nuclei
    from napari_monusac.masks.instances import instances_from_maps

    info = PredictionStore.open(path).info
    prediction = read_prediction(path)
    stored = read_stored_nuclei(path)
    if stored is None:
        nuclei = instances_from_maps(
            prediction.semantic,
            prediction.ternary,
            boundary_width=prediction.boundary_width,
            um_per_px=prediction.um_per_px,
        )
        stored = nuclei.instances, nuclei.table
    instances, table = stored
    labels = table["label"].to_numpy(np.int64).tolist()
    return PredictedNuclei(
        instances=instances,
        classes=dict(zip(labels, table["class_id"].to_numpy(np.int64).tolist(), strict=True)),
        confidence=dict(zip(labels, table["confidence"].to_numpy(np.float64).tolist(), strict=True)),
        semantic=prediction.semantic_map,
        ternary=prediction.ternary_map,
        offset_px=prediction.offset_px,
        boundary_width=prediction.boundary_width,
        fingerprint=prediction.fingerprint,
        checkpoint=prediction.checkpoint,
        trained_on=prediction.trained_on,
        table=table,
        info=info,
    )


def read_label_tif(path: Path) -> PredictedNuclei:
    """Instance map of a .tif, classes from the .csv or the semantic .tif beside it (without either: unclassified).

    Raises
    ------
    FileProblem
        A file is no image of whole numbers, or its table cannot be used.
    """
    stem = path.name.removesuffix(path.suffix).removesuffix("_instances")
    instances = _labels_of(path, _MAX_LABEL)
    csv = path.with_name(f"{stem}.csv")
    if csv.is_file():
        classes, confidence = _read_csv(csv)
        return PredictedNuclei(instances, classes, confidence, notes=_not_in_table(csv, instances, classes))
    for suffix in _LABEL_SUFFIXES:
        semantic = path.with_name(f"{stem}_semantic{suffix}")
        if semantic.is_file():
            return PredictedNuclei(instances, classes_by_id(_classes_of(semantic, instances), instances))
    beside = f"{stem}.csv (label, class) or {stem}_semantic.tif"
    return PredictedNuclei(instances, {}, notes=(f"{path.name} has no classes: they would stand in {beside}",))


def _labels_of(path: Path, most: int) -> NDArray[Any]:
    labels, _ = read_labels(path)
    highest = int(labels.max())
    if highest > most:
        raise FileProblem(path, f"holds the label {highest}", f"number its nuclei from 1 to {most}")
    return labels


def _classes_of(path: Path, instances: NDArray[Any]) -> NDArray[Any]:
    semantic = _labels_of(path, int(NucleusClass.UNCLASSIFIED))
    if semantic.shape != instances.shape:
        raise FileProblem(path, f"is {semantic.shape}, its instances are {instances.shape}", "write both of one image")
    return semantic


def _not_in_table(path: Path, instances: NDArray[Any], classes: Mapping[int, int]) -> tuple[str, ...]:
    lacking = int(np.isin(np.unique(instances[instances > 0]), list(classes), invert=True).sum())
    are = "nucleus has no row: it is" if lacking == 1 else "nuclei have no row: they are"
    return (f"{path.name}: {lacking} {are} unclassified",) if lacking else ()


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


def read_outlines(path: Path, shape: tuple[int, int]) -> PredictedNuclei:
    """Nuclei of an annotation file, drawn into the crop.

    Raises
    ------
    AnnotationError
        The file is damaged or hostile.
    """
    from napari_monusac.io.annotations.files import read_annotation
    from napari_monusac.masks.rasterize import label_maps

    annotation = read_annotation(path)
    nuclei = list(enumerate(annotation.nuclei, 1))
    return PredictedNuclei(
        instances=label_maps(annotation, shape).instances,
        classes={k: int(n.nucleus_class) for k, n in nuclei},
        confidence={k: n.confidence for k, n in nuclei if n.confidence is not None},
    )


def read_mat_folder(folder: Path) -> tuple[PredictedNuclei, NDArray[np.bool_]]:
    """Nuclei of the challenge's n-ary masks, numbered through over the classes, and the Ambiguous regions.

    Raises
    ------
    AnnotationError
        There is none, a file is damaged, or two differ in shape.
    """
    masks = read_nary(folder)
    return PredictedNuclei(masks.instances, {k: int(c) for k, c in masks.classes.items()}), masks.ignore


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their names."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
