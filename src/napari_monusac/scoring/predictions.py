"""Predictions of a folder, in any of the forms that people have them in.

For a crop named NAME one of these is looked for, anywhere under the folder, in this order:

- ``NAME.zarr`` (ours: probabilities and nuclei)
- ``NAME_instances.tif``, or ``NAME.tif`` with ``NAME.csv`` or ``NAME_semantic.tif`` beside it. The CSV has a row a
  nucleus: ``label``, ``class`` (name or number), ``confidence`` (optional).
- ``NAME.xml`` (Aperio ImageScope), ``NAME.geojson`` (QuPath)
- ``NAME/<class name>/*.mat`` (the challenge's n-ary masks)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import AMBIGUOUS, NucleusClass
from napari_monusac.core.errors import FileProblem
from napari_monusac.core.training_crops import TrainingCrops
from napari_monusac.io.outputs import REVIEW_FOLDER as REVIEW_FOLDER
from napari_monusac.scoring.panoptic import classes_by_id

_LABEL_SUFFIXES = (".tif", ".tiff")
_FORMS = (".zarr", "_instances.tif", "_instances.tiff", ".tif", ".tiff", ".xml", ".geojson", "/")


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
        One row a nucleus with class probabilities and doubt, where the form has it.
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
        return None

    def _is_prediction(self, name: str, form: str, path: Path) -> bool:
        if form == "/":
            return bool(_mat_files(path))
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
    """Nuclei of a stored prediction; separated here where that was not done yet.

    Raises
    ------
    StoreError
        The store is missing, foreign or damaged.
    """
    from napari_monusac.io.store import read_prediction, read_stored_nuclei
    from napari_monusac.masks.instances import instances_from_maps

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
    )


def read_label_tif(path: Path) -> PredictedNuclei:
    """Instance map of a .tif, classes from the .csv or the semantic .tif beside it (without either: unclassified).

    Raises
    ------
    FileProblem
        A file is no image of whole numbers, or its table lacks a column.
    """
    stem = path.name.removesuffix(path.suffix).removesuffix("_instances")
    instances = _read_tif(path)
    csv = path.with_name(f"{stem}.csv")
    if csv.is_file():
        classes, confidence = _read_csv(csv)
        return PredictedNuclei(instances, classes, confidence)
    for suffix in _LABEL_SUFFIXES:
        semantic = path.with_name(f"{stem}_semantic{suffix}")
        if semantic.is_file():
            return PredictedNuclei(instances, classes_by_id(_read_tif(semantic), instances))
    return PredictedNuclei(instances, {})


def _read_tif(path: Path) -> NDArray[Any]:
    import tifffile

    try:
        values = tifffile.imread(path)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise FileProblem(path, f"cannot be read ({error})", "write it again") from error
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise FileProblem(path, f"holds {values.dtype} {values.shape}", "write an instance map (y, x) of integers")
    return np.asarray(values)


def _read_csv(path: Path) -> tuple[dict[int, int], dict[int, float]]:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise FileProblem(path, f"is no table ({error})", "write label, class, confidence") from error
    if "label" not in table or not ({"class", "class_id"} & set(table)):
        raise FileProblem(path, f"has columns {', '.join(map(str, table))}", "it needs label and class")
    labels = table["label"].astype(int).tolist()
    classes = [_class_number(path, v) for v in table["class_id" if "class_id" in table else "class"].tolist()]
    confidence = table["confidence"].astype(float).tolist() if "confidence" in table else []
    return dict(zip(labels, classes, strict=True)), dict(zip(labels, confidence, strict=False))


def _class_number(path: Path, value: object) -> int:
    known = NucleusClass.from_label(value) if isinstance(value, str) else None
    if known is None:
        try:
            known = NucleusClass(int(str(value)))
        except ValueError:
            raise FileProblem(path, f"has the class {value!r}", "use the class names or 1 to 4") from None
    return int(known)


def read_outlines(path: Path, shape: tuple[int, int]) -> PredictedNuclei:
    """Nuclei of an annotation file, drawn into the crop.

    Raises
    ------
    AnnotationError
        The file is damaged or hostile.
    """
    from napari_monusac.io.annotations import read_annotation
    from napari_monusac.masks.rasterize import label_maps

    annotation = read_annotation(path)
    nuclei = list(enumerate(annotation.nuclei, 1))
    return PredictedNuclei(
        instances=label_maps(annotation, shape).instances,
        classes={k: int(n.nucleus_class) for k, n in nuclei},
        confidence={k: n.confidence for k, n in nuclei if n.confidence is not None},
    )


def _mat_files(folder: Path) -> list[tuple[str, Path]]:
    """Class name and file of every n-ary mask in a crop's folder."""
    found = []
    for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
        if inner.name == AMBIGUOUS or NucleusClass.from_label(inner.name) is not None:
            found += [(inner.name, file) for file in sorted(inner.glob("*.mat"))]
    return found


def read_mat_folder(folder: Path) -> tuple[PredictedNuclei, NDArray[np.bool_]]:
    """Nuclei of the challenge's n-ary masks, numbered through over the classes, and the Ambiguous regions.

    Raises
    ------
    FileProblem
        There is none, a file is damaged, or two differ in shape.
    """
    instances: NDArray[np.int32] | None = None
    ignore = np.zeros((0, 0), bool)
    classes: dict[int, int] = {}
    for name, path in _mat_files(folder):
        mask = _read_mat(path)
        if instances is None:
            instances, ignore = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, bool)
        if mask.shape != instances.shape:
            raise FileProblem(path, f"is {mask.shape}, others of this crop are {instances.shape}", "write them again")
        if name == AMBIGUOUS:
            ignore |= mask > 0
            continue
        ids, index = np.unique(mask[mask > 0], return_inverse=True)
        first = len(classes) + 1
        instances[mask > 0] = index.ravel() + first
        classes |= dict.fromkeys(range(first, first + len(ids)), int(NucleusClass.from_label(name) or 255))
    if instances is None:
        raise FileProblem(folder, "holds no n-ary mask", "expected <class name>/<number>_mask.mat")
    return PredictedNuclei(instances, classes), ignore


def _read_mat(path: Path) -> NDArray[Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return np.asarray(loadmat(path)["n_ary_mask"])
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError, MatReadError) as error:
        raise FileProblem(path, f"is no n-ary mask ({error})", "expected MATLAB v5 with n_ary_mask") from error


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
