"""Overlapping tiles over an image, and the blending of what is predicted on them. Numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import ShapeError
from napari_monusac.infer.tiling.frame import margin_before

#: Outermost px of a tile's inner edges that do not count: the network saw no tissue beyond them.
MARGIN_PX = 8


@dataclass(frozen=True, slots=True)
class Axis:
    """Tiles along one axis: `count` tiles of `tile` px, each `stride` px after the one before.

    Attributes
    ----------
    size : int
        Length of the image, px.
    tile, overlap, count : int
        Length of a tile and of the overlap of two, px, and number of tiles. The last tile may reach past the image.
    before : int
        px of the first tile that lie before the image: a single tile has the image in its middle.
    """

    size: int
    tile: int
    overlap: int
    count: int
    before: int = 0

    @property
    def stride(self) -> int:
        """Distance between two tiles, px."""
        return self.tile - self.overlap

    def weights(self, k: int) -> NDArray[np.float32]:
        """Weights of tile `k`, float32 (tile,): linear ramps over the overlaps; those of all tiles add up to 1."""
        out = np.ones(self.tile, np.float32)
        if self.overlap:
            ramp = _ramp(self.overlap)
            if k > 0:
                out[: self.overlap] = ramp
            if k < self.count - 1:
                out[self.tile - self.overlap :] = 1 - ramp
        return out

    def final(self, k: int) -> tuple[int, int]:
        """First pixel and length of what is final once tile `k` is added after all before it."""
        start = k * self.stride
        return start, (self.size - start if k == self.count - 1 else self.stride)


def _ramp(overlap: int) -> NDArray[np.float32]:
    margin = min(MARGIN_PX, (overlap - 1) // 2)
    inner = overlap - 2 * margin
    rising = (np.arange(inner, dtype=np.float32) + 0.5) / inner
    return np.concatenate([np.zeros(margin, np.float32), rising, np.ones(margin, np.float32)])


def plan_axis(size: int, tile: int, overlap: int, multiple: int, smallest: int = 0) -> Axis:
    """Cut one axis into tiles of equal length, as few and as short as possible.

    Parameters
    ----------
    size : int
        Length of the image, px.
    tile : int
        Longest tile, px: a multiple of `multiple`, at least twice the overlap.
    overlap : int
        px that two tiles share.
    multiple : int
        The network wants tiles whose length is a multiple of this.
    smallest : int
        Shortest tile, px, as far as `tile` allows: the network was trained on patches of this length.

    Raises
    ------
    ShapeError
        A value is out of its range.
    """
    if size < 1:
        raise ShapeError(f"an image of {size} px", "pass an image with pixels")
    if tile % multiple or tile < multiple or overlap < 0 or tile < 2 * overlap:
        raise ShapeError(
            f"tiles of {tile} px that overlap by {overlap} px",
            f"use a multiple of {multiple} that is at least twice the overlap",
        )
    smallest = min(smallest, tile)
    if size <= tile:
        length = -(-max(size, smallest) // multiple) * multiple
        return Axis(size, length, 0, 1, margin_before(size, length))
    count = -(-(size - overlap) // (tile - overlap))
    shortest = max(-(-(size + (count - 1) * overlap) // count), 2 * overlap, smallest)
    return Axis(size, -(-shortest // multiple) * multiple, overlap, count)


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles over an image, row by row."""

    rows: Axis
    columns: Axis

    @classmethod
    def over(
        cls, shape: tuple[int, int], tile: int = 512, overlap: int = 64, multiple: int = 32, smallest: int = 0
    ) -> Grid:
        """Cover `shape` (height, width); see `plan_axis`."""
        return cls(*(plan_axis(n, tile, overlap, multiple, smallest) for n in shape))

    def __len__(self) -> int:
        return self.rows.count * self.columns.count

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width of every tile, px."""
        return self.rows.tile, self.columns.tile

    def position(self, index: int) -> tuple[int, int]:
        """Row and column of tile `index`."""
        return divmod(index, self.columns.count)

    def box(self, index: int) -> Region:
        """Where tile `index` lies; it may reach past the image on every side."""
        row, column = self.position(index)
        y, x = row * self.rows.stride - self.rows.before, column * self.columns.stride - self.columns.before
        return Region(y, x, *self.tile_shape)

    def final_box(self, index: int) -> Region:
        """What is final once tile `index` is added after all before it. These boxes tile the image."""
        row, column = self.position(index)
        (y, height), (x, width) = self.rows.final(row), self.columns.final(column)
        return Region(y, x, height, width)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


def _weigh(values: NDArray[np.float32], rows: Axis, row: int, columns: Axis, column: int) -> None:
    """Multiply by the weights, in place: only where they are not 1."""
    down, across = rows.weights(row), columns.weights(column)
    for part in (slice(0, rows.overlap), slice(rows.stride, rows.tile)):
        if (down[part] != 1).any():
            values[:, part] *= down[part, None]
    for part in (slice(0, columns.overlap), slice(columns.stride, columns.tile)):
        if (across[part] != 1).any():
            values[:, :, part] *= across[part]


class Blender:
    """Adds tiles row by row and gives back what is final; keeps only the overlaps.

    A pixel is final when the last tile that covers it has come. Memory: one overlap as long as the image is wide.

    Parameters
    ----------
    grid : Grid
        The tiles.
    channels : int
        Channels of what is blended.
    below : float (2, channels, overlap, width), optional
        Memory for what the next row of tiles needs, for example mapped to a file; the two halves take turns, so that
        adding the same tile again after a crash does no harm.
    right : float32 (channels, tile height, overlap), optional
        What the tile before the first one to add left, when work is taken up again.
    """

    def __init__(
        self,
        grid: Grid,
        channels: int = 8,
        below: NDArray[np.floating] | None = None,
        right: NDArray[np.float32] | None = None,
    ) -> None:
        self.grid = grid
        self.channels = channels
        shape = self.below_shape(grid, channels)
        self.below: NDArray[np.floating] = np.zeros(shape, np.float32) if below is None else below
        if self.below.shape != shape:
            raise ShapeError(f"below has shape {self.below.shape}", f"pass {shape}")
        self.right = right

    @staticmethod
    def below_shape(grid: Grid, channels: int = 8) -> tuple[int, int, int, int]:
        """Shape of the memory that `below` needs."""
        width = grid.columns.stride * (grid.columns.count - 1) + grid.columns.tile
        return 2, channels, grid.rows.overlap if grid.rows.count > 1 else 0, width

    def add(self, index: int, values: NDArray[np.float32]) -> tuple[Region, NDArray[np.float32]]:
        """Add the tile `index`; tiles come in order.

        Parameters
        ----------
        index : int
            Number of the tile.
        values : float32 (channels, tile height, tile width)
            Changed in place.

        Returns
        -------
        Region, float32 (channels, height, width)
            What is final now, in px of the image.
        """
        rows, columns = self.grid.rows, self.grid.columns
        row, column = self.grid.position(index)
        last_row, last_column = row == rows.count - 1, column == columns.count - 1
        _weigh(values, rows, row, columns, column)
        if column > 0 and self.right is not None:
            values[:, :, : columns.overlap] += self.right
        owned = columns.tile if last_column else columns.stride
        span = slice(column * columns.stride, column * columns.stride + owned)
        if row > 0:
            values[:, : rows.overlap, :owned] += self.below[row % 2, :, :, span]
        if not last_row:
            self.below[(row + 1) % 2, :, :, span] = values[:, rows.stride :, :owned]
        self.right = None if last_column else values[:, :, columns.stride :].copy()
        box = self.grid.final_box(index)
        top, left = rows.before, columns.before
        return box, values[:, top : top + box.height, left : left + box.width]
