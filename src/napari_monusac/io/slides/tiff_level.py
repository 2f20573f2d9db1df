"""Pixels of one TIFF page: tiles and strips are decoded when they are asked for, by any thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides.codestreams import jpeg2000_size, jpeg_size, ycbcr_to_rgb
from napari_monusac.io.slides.depth import on_glass, to_8_bits
from napari_monusac.io.slides.segments import SegmentFile, budget_bytes
from napari_monusac.io.slides.tiles import TileGrid

_COMPRESSIONS = {
    1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits", 33003: "Aperio JPEG 2000 YCbCr",
    33004: "JPEG 2000", 33005: "Aperio JPEG 2000", 34712: "JPEG 2000", 50000: "zstd",
}  # fmt: skip
_JPEG2000 = {33003, 33004, 33005, 34712}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
#: TIFF's ExtraSamples: colours multiplied by alpha, and not.
_MULTIPLIED, _ALPHA = 1, 2
#: Tiles or strips that are looked at where tags leave the range of the pixels open.
_SAMPLED = 24


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
        self._colormap = _palette(page) if int(page.photometric) == _PALETTE else None
        #: The value that stands for white (see `io.depth`), whether the last channel is laid on white glass,
        #: and its value for opaque.
        self.white = int(2 ** min(int(page.bitspersample), 8 * page.dtype.itemsize) - 1)
        self.clear_is_glass = self.has_alpha
        self.opaque = int(2 ** (8 * page.dtype.itemsize) - 1)
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
        self.tiles = TileGrid(self.shape, self.segment_shape, self._segment, file.owner, int(page.offset))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels in the file."""
        found: np.dtype[Any] = self._page.dtype
        return found

    @property
    def orientation(self) -> int:
        """How the image asks to be turned when it is shown; 1 is as it is stored."""
        value = self._page.tags.valueof(274)
        return int(value) if isinstance(value, int) else 1

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel says how opaque a pixel is."""
        extra = [int(e) for e in self._page.extrasamples or ()]
        return len(extra) == 1 and extra[0] in (_MULTIPLIED, _ALPHA)

    @property
    def has_more(self) -> bool:
        """Whether there is a channel behind the colours; what is not alpha is left out."""
        return int(self._page.samplesperpixel) > self._colours

    @property
    def _keeps_ycbcr(self) -> bool:
        """Whether the decoder leaves YCbCr as it is."""
        return int(self._page.compression) not in _JPEG2000 | {7}

    @property
    def _colours(self) -> int:
        photometric, samples = int(self._page.photometric), int(self._page.samplesperpixel)
        if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _PALETTE):
            return 3 if samples == 3 else 1
        return 4 if photometric == _CMYK else 3

    def extremes(self) -> tuple[int, int, int]:
        """Brightest value of the colours, largest and least of the last channel, over some tiles or strips of the page.

        Returns
        -------
        brightest, most_opaque, least_opaque : int
            As stored.

        Raises
        ------
        SlideError
            One of them is damaged.
        """
        n = self._grid[0] * self._grid[1]
        brightest, opaque, clear = 0, 0, 65535
        for index in sorted({round(k) for k in np.linspace(0, n - 1, min(n, _SAMPLED))}):
            pixels = self._raw_segment(index)
            brightest = max(brightest, int(pixels[..., : self._colours].max(initial=0)))
            opaque = max(opaque, int(pixels[..., -1].max(initial=0)))
            clear = min(clear, int(pixels[..., -1].min()) if pixels.size else clear)
        return brightest, opaque, clear

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
        photometric, samples = int(page.photometric), int(page.samplesperpixel)
        if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR):
            raise self._refuse(f"photometric interpretation {photometric} cannot be read", mend)
        # three greys are red, green and blue that were written without saying so
        samples_of = {_PALETTE: (1, 2), _CMYK: (4, 5), _BLACK_IS_ZERO: (1, 2, 3), _WHITE_IS_ZERO: (1, 2)}
        if samples not in samples_of.get(photometric, (3, 4)):
            what = f"{samples} channels are no red, green and blue of a stained slide (fluorescence?)"
            raise self._refuse(what, "export the H&E image as RGB")
        if photometric == _YCBCR and int(page.compression) != 7 and tuple(page.subsampling or (1, 1)) != (1, 1):
            raise self._refuse("YCbCr with coarser colours, not compressed as JPEG, cannot be read", mend)

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
        return self.tiles.read(y, x, height, width)

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
        return self._as_rgb(self._raw_segment(index))

    def _raw_segment(self, index: int) -> NDArray[Any]:
        n = self._grid[0] * self._grid[1]
        planes = [self._decoded(index + k * n) for k in range(self._planes)]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)

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
        photometric, colours = int(self._page.photometric), self._colours
        if self._colormap is not None:
            rgb = self._colormap[np.minimum(pixels[..., 0], len(self._colormap) - 1)]
        else:
            values = to_8_bits(pixels[..., :colours], self.white)
            if photometric == _CMYK:
                rgb = _cmyk_to_rgb(values)
            elif int(self._page.compression) == 33003 or (photometric == _YCBCR and self._keeps_ycbcr):
                rgb = ycbcr_to_rgb(values)
            else:
                rgb = 255 - values if photometric == _WHITE_IS_ZERO else values
            rgb = np.repeat(rgb, 3, axis=-1) if colours == 1 else rgb
        if self.has_alpha and self.clear_is_glass:
            multiplied = int(self._page.extrasamples[0]) == _MULTIPLIED
            rgb = on_glass(rgb, to_8_bits(pixels[..., -1], self.opaque), multiplied=multiplied)
        return np.ascontiguousarray(rgb, np.uint8)


class PlanesLevel:
    """Red, green and blue of three pages as an array-like of uint8 (y, x, 3).

    Parameters
    ----------
    planes : sequence of TiffLevel
        Grey pages of one size: red, green, blue, and alpha where there is a fourth.
    """

    def __init__(self, planes: Sequence[TiffLevel]) -> None:
        self.planes = tuple(planes)
        self.shape, self.segment_shape = self.planes[0].shape, self.planes[0].segment_shape

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Decode a region that lies inside the pages: uint8 (height, width, 3)."""
        red, green, blue, *alpha = [plane.read(y, x, height, width)[..., 0] for plane in self.planes]
        rgb = np.stack([red, green, blue], axis=-1)
        return on_glass(rgb, alpha[0]) if alpha else rgb


def _palette(page: Any) -> NDArray[np.uint8]:
    """Colours of a palette, uint8 (entries, 3): of 16 bits, or of 8 where a writer has not scaled them up."""
    colours = np.asarray(page.colormap).T
    return np.asarray(colours if colours.max(initial=0) < 256 else colours >> 8, np.uint8)


def _cmyk_to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cyan, magenta, yellow and black as inks on white paper; without a colour profile, as other readers do."""
    clear = 255 - pixels.astype(np.uint16)
    return np.asarray((clear[..., :3] * clear[..., 3:] + 127) // 255, np.uint8)
