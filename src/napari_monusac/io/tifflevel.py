"""Pixels of one TIFF page: tiles and strips are decoded when they are asked for, by any thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError
from napari_monusac.io.codestreams import jpeg2000_size, jpeg_size, ycbcr_to_rgb
from napari_monusac.io.segments import SegmentFile, budget_bytes

_COMPRESSIONS = {
    1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits", 33003: "Aperio JPEG 2000 YCbCr",
    33004: "JPEG 2000", 33005: "Aperio JPEG 2000", 34712: "JPEG 2000", 50000: "zstd",
}  # fmt: skip
_JPEG2000 = {33003, 33004, 33005, 34712}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6


@cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="monusac-tiles")


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
        self._colormap = np.asarray(page.colormap) if int(page.photometric) == _PALETTE else None
        # tifffile looks into the file to build the decoder: now, while it is open
        self._decode = page.decode
        self._tables: dict[str, Any] = {}
        if int(page.compression) == 7:
            self._tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
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

        def place_all(some: list[int]) -> None:
            for index in some:
                place(index)

        indices = [r * columns + c for r in rows for c in cols]
        if len(indices) < 4:
            place_all(indices)
        else:
            each = max(1, len(indices) // 32)  # thin strips are not worth a task each
            for _ in _decoders().map(place_all, [indices[i : i + each] for i in range(0, len(indices), each)]):
                pass
        return out

    def raw_segments(self) -> Iterator[bytes]:
        """Give the compressed tiles or strips as they stand in the file."""
        for offset, count in zip(self._offsets.tolist(), self._counts.tolist(), strict=True):
            yield self._file.bytes_at(offset, count)

    def raw_options(self) -> dict[str, Any]:
        """What tifffile's writer must be told to write `raw_segments` as the same image."""
        page = self._page
        options: dict[str, Any] = {
            "shape": page.shape, "dtype": page.dtype, "compression": page.compression, "photometric": page.photometric,
            "planarconfig": page.planarconfig if self._planes > 1 else None, "jpegtables": page.jpegtables,
            "extrasamples": page.extrasamples or None, "subsampling": page.subsampling,
            "predictor": page.predictor if int(page.predictor) > 1 else None,
        }  # fmt: skip
        if self.is_tiled:
            return options | {"tile": self.segment_shape}
        return options | {"rowsperstrip": self.segment_shape[0]}

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
            decoded = np.asarray(self._decode(data, index, **self._tables)[0])[0]
        except Exception as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise self._refuse(f"{where} cannot be decoded ({reason})", "the file is damaged: copy it again") from error
        if decoded.shape[0] < expected[0] or decoded.shape[1] < expected[1] or decoded.shape[2] != channels:
            raise self._refuse(f"{where} decodes to {decoded.shape}", "the file is damaged: copy it again")
        return np.asarray(decoded[: expected[0], : expected[1]])

    def _check_stream(self, data: bytes, where: str) -> None:
        """Compare the size that a JPEG or JPEG 2000 stream claims with the tile's, before memory is given to it."""
        size = jpeg2000_size(data) if int(self._page.compression) in _JPEG2000 else jpeg_size(data)
        sh, sw = self.segment_shape
        if size is None or size[0] > sh or size[1] > sw:
            claim = "has no size" if size is None else f"claims {size[1]} x {size[0]} px"
            raise self._refuse(f"{where} {claim} in a tile of {sw} x {sh} px", "the file is damaged: copy it again")

    def _as_rgb(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        photometric = int(self._page.photometric)
        if self._colormap is not None:
            return np.ascontiguousarray(np.moveaxis(self._colormap[:, pixels[..., 0]] >> 8, 0, -1), np.uint8)
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
        if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
            grey = pixels[..., :1] if photometric == _BLACK_IS_ZERO else 255 - pixels[..., :1]
            return np.asarray(np.repeat(grey, 3, axis=-1), np.uint8)
        rgb = np.ascontiguousarray(pixels[..., :3])
        return ycbcr_to_rgb(rgb) if int(self._page.compression) == 33003 else rgb
