"""Bytes of a file for many threads, a cache of what was decoded from them, and a budget of memory."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError

#: Decoded segments kept per file.
_CACHE_BYTES = 64 * 2**20


def budget_bytes() -> int:
    """Bytes that one read may take: half of the free memory, 256 MiB at least, 8 GiB at most."""
    import psutil

    return int(max(256 * 2**20, min(psutil.virtual_memory().available // 2, 8 * 2**30)))


def check_budget(path: Path, height: int, width: int, what: str, budget: int | None = None) -> None:
    """Refuse a read that does not fit into memory, before a byte of it is allocated.

    Raises
    ------
    SlideError
        Three uint8 channels of `height` x `width` px are over the budget.
    """
    need, limit = height * width * 3, budget_bytes() if budget is None else budget
    if need > limit:
        size = f"{width} x {height} px need {need / 2**30:.1f} GiB, {limit / 2**30:.1f} GiB are at hand"
        raise SlideError(path, f"{what}: {size}", "read a smaller region, or a lower level")


class SegmentFile:
    """A file read at positions from any thread, with a cache of decoded segments.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)
        self.size = os.fstat(self._file.fileno()).st_size
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._cached_bytes = 0

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Read `count` bytes at `offset`; fewer where the file ends."""
        with self._lock:
            if self._file.closed:
                raise SlideError(self.path, "is closed", "open the slide again")
            self._file.seek(offset)
            return self._file.read(count)

    def cached(self, key: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Return a decoded segment that is still at hand."""
        with self._lock:
            segment = self._cache.get(key)
            if segment is not None:
                self._cache.move_to_end(key)
            return segment

    def keep(self, key: tuple[int, int], segment: NDArray[np.uint8]) -> None:
        """Keep a decoded segment, and drop the ones that were not used for longest."""
        if segment.nbytes > _CACHE_BYTES // 2:
            return
        with self._lock:
            if key not in self._cache:
                self._cache[key] = segment
                self._cached_bytes += segment.nbytes
            while self._cached_bytes > _CACHE_BYTES:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes

    def close(self) -> None:
        """Close the file and forget what was decoded."""
        with self._lock:
            self._file.close()
            self._cache.clear()
            self._cached_bytes = 0
