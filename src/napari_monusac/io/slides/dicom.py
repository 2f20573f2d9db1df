"""DICOM whole slides: which files are one slide, and reading them by OpenSlide or, where that cannot, by wsidicom.

Of a header only what tells the files of a series apart is read; a patient's fields are stepped over.
"""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError
from napari_monusac.io.scale import scale_of_sides
from napari_monusac.io.slides.content import SlideContent
from napari_monusac.io.slides.openslide_file import open_with_openslide
from napari_monusac.io.slides.tags import SlideTags
from napari_monusac.io.slides.tiles import TILES, TileGrid, new_owner

#: "VL Whole Slide Microscopy Image Storage".
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_IMPLICIT = "1.2.840.10008.1.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_SYNTAX, _IMAGE_TYPE, _CLASS, _SERIES = (2, 0x10), (8, 8), (8, 0x16), (0x20, 0xE)
#: Value representations whose length has four bytes.
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_UNKNOWN_LENGTH = 0xFFFFFFFF
_MOST_ELEMENTS, _MOST_TEXT = 4096, 1024
_TILE_PX = 512
_DAMAGED = "the file, or another one of its series, is damaged or missing: copy the series again"


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """What tells the files of a slide from others.

    Attributes
    ----------
    series : str
        Number of the series.
    is_whole_slide : bool
        Whether it is a whole slide, and no radiology.
    is_volume : bool
        Whether it is a level of the slide: no label, overview or thumbnail.
    """

    series: str
    is_whole_slide: bool
    is_volume: bool


def dicom_header(path: Path) -> DicomHeader | None:
    """Read what a DICOM file is; None where it is none, or damaged."""
    try:
        with path.open("rb") as file:
            file.seek(128)
            if file.read(4) != b"DICM":
                return None
            found = _elements(file)
    except (OSError, struct.error, ValueError):
        return None
    kinds = found.get(_IMAGE_TYPE, "").split("\\")
    return DicomHeader(
        found.get(_SERIES, ""), found.get(_CLASS, "") == _WHOLE_SLIDE, len(kinds) > 2 and kinds[2] == "VOLUME"
    )


def _elements(file: BinaryIO) -> dict[tuple[int, int], str]:
    """The four elements that are asked for, up to the number of the series; all others are stepped over unread."""
    wanted, found = {_SYNTAX, _IMAGE_TYPE, _CLASS, _SERIES}, dict[tuple[int, int], str]()
    for _ in range(_MOST_ELEMENTS):
        head = file.read(4)
        if len(head) < 4:
            break
        tag: tuple[int, int] = struct.unpack("<HH", head)
        syntax = found.get(_SYNTAX, "")
        if tag > _SERIES or (tag[0] > 2 and syntax in (_DEFLATED, _BIG_ENDIAN)):
            break
        length = _length(file, implicit=tag[0] > 2 and syntax == _IMPLICIT)
        if length == _UNKNOWN_LENGTH:
            _skip_sequence(file, implicit=syntax == _IMPLICIT)
        elif tag in wanted and length <= _MOST_TEXT:
            found[tag] = file.read(length).decode("ascii", "replace").strip("\0 ")
        else:
            file.seek(length, 1)
    return found


def _length(file: BinaryIO, *, implicit: bool) -> int:
    """Length of the value of an element whose tag was read."""
    if implicit:
        return int(struct.unpack("<I", file.read(4))[0])
    kind, short = struct.unpack("<2sH", file.read(4))
    return int(struct.unpack("<I", file.read(4))[0]) if kind in _LONG else int(short)


def _skip_sequence(file: BinaryIO, *, implicit: bool) -> None:
    """Step over a sequence without a length: to the end mark of its depth."""
    depth = 1
    for _ in range(_MOST_ELEMENTS):
        tag = struct.unpack("<HH", file.read(4))
        if tag[0] == 0xFFFE:
            length = struct.unpack("<I", file.read(4))[0]
            if tag[1] in (0xE0DD, 0xE00D):  # end of a sequence or item
                depth -= 1
            elif length == _UNKNOWN_LENGTH:
                depth += 1
            else:
                file.seek(length, 1)
        else:
            length = _length(file, implicit=implicit)
            if length == _UNKNOWN_LENGTH:
                depth += 1
            else:
                file.seek(length, 1)
        if depth == 0:
            return
    raise ValueError("a sequence without an end")


def slides_of(files: Iterable[Path]) -> list[Path]:
    """Choose one file for each whole slide among DICOM files: its largest level.

    Parameters
    ----------
    files : iterable of Path
        Files of one folder; what is no level of a whole slide is left out.
    """
    series: dict[str, list[Path]] = {}
    for file in files:
        header = dicom_header(file)
        if header is not None and header.is_whole_slide and header.is_volume:
            series.setdefault(header.series, []).append(file)
    return sorted(max(some, key=lambda f: (f.stat().st_size, f.name)) for some in series.values())


