"""Opening a TIFF or .svs file: its pyramid, and what its tags (and where they do not tell, its pixels) say."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_monusac.core.errors import SlideError
from napari_monusac.io.ome import ome_images, ome_pixels
from napari_monusac.io.scale import Resolution, Scale, magnification_of, scale_number, scale_of
from napari_monusac.io.slides.depth import turned_note, white_note, white_of
from napari_monusac.io.slides.segments import SegmentFile
from napari_monusac.io.slides.tiff_level import PlanesLevel, TiffLevel
from napari_monusac.io.slides.tiff_pages import NDPI_LENS, slide_pages

#: Side of the places where two pages are compared; grey values that spread by less are empty glass.
_SPOT_PX, _EMPTY_SPREAD, _SAME_IMAGE = 192, 3.0, 0.7
#: More than this is not read for a comparison: such a page is no next level.
_MOST_COMPARED_PX = 2**24
_MOST_TEXT = 2**16
#: TIFF's ResolutionUnit: inch, centimetre; millimetre and micrometre as tifffile and others write them.
_UNITS_UM = {2: 25400.0, 3: 10000.0, 4: 1000.0, 5: 1.0}


@dataclass(frozen=True, slots=True)
class TiffContent:
    """The pyramid of a TIFF or .svs file, and what its tags say.

    Attributes
    ----------
    file : SegmentFile
        The open file.
    levels : tuple of TiffLevel or PlanesLevel
        Largest first. Thumbnail, label and macro pages are never among them.
    description : str
        ImageDescription of level 0.
    scale : Scale
        What the file says of its scale.
    magnification : float or None
        Magnification of the objective.
    notes : tuple of str
        What the user should be told of the pages and pixels.
    """

    file: SegmentFile
    levels: tuple[TiffLevel | PlanesLevel, ...]
    description: str
    scale: Scale
    magnification: float | None = None
    notes: tuple[str, ...] = ()


def open_tiff(path: Path) -> TiffContent:
    """Read the tags of a TIFF or .svs file.

    Pixels are only looked at where tags do not tell: whether a page is a smaller level, how bright white is in 16 bits,
    and whether alpha is used.

    Raises
    ------
    SlideError
        It is no TIFF, it is damaged or cut off, or its pixels have a form that cannot be read.
    """
    file = SegmentFile(path)
    try:
        with _quiet_tifffile(), tifffile.TiffFile(path) as tiff:
            return _content(tiff, file)
    except SlideError:
        file.close()
        raise
    except Exception as error:
        file.close()
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise SlideError(path, f"is no readable TIFF ({reason})", "the file is damaged: copy it again") from error


def _content(tiff: Any, file: SegmentFile) -> TiffContent:
    found = slide_pages(tiff, _Shrunken(file))
    levels = [tuple(TiffLevel(file, page) for page in pages) for pages in found.levels]
    base = found.levels[0][0]
    description = str(base.description or "")
    # OME and ImageJ describe the whole file, on its first page
    first = str(tiff.pages[0].description or "")
    about = first if len(levels[0]) > 1 or ome_images(first) or first.startswith("ImageJ=") else description
    notes = _rendered([level for planes in levels for level in planes[:3]], _stated_white(base, about))
    levels = [_with_alpha(planes) for planes in levels]
    more = _more_text(tiff, base)
    scale = scale_of(about, levels[0][0].shape, _resolution(base), more)
    made = tuple(planes[0] if len(planes) == 1 else PlanesLevel(planes) for planes in levels)
    return TiffContent(file, made, description, scale, magnification_of(f"{about}\n{more}"), (*found.notes, *notes))


@contextmanager
def _quiet_tifffile() -> Iterator[None]:
    """Keep what tifffile logs about a damaged file (in this thread) off the terminal: one SlideError says it."""
    here = threading.get_ident()
    logger = logging.getLogger("tifffile")

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != here

    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)


class _Shrunken:
    """Says whether a page is another one, smaller: pixels of both are compared at a few places."""

    def __init__(self, file: SegmentFile) -> None:
        self._file = file

    def __call__(self, small: Any, large: Any) -> bool:
        try:
            low, high = TiffLevel(self._file, small), TiffLevel(self._file, large)
        except SlideError:
            return False
        return is_shrunken(low, high)


def is_shrunken(small: TiffLevel, large: TiffLevel) -> bool:
    """Compare two images of one aspect: the larger, shrunken, with the smaller one.

    They are one image where their grey values correlate by more than 0.7, or where both are empty and equally bright.
    Two fields of tissue correlate by 0.1 or so.
    """
    import cv2

    pairs = []
    for y, x, height, width in _spots(small.shape):
        scales = [n / m for n, m in zip(large.shape, small.shape, strict=True)]
        top, left = round(y * scales[0]), round(x * scales[1])
        rows = min(large.shape[0] - top, max(1, round(height * scales[0])))
        columns = min(large.shape[1] - left, max(1, round(width * scales[1])))
        if rows * columns > _MOST_COMPARED_PX:
            return False
        whole = large.read(top, left, rows, columns)
        shrunk = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        pairs.append([cv2.blur(p, (5, 5)).mean(-1).ravel() for p in (small.read(y, x, height, width), shrunk)])
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    if max(one.std(), other.std()) < _EMPTY_SPREAD:
        return bool(abs(one.mean() - other.mean()) < 2 * _EMPTY_SPREAD)
    if min(one.std(), other.std()) < 1e-6:
        return False
    return bool(np.corrcoef(one, other)[0, 1] > _SAME_IMAGE)


def _spots(shape: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Up to five places of 192 px (y, x, height, width): the middle, and between it and the corners."""
    height, width = (min(n, _SPOT_PX) for n in shape)
    rest = shape[0] - height, shape[1] - width
    parts = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
    places = dict.fromkeys((round(rest[0] * a), round(rest[1] * b)) for a, b in parts)
    return [(y, x, height, width) for y, x in places]


