"""Which files are slides: one table of formats; suffixes, file dialogs and the manifest are views of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SlideFormat:
    """A kind of file that `open_slide` reads.

    Attributes
    ----------
    name : str
        What people call it.
    suffixes : tuple of str
        Small letters, the preferred one first.
    is_slide : bool
        Whether only slides have this suffix: such a file is opened without an annotation beside it, too.
    colours_sure : bool
        Whether a scanner's software wrote it, so that red and blue are never swapped.
    is_folder : bool
        Whether it is a folder of files.
    """

    name: str
    suffixes: tuple[str, ...]
    is_slide: bool = True
    colours_sure: bool = True
    is_folder: bool = False


#: All formats; of images of one name the first in this order is read.
FORMATS = (
    SlideFormat("Aperio", (".svs",)),
    SlideFormat("Hamamatsu", (".ndpi", ".vms", ".vmu")),
    SlideFormat("3DHISTECH MIRAX", (".mrxs",)),
    SlideFormat("Leica", (".scn",)),
    SlideFormat("Ventana", (".bif",)),
    SlideFormat("Sakura", (".svslide",)),
    SlideFormat("DICOM whole slide", (".dcm",)),
    SlideFormat("OME-Zarr", (".zarr",), colours_sure=False, is_folder=True),
    SlideFormat("TIFF", (".tif", ".tiff"), is_slide=False, colours_sure=False),
    SlideFormat("PNG", (".png",), is_slide=False, colours_sure=False),
    SlideFormat("JPEG", (".jpg", ".jpeg"), is_slide=False, colours_sure=False),
)
#: Suffixes of images, the preferred one first.
IMAGE_SUFFIXES = tuple(s for f in FORMATS for s in f.suffixes)
_BY_SUFFIX = {s: f for f in FORMATS for s in f.suffixes}


def is_image_name(path: Path) -> bool:
    """Whether a file or folder has the suffix of an image."""
    return path.suffix.lower() in _BY_SUFFIX


def is_slide_name(path: Path) -> bool:
    """Whether only slides have this suffix, so that no annotation need tell that it is one."""
    known = _BY_SUFFIX.get(path.suffix.lower())
    return known is not None and known.is_slide


def colours_sure(path: Path) -> bool:
    """Whether red and blue of this file are never swapped, because a scanner's software wrote it."""
    known = _BY_SUFFIX.get(path.suffix.lower())
    return known is not None and known.colours_sure
