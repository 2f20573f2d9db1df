"""Label maps: .tif files that know their resolution, .png and .npy of other programs."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_monusac.core.errors import AnnotationError, ShapeError
from napari_monusac.core.files import atomic_write
from napari_monusac.io.annotations.bounds import too_many
from napari_monusac.io.outputs import MARK
from napari_monusac.io.predictions.pickled import read_npy_labels

#: Endings of label maps that are read.
LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")
_UM_PER_CM = 10_000
_UM_PER_UNIT = {2: 25_400, 3: _UM_PER_CM}
_BAD_NAME = re.compile(r'[\x00-\x1f/\\:*?"<>|]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_MAX_NAME = 200
#: Largest map that is read, px.
MAX_LABELS_PX = 1 << 28
#: Largest number of a nucleus.
MAX_LABEL = 2**32 - 1
#: What tifffile and its codecs raise for files that are no TIFFs, or damaged ones.
TIFF_DAMAGE = (
    OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, EOFError, ArithmeticError,
    MemoryError, struct.error, zlib.error, tifffile.TiffFileError,
)  # fmt: skip
_PNG_DAMAGE = (OSError, ValueError, TypeError, SyntaxError, EOFError, MemoryError, struct.error, zlib.error)
_MAP_MEND = "choose a label map: one (y, x) page of whole numbers from 0"


def plain_name(name: str, folder: Path) -> str:
    """Return `name` if it can be the name of a file in `folder` on every system.

    Raises
    ------
    AnnotationError
        It is empty, leads elsewhere (``..``, slashes, drives), or some system forbids it.
    """
    stripped = name.strip(" .")
    if (
        not stripped
        or stripped != name.rstrip(" .")
        or _BAD_NAME.search(name)
        or _RESERVED.fullmatch(name)
        or len(name) > _MAX_NAME
    ):
        raise AnnotationError(folder, f"{name[:80]!r} cannot be a file name", "rename the crop or the patient")
    return name


def write_labels(
    labels: NDArray[Any],
    path: str | Path,
    um_per_px: float | None = None,
    offset_px: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Write a label map as a compressed .tif, whole or not at all.

    Parameters
    ----------
    labels : bool or integer (y, x)
        0 or above. Stored as uint8 where it is so or bool, else as uint16, or uint32 above 65535.
    path : str or Path
        The file; replaced if it exists. Its folder is made.
    um_per_px : float, optional
        Micrometres per px, stored as the TIFF's resolution (px per cm), which Fiji and QuPath read.
    offset_px : (float, float)
        (y, x) of the map's first pixel in the image, of a map of a part of it: stored as ``offset_px`` in the
        description, and in the tags XPosition and YPosition (cm with a scale, else px), which hold nothing below 0.

    Raises
    ------
    ShapeError
        `labels` is no (y, x) map of whole numbers, or has negative values.
    AnnotationError
        The disk refuses.
    """
    path = Path(path)
    stored = _smallest(labels)
    resolution = None if not um_per_px else (_UM_PER_CM / um_per_px, _UM_PER_CM / um_per_px)
    about: dict[str, Any] = {"axes": "YX", "writer": MARK}
    if any(offset_px):
        about["offset_px"] = [float(v) for v in offset_px]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            tifffile.imwrite(
                temporary, stored, photometric="minisblack", compression="zlib", predictor=True,
                resolution=resolution, resolutionunit="CENTIMETER" if resolution else None, metadata=about,
                extratags=_position(offset_px, (um_per_px or _UM_PER_CM) / _UM_PER_CM),
            )  # fmt: skip
    except OSError as error:
        raise AnnotationError(path, f"cannot be written: {error.strerror}", "choose another folder") from error


def _position(offset_px: tuple[float, float], unit_per_px: float) -> list[tuple[int, int, int, tuple[int, int], bool]]:
    """The tags XPosition (286) and YPosition (287), fractions in the unit of the resolution; none at the origin."""
    y, x = offset_px
    if not (x or y) or min(x, y) < 0:
        return []
    values = ((tag, Fraction(v * unit_per_px).limit_denominator(1 << 20)) for tag, v in ((286, x), (287, y)))
    return [(tag, 5, 1, (value.numerator, value.denominator), True) for tag, value in values]


def read_labels(path: str | Path) -> tuple[NDArray[np.integer[Any]], float | None]:
    """Read a label map, within bounds.

    Returns
    -------
    labels : integer (y, x)
        As stored; 0 or above. Of floats (Fiji's 32-bit label images) the whole numbers that they are. Of Cellpose's
        ``_seg.npy`` the masks.
    um_per_px : float or None
        Where the file states a resolution.

    Raises
    ------
    HostileFileError
        It states more than `MAX_LABELS_PX` pixels.
    AnnotationError
        It cannot be read, is no single map of whole numbers, or holds negative or huge labels.
    """
    path = Path(path)
    labels, um_per_px = _READERS.get(path.suffix.lower(), _read_tiff)(path)
    labels = np.squeeze(labels) if labels.ndim > 2 else labels
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "biuf":
        raise AnnotationError(path, f"holds {labels.dtype} of shape {labels.shape}", _MAP_MEND)
    if labels.dtype.kind == "f":
        odd = labels[~(np.isfinite(labels) & (labels == np.rint(labels)))]
        if odd.size:
            raise AnnotationError(
                path, f"holds the value {odd[0]:g}, no number of a nucleus", "use whole numbers from 0"
            )
        labels = labels.astype(np.int64) if (np.abs(labels) <= MAX_LABEL).all() else labels
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > MAX_LABEL:
        wrong = low if low < 0 else high
        raise AnnotationError(path, f"holds the label {wrong}", f"number its nuclei from 1 to {MAX_LABEL}")
    return labels, um_per_px


