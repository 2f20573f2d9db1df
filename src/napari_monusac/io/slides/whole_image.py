"""PNG and JPEG: decoded at once when they are first read; 16 bits, grey, palettes, CMYK and transparency put right."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError
from napari_monusac.io.scale import Resolution
from napari_monusac.io.slides.depth import on_glass, to_8_bits, turned_note, white_note, white_of
from napari_monusac.io.slides.segments import budget_bytes

#: What decoding takes: the decoder's pixels and ours.
_BYTES_PER_PX = 8
#: EXIF's tag of how the image asks to be turned.
_ORIENTATION = 274


class WholeImage:
    """A PNG or JPEG as an array-like of uint8 (y, x, 3).

    Pillow's own limit of 179 megapixels holds for images from the network; ours is the memory at hand.

    Parameters
    ----------
    path : Path
        The file. Its header is read here; its pixels are, where they have 16 bits.

    Raises
    ------
    SlideError
        The header is damaged, or the pixels do not fit into memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pixels: NDArray[np.uint8] | None = None
        self.resolution: Resolution | None = None
        self.notes: tuple[str, ...] = ()
        self._is_deep = False
        try:
            with self._opened() as image:
                self.shape = (int(image.height), int(image.width))
                self._read_header(image)
        except Exception as error:
            raise self._damaged(error) from error
        self.segment_shape = self.shape
        self._check_memory()
        if self._is_deep:
            self._pixels = self._decoded()

    def _opened(self) -> Any:
        """The file in Pillow, by its class: ``Image.open`` would refuse more than 179 megapixels as an attack."""
        from PIL.JpegImagePlugin import JpegImageFile
        from PIL.PngImagePlugin import PngImageFile

        with self._path.open("rb") as file:
            is_png = file.read(4) == b"\x89PNG"
        return (PngImageFile if is_png else JpegImageFile)(self._path)

    def _read_header(self, image: Any) -> None:
        notes = []
        if image.mode in ("1", "L", "LA") or image.mode.startswith("I"):
            notes.append("the image is grey: nuclei are told apart without the colours of the stain")
        if image.format == "PNG":
            with self._path.open("rb") as file:
                self._is_deep = file.read(25)[24:] == b"\x10"
            per_metre = image.info.get("dpi")  # pHYs in metres, which Pillow gives in inches
            if per_metre is not None:
                self.resolution = Resolution(float(per_metre[1]), float(per_metre[0]), 25400.0)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                notes.append("where the image is transparent, it is shown white, as glass")
        self.notes = (*notes, *turned_note(image.getexif().get(_ORIENTATION)))

    def _check_memory(self) -> None:
        height, width = self.shape
        need, limit = height * width * _BYTES_PER_PX, budget_bytes()
        if need > limit:
            problem = (
                f"an image of {width} x {height} px must be decoded whole, which takes {need / 2**30:.1f} GiB; "
                f"{limit / 2**30:.1f} GiB are at hand"
            )
            raise SlideError(
                self._path, problem, "save it as a tiled TIFF (in QuPath or with vips), which is read in parts"
            )

    def _damaged(self, error: Exception) -> SlideError:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        return SlideError(self._path, f"cannot be decoded ({reason})", "the file is damaged: copy it again")

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Give a region of uint8 (height, width, 3)."""
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decoded()
            return self._pixels[y : y + height, x : x + width].copy()

    def release(self) -> None:
        """Let go of the decoded pixels."""
        with self._lock:
            self._pixels = None

    def _decoded(self) -> NDArray[np.uint8]:
        try:
            return self._deep() if self._is_deep else self._plain()
        except MemoryError as error:
            height, width = self.shape
            problem = f"an image of {width} x {height} px does not fit into memory"
            raise SlideError(self._path, problem, "save it as a tiled TIFF, which is read in parts") from error
        except Exception as error:
            raise self._damaged(error) from error

    def _plain(self) -> NDArray[np.uint8]:
        with self._opened() as image:
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                return _opaque(np.asarray(image.convert("RGBA"), np.uint8))
            return np.asarray(image.convert("RGB"), np.uint8)

    def _deep(self) -> NDArray[np.uint8]:
        """A PNG of 16 bits: Pillow would give grey ones as white, and colour ones of 12 bits as black."""
        import imagecodecs

        pixels = np.asarray(imagecodecs.png_decode(self._path.read_bytes()))
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        channels = pixels.shape[2]
        colour = pixels[..., : 1 if channels < 3 else 3]
        # the range tells, not sBIT: samples of fewer bits are meant to be scaled up to 16, and often are not
        brightest = int(colour.max(initial=0))
        white = white_of(brightest)
        self.notes = (*self.notes, *white_note(brightest, white))
        eight = to_8_bits(colour, white)
        eight = np.repeat(eight, 3, axis=-1) if channels < 3 else eight
        if channels in (2, 4):
            alpha = pixels[..., -1]
            return _opaque(np.dstack([eight, to_8_bits(alpha, white_of(int(alpha.max(initial=0))))]))
        return eight


def _opaque(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay RGBA on glass; where nothing at all is opaque, alpha was written wrongly and is left out."""
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    return np.ascontiguousarray(on_glass(rgb, alpha) if alpha.any() else rgb)
