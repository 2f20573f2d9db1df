"""The pages of a TIFF or .svs file that make up its pyramid, and what their tags say."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

from napari_monusac.core.errors import SlideError
from napari_monusac.io.segments import SegmentFile
from napari_monusac.io.tifflevel import TiffLevel

#: More top-level pages than this are not looked at.
_MOST_PAGES = 64


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
        with _quiet_tifffile(), tifffile.TiffFile(path) as tiff:
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