def slide_of(path: Path) -> Path:
    """Return the file that stands for the slide that a DICOM file, or a folder of one series, belongs to.

    Raises
    ------
    SlideError
        It is no whole slide, or the folder holds several.
    """
    if path.is_dir():
        slides = slides_of(p for p in sorted(path.iterdir()) if p.is_file())
        if len(slides) == 1:
            return slides[0]
        if not slides:
            raise SlideError(path, "is a folder", "use open_collection for folders")
        raise SlideError(path, f"holds {len(slides)} DICOM slides", f"open one of them, for example {slides[0].name}")
    header = dicom_header(path)
    if header is None or not header.is_whole_slide:
        raise SlideError(path, "is a DICOM file, but no whole slide", "open a file of a whole slide's series")
    beside = [p for p in path.parent.iterdir() if p.suffix == path.suffix and p.is_file()]
    same = [p for p in slides_of(beside) if getattr(dicom_header(p), "series", None) == header.series]
    if not same:
        problem = "is a label, an overview or a thumbnail, which may identify a patient and is never shown"
        raise SlideError(path, problem, "put the files of its series beside it")
    return same[0]


def open_dicom(path: Path) -> SlideContent:
    """Open a DICOM whole slide by any file of its series, or by the folder of the series.

    Raises
    ------
    SlideError
        It is damaged, or packed in a way that neither OpenSlide nor wsidicom (where it is installed) can read.
    """
    path = slide_of(path)
    try:
        return open_with_openslide(path)
    except SlideError as error:
        refused = error
    try:
        import wsidicom  # noqa: F401
    except ImportError:
        mend = f'{refused.mend}; if it is whole, pip install "napari-monusac[dicom]", which reads more kinds'
        raise SlideError(path, refused.problem.removeprefix(f"{path}: "), mend) from refused
    return _open_with_wsidicom(path, refused)


def _open_with_wsidicom(path: Path, refused: SlideError) -> SlideContent:
    """Open what OpenSlide has refused."""
    from wsidicom import WsiDicom

    series = getattr(dicom_header(path), "series", None)
    levels = [p for p in path.parent.iterdir() if p.suffix == path.suffix and p.is_file()]
    files = [p for p in levels if (h := dicom_header(p)) is not None and h.series == series and h.is_volume]
    slide: Any = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, which may tell a patient's fields
            slide = WsiDicom.open(files)
        owner, lock = new_owner(), threading.Lock()
        found = sorted(slide.pyramids[0], key=lambda level: int(level.level))
        made = tuple(WsiDicomLevel(path, slide, level, owner, lock) for level in found)
        spacing = found[0].mpp
        objective = _objective(path)
    except Exception as error:
        if slide is not None:
            slide.close()
        problem = f"{refused.problem.removeprefix(f'{path}: ')}; wsidicom: {_reason(error)}"
        raise SlideError(path, problem, _DAMAGED) from error

    def close() -> None:
        TILES.forget(owner)
        slide.close()

    scale = scale_of_sides(float(spacing.height), float(spacing.width), "DICOM PixelSpacing", objective)
    return SlideContent("wsidicom", made, SlideTags(magnification=objective), scale, colours_sure=True, close=close)


def _objective(path: Path) -> float | None:
    """Magnification of the objective; of the header nothing else is read."""
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["OpticalPathSequence"])
    paths = header.get("OpticalPathSequence")
    power = paths[0].get("ObjectiveLensPower") if paths else None
    return float(power) if power is not None and 1 <= float(power) <= 150 else None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


class WsiDicomLevel:
    """A level as an array-like of uint8 (y, x, 3).

    Parameters
    ----------
    path : Path
        A file of the series, for messages.
    slide : wsidicom.WsiDicom
        The open series.
    level : wsidicom.group.Level
        Of its pyramid.
    owner : int
        Under which decoded tiles are kept.
    lock : threading.Lock
        Of the series: one region is read at a time.
    """

    def __init__(self, path: Path, slide: Any, level: Any, owner: int, lock: threading.Lock) -> None:
        self._path, self._slide, self._lock = path, slide, lock
        self._level = int(level.level)
        self.shape: tuple[int, int] = (int(level.size.height), int(level.size.width))
        self.segment_shape = (min(_TILE_PX, self.shape[0]), min(_TILE_PX, self.shape[1]))
        self.tiles = TileGrid(self.shape, self.segment_shape, self._tile, owner, self._level)

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a region that lies inside: uint8 (height, width, 3), RGB.

        Raises
        ------
        SlideError
            A tile is damaged.
        """
        return self.tiles.read(y, x, height, width)

    def _tile(self, index: int) -> NDArray[np.uint8]:
        y, x, height, width = self.tiles.place(index)
        try:
            with self._lock:
                image = self._slide.read_region((x, y), self._level, (width, height))
        except Exception as error:
            raise SlideError(self._path, f"cannot be read at ({x}, {y}) px ({_reason(error)})", _DAMAGED) from error
        return np.asarray(image.convert("RGB"), np.uint8)
