"""Slides of other makers by OpenSlide: Hamamatsu, MIRAX, Leica, Ventana, Philips, Trestle, Sakura, DICOM.

OpenSlide puts overlapping and missing tiles in their places. Label, macro and thumbnail, and whatever a file says of a
patient, stay in OpenSlide: only sizes, scale, objective and the bounds of the scan are asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import SlideError
from napari_monusac.io.scale import magnification_of, scale_number, scale_of_sides
from napari_monusac.io.slides.content import SlideContent
from napari_monusac.io.slides.depth import on_glass
from napari_monusac.io.slides.tags import SlideTags
from napari_monusac.io.slides.tiles import TILES, TileGrid, new_owner

#: What our own reader of TIFF reads better (cut off files, JPEG 2000, swapped channels, bits).
_OURS = frozenset(("aperio", "generic-tiff"))
#: Side of what is decoded at once; OpenSlide's own cache holds the file's tiles at its edges.
_TILE_PX = 512
_LIBRARY_CACHE_BYTES = 32 * 2**20
_DAMAGED = "the file, or one of the files beside it, is damaged or missing: copy it again"
#: The properties that are asked for; all others are not looked at.
_SIDES = ("y", "x", "height", "width")
_ASKED = ("mpp-y", "mpp-x", "objective-power", *(f"bounds-{side}" for side in _SIDES))


def openslide_vendor(path: Path) -> str | None:
    """Name of the maker in OpenSlide's words; None for files that OpenSlide does not know, or that our reader reads.

    Raises
    ------
    SlideError
        OpenSlide is not installed.
    """
    try:
        vendor = _library(path).OpenSlide.detect_format(path)
    except OSError:  # gone, or no file
        return None
    return None if vendor in _OURS else vendor


def open_with_openslide(path: Path) -> SlideContent:
    """Open a slide with OpenSlide.

    Parameters
    ----------
    path : Path
        The file, of several the one that names the others (``.mrxs``, ``.vms``; of DICOM any of the series).

    Raises
    ------
    SlideError
        It is damaged, cut off, or a file that belongs to it is missing.
    """
    source = _Handle(path)
    try:
        sizes = source.level_sizes()
        said = source.asked()
        place = _bounds(said, sizes[0])
        levels = _levels(source, sizes, place)
        y_um, x_um = (scale_number(said.get(f"mpp-{side}")) for side in "yx")
        objective = magnification_of(f"Magnification = {said.get('objective-power', '')}")
        cut = (place.height, place.width) != sizes[0]
        tags = SlideTags(
            magnification=objective, origin_px=(place.y, place.x) if cut else None,
            parent_shape=sizes[0] if cut else None,
        )  # fmt: skip
        scale = scale_of_sides(y_um, x_um, "openslide.mpp-x", objective)
    except SlideError:
        source.close()
        raise
    notes = (f"only the scanned area is shown, {place.width} x {place.height} px",) if cut else ()
    return SlideContent("openslide", levels, tags, scale, colours_sure=True, notes=notes, close=source.close)


def _library(path: Path) -> Any:
    try:
        import openslide
    except (ImportError, OSError) as error:  # no wheel for this machine, or a broken one
        problem = f"needs OpenSlide, which cannot be loaded ({type(error).__name__})"
        raise SlideError(path, problem, "pip install openslide-python openslide-bin") from error
    return openslide


class _Handle:
    """An open slide of OpenSlide, which after an error answers nothing any more: it is then opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = _library(path)
        self._lock = threading.Lock()
        self._closed = False
        self.owner = new_owner()
        self._slide = self._opened()

    def _opened(self) -> Any:
        try:
            slide = self._library.OpenSlide(self.path)
            slide.set_cache(self._library.OpenSlideCache(_LIBRARY_CACHE_BYTES))
        except (self._library.OpenSlideError, OSError, ValueError) as error:
            raise self._damaged(error) from error
        return slide

    def _damaged(self, error: Exception, where: str = "") -> SlideError:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return SlideError(self.path, f"{where or 'cannot be opened'} ({reason})", _DAMAGED)

    def level_sizes(self) -> list[tuple[int, int]]:
        """Height and width of each level, largest first."""
        return [(int(height), int(width)) for width, height in self._slide.level_dimensions]

    def downsample(self, level: int) -> float:
        """How many px of level 0 a pixel of a level is wide."""
        return float(self._slide.level_downsamples[level])

    def asked(self) -> dict[str, str]:
        """The properties that we ask for, of those that the file states; all others are not looked at."""
        properties = self._slide.properties
        keys = {key: f"openslide.{key}" for key in _ASKED}
        return {key: str(properties[long]) for key, long in keys.items() if long in properties}

    def read(self, y: int, x: int, level: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read RGBA at (y, x) in px of level 0."""
        with self._lock:
            if self._closed:
                raise SlideError(self.path, "is closed", "open the slide again")
            slide = self._slide
        try:
            return np.asarray(slide.read_region((x, y), level, (width, height)), np.uint8)
        except (self._library.OpenSlideError, MemoryError, ValueError) as error:
            with self._lock:
                if self._slide is slide and not self._closed:
                    self._slide = self._opened()
            raise self._damaged(error, f"cannot be read at ({x}, {y}) px") from error

    def close(self) -> None:
        """Close the slide; reads under way end first, as their own references let go of it."""
        with self._lock:
            self._closed = True
            self._slide = None
        TILES.forget(self.owner)


def _bounds(said: Mapping[str, str], size: tuple[int, int]) -> Region:
    """The scanned area of a slide, px of level 0; all of it where the file does not say, or says nonsense."""
    texts = [said.get(f"bounds-{side}", "") for side in _SIDES]
    if all(text.isdigit() for text in texts):
        y, x, height, width = (int(text) for text in texts)
        if height and width and y + height <= size[0] and x + width <= size[1]:
            return Region(y, x, height, width)
    return Region(0, 0, *size)


def _levels(source: _Handle, sizes: list[tuple[int, int]], place: Region) -> tuple[OpenSlideLevel, ...]:
    levels: list[OpenSlideLevel] = []
    for k, size in enumerate(sizes):
        if min(size) < 1:
            raise SlideError(source.path, f"level {k} is empty ({size[1]} x {size[0]} px)", _DAMAGED)
        made = OpenSlideLevel(source, k, place)
        if not levels or (made.shape[0] < levels[-1].shape[0] and made.shape[1] < levels[-1].shape[1]):
            levels.append(made)
    return tuple(levels)


class OpenSlideLevel:
    """A level of a slide as an array-like of uint8 (y, x, 3), within the scanned area.

    Parameters
    ----------
    source : _Handle
        The open slide.
    level : int
        0 is the largest.
    place : Region
        The scanned area, px of level 0.
    """

    def __init__(self, source: _Handle, level: int, place: Region) -> None:
        self._source, self._level, self._place = source, level, place
        self._step = source.downsample(level)
        self.shape: tuple[int, int] = (
            max(1, round(place.height / self._step)), max(1, round(place.width / self._step)),
        )  # fmt: skip
        self.segment_shape = (min(_TILE_PX, self.shape[0]), min(_TILE_PX, self.shape[1]))
        self.tiles = TileGrid(self.shape, self.segment_shape, self._tile, source.owner, level)

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a region that lies inside: uint8 (height, width, 3), RGB; what was not scanned is white.

        Raises
        ------
        SlideError
            A tile is damaged.
        """
        return self.tiles.read(y, x, height, width)

    def _tile(self, index: int) -> NDArray[np.uint8]:
        y, x, height, width = self.tiles.place(index)
        top, left = self._place.y + round(y * self._step), self._place.x + round(x * self._step)
        rgba = self._source.read(top, left, self._level, height, width)
        return np.ascontiguousarray(on_glass(rgba[..., :3], rgba[..., 3]))
