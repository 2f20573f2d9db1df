"""Reading JSON that strangers wrote: bounded, and refusing what is no JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.geometry import Outline
from napari_monusac.io.bounds import Bounds, read_bounded


def load_json(path: Path, bounds: Bounds) -> Any:
    """Read a JSON file.

    Raises
    ------
    AnnotationError
        It cannot be read or is no JSON (NaN and Infinity are none).
    HostileFileError
        It is too large or nested too deeply.
    """
    content = read_bounded(path, bounds)
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise HostileFileError(path, "nested too deeply", "open it only if you trust it") from error
    except ValueError as error:
        raise AnnotationError(path, f"no JSON: {error}", "export it again") from error


def save_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all.

    Raises
    ------
    AnnotationError
        A number is not finite, or the disk refuses.
    """
    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        atomic_write_text(path, text)
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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
