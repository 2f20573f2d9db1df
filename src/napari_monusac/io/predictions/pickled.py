"""The label map in Cellpose's ``NAME_seg.npy``, which is a pickle: read without running anything that it names.

NumPy's reader would import and call whatever the file asks for. Here each name in it stands for an inert note of what was
to be called with what, and only plain arrays of numbers are made of such notes.

Source: CellPose, "Outputs" (``_seg.npy``); NumPy enhancement proposal 1; Python, ``pickle`` ("Restricting globals").
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import tokenize
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import AnnotationError

_MEND = "save the masks as .tif or .png (NAME_cp_masks.tif)"
#: Largest file that is read.
_MOST_BYTES = 1 << 31
#: What a damaged pickle may raise.
_DAMAGE = (
    pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    MemoryError, RecursionError, ImportError, UnicodeError, SyntaxError, tokenize.TokenError,
)  # fmt: skip


class _Note:
    """What a pickle wanted to call, with what, and what it wanted to put in."""

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments, self.state = name, arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Name:
    """A name in a pickle; calling it notes that."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> _Note:
        return _Note(self.name, arguments)


class _Notes(pickle.Unpickler):
    def find_class(self, _module: str, name: str) -> Any:
        return _Name(name)


def read_npy_labels(path: Path, most_px: int) -> NDArray[Any]:
    """Read the label map of a ``.npy``: a plain array, or the ``masks`` of Cellpose's ``_seg.npy``.

    Parameters
    ----------
    path : Path
        The file.
    most_px : int
        Pixels that the map may have.

    Returns
    -------
    array
        As stored.

    Raises
    ------
    AnnotationError
        It cannot be read, is no such file, or holds no map.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise AnnotationError(path, f"is larger than {_MOST_BYTES >> 30} GiB", _MEND)
        with path.open("rb") as file:
            shape, dtype, fortran = _header(file)
            if not dtype.hasobject:
                if math.prod(shape) > most_px:
                    raise AnnotationError(path, f"holds {math.prod(shape)} values", _MEND)
                values = np.fromfile(file, dtype, math.prod(shape))
                return values.reshape(shape, order="F" if fortran else "C")
            content = file.read()
        return _masks(_unpickled(content), most_px)
    except OSError as error:
        raise AnnotationError(path, f"cannot be read ({error.strerror or error})", _MEND) from error
    except _DAMAGE as error:
        raise AnnotationError(path, f"holds no label map ({str(error)[:80] or type(error).__name__})", _MEND) from error


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, dtype, fortran


def _unpickled(content: bytes) -> Any:
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        # what it keeps is numbered in turn: a huge number would fill the memory
        if "PUT" in operation.name and isinstance(argument, int) and argument > count:
            raise ValueError("damaged pickle")
    return _Notes(io.BytesIO(content)).load()


def _masks(found: Any, most_px: int) -> NDArray[Any]:
    """The masks in what was noted: an array that holds one dictionary."""
    content = found.state[4] if isinstance(found, _Note) and isinstance(found.state, tuple) else None
    held = content[0] if isinstance(content, list) and len(content) == 1 else None
    if not isinstance(held, dict) or "masks" not in held:
        raise ValueError("it has no 'masks'")
    return _array(held["masks"], most_px)


def _array(note: Any, most_px: int) -> NDArray[Any]:
    """A plain array of numbers of what was noted of it: its bytes, type, shape and order."""
    content, kind, shape, order = _parts(note)
    dtype = _dtype(kind)
    sides = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sides or not isinstance(content, bytes | bytearray) or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError("its bytes do not fit its shape")
    if math.prod(shape) > most_px:
        raise ValueError(f"it has {math.prod(shape)} px")
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _parts(note: Any) -> tuple[Any, Any, Any, Literal["C", "F"]]:
    """Bytes, type, shape and order, as NumPy's two ways to pickle an array have them."""
    if isinstance(note, _Note) and note.name == "_reconstruct" and isinstance(note.state, tuple):
        _, shape, kind, fortran, content = note.state
        return content, kind, shape, "F" if fortran else "C"
    if isinstance(note, _Note) and note.name == "_frombuffer":
        content, kind, shape, order = note.arguments
        return content, kind, shape, "F" if order == "F" else "C"
    raise ValueError("'masks' is no array")


def _dtype(note: Any) -> np.dtype[Any]:
    code = note.arguments[0] if isinstance(note, _Note) and note.name == "dtype" and note.arguments else ""
    if not isinstance(code, str) or code not in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "f4", "f8"):
        raise ValueError(f"numbers of the type {str(code)[:20]!r}")
    order = note.state[1] if isinstance(note.state, tuple) and len(note.state) > 1 else "|"
    return np.dtype(f"{order}{code}" if order in ("<", ">") else code)
