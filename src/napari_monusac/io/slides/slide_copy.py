"""Copies of slides: red and blue put right, or the same compressed tiles without label and macro pages."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_monusac.core.errors import SlideError
from napari_monusac.core.files import atomic_write
from napari_monusac.io.slides.slide import Slide
from napari_monusac.io.slides.tiff import open_tiff
from napari_monusac.io.slides.tiff_level import TiffLevel
from napari_monusac.io.slides.tiff_pages import names_people

_TILE = 512
_COPIED_WHOLE_PX = 2**24


def write_plain_tif(slide: Slide, target: Path, note: str = "") -> None:
    """Write level 0 as an RGB TIFF of 8 bits, lossless, with its scale in the resolution tags; tiled where it is large.

    Raises
    ------
    SlideError
        The slide is damaged, or the disk is full.
    """
    height, width = slide.shape
    options: dict[str, Any] = {"photometric": "rgb", "compression": "deflate", "predictor": True, "metadata": None}
    options["description"] = note or None
    if slide.um_per_px:
        options |= {"resolution": (1e4 / slide.um_per_px,) * 2, "resolutionunit": "CENTIMETER"}
    try:
        with (
            atomic_write(target) as temporary,
            tifffile.TiffWriter(temporary, bigtiff=height * width > 2**30) as writer,
        ):
            if height * width <= _COPIED_WHOLE_PX:
                writer.write(slide.read(0, 0, height, width), rowsperstrip=256, **options)
            else:
                spots = ((y, x) for y in range(0, height, _TILE) for x in range(0, width, _TILE))
                tiles = (slide.read(y, x, _TILE, _TILE) for y, x in spots)
                writer.write(tiles, shape=(height, width, 3), dtype=np.uint8, tile=(_TILE, _TILE), **options)
    except OSError as error:
        raise SlideError(target, f"cannot be written ({error.strerror})", "check space and rights") from error


def may_name_people(path: Path) -> bool:
    """Whether a file, by its content, is a TIFF that holds what may identify a patient or a reader.

    Raises
    ------
    SlideError
        It is a damaged TIFF.
    """
    with path.open("rb") as file:
        if file.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return False
    try:
        with tifffile.TiffFile(path) as tiff:
            return names_people(tiff)
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise SlideError(path, f"is no readable TIFF ({error})", "the file is damaged: copy it again") from error


def copy_without_label(source: Path, target: Path) -> None:
    """Copy the pyramid of a slide: its compressed tiles as they are, without thumbnail, label and macro pages.

    Of the description only geometry, scale and magnification are kept: the rest may name people.

    Raises
    ------
    SlideError
        The slide is damaged, or the disk is full.
    """
    content = open_tiff(source)
    levels = [level for level in content.levels if isinstance(level, TiffLevel)]
    try:
        if len(levels) < len(content.levels):
            problem = "has red, green and blue in pages of their own: it cannot be copied tile by tile"
            raise SlideError(source, problem, "save it as an RGB TIFF")
        with (
            atomic_write(target) as temporary,
            tifffile.TiffWriter(temporary, bigtiff=content.file.size > 2**31) as writer,
        ):
            for k, level in enumerate(levels):
                options = level.raw_options()
                options["description"] = impersonal(content.description) or None if k == 0 else None
                if k == 0 and content.scale.y_um and content.scale.x_um and not content.scale.guessed:
                    options["resolution"] = (1e4 / content.scale.x_um, 1e4 / content.scale.y_um)
                    options["resolutionunit"] = "CENTIMETER"
                writer.write(level.raw_segments(), subfiletype=int(k > 0), metadata=None, **options)
    except OSError as error:
        raise SlideError(target, f"cannot be written ({error.strerror})", "check space and rights") from error
    finally:
        content.file.close()


def impersonal(description: str) -> str:
    """Aperio's description with nothing but geometry, scale and magnification; of other programs' nothing."""
    if not description.startswith("Aperio"):
        return ""
    geometry = description.split("|")[0]
    kept = re.findall(r"\|\s*((?:AppMag|MPP|OriginalWidth|OriginalHeight)\s*=\s*[\d.,eE+-]+)", description)
    return "|".join([geometry, *kept])
