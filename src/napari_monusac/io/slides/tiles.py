"""Tiles of a level: decoded by several threads when a region is asked for, and kept in one bounded cache for all slides."""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.settings import environment

#: Tiles of one level of one open file: (file, level), and the tile's number.
TileKey = tuple[int, int, int]
_FEWEST_FOR_THREADS = 4
_owners = itertools.count()


@cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="monusac-tiles")


class TileCache:
    """Decoded tiles of all open slides, up to a number of bytes; the ones that were not used for longest go first.

    Parameters
    ----------
    limit_bytes : callable
        Asked each time, so that a setting holds at once.
    """

    def __init__(self, limit_bytes: Callable[[], int]) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._tiles: OrderedDict[TileKey, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        return self._bytes

    def get(self, key: TileKey) -> NDArray[np.uint8] | None:
        """Return a tile that is still at hand."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def keep(self, key: TileKey, tile: NDArray[np.uint8]) -> None:
        """Keep a tile; one of more than half of the cache is not kept."""
        limit = self._limit_bytes()
        if tile.nbytes > limit // 2:
            return
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > limit:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes

    def forget(self, owner: int) -> None:
        """Forget the tiles of a file."""
        with self._lock:
            for key in [k for k in self._tiles if k[0] == owner]:
                self._bytes -= self._tiles.pop(key).nbytes


#: The one cache of this process.
TILES = TileCache(lambda: environment().tile_cache * 2**20)


def new_owner() -> int:
    """Return a number for an open file, under which its tiles are kept."""
    return next(_owners)


class TileGrid:
    """The tiles of one level.

    Parameters
    ----------
    shape, tile_shape : tuple of int
        Height and width of the level and of a tile, px; tiles at the right and lower edge are smaller.
    decode : callable
        ``decode(index)`` gives a tile, uint8 (y, x, 3), by its number, counted row by row. Called by several threads.
    owner, level : int
        Under which the tiles are kept; see `new_owner`.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        tile_shape: tuple[int, int],
        decode: Callable[[int], NDArray[np.uint8]],
        owner: int,
        level: int,
    ) -> None:
        self.shape, self.tile_shape = shape, tile_shape
        self.columns = -(-shape[1] // tile_shape[1])
        self._decode, self._key = decode, (owner, level)

    def place(self, index: int) -> tuple[int, int, int, int]:
        """First pixel and size of a tile: y, x, height, width."""
        (height, width), (row, column) = self.tile_shape, divmod(index, self.columns)
        y, x = row * height, column * width
        return y, x, min(height, self.shape[0] - y), min(width, self.shape[1] - x)

    def indices(self, y: int, x: int, height: int, width: int) -> list[int]:
        """Numbers of the tiles that a region touches, row by row; what lies outside of the level has none."""
        (sh, sw), (bottom, right) = self.tile_shape, (min(y + height, self.shape[0]), min(x + width, self.shape[1]))
        rows, columns = range(max(0, y) // sh, -(-bottom // sh)), range(max(0, x) // sw, -(-right // sw))
        return [r * self.columns + c for r in rows for c in columns]

    def has(self, index: int) -> bool:
        """Whether a tile is at hand."""
        return TILES.get((*self._key, index)) is not None

    def tile(self, index: int) -> NDArray[np.uint8]:
        """One tile, from the cache or decoded."""
        key = (*self._key, index)
        tile = TILES.get(key)
        if tile is None:
            tile = self._decode(index)
            TILES.keep(key, tile)
        return tile

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a region that lies inside the level: uint8 (height, width, 3).

        Raises
        ------
        SlideError
            As `decode`.
        """
        out = np.empty((height, width, 3), np.uint8)

        def put(some: list[int]) -> None:
            for index in some:
                top, left, *_ = self.place(index)
                tile = self.tile(index)
                y0, x0 = max(y, top), max(x, left)
                y1, x1 = min(y + height, top + tile.shape[0]), min(x + width, left + tile.shape[1])
                out[y0 - y : y1 - y, x0 - x : x1 - x] = tile[y0 - top : y1 - top, x0 - left : x1 - left]

        indices = self.indices(y, x, height, width)
        if len(indices) < _FEWEST_FOR_THREADS:
            put(indices)
        else:
            each = max(1, len(indices) // 32)  # thin strips are not worth a task each
            for _ in _decoders().map(put, [indices[i : i + each] for i in range(0, len(indices), each)]):
                pass
        return out