def _rendered(levels: Sequence[TiffLevel], stated: int | None) -> tuple[str, ...]:
    """Settle how bright white is and what alpha means, alike for all levels; say what the user should know."""
    notes: list[str] = []
    first = levels[0]
    open_range = first.dtype == np.uint16 and first.white == 65535 and stated is None
    brightest = opaque = clear = 0
    if open_range or first.has_alpha:
        extremes = [level.extremes() for level in levels if level.shape == levels[-1].shape]
        brightest, opaque = (max(values) for values in list(zip(*extremes, strict=True))[:2])
        clear = min(values[2] for values in extremes)
    white = first.white
    if open_range:
        white = white_of(brightest)
        notes += white_note(brightest, white)
    elif first.dtype == np.uint16 and stated is not None:
        white = min(white, stated)
    for level in levels:
        level.white, level.clear_is_glass = white, level.has_alpha and opaque > 0
        level.opaque = white_of(opaque)
    if first.has_alpha and clear < opaque:
        notes.append("the fourth channel is transparency: what is clear is shown white, as glass")
    elif first.has_more:
        notes.append("the fourth channel is left out")
    return (*notes, *turned_note(first.orientation))


def _with_alpha(planes: tuple[TiffLevel, ...]) -> tuple[TiffLevel, ...]:
    """Settle what is opaque in a plane of alpha; one that is nowhere opaque was written wrongly, and is left out."""
    for alpha in planes[3:]:
        most = alpha.extremes()[0]
        if most == 0:
            return planes[:3]
        alpha.white = white_of(most)
    return planes


def _stated_white(page: Any, description: str) -> int | None:
    """The value of white that tags, OME-XML or ImageJ state, where it tells more than the size of the samples."""
    ome = ome_pixels(description, (int(page.imagelength), int(page.imagewidth)))
    if ome is not None and 8 <= ome.number("SignificantBits", 16) < 16:
        return int(2 ** ome.number("SignificantBits", 16) - 1)
    most = page.tags.valueof("MaxSampleValue") or page.tags.valueof("SMaxSampleValue")
    values = most if isinstance(most, tuple) else (most,)
    if all(isinstance(v, int | float) and 255 <= v < 65535 for v in values):
        return int(max(values))
    if description.startswith("ImageJ="):
        shown = re.search(r"^max=([\d.]+)\s*$", description, re.MULTILINE)
        number = scale_number(shown.group(1)) if shown else None
        # what is shown, not what there is: it tells the bits
        return white_of(int(number)) if number is not None and 1 <= number < 65535 else None
    return None


def _resolution(page: Any) -> Resolution:
    """The resolution tags; a unit of none is none."""
    unit = int(page.tags.valueof("ResolutionUnit", 2) or 0)
    values = []
    for tag in ("YResolution", "XResolution"):
        value = page.tags.valueof(tag)
        fraction = value if isinstance(value, tuple) and len(value) == 2 else (value or 0, 1)
        values.append(float(fraction[0]) / float(fraction[1]) if fraction[0] and fraction[1] else None)
    return Resolution(values[0], values[1], _UNITS_UM.get(unit))


def _more_text(tiff: Any, base: Any) -> str:
    """XMP of the first pages (Ventana's scale stands there, with the label), and Hamamatsu's magnification in words."""
    lens = base.tags.valueof(NDPI_LENS)
    found = [f"Magnification = {lens:g}"] if isinstance(lens, int | float) and lens > 0 else []
    for k in range(8):
        try:
            xmp = tiff.pages[k].tags.valueof(700)
        except (IndexError, AttributeError):
            break
        if isinstance(xmp, bytes):
            found.append(xmp[:_MOST_TEXT].decode("utf-8", "replace"))
        elif isinstance(xmp, str):
            found.append(xmp[:_MOST_TEXT])
    return "\n".join(found)
