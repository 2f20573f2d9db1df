"""Reading JSON that strangers wrote: bounded, and refusing what is no JSON."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.files import atomic_write_bytes
from napari_monusac.core.geometry import Outline
from napari_monusac.io.annotations.bounds import Bounds, read_bounded, too_many

#: Names of a probability in files of this program, of StarDist (in QuPath), CellViT, tiatoolbox and COCO.
_CONFIDENCES = (
    "confidence", "detection probability", "probability", "prob", "type_prob", "type probability", "class probability", "score",
)  # fmt: skip


def load_json(path: Path, bounds: Bounds) -> Any:
    """Read a JSON file.

    Raises
    ------
    AnnotationError
        It cannot be read or is no JSON. NaN and Infinity, which QuPath writes for measurements, are numbers here: whoever
        takes a number looks whether it is finite.
    HostileFileError
        It is too large or nested too deeply.
    """
    content = _unpacked(read_bounded(path, bounds), path, bounds)
    if not content.strip():
        raise AnnotationError(path, f"is empty ({len(content)} bytes)", "export it again")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise HostileFileError(path, "nested too deeply", "open it only if you trust it") from error
    except ValueError as error:
        raise AnnotationError(path, f"no JSON: {error}", "export it again") from error


def _unpacked(content: bytes, path: Path, bounds: Bounds) -> bytes:
    """What a gzip file holds, within bounds; any other content as it is."""
    if content[:2] == b"PK":
        raise AnnotationError(path, "is a zip archive", "unpack it")
    if content[:2] != b"\x1f\x8b":
        return content
    stream = zlib.decompressobj(wbits=31)
    try:
        unpacked = stream.decompress(content, bounds.max_bytes + 1)
    except zlib.error as error:
        raise AnnotationError(path, f"is damaged gzip: {error}", "export it again") from error
    if len(unpacked) > bounds.max_bytes:
        raise too_many(path, "bytes", bounds.max_bytes)
    if not stream.eof:
        raise AnnotationError(path, "is damaged gzip: its end is missing", "export it again")
    return unpacked


def save_json(path: Path, content: Any, *, allow_nan: bool = False) -> None:
    """Write a JSON file, whole or not at all.

    Parameters
    ----------
    path : Path
        The file; replaced if it exists. Packed where its suffix is ``.gz``.
    content : Any
        What to write.
    allow_nan : bool
        Write NaN and Infinity as QuPath does, for measurements that were read.

    Raises
    ------
    AnnotationError
        A number is not finite, or the disk refuses.
    """
    try:
        text = json.dumps(content, allow_nan=allow_nan, ensure_ascii=False, separators=(",", ":"))
        content_bytes = text.encode("utf-8")
        atomic_write_bytes(
            path, gzip.compress(content_bytes, mtime=0) if path.suffix.lower() == ".gz" else content_bytes
        )
    except OSError as error:
        raise AnnotationError(path, f"cannot be written: {error.strerror}", "choose another folder") from error
    except ValueError as error:
        raise AnnotationError(path, f"not written: {error}", "correct the coordinates or the names") from error


def numbers(values: Any, path: Path, where: str, bounds: Bounds) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A JSON list (or list of lists) of numbers as an array.

    Raises
    ------
    AnnotationError
        It is ragged, or holds anything but finite numbers within `bounds`.
    """
    try:
        array = np.array(values)
    except (ValueError, OverflowError) as error:
        raise AnnotationError(path, f"{where}: the coordinates are ragged", "export it again") from error
    if array.size and array.dtype.kind not in "iuf":
        raise AnnotationError(path, f"{where}: a coordinate is no number", "export it again")
    array = array.astype(np.float64)
    if not (np.abs(array) <= bounds.max_coordinate_px).all():
        raise AnnotationError(path, f"{where}: a coordinate is beyond {bounds.max_coordinate_px:.0f} px", "correct it")
    return array


def xy_pairs(outline: Outline) -> list[list[float]]:
    """An outline (y, x) as JSON's [[x, y], ...], whole numbers without a point."""
    return [[int(x) if x.is_integer() else x, int(y) if y.is_integer() else y] for y, x in outline.tolist()]


def hovernet_nuclei(content: Any) -> dict[str, Any] | None:
    """Return the nuclei of HoVer-Net's JSON, by their numbers: under ``nuc``, of tiles of older versions at the top.

    Returns
    -------
    dict or None
        None where it is none of HoVer-Net's.
    """
    nuclei = content.get("nuc", content) if isinstance(content, dict) else None
    if not isinstance(nuclei, dict):
        return None
    first = next(iter(nuclei.values()), None)
    ours = isinstance(first, dict) and "contour" in first
    return nuclei if ours or (not nuclei and "nuc" in content) else None


def confidence_in(properties: Mapping[str, Any]) -> float | None:
    """How sure a program was of an object (0 to 1): our ``confidence``, StarDist's, CellViT's or tiatoolbox's probability.

    Parameters
    ----------
    properties : mapping
        Of a Feature or a COCO annotation; its ``measurements`` (an object, or QuPath's older list of name and value) are
        looked at first, then its own members.
    """
    measurements = properties.get("measurements")
    if isinstance(measurements, list):
        measurements = {str(m.get("name")): m.get("value") for m in measurements if isinstance(m, dict)}
    for holder in (measurements, properties):
        known = {k.strip().casefold(): v for k, v in holder.items()} if isinstance(holder, Mapping) else {}
        for name in _CONFIDENCES:
            value = known.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
                return float(value)
    return None