def _read_tiff(path: Path) -> tuple[NDArray[Any], float | None]:
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            kind = _kind(series)
            # the stated size first: compressed zeros need next to no bytes
            if kind == "" and series.size > MAX_LABELS_PX:
                raise too_many(path, "px", MAX_LABELS_PX)
            labels = np.asarray(series.asarray()) if kind == "" else np.zeros((0, 0), np.uint8)
            um_per_px = _um_per_px(file.pages.first)
    except TIFF_DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise AnnotationError(path, f"cannot be read as .tif: {reason}", "write it again") from error
    if kind:
        raise AnnotationError(path, kind, _MAP_MEND)
    return labels, um_per_px


def _read_png(path: Path) -> tuple[NDArray[Any], float | None]:
    from PIL import Image

    try:
        with Image.open(path) as file:
            if file.size[0] * file.size[1] > MAX_LABELS_PX:
                raise too_many(path, "px", MAX_LABELS_PX)
            if not _is_plain(file):
                raise AnnotationError(path, f"is an image ({file.mode}), no label map", _MAP_MEND)
            return np.asarray(file), None
    except _PNG_DAMAGE as error:
        raise AnnotationError(path, f"cannot be read as .png ({str(error)[:80]})", "write it again") from error


def _is_plain(file: Any) -> bool:
    """Whether an open image has one number a pixel: grey, or numbers of a palette."""
    return file.mode in ("1", "L", "P") or file.mode.startswith("I")


def _read_npy(path: Path) -> tuple[NDArray[Any], float | None]:
    return read_npy_labels(path, MAX_LABELS_PX), None


_READERS = {".png": _read_png, ".npy": _read_npy}


def is_label_map(path: str | Path) -> bool:
    """Whether a file may be a label map by its header: one page of one channel. No pixel is read."""
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return True
    if path.suffix.lower() == ".png":
        return _is_plain_png(path)
    try:
        with tifffile.TiffFile(path) as file:
            return _kind(file.series[0]) == ""
    except TIFF_DAMAGE:
        return False


def _is_plain_png(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as file:
            return _is_plain(file)
    except _PNG_DAMAGE:
        return False


def _kind(series: Any) -> str:
    """Why a series of a TIFF is no label map; empty where it may be one."""
    shape, kind = tuple(series.shape), np.dtype(series.dtype).kind
    if len(shape) != 2 or not series.size or kind not in "biuf":
        return f"holds {series.dtype} of shape {shape}"
    return ""


def write_masks(
    folder: str | Path, name: str, maps: Mapping[str, NDArray[Any]], um_per_px: float | None = None
) -> dict[str, Path]:
    """Write the maps of one crop beside each other: ``<folder>/<name>_<kind>.tif``.

    Parameters
    ----------
    folder : str or Path
        Made where it does not exist.
    name : str
        Name of the crop.
    maps : mapping of str to (y, x) arrays
        By kind, usually ``instances``, ``semantic``, ``ternary``, ``ignore``; all of one shape.
    um_per_px : float, optional
        Micrometres per px.

    Returns
    -------
    dict of str to Path
        The files, by kind.

    Raises
    ------
    ShapeError
        The maps differ in shape, or one is no label map.
    AnnotationError
        `name` cannot be a file name, or the disk refuses.
    """
    folder = Path(folder)
    shapes = {kind: labels.shape for kind, labels in maps.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(f"the maps of {name} differ in shape: {shapes}", "make all of them from one image")
    plain_name(name, folder)
    files = {kind: folder / plain_name(f"{name}_{kind}.tif", folder) for kind in maps}
    for kind, labels in maps.items():
        write_labels(labels, files[kind], um_per_px)
    return files


def _smallest(labels: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
    if labels.ndim != 2 or labels.dtype.kind not in "biu" or not labels.size:
        raise ShapeError(f"labels are {labels.dtype} of shape {labels.shape}", "pass a (y, x) map of whole numbers")
    if labels.dtype in (np.bool_, np.uint8):
        return labels.astype(np.uint8)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > np.iinfo(np.uint32).max:
        raise ShapeError(f"labels run from {low} to {high}", "number them from 0 to 4294967295")
    return labels.astype(np.uint16 if high <= np.iinfo(np.uint16).max else np.uint32)


def _um_per_px(page: Any) -> float | None:
    tags = page.tags
    unit = tags["ResolutionUnit"].value if "ResolutionUnit" in tags else 2
    if "XResolution" not in tags or int(unit) not in _UM_PER_UNIT:
        return None
    above, below = tags["XResolution"].value
    # tifffile writes 1 / 1 with unit NONE where no resolution is known
    return _UM_PER_UNIT[int(unit)] * below / above if above and below else None
