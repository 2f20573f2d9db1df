"""Fill many polygons at once, pixel for pixel as `skimage.draw.polygon` does one.

`skimage.draw.polygon` asks for every pixel of a bounding box whether it lies inside (O'Rourke 1998, *Computational
Geometry in C*, 7.4): it counts the edges that cross the pixel's row to its right and, with the other half-open rule, to
its left. A pixel belongs to the polygon where one of both counts is odd, or where a vertex lies on it. Here each
crossing is found once per row and flips all pixels behind it, for all polygons in one go: same arithmetic, same pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import ShapeError
from napari_monusac.core.geometry import Outline

Ints = NDArray[np.int64]
Coordinates = NDArray[np.float64]

#: Pixels of bounding boxes that are worked on at a time: bounds the memory (about 60 bytes a pixel at worst).
CHUNK_PX = 1 << 22
#: Coordinates beyond this are refused: the arithmetic needs digits left for fractions of a pixel.
MAX_COORDINATE_PX = 1e7
#: Within this distance skimage holds a pixel to be a vertex.
_EPSILON = 1e-12
_RIGHT, _LEFT, _VERTEX = np.uint8(1), np.uint8(2), np.uint8(4)


@dataclass(frozen=True, slots=True)
class _Bands:
    """Strips of bounding boxes: one a polygon, several where a polygon is huge. All arrays have one value a strip."""

    polygon: Ints
    row0: Ints
    row1: Ints
    col0: Ints
    col1: Ints

    @property
    def stride(self) -> Ints:
        """Columns of a strip, and one more that takes the crossings beyond its right end."""
        return self.col1 - self.col0 + 2

    @property
    def size(self) -> Ints:
        return (self.row1 - self.row0 + 1) * self.stride

    def __getitem__(self, which: slice) -> _Bands:
        return _Bands(
            self.polygon[which], self.row0[which], self.row1[which], self.col0[which], self.col1[which]
        )  # fmt: skip


def box_areas(polygons: Sequence[Outline], shape: tuple[int, int]) -> int:
    """Sum of the polygons' bounding boxes in px, clipped to `shape`: what filling them will cost."""
    if not polygons:
        return 0
    return int(_bands(_joined(polygons), _lengths(polygons), shape).size.sum())


def fill_polygons(polygons: Sequence[Outline], shape: tuple[int, int]) -> Iterator[tuple[Ints, NDArray[np.int32]]]:
    """Yield the pixels inside the polygons, in their order.

    Parameters
    ----------
    polygons : sequence of float64 (n, 2)
        Outlines as (y, x), open or closed, n >= 1.
    shape : (int, int)
        Height and width in px: pixels outside are left out.

    Yields
    ------
    pixels : int64 (m,)
        Flat (C order) indices into an array of `shape`.
    polygon : int32 (m,)
        Index into `polygons` of each of these pixels, never falling from one item to the next.

    Raises
    ------
    ShapeError
        An outline is not (n, 2), or a coordinate is not finite or beyond `MAX_COORDINATE_PX`.
    """
    if not polygons:
        return
    lengths = _lengths(polygons)
    vertices = _joined(polygons)
    first = np.cumsum(lengths) - lengths
    bands = _bands(vertices, lengths, shape)
    ends = np.cumsum(bands.size)
    start = 0
    while start < len(ends):
        base = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + CHUNK_PX, side="right")))
        yield _fill(vertices, first, lengths, bands[start:stop], shape[1])
        start = stop


def _joined(polygons: Sequence[Outline]) -> Coordinates:
    wrong = next((p.shape for p in polygons if p.ndim != 2 or p.shape[1] != 2 or not len(p)), None)
    if wrong is not None:
        raise ShapeError(f"an outline has the shape {wrong}", "pass (n, 2) vertices as (y, x)")
    vertices = np.concatenate(polygons).astype(np.float64, copy=False)
    if not (np.abs(vertices) <= MAX_COORDINATE_PX).all():
        raise ShapeError(
            f"an outline has a coordinate that is no number or beyond {MAX_COORDINATE_PX:.0f} px",
            "pass vertices in pixels of the image",
        )
    return vertices


def _lengths(polygons: Sequence[Outline]) -> Ints:
    return np.fromiter((len(p) for p in polygons), np.int64, len(polygons))


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """``concatenate([arange(s, s + c) for s, c in zip(starts, counts)])``."""
    shift = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    shift += np.arange(len(shift))
    return shift


