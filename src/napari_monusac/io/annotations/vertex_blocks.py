"""The fast lane of the Aperio reader: plain blocks of vertices, parsed all at once.

Nearly all bytes of an ImageScope file stand in blocks such as ``<Vertex X="461" Y="414" Z="0"/><Vertex .../>...``, and
of a HALO file in blocks of ``<V X="461" Y="414"/>``. A block that is nothing but one such element repeated, with
nothing but decimal numbers between its quotes, is cut out before the XML parser sees the file and parsed with NumPy.
Everything else is left in place for the parser, so the result is the same; files in which the bytes ``<Vertices>``
might mean something else are left whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Attribute that marks where a block was cut out; files that use it themselves are left whole.
CUT = "monusac-cut"

_OPEN, _CLOSE = b"<Vertices>", b"</Vertices>"
_NUMBER_BYTES = b"0123456789.-"
_ELEMENT = re.compile(rb'[ \t\r\n]*<V(?:ertex)? X="" Y=""( Z="")?[ \t\r\n]*/>')
_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml\s[^<>]*\?>)?")
_ENCODING = re.compile(rb"encoding\s*=\s*[\"']([^\"']*)[\"']")
_ASCII_LIKE = {b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1", b"windows-1252", b"cp1252"}
_QUOTE = ord('"')
#: Longer numbers would not fit the fast integer arithmetic.
_MAX_DIGITS = 15
_POWERS = 10.0 ** np.arange(_MAX_DIGITS + 1)


@dataclass(frozen=True, slots=True)
class CutFile:
    """A file without its plain vertex blocks.

    Attributes
    ----------
    skeleton : bytes
        XML in which ``<Vertices monusac-cut="k">`` stands for block k.
    blocks : list of bytes
        The blocks, to the letter.
    vertices : list of float64 (n, 2)
        Their coordinates as (y, x), read-only.
    """

    skeleton: bytes
    blocks: list[bytes]
    vertices: list[NDArray[np.float64]]

    @property
    def largest(self) -> float:
        """Magnitude of the largest coordinate of the cut blocks."""
        return float(np.abs(np.concatenate(self.vertices)).max(initial=0)) if self.vertices else 0.0


def has_more_vertices(content: bytes, limit: int) -> bool:
    """Whether a file has more than `limit` vertices in the usual spelling: a cheap look before anything is parsed."""
    shortest = len(b'<V X="1" Y="1"/>')
    return len(content) > limit * shortest and content.count(b"<Vertex ") + content.count(b"<V ") > limit


def cut_vertices(content: bytes) -> CutFile:
    """Cut the plain vertex blocks out of an ImageScope file (see the module's docstring)."""
    whole = CutFile(content, [], [])
    if not _means_what_it_says(content):
        return whole
    pieces, blocks, forms = _split(content)
    vertices = _numbers(blocks, forms)
    if vertices is None:
        return whole
    return CutFile(b"".join(pieces), blocks, vertices)


def _means_what_it_says(content: bytes) -> bool:
    """Whether ``<Vertices>`` can only be an element: no comment, CDATA, DOCTYPE, instruction or odd encoding."""
    prolog = _PROLOG.match(content)
    end = prolog.end() if prolog else 0
    encoding = _ENCODING.search(content, 0, end)
    return (
        (encoding is None or encoding[1].lower() in _ASCII_LIKE)
        and not _has(content, b"!", b"<!")
        and not _has(content, b"?", b"<?", end)
        and not _has(content, b"u", CUT.encode())
    )


def _has(content: bytes, rare: bytes, sought: bytes, start: int = 0) -> bool:
    """Whether `sought` occurs; its `rare` byte is looked for first, for that is many times faster."""
    return content.find(rare, start) >= 0 and content.find(sought, start) >= 0


def _split(content: bytes) -> tuple[list[bytes], list[bytes], list[tuple[int, int]]]:
    """Pieces of the skeleton, the plain blocks, and the form of each (see `_form`)."""
    pieces: list[bytes] = []
    blocks: list[bytes] = []
    forms: list[tuple[int, int]] = []
    done = 0
    while (start := content.find(_OPEN, done)) >= 0:
        start += len(_OPEN)
        end = content.find(_CLOSE, start)
        if end < 0:
            break
        block = content[start:end]
        form = _form(block)
        if form is not None:
            pieces += [content[done : start - 1], b' %s="%d">' % (CUT.encode(), len(blocks))]
            blocks.append(block)
            forms.append(form)
        else:
            pieces.append(content[done:end])
        done = end
    pieces.append(content[done:])
    return pieces, blocks, forms


def _form(block: bytes) -> tuple[int, int] | None:
    """(numbers a vertex, vertices) where the block is one element repeated, up to the numbers; else None."""
    rest = block.translate(None, _NUMBER_BYTES)
    match = _ELEMENT.match(rest)
    if match is None:
        return None
    element = match[0]
    count = len(rest) // len(element)
    plain = element * count
    if not rest.startswith(plain) or rest[len(plain) :].strip(b" \t\r\n"):
        return None
    return (3 if match[1] else 2), count


def _numbers(blocks: list[bytes], forms: list[tuple[int, int]]) -> list[NDArray[np.float64]] | None:
    """Coordinates of each block; None where something between quotes is no number, or a digit stands outside."""
    vertices: list[NDArray[np.float64]] = [np.empty((0, 2))] * len(blocks)
    for stride in {stride for stride, _ in forms}:
        which = [k for k, form in enumerate(forms) if form[0] == stride]
        text = b"".join([blocks[k] for k in which])
        quotes = np.flatnonzero(np.frombuffer(text, np.uint8) == _QUOTE).reshape(-1, stride, 2)
        lengths = quotes[:, :, 1] - quotes[:, :, 0] - 1
        if lengths.sum() != len(text) - len(text.translate(None, _NUMBER_BYTES)) or (lengths == 0).any():
            return None
        xy = _parsed(text, quotes, lengths)
        if xy is None:
            return None
        yx = np.ascontiguousarray(xy[:, ::-1])
        yx.setflags(write=False)
        ends = np.cumsum([forms[k][1] for k in which]).tolist()
        for k, start, end in zip(which, [0, *ends], ends, strict=False):
            vertices[k] = yx[start:end]
    return vertices


def _parsed(text: bytes, quotes: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """X and Y of each vertex; None where one is no number."""
    length = lengths[:, :2]
    if int(length.max(initial=0)) <= _MAX_DIGITS:
        return _decimals(text, quotes[:, :2, 0] + 1, length)
    words = text.split(b'"')
    stride = 2 * lengths.shape[1]
    try:
        # digits, points and minus signs only: float() takes no more of them than XML's decimals
        return np.array([list(map(float, words[1::stride])), list(map(float, words[3::stride]))]).T
    except ValueError:
        return None


def _decimals(text: bytes, first: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Decimal numbers of at most `_MAX_DIGITS` characters; None where one has two points, a late minus or no digit.

    All digits make a whole number below 2**53, and the quotient of that and a power of ten is rounded once: the result
    is the float that `float` gives.
    """
    width = int(length.max(initial=0))
    codes = np.frombuffer(text + bytes(width), np.uint8)
    points, signs = b"." in text, b"-" in text
    value = np.zeros(first.shape, np.int64)
    behind = np.zeros(first.shape, np.int64)
    point = np.zeros(first.shape, np.bool_)
    odd = np.zeros(first.shape, np.bool_)
    for place in range(width):
        code = codes[first + place]
        live = place < length
        digit = code - np.uint8(ord("0"))
        is_digit = live & (digit < 10)
        value = np.where(is_digit, value * 10 + digit, value)
        if points:
            here = live & (code == ord("."))
            odd |= here & point
            point |= here
            behind += is_digit & point
        if signs and place:
            odd |= live & (code == ord("-"))
    negative = codes[first] == ord("-")
    if odd.any() or (length - point - negative < 1).any():
        return None
    number = value / _POWERS[behind] if points else value.astype(np.float64)
    return np.where(negative, -number, number) if signs else number
