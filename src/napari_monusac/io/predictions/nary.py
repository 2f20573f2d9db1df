"""The challenge's own mask layout: ``<patient>/<crop>/<class name>/<n>_mask.mat``, key ``n_ary_mask``.

Source: Verma et al., MoNuSAC2020, ``n-ary_mask_generation.ipynb`` and ``PQ_metric.ipynb``: the organisers' scorer walks
the truth's class folders and takes the first file of the same folder of a prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, NucleusClass
from napari_monusac.core.errors import AnnotationError, ShapeError
from napari_monusac.core.files import atomic_write
from napari_monusac.io.annotations.bounds import DEFAULT_BOUNDS, too_many
from napari_monusac.io.annotations.rle import MAX_MASK_PX
from napari_monusac.io.predictions.maskfiles import plain_name
from napari_monusac.io.predictions.matlab import MatError, MatTooLarge, read_array

_KEY = "n_ary_mask"
#: SciPy writes the hour and the platform there: the same masks are the same bytes.
_HEADER = b"MATLAB 5.0 MAT-file, napari-monusac".ljust(116)
_NAMES = (*(c.label for c in CLASSES), AMBIGUOUS)
_READ = (*_NAMES, NucleusClass.UNCLASSIFIED.label)


@dataclass(frozen=True, slots=True, eq=False)
class NaryMasks:
    """The masks of one crop.

    Attributes
    ----------
    instances : int32 (y, x)
        All classes in one map, numbered 1..n, class after class in the challenge's order; where nuclei of two classes
        overlap, the later class lies on top.
    classes : mapping of int to NucleusClass
        Class of each instance.
    ignore : bool (y, x)
        Ambiguous regions.
    """

    instances: NDArray[np.int32]
    classes: Mapping[int, NucleusClass]
    ignore: NDArray[np.bool_]


def nary_maps(
    instances: NDArray[np.integer], classes: Mapping[int, int], ignore: NDArray[np.bool_] | None = None
) -> tuple[dict[str, NDArray[np.int32]], tuple[int, ...]]:
    """Split an instance map by class.

    Parameters
    ----------
    instances : integer (y, x)
        0 background, any positive value a nucleus.
    classes : mapping of label to class
        `NucleusClass` of each label.
    ignore : bool (y, x), optional
        Ambiguous regions (the truth has them; a prediction has none).

    Returns
    -------
    maps : dict of str to int32 (y, x)
        By class name, classes without a nucleus left out; labels keep their numbers.
    left_out : tuple of int
        Labels without one of the four classes, which the layout cannot hold.
    """
    labels = np.unique(instances[instances > 0]).tolist()
    maps: dict[str, NDArray[np.int32]] = {}
    for kind in CLASSES:
        own = [k for k in labels if classes.get(k) == kind]
        if own:
            maps[kind.label] = np.where(np.isin(instances, own), instances, 0).astype(np.int32)
    if ignore is not None and ignore.any():
        maps[AMBIGUOUS] = ignore.astype(np.int32)
    return maps, tuple(k for k in labels if classes.get(k) not in CLASSES)


def write_nary(root: str | Path, patient: str, crop: str, maps: Mapping[str, NDArray[np.integer]]) -> tuple[Path, ...]:
    """Write the masks of one crop in the challenge's layout.

    Parameters
    ----------
    root : str or Path
        The folder that holds the patients; made where it does not exist.
    patient, crop : str
        Names of the two folders below.
    maps : mapping of class name to integer (y, x)
        One number a nucleus (see `nary_maps`); names are those of the four classes, and ``Ambiguous``.

    Returns
    -------
    tuple of Path
        The files that were written.

    Raises
    ------
    AnnotationError
        A name cannot be a folder's name or is no class of the challenge, or the disk refuses.
    ShapeError
        The maps differ in shape.
    """
    root = Path(root)
    folder = root / plain_name(patient, root) / plain_name(crop, root)
    unknown = [name for name in maps if name not in _NAMES]
    if unknown:
        raise AnnotationError(folder, f"{unknown[0][:40]!r} is no class of the challenge", f"use {', '.join(_NAMES)}")
    if len({m.shape for m in maps.values()}) > 1:
        raise ShapeError(f"the masks of {crop} differ in shape", "make all of them from one image")
    written = []
    for name, labels in maps.items():
        path = folder / name / f"{_NAMES.index(name) + 1}_mask.mat"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                scipy.io.savemat(temporary, {_KEY: labels.astype(np.int32)}, format="5", do_compression=True)
                with temporary.open("rb+") as file:
                    file.write(_HEADER)
        except OSError as error:
            raise AnnotationError(path, f"cannot be written: {error.strerror}", "choose another folder") from error
        written.append(path)
    return tuple(written)


def read_nary(folder: str | Path, shape: tuple[int, int] | None = None) -> NaryMasks:
    """Read the masks of one crop, within bounds.

    Parameters
    ----------
    folder : str or Path
        ``<patient>/<crop>``; see `mask_files`.
    shape : (int, int), optional
        Height and width in px that the masks must have; needed where the folder holds no mask at all.

    Raises
    ------
    AnnotationError
        A mask is missing, damaged, of another shape, or twice there.
    """
    folder = Path(folder)
    masks = [(name, path, _read_mask(path)) for name, path in mask_files(folder)]
    for (_, path, mask), (_, other, same) in combinations(masks, 2):
        if path.parent == other.parent and np.array_equal(mask, same):  # a file also bears the time when it was written
            count = sum(p.parent == path.parent for _, p, _ in masks)
            raise AnnotationError(path.parent, f"holds {count} masks, some of them the same", "leave one of each")
    size = tuple(shape) if shape is not None else masks[0][2].shape if masks else None
    if size is None:
        raise AnnotationError(folder, "holds no mask of a class", "choose <patient>/<crop> of the challenge's layout")
    instances, ignore = np.zeros(size, np.int32), np.zeros(size, np.bool_)
    classes: dict[int, NucleusClass] = {}
    for name, path, mask in masks:
        if mask.shape != size:
            raise AnnotationError(path, f"has the shape {mask.shape}, not {size}", "choose the masks of one crop")
        if name == AMBIGUOUS:
            ignore |= mask > 0
            continue
        inside = mask > 0
        _, dense = np.unique(mask[inside], return_inverse=True)
        start = len(classes) + 1
        instances[inside] = dense.ravel() + start
        count = int(dense.max(initial=-1)) + 1
        kind = NucleusClass.from_label(name) or NucleusClass.UNCLASSIFIED
        classes.update(dict.fromkeys(range(start, start + count), kind))
    return NaryMasks(instances, classes, ignore)


def mask_files(folder: str | Path) -> tuple[tuple[str, Path], ...]:
    """Find the masks of a crop's folder: class (or Ambiguous) and file, in the challenge's order of classes.

    A class may have several files, as where its nuclei lie in several layers.

    Raises
    ------
    AnnotationError
        A folder of masks bears the name of no class.
    """
    found: list[tuple[int, Path]] = []
    folder = Path(folder)
    for inner in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ():
        files = sorted(inner.glob("*.mat"))
        if not files:
            continue
        kind = NucleusClass.from_label(inner.name)
        name = AMBIGUOUS if inner.name.casefold() == AMBIGUOUS.casefold() else kind.label if kind is not None else ""
        if name not in _READ:
            raise AnnotationError(inner, "holds masks but bears the name of no class", f"use {', '.join(_NAMES)}")
        found += [(_READ.index(name), path) for path in files]
    return tuple((_READ[at], path) for at, path in sorted(found, key=lambda one: one[0]))


def _read_mask(path: Path) -> NDArray[np.int64]:
    if path.stat().st_size > DEFAULT_BOUNDS.max_bytes:
        raise too_many(path, "bytes", DEFAULT_BOUNDS.max_bytes)
    try:
        mask = read_array(path, _KEY, MAX_MASK_PX)
    except MatTooLarge as error:
        raise too_many(path, "px", MAX_MASK_PX) from error
    except (MatError, OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(path, f"is no n-ary mask ({reason})", "write it again, as MATLAB v5") from error
    if mask is None or mask.ndim != 2 or not mask.size:
        raise AnnotationError(path, f"has no map under {_KEY!r}", "choose a mask of the challenge's layout")
    # NaN fails this comparison too
    whole: NDArray[np.int64] | None = mask.astype(np.int64) if ((mask >= 0) & (mask < 2**31)).all() else None
    if whole is None or (whole != mask).any():
        wrong = mask[~((mask >= 0) & (mask < 2**31) & (mask == np.floor(mask)))].ravel()[0]
        raise AnnotationError(path, f"holds the value {wrong:g}, no number of a nucleus", "use whole numbers from 0")
    return whole
