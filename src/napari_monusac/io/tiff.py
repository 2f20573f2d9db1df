"""Pixels of a TIFF page, segment by segment: tiles and strips are decoded when they are asked for, by any thread."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError

#: Decoded segments kept per file.
_CACHE_BYTES = 64 * 2**20
#: More top-level pages than this are not looked at.
_MOST_PAGES = 64
_COMPRESSIONS = {
    1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits", 33003: "Aperio JPEG 2000 YCbCr",
    33004: "JPEG 2000", 33005: "Aperio JPEG 2000", 34712: "JPEG 2000", 50000: "zstd",
}  # fmt: skip
_JPEG2000 = {33003, 33004, 33005, 34712}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6


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


@cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="monusac-tiles")


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


class TiffLevel:
    """One page as an array-like of uint8 (y, x, 3); nothing is read before it is asked for.

    Parameters
    ----------
    file : SegmentFile
        Where the bytes are.
    page : tifffile.TiffPage
        The page. Its tags are read here, its pixels are not.

    Raises
    ------
    SlideError
        The page has no form that can be read, or the file ends before its pixels do.
    """

    def __init__(self, file: SegmentFile, page: Any) -> None:
        self._file, self._page = file, page
        self._check_form()
        self.shape: tuple[int, int] = (int(page.imagelength), int(page.imagewidth))
        if page.is_tiled:
            self.segment_shape = (int(page.tilelength), int(page.tilewidth))
        else:
            self.segment_shape = (min(int(page.rowsperstrip), self.shape[0]), self.shape[1])
        self.is_tiled = bool(page.is_tiled)
        self._grid = tuple(-(-n // s) for n, s in zip(self.shape, self.segment_shape, strict=True))
        self._planes = int(page.samplesperpixel) if int(page.planarconfig) == 2 else 1
        self._offsets = np.asarray(page.dataoffsets, np.int64)
        self._counts = np.asarray(page.databytecounts, np.int64)
        self._check_segments()

    @property
    def has_alpha(self) -> bool:
        """Whether there is a fourth channel (it is left out)."""
        return int(self._page.samplesperpixel) in (2, 4)

    def _refuse(self, problem: str, mend: str) -> SlideError:
        return SlideError(self._file.path, problem, mend)

    def _check_form(self) -> None:
        page = self._page
        mend = "convert it to an RGB TIFF of 8 bits"
        if int(page.imagelength) < 1 or int(page.imagewidth) < 1 or int(page.imagedepth) != 1:
            size = f"{page.imagewidth} x {page.imagelength} x {page.imagedepth} px"
            raise self._refuse(f"is no flat image ({size})", "the file is damaged: copy it again")
        if int(page.compression) not in _COMPRESSIONS:
            known = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
            raise self._refuse(f"compression {int(page.compression)} cannot be read (known: {known})", mend)
        if page.dtype not in (np.uint8, np.uint16):
            raise self._refuse(f"pixels of {page.bitspersample} bits ({page.dtype}) cannot be read", mend)
        if int(page.photometric) not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR):
            raise self._refuse(f"photometric interpretation {int(page.photometric)} cannot be read", mend)
        colour = int(page.photometric) in (_RGB, _YCBCR)
        if int(page.samplesperpixel) not in ((3, 4) if colour else (1, 2)):
            raise self._refuse(f"{page.samplesperpixel} channels cannot be read", mend)

    def _check_segments(self) -> None:
        need = self._grid[0] * self._grid[1] * self._planes
        height, width = self.segment_shape
        if height < 1 or width < 1 or min(len(self._offsets), len(self._counts)) < need:
            found = min(len(self._offsets), len(self._counts))
            raise self._refuse(f"lists {found} of {need} tiles or strips", "the file is damaged: copy it again")
        per_pixel = int(self._page.samplesperpixel) * self._page.dtype.itemsize
        if height * width * per_pixel > budget_bytes():
            size = f"one tile or strip holds {width} x {height} px"
            raise self._refuse(f"{size}, more than fits into memory", "save it as a tiled TIFF")
        ends = self._offsets[:need] + self._counts[:need]
        if (self._offsets[:need] < 0).any() or (self._counts[:need] < 0).any() or int(ends.max()) > self._file.size:
            raise self._refuse(
                f"ends at byte {self._file.size}, but its pixels go on to byte {int(ends.max())}",
                "the file is cut off or damaged: copy it again",
            )

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Decode a region that lies inside the page.

        Returns
        -------
        uint8 (height, width, 3)
            RGB in the order of the file.

        Raises
        ------
        SlideError
            A tile or strip is damaged.
        """
        out = np.empty((height, width, 3), np.uint8)
        (sh, sw), columns = self.segment_shape, self._grid[1]
        rows = range(y // sh, -(-(y + height) // sh))
        cols = range(x // sw, -(-(x + width) // sw))

        def place(index: int) -> None:
            segment = self._segment(index)
            top, left = index // columns * sh, index % columns * sw
            y0, x0 = max(y, top), max(x, left)
            y1, x1 = min(y + height, top + segment.shape[0]), min(x + width, left + segment.shape[1])
            out[y0 - y : y1 - y, x0 - x : x1 - x] = segment[y0 - top : y1 - top, x0 - left : x1 - left]

        indices = [r * columns + c for r in rows for c in cols]
        if len(indices) < 4:
            for index in indices:
                place(index)
        else:
            for _ in _decoders().map(place, indices):
                pass
        return out

    def _segment(self, index: int) -> NDArray[np.uint8]:
        key = (int(self._page.offset), index)
        segment = self._file.cached(key)
        if segment is None:
            n = self._grid[0] * self._grid[1]
            planes = [self._decoded(index + k * n) for k in range(self._planes)]
            segment = self._as_rgb(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1))
            self._file.keep(key, segment)
        return segment

    def _decoded(self, index: int) -> NDArray[Any]:
        n = self._grid[0] * self._grid[1]
        row, column = divmod(index % n, self._grid[1])
        sh, sw = self.segment_shape
        expected = (min(sh, self.shape[0] - row * sh), min(sw, self.shape[1] - column * sw))
        count = int(self._counts[index])
        channels = 1 if self._planes > 1 else int(self._page.samplesperpixel)
        if count == 0:  # a sparse file leaves glass out
            return np.full((*expected, channels), 255 if self._page.dtype == np.uint8 else 65535, self._page.dtype)
        data = self._file.bytes_at(int(self._offsets[index]), count)
        where = f"tile or strip {index} (row {row}, column {column})"
        if int(self._page.compression) in _JPEG2000 | {7}:
            self._check_stream(data, where)
        try:
            extra = {"jpegtables": self._page.jpegtables, "jpegheader": None} if self._page.jpegtables else {}
            decoded = np.asarray(self._page.decode(data, index, **extra)[0])[0]
        except Exception as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise self._refuse(f"{where} cannot be decoded ({reason})", "the file is damaged: copy it again") from error
        if decoded.shape[0] < expected[0] or decoded.shape[1] < expected[1] or decoded.shape[2] != channels:
            raise self._refuse(f"{where} decodes to {decoded.shape}", "the file is damaged: copy it again")
        return np.asarray(decoded[: expected[0], : expected[1]])

    def _check_stream(self, data: bytes, where: str) -> None:
        """Compare the size that a JPEG or JPEG 2000 stream claims with the tile's, before memory is given to it."""
        size = _jpeg2000_size(data) if int(self._page.compression) in _JPEG2000 else _jpeg_size(data)
        sh, sw = self.segment_shape
        if size is None or size[0] > sh or size[1] > sw:
            claim = "has no size" if size is None else f"claims {size[1]} x {size[0]} px"
            raise self._refuse(f"{where} {claim} in a tile of {sw} x {sh} px", "the file is damaged: copy it again")

    def _as_rgb(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        photometric = int(self._page.photometric)
        if photometric == _PALETTE:
            colors = np.asarray(self._page.colormap)
            return np.ascontiguousarray((colors[:, pixels[..., 0]] >> 8).transpose(1, 2, 0).astype(np.uint8))
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
        if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
            grey = pixels[..., :1] if photometric == _BLACK_IS_ZERO else 255 - pixels[..., :1]
            return np.asarray(np.repeat(grey, 3, axis=-1), np.uint8)
        rgb = np.ascontiguousarray(pixels[..., :3])
        return _ycbcr_to_rgb(rgb) if int(self._page.compression) == 33003 else rgb


def _ycbcr_to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """ITU-R BT.601, full range: Aperio's 33003 keeps YCbCr inside the JPEG 2000 stream and no decoder undoes it."""
    y, cb, cr = (pixels[..., k].astype(np.float32) for k in range(3))
    cb, cr = cb - 128, cr - 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.asarray(np.clip(np.rint(rgb), 0, 255), np.uint8)


def _jpeg2000_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the SIZ marker (ISO 15444-1 A.5.1), or None."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at < 0 or len(data) < at + 40:
        return None
    x1, y1, x0, y0 = (int.from_bytes(data[at + k : at + k + 4], "big") for k in (8, 12, 16, 20))
    components = int.from_bytes(data[at + 40 : at + 42], "big")
    return (y1 - y0, x1 - x0) if 1 <= components <= 4 and y1 > y0 and x1 > x0 else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the frame header (ITU-T T.81 B.2.2), or None."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        elif marker in (0xD9, 0xDA):
            return None
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


@dataclass(frozen=True, slots=True)
class TiffContent:
    """The pyramid of a TIFF or .svs file, and what its tags say.

    Attributes
    ----------
    file : SegmentFile
        The open file.
    levels : tuple of TiffLevel
        Largest first. Thumbnail, label and macro pages are never among them.
    description : str
        ImageDescription of the first page.
    um_per_px : float or None
        From the resolution tags, where they have a unit.
    """

    file: SegmentFile
    levels: tuple[TiffLevel, ...]
    description: str
    um_per_px: float | None


def open_tiff(path: Path) -> TiffContent:
    """Read the tags of a TIFF or .svs file; no pixel is read.

    Raises
    ------
    SlideError
        It is no TIFF, it is damaged or cut off, or its pixels have a form that cannot be read.
    """
    file = SegmentFile(path)
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = _pyramid_pages(tiff)
            levels = tuple(TiffLevel(file, page) for page in pages)
            return TiffContent(file, levels, str(pages[0].description or ""), _resolution_um(pages[0]))
    except SlideError:
        file.close()
        raise
    except Exception as error:
        file.close()
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise SlideError(path, f"is no readable TIFF ({reason})", "the file is damaged: copy it again") from error


def _pyramid_pages(tiff: Any) -> list[Any]:
    """Page 0 and the reduced images of it, by size: Aperio's tiled pages, or SubIFDs and pages flagged as reduced.

    Thumbnail, label and macro pages of an .svs are striped, and named in their description: neither is taken.
    """
    first = tiff.pages[0]
    if first.is_tiled is None or not isinstance(first, tifffile.TiffPage):
        raise SlideError(tiff.filename, "holds no image", "the file is damaged: copy it again")
    others: list[Any] = list(first.pages or ())[:_MOST_PAGES]
    for k in range(1, _MOST_PAGES):
        try:
            page = tiff.pages[k]
        except IndexError:
            break
        if isinstance(page, tifffile.TiffPage):
            others.append(page)
    pages = [first]
    for page in others:
        if _is_reduced(page, pages[-1], first):
            pages.append(page)
    return pages


def _is_reduced(page: Any, previous: Any, first: Any) -> bool:
    if not isinstance(page, tifffile.TiffPage) or not page.is_tiled:
        return False
    if int(page.samplesperpixel) != int(first.samplesperpixel) or int(page.subfiletype) == 9:
        return False
    if re.search(r"\b(label|macro|thumbnail)\b", str(page.description or ""), re.IGNORECASE):
        return False
    height, width = int(page.imagelength), int(page.imagewidth)
    if height < 1 or width < 1 or height >= int(previous.imagelength) or width >= int(previous.imagewidth):
        return False
    scale = int(first.imagewidth) / width
    return abs(int(first.imagelength) / scale - height) <= max(2.0, 0.02 * height)


def _resolution_um(page: Any) -> float | None:
    """Micrometres per pixel from the resolution tags; None without a unit."""
    unit = int(page.tags.valueof("ResolutionUnit", 2)) if "ResolutionUnit" in page.tags else 2
    per_unit = {2: 25400.0, 3: 10000.0}.get(unit)
    if per_unit is None or "XResolution" not in page.tags:
        return None
    numerator, denominator = page.tags["XResolution"].value
    return per_unit * denominator / numerator if numerator else None