def _bands(vertices: Coordinates, lengths: Ints, shape: tuple[int, int]) -> _Bands:
    """Bounding boxes as skimage takes them, cut to strips of at most `CHUNK_PX`; those outside the image left out."""
    first = np.cumsum(lengths) - lengths
    low = np.floor(np.maximum(0, np.minimum.reduceat(vertices, first))).astype(np.int64)
    high = np.ceil(np.maximum.reduceat(vertices, first)).astype(np.int64)
    high = np.minimum(high, np.array(shape) - 1)
    seen = np.flatnonzero((high >= low).all(1))
    low, high = low[seen], high[seen]
    rows = high[:, 0] - low[:, 0] + 1
    step = np.maximum(1, CHUNK_PX // (high[:, 1] - low[:, 1] + 2))
    strips = -(-rows // step)
    of = np.repeat(np.arange(len(seen)), strips)
    row0 = low[of, 0] + _ranges(np.zeros_like(strips), strips) * step[of]
    return _Bands(seen[of], row0, np.minimum(row0 + step[of] - 1, high[of, 0]), low[of, 1], high[of, 1])


def _fill(
    vertices: Coordinates, first: Ints, lengths: Ints, bands: _Bands, width: int
) -> tuple[Ints, NDArray[np.int32]]:
    """Pixels of `bands`; see `fill_polygons`."""
    base = np.cumsum(bands.size) - bands.size
    flags = np.zeros(int(bands.size.sum()), np.uint8)
    counts = lengths[bands.polygon]
    band = np.repeat(np.arange(len(counts)), counts)
    now = _ranges(first[bands.polygon], counts)
    before = now - 1
    before[np.cumsum(counts) - counts] += counts
    _flip_crossings(flags, vertices[now], vertices[before], bands, base, band)
    np.bitwise_xor.accumulate(flags, out=flags)
    _set_vertices(flags, vertices[now], bands, base, band)
    return _pixels(flags, bands, base, width)


def _flip_crossings(
    flags: NDArray[np.uint8], a: Coordinates, b: Coordinates, bands: _Bands, base: Ints, band: Ints
) -> None:
    """Flip, for each edge from b to a and each row that it meets, the first pixel on the far side of the crossing."""
    low, high = np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 0], b[:, 0])
    row0 = np.maximum(np.ceil(low).astype(np.int64), bands.row0[band])
    row1 = np.minimum(np.floor(high).astype(np.int64), bands.row1[band])
    edge = np.flatnonzero((row1 >= row0) & (low < high))
    counts = row1[edge] - row0[edge] + 1
    row = _ranges(row0[edge], counts)
    edge = np.repeat(edge, counts)
    a, b, band, low, high = a[edge], b[edge], band[edge], low[edge], high[edge]
    y0, y1 = a[:, 0] - row, b[:, 0] - row
    # the column nearest to the crossing is the only one whose side needs skimage's own arithmetic
    near = np.rint(b[:, 1] - y1 * (a[:, 1] - b[:, 1]) / (a[:, 0] - b[:, 0]))
    side = ((a[:, 1] - near) * y1 - (b[:, 1] - near) * y0) / (y1 - y0)
    near = near.astype(np.int64)
    col0, beyond = bands.col0[band], bands.col1[band] + 1
    start = base[band] + (row - bands.row0[band]) * bands.stride[band] - col0
    right = row < high
    to = start + np.clip(near + (side > 0), col0, beyond)
    np.bitwise_xor.at(flags, to[right], _RIGHT)
    left = row > low
    to = start + np.clip(near + (side >= 0), col0, beyond)
    np.bitwise_xor.at(flags, to[left], _LEFT)


def _set_vertices(flags: NDArray[np.uint8], vertices: Coordinates, bands: _Bands, base: Ints, band: Ints) -> None:
    """Mark pixels that a vertex lies on."""
    nearest = np.rint(vertices)
    row, col = nearest.astype(np.int64).T
    on = (np.abs(vertices - nearest) < _EPSILON).all(1)
    on &= (row >= bands.row0[band]) & (row <= bands.row1[band]) & (col >= bands.col0[band]) & (col <= bands.col1[band])
    row, col, band = row[on], col[on], band[on]
    flags[base[band] + (row - bands.row0[band]) * bands.stride[band] + col - bands.col0[band]] |= _VERTEX


def _pixels(flags: NDArray[np.uint8], bands: _Bands, base: Ints, width: int) -> tuple[Ints, NDArray[np.int32]]:
    """Flat image indices, and polygon, of the set flags."""
    found = np.flatnonzero(flags)
    rows = bands.row1 - bands.row0 + 1
    band = np.repeat(np.arange(len(rows)), rows)
    down = _ranges(np.zeros_like(rows), rows)
    begin = base[band] + down * bands.stride[band]
    per_row = np.diff(np.searchsorted(found, begin), append=len(found))
    shift = (bands.row0[band] + down) * width + bands.col0[band] - begin
    found += np.repeat(shift, per_row)
    return found, np.repeat(bands.polygon[band].astype(np.int32), per_row)
