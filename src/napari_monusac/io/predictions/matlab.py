"""One numeric array of a MATLAB v5 file, within bounds.

SciPy's reader trusts what a file states of itself: a few changed bytes end the process (segmentation fault), and with it
a window full of work. This one reads plain numeric arrays and nothing else.

Source: MathWorks, "MAT-File Format" (level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES = 128
#: What stands before the values of an array takes less.
_HEAD_BYTES = 2**16
_MATRIX, _COMPRESSED = 14, 15
#: Types of stored values, by their number.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 16: "function", 17: "object"}
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800


class MatError(ValueError):
    """It is no MATLAB v5 file, it is damaged, or it holds something else under that name."""


class MatTooLarge(MatError):
    """The array is larger than the bound."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What a file states of an array, and where its values begin."""

    name: str
    kind: int
    is_complex: bool
    dims: tuple[int, ...]
    values: int


class _Element:
    """An array of the file, unpacked no further than it is asked for."""

    def __init__(self, body: memoryview, order: Literal["<", ">"], *, packed: bool) -> None:
        self._order, self._inflater = order, zlib.decompressobj() if packed else None
        self._rest: bytes | memoryview = body
        self._known = b"" if packed else bytes(body)

    def upto(self, size: int) -> bytes:
        """Return the first bytes: as many as are asked for, or all there are."""
        while self._inflater is not None and len(self._known) < size and not self._inflater.eof:
            more = self._inflater.decompress(self._rest, size - len(self._known))
            self._rest = self._inflater.unconsumed_tail
            if not more:
                break
            self._known += more
        return self._known[:size]

    def tag(self, at: int) -> tuple[int, int, int, int]:
        """Return type, bytes, where the content begins, and where the next element does."""
        (word,) = struct.unpack_from(f"{self._order}I", self.upto(at + 4), at)
        if word >> 16:  # up to four bytes within the tag
            return word & 0xFFFF, word >> 16, at + 4, at + 8
        (size,) = struct.unpack_from(f"{self._order}I", self.upto(at + 8), at + 4)
        return word, size, at + 8, at + 8 + size + -size % 8

    def head(self) -> _Head | None:
        """Return what is stated of an array; None where it is none."""
        kind, _, at, _ = self.tag(0)
        if kind != _MATRIX:
            return None
        kind, size, start, at = self.tag(at)
        if kind != 6 or size != 8:
            raise MatError("an array without flags")
        (flags,) = struct.unpack_from(f"{self._order}I", self.upto(start + 4), start)
        kind, size, start, at = self.tag(at)
        if kind != 5 or not 8 <= size <= 4 * 32 or size % 4:
            raise MatError("an array without a shape")
        dims = struct.unpack_from(f"{self._order}{size // 4}i", self.upto(start + size), start)
        kind, size, start, at = self.tag(at)
        if kind != 1 or start + size > _HEAD_BYTES:
            raise MatError("an array without a name")
        name = self.upto(start + size)[start:].decode("latin-1")
        return _Head(name, flags & 0xFF, bool(flags & _COMPLEX), dims, at)

    def values(self, head: _Head, most: int) -> NDArray[np.number[Any]]:
        """Return the values of a numeric array."""
        if head.kind not in _NUMERIC:
            raise MatError(f"a {_CLASSES.get(head.kind, 'thing of an unknown kind')}, no array of numbers")
        if head.is_complex:
            raise MatError("complex numbers")
        count = math.prod(head.dims)
        if min(head.dims) < 0:
            raise MatError(f"the shape {head.dims}")
        if count > most:
            raise MatTooLarge(f"{count} values")
        kind, size, start, _ = self.tag(head.values)
        if kind not in _STORED or size != count * np.dtype(_STORED[kind]).itemsize:
            raise MatError(f"{size} bytes of values for the shape {head.dims}")
        content = self.upto(start + size)
        if len(content) < start + size:
            raise MatError("fewer values than stated")
        flat = np.frombuffer(content, np.dtype(_STORED[kind]).newbyteorder(self._order), count, start)
        return flat.reshape(head.dims, order="F")


def read_array(path: Path, name: str, most: int) -> NDArray[np.number[Any]] | None:
    """Read one array of a MATLAB v5 file.

    Parameters
    ----------
    path : Path
        The file; it is read whole.
    name : str
        The variable.
    most : int
        Values that it may have.

    Returns
    -------
    array or None
        In the type that it is stored in; None where there is none of that name.

    Raises
    ------
    MatError
        It is no such file, it is damaged, or it holds something else under that name; nothing was unpacked for it.
    OSError
        The file cannot be read.
    """
    content = memoryview(path.read_bytes())
    mark = bytes(content[126:128])
    if len(content) < _HEADER_BYTES or mark not in (b"IM", b"MI"):
        raise MatError("no MATLAB v5 file")
    order: Literal["<", ">"] = "<" if mark == b"IM" else ">"
    (version,) = struct.unpack_from(f"{order}H", content, 124)
    if version >> 8 != 1:
        raise MatError("a MATLAB v7.3 file" if version >> 8 == 2 else "no MATLAB v5 file")
    at = _HEADER_BYTES
    try:
        while at < len(content):
            kind, size = struct.unpack_from(f"{order}II", content, at)
            end = at + 8 + size
            if end > len(content):
                raise MatError("it is cut off")
            packed = kind == _COMPRESSED
            element = _Element(content[at + 8 if packed else at : end], order, packed=packed)
            head = element.head()
            if head is not None and head.name == name:
                return element.values(head, most)
            at = end
    except (struct.error, zlib.error) as error:
        raise MatError(f"it is damaged: {error}") from error
    return None
