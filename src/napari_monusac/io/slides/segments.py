"""Bytes of a file for many threads, and a budget of memory."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides.tiles import TILES, new_owner


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
    """A file read at positions from any thread.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    owner : int
        Under which decoded tiles are kept, until the file is closed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)
        self.size = os.fstat(self._file.fileno()).st_size
        self._lock = threading.Lock()
        self.owner = new_owner()
        weakref.finalize(self, TILES.forget, self.owner)

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Read `count` bytes at `offset`; fewer where the file ends."""
        with self._lock:
            if self._file.closed:
                raise SlideError(self.path, "is closed", "open the slide again")
            self._file.seek(offset)
            return self._file.read(count)

    def close(self) -> None:
        """Close the file and forget what was decoded."""
        with self._lock:
            self._file.close()
        TILES.forget(self.owner)
