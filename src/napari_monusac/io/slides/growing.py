"""Smaller levels of a large image that has none: made in the background, kept in the user's cache folder.

Each pixel is the mean of 4 x 4 of the level above. While they grow, what is not there yet is white. Of an image that can
only be decoded whole (PNG, JPEG, a TIFF of one strip) the largest level is kept too, so that it is decoded once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError
from napari_monusac.core.files import draft_beside, replace_file
from napari_monusac.core.settings import environment, user_folder
from napari_monusac.io.slides.content import SlideLevel, nothing

_VERSION = 1
#: A level has this part of the height and width of the one above.
STEP = 4
#: The smallest level is no longer than this; larger images with one level get more.
_SMALLEST_PX = 2048
#: Rows that are read at once, and pixels of a tile or strip from which the largest level is kept, too.
_BAND_ROWS, _EXPENSIVE_PX = 512, 2**24
#: Images with more pixels are looked at by their smaller levels.
LARGE_PX = 64 * 10**6
_log = logging.getLogger(__name__)


def pyramids_folder() -> Path:
    """Folder of the smaller levels, in the cache folder."""
    return user_folder("cache") / "pyramids"


class GrowingPyramid:
    """The smaller levels of one image.

    Parameters
    ----------
    path : Path
        The image; its time and size tell whether what is kept is still of it.
    base : SlideLevel
        Its only level.
    release : callable
        Called once all of `base` is kept on disk: what it holds decoded is not needed any more.

    Attributes
    ----------
    levels : tuple of SlideLevel
        The largest first, with the image itself. Reading one of the smaller ones begins to make them.
    problem : str
        What could not be read on the way; empty where nothing was wrong.
    """

    def __init__(self, path: Path, base: SlideLevel, release: Callable[[], None] = nothing) -> None:
        self._path, self._base, self._release = path, base, release
        shapes = [base.shape]
        while max(shapes[-1]) > _SMALLEST_PX:
            shapes.append((-(-shapes[-1][0] // STEP), -(-shapes[-1][1] // STEP)))
        #: Level 0 is kept where a part of it costs as much as the whole
        self._keeps_base = base.segment_shape[0] * base.segment_shape[1] > _EXPENSIVE_PX
        self._first = 0 if self._keeps_base else 1
        self._shapes = tuple(shapes)
        self._lock = threading.Condition()
        self._arrays: list[NDArray[np.uint8]] | None = None
        self._rows = 0
        self._thread: threading.Thread | None = None
        self._stop = False
        self._place = path
        self.problem = ""
        grown = tuple(_GrownLevel(self, k) for k in range(self._first, len(shapes)))
        self.levels: tuple[SlideLevel, ...] = grown if self._keeps_base else (base, *grown)

    @property
    def fraction(self) -> float:
        """How much of the image is in the smaller levels, 0 to 1."""
        return self._rows / self._base.shape[0]

    @property
    def done(self) -> bool:
        """Whether the smaller levels are whole."""
        return self._rows >= self._base.shape[0]

    def start(self) -> None:
        """Begin to make the levels, or take them from the cache; once begun, nothing more happens."""
        with self._lock:
            if self._arrays is not None or self._stop:
                return
            # of the file as it is now: it may be written anew while its levels are made
            self._place = pyramids_folder() / self._key()
            kept = self._from_cache()
            if kept is not None:
                self._arrays, self._rows = kept, self._base.shape[0]
                return
            draft, self._arrays = self._empty()
            self._thread = threading.Thread(target=self._grow, args=(draft,), name="monusac-pyramid")
            self._thread.start()

    def stop(self) -> None:
        """Stop making them; what is half is not kept."""
        with self._lock:
            self._stop = True
            self._lock.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the levels are whole, or were stopped; answer whether they are whole."""
        self.start()
        with self._lock:
            self._lock.wait_for(lambda: self.done or self._stop, timeout_s)
        return self.done

    def read(self, level: int, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a region of a level: what is not there yet is white; of the largest level it is waited for.

        Raises
        ------
        SlideError
            The slide was closed, or the largest level is damaged there.
        """
        self.start()
        if level == 0:
            with self._lock:
                self._lock.wait_for(lambda: self._rows >= y + height or self._stop)
            if self._rows < y + height:
                raise SlideError(self._path, "is closed", "open the slide again")
            if self.problem:  # let the file say it where it is damaged
                return self._base.read(y, x, height, width)
        arrays = self._arrays
        if arrays is None:
            raise SlideError(self._path, "is closed", "open the slide again")
        return np.array(arrays[level - self._first][y : y + height, x : x + width])

    # -- making them, in a thread

    def _grow(self, draft: Path | None) -> None:
        arrays = self._arrays or []
        height = self._base.shape[0]
        # a band holds whole pixels of the smallest level, and whole strips of the file
        unit = STEP ** (len(self._shapes) - 1)
        rows = -(-max(_BAND_ROWS, self._base.segment_shape[0]) // unit) * unit
        for y in range(0, height, rows):
            if self._stop or not threading.main_thread().is_alive():  # the program ends
                self.stop()
                break
            try:
                self._take(arrays, y, min(rows, height - y))
            except RuntimeError:  # the interpreter ends: its threads take no more work
                self.stop()
                break
            with self._lock:
                self._rows = min(height, y + rows)
                self._lock.notify_all()
        if draft is not None:
            self._keep(draft, arrays)
            if self._keeps_base and self.done and not self.problem:
                self._release()

    def _take(self, arrays: Sequence[NDArray[np.uint8]], y: int, rows: int) -> None:
        """Put one band of the image into all levels."""
        try:
            band = self._base.read(y, 0, rows, self._base.shape[1])
        except SlideError as error:
            self.problem = self.problem or str(error)
            return
        for k in range(len(self._shapes)):
            if k:
                band = shrunken(band)
            if k >= self._first:
                top = y // STEP**k
                target = arrays[k - self._first]
                target[top : top + len(band)] = band[: len(target) - top]

    def _empty(self) -> tuple[Path | None, list[NDArray[np.uint8]]]:
        """White levels: files of a draft in the cache folder, or memory where that cannot be written."""
        shapes = [(*shape, 3) for shape in self._shapes[self._first :]]
        need = sum(int(np.prod(shape)) for shape in shapes)
        try:
            folder = pyramids_folder()
            folder.mkdir(parents=True, exist_ok=True)
            make_room(folder, need)
            if shutil.disk_usage(folder).free < 2 * need:
                raise OSError("the disk is nearly full")
            draft = draft_beside(self._place)
            draft.mkdir()
            arrays: list[Any] = [
                np.lib.format.open_memmap(draft / f"{k}.npy", "w+", np.uint8, shape) for k, shape in enumerate(shapes)
            ]
        except OSError as error:
            _log.info("%s: smaller levels are kept in memory (%s)", self._path, error)
            return None, [np.full(shape, 255, np.uint8) for shape in shapes]
        for array in arrays:
            array[:] = 255
        return draft, arrays

    def _keep(self, draft: Path, arrays: Sequence[NDArray[np.uint8]]) -> None:
        """Give the finished draft its name; one that is not whole, or that another process was faster with, goes."""
        try:
            if self.done and not self.problem and not self._stop:
                for array in arrays:
                    if isinstance(array, np.memmap):
                        array.flush()
                (draft / "about.json").write_text(json.dumps({"image": str(self._path), "shapes": self._shapes}))
                replace_file(draft, self._place)
        except OSError as error:
            _log.info("%s: smaller levels are not kept (%s)", self._path, error)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _key(self) -> str:
        stat = self._path.stat()
        parts = (_VERSION, str(self._path.resolve()), stat.st_mtime_ns, stat.st_size, self._shapes, self._first)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def _from_cache(self) -> list[NDArray[np.uint8]] | None:
        try:
            folder = self._place
            if not (folder / "about.json").is_file():
                return None
            shapes = self._shapes[self._first :]
            arrays = [np.lib.format.open_memmap(folder / f"{k}.npy", "r") for k in range(len(shapes))]
            os.utime(folder)
        except (OSError, ValueError):
            return None
        fits = all(a.shape == (*s, 3) and a.dtype == np.uint8 for a, s in zip(arrays, shapes, strict=True))
        return list(arrays) if fits else None


class _GrownLevel:
    """One level of a growing pyramid, as `SlideLevel`."""

    def __init__(self, pyramid: GrowingPyramid, level: int) -> None:
        self._pyramid, self._level = pyramid, level
        self.shape: tuple[int, int] = pyramid._shapes[level]
        self.segment_shape: tuple[int, int] = (min(_BAND_ROWS, self.shape[0]), min(_BAND_ROWS, self.shape[1]))

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a region that lies inside: uint8 (height, width, 3)."""
        return self._pyramid.read(self._level, y, x, height, width)


def shrunken(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 4 x 4 px each; at the edges of those that are there.

    Parameters
    ----------
    pixels : uint8 (y, x, 3)

    Returns
    -------
    uint8 (ceil(y / 4), ceil(x / 4), 3)
    """
    import cv2

    height, width = (-(-n // STEP) * STEP for n in pixels.shape[:2])
    if (height, width) != pixels.shape[:2]:
        edges = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
        pixels = np.pad(pixels, edges, mode="edge")
    return np.asarray(cv2.resize(pixels, (width // STEP, height // STEP), interpolation=cv2.INTER_AREA), np.uint8)


def make_room(folder: Path, need: int, limit: Callable[[], int] | None = None) -> None:
    """Remove what was not used for longest, so that `need` more bytes stay below the limit that a setting gives."""
    most = limit() if limit is not None else environment().pyramid_cache * 2**30
    kept = []
    for entry in os.scandir(folder):
        if entry.is_dir() and not entry.name.startswith("."):
            with suppress(OSError):
                size = sum(f.stat().st_size for f in os.scandir(entry.path))
                kept.append((entry.stat().st_mtime, size, entry.path))
    total = sum(size for _, size, _ in kept) + need
    for _, size, path in sorted(kept):
        if total <= most:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= size
