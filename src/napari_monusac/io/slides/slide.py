"""Slides and crops of any format as a lazy RGB pyramid with its scale, origin and channels put right: the one door."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError
from napari_monusac.io.scale import PLAUSIBLE_UM_PER_PX, Scale, plausible, same_scale, scale_of
from napari_monusac.io.slides.annotation_scale import scale_beside
from napari_monusac.io.slides.channels import ChannelOrder, channel_verdict
from napari_monusac.io.slides.content import SlideContent, SlideReader
from napari_monusac.io.slides.dicom import open_dicom, slide_of
from napari_monusac.io.slides.formats import IMAGE_SUFFIXES
from napari_monusac.io.slides.growing import LARGE_PX, GrowingPyramid
from napari_monusac.io.slides.ome_zarr import open_ome_zarr
from napari_monusac.io.slides.openslide_file import open_with_openslide, openslide_vendor
from napari_monusac.io.slides.segments import check_budget
from napari_monusac.io.slides.tags import SlideTags, aperio_tags
from napari_monusac.io.slides.tiff import open_tiff
from napari_monusac.io.slides.whole_image import WholeImage

if TYPE_CHECKING:
    import dask.array as da

_AS_TIFF = "save it as .tif or .png"
#: Files that people take for slides, by their first bytes: what they are, and the mend.
_OTHER_KINDS = {
    re.compile(start, re.DOTALL | re.IGNORECASE): answer
    for start, answer in {
        rb"BM": ("a BMP image", _AS_TIFF),
        rb"RIFF....WEBP": ("a WebP image", _AS_TIFF),
        rb"GIF8": ("a GIF image", _AS_TIFF),
        rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": ("a JPEG 2000 image", _AS_TIFF),
        rb"\xff\x0a|\0\0\0\x0cJXL ": ("a JPEG XL image", _AS_TIFF),
        rb"....ftyp(?:hei|mif|avi)": ("a HEIC or AVIF photograph", _AS_TIFF),
        rb"\xd0\xcf\x11\xe0": ("an OLE file (Zeiss ZVI, VSI or Office)", "export it as a tiled TIFF"),
        rb"ZISRAW": ("a Zeiss CZI slide", "export it as a tiled TIFF"),
        rb"%PDF": ("a PDF", "export the image as .tif or .png"),
        rb"PK\x03\x04": ("a ZIP archive", "unpack it"),
        rb"\x1f\x8b": ("a gzip archive", "unpack it"),
        rb"\s*<(?:!doctype html|html)": ("a web page: the download has failed", "download it again"),
        rb"version https://git-lfs": ("a Git LFS pointer, and the image was not downloaded", "run git lfs pull"),
    }.items()
}
#: Suffixes that are always OpenSlide's, and those whose files are no TIFF: a .mrxs begins as a JPEG, with the label.
_BY_OPENSLIDE = frozenset((".ndpi", ".vms", ".vmu", ".mrxs", ".scn", ".bif", ".svslide"))
_NOT_TIFF = frozenset((".vms", ".vmu", ".mrxs", ".svslide"))
#: Words of `Slide.um_per_px_source` where the image itself states its scale.
_STATED = ("tiff", "png", "slide")
_CHUNK_PX = 1024
_SAMPLE_PX = 1024


#: Slides that are looked at, and whose smaller levels are made, by their path.
_GROWING: WeakValueDictionary[str, Slide] = WeakValueDictionary()


def growing_slide(path: str | Path) -> Slide | None:
    """Return the slide of a file that is looked at, where its smaller levels are made here; else None."""
    return _GROWING.get(str(path))


class _ArrayLike:
    """What dask needs to cut chunks out of a level."""

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, slide: Slide, level: int) -> None:
        self._slide, self._level = slide, level
        self.shape = (*slide.level_shapes[level], 3)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        rows, columns, channels = (*key, slice(None))[:3] if isinstance(key, tuple) else (key, slice(None), slice(None))
        (y0, y1, ys), (x0, x1, xs) = rows.indices(self.shape[0]), columns.indices(self.shape[1])
        return self._slide.read(y0, x0, y1 - y0, x1 - x0, self._level)[::ys, ::xs, channels]


class Slide:
    """An open image. Pixels are read when they are asked for, from any thread. Use `open_slide` to get one.

    Attributes
    ----------
    path : Path
        The file.
    um_per_px : float or None
        Micrometres per level-0 pixel.
    um_per_px_source : str
        ``"given"``; ``"tiff"``, ``"png"`` or ``"slide"`` (the image states it); ``"xml"`` or ``"geojson"`` (its annotation
        does); ``"magnification"`` (about right), or ``""`` when it is unknown.
    scale : Scale
        Both axes, and how they were found.
    channel_order : {"rgb", "bgr"}
        Order of the channels in the file.
    notes : tuple of str
        What the user should be told.
    """

    def __init__(self, path: Path, content: SlideContent) -> None:
        self.path = path
        self._content = content
        self._levels = content.levels
        #: Smaller levels of a large image that has none: made when they are looked at.
        self.growing: GrowingPyramid | None = None
        height, width = content.levels[0].shape
        if len(content.levels) == 1 and height * width > LARGE_PX:
            self.growing = GrowingPyramid(path, content.levels[0], content.release)
            self._levels = self.growing.levels
        self.scale = Scale()
        self.um_per_px: float | None = None
        self.um_per_px_source = ""
        self.channel_order: ChannelOrder = "rgb"
        self.notes = content.notes

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def reader(self) -> SlideReader:
        """Who reads the file."""
        return self._content.reader

    @property
    def tags(self) -> SlideTags:
        """What the file says of objective and place."""
        return self._content.tags

    @property
    def colours_sure(self) -> bool:
        """Whether a scanner's software wrote the file, so that red and blue stand in their order."""
        return self._content.colours_sure

    @property
    def scale_stated(self) -> bool:
        """Whether the image itself states its scale."""
        return self.um_per_px_source in _STATED

    @property
    def magnification(self) -> float | None:
        """Magnification of the objective (Aperio's ``AppMag``)."""
        return self.tags.magnification

    @property
    def origin_px(self) -> tuple[int, int] | None:
        """(y, x) of the first pixel in the slide that this crop, or the scanned area, was cut from."""
        return self.tags.origin_px

    @property
    def parent_shape(self) -> tuple[int, int] | None:
        """(height, width) of that slide in px."""
        return self.tags.parent_shape

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of level 0, in px."""
        return self._levels[0].shape

    @property
    def level_shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of every level, largest first."""
        return tuple(level.shape for level in self._levels)

    @property
    def channels_swapped(self) -> bool:
        """Whether red and blue stand the wrong way round in the file (they are put right in what is read)."""
        return self.channel_order == "bgr"

    @cached_property
    def levels(self) -> list[da.Array]:
        """The pyramid as lazy dask arrays of uint8 (y, x, 3), RGB, largest first; chunks are whole tiles."""
        import dask.array as da

        if self.growing is not None:
            _GROWING[str(self.path)] = self
        arrays = []
        for k, level in enumerate(self._levels):
            chunk = [min(n, s * max(1, _CHUNK_PX // s)) for n, s in zip(level.shape, level.segment_shape, strict=True)]
            source = _ArrayLike(self, k)
            array = da.from_array(source, chunks=(*chunk, 3), name=False, asarray=False, inline_array=True)
            arrays.append(array)
        return arrays

    def read(self, y: int, x: int, height: int, width: int, level: int = 0) -> NDArray[np.uint8]:
        """Read a region.

        Parameters
        ----------
        y, x : int
            First pixel, in pixels of `level`.
        height, width : int
            Size in pixels of `level`. What lies outside of the image comes back white.
        level : int
            0 is the largest.

        Returns
        -------
        uint8 (height, width, 3)
            RGB, put right.

        Raises
        ------
        SlideError
            The region does not fit into memory, the level does not exist, or the file is damaged.
        """
        if not 0 <= level < len(self._levels):
            raise SlideError(self.path, f"has no level {level}", f"use 0 to {len(self._levels) - 1}")
        if height < 0 or width < 0:
            raise SlideError(self.path, f"cannot read {width} x {height} px", "ask for a positive size")
        check_budget(self.path, height, width, "the region")
        source = self._levels[level]
        y0, x0 = max(0, y), max(0, x)
        y1, x1 = min(source.shape[0], y + height), min(source.shape[1], x + width)
        if (y0, x0, y1, x1) == (y, x, y + height, x + width) and height and width:
            return self._in_order(source.read(y, x, height, width))
        out = np.full((height, width, 3), 255, np.uint8)
        if y1 > y0 and x1 > x0:
            out[y0 - y : y1 - y, x0 - x : x1 - x] = self._in_order(source.read(y0, x0, y1 - y0, x1 - x0))
        return out

    def _in_order(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(pixels[..., ::-1]) if self.channels_swapped else pixels

    def take_scale(self, um_per_px: float) -> None:
        """Take the user's word on the scale, where neither the image nor its annotation states it."""
        if self.um_per_px is None or self.scale.guessed:
            self.notes = tuple(n for n in self.notes if n not in self.scale.notes)
            self.scale, self.um_per_px_source = Scale(um_per_px, um_per_px, "given"), "given"
            self.um_per_px = um_per_px

    def close(self) -> None:
        """Close the file; arrays in `levels` cannot be read any more."""
        if self.growing is not None:
            self.growing.stop()
        self._content.close()

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        height, width = self.shape
        scale = f"{self.um_per_px:g} um/px" if self.um_per_px else "scale unknown"
        return f"<Slide {self.path.name}: {width} x {height} px, {scale}, {len(self._levels)} levels>"


def open_slide(
    path: str | Path,
    *,
    channel_order: ChannelOrder = "auto",
    um_per_px: float | None = None,
    annotation: Path | None = None,
) -> Slide:
    """Open an image: an Aperio .svs, a slide of another scanner, DICOM, OME-Zarr, TIFF, PNG or JPEG.

    Only the tags are read, and for ``channel_order="auto"`` of a file that Aperio did not write a sample of at most
    1024 x 1024 px; where the tags do not tell levels, bits or transparency, some tiles. Label, macro and thumbnail pages
    are never read, wherever they stand in the file: they may identify a patient.

    Parameters
    ----------
    path : str or Path
        The file; of DICOM any file of the series, or the folder of one series; of OME-Zarr the folder.
    channel_order : {"auto", "rgb", "bgr"}
        Order of the channels in the file; ``"auto"`` looks at the stain (see `io.channels`).
    um_per_px : float, optional
        Micrometres per pixel, where the user knows better than the file.
    annotation : Path, optional
        The annotation to ask where the image does not state its scale; else those of its name beside it are asked.

    Returns
    -------
    Slide
        Also a context manager.

    Raises
    ------
    SlideError
        The file is missing, damaged, cut off or of a form that cannot be read.
    """
    path = Path(path)
    if channel_order not in ("auto", "rgb", "bgr"):
        raise SlideError(path, f"channel order {channel_order!r}", "use auto, rgb or bgr")
    content = _open(path)
    slide = Slide(path, content)
    source = {"tiff": "tiff", "whole image": "png"}.get(content.reader, "slide")
    try:
        _set_scale(slide, um_per_px, content.scale, source, annotation)
        _set_channels(slide, channel_order)
    except SlideError:
        slide.close()
        raise
    return slide


def _open(path: Path) -> SlideContent:
    """Open a file by what it is: its first bytes tell, for a suffix may lie."""
    if path.is_dir():
        return open_ome_zarr(path) if path.suffix.lower() == ".zarr" else open_dicom(slide_of(path))
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as error:
        raise SlideError(path, f"cannot be opened ({error.strerror})", "check the path") from error
    if head[128:] == b"DICM":
        return open_dicom(path)
    is_tiff = head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if path.suffix.lower() in _BY_OPENSLIDE or (is_tiff and path.suffix.lower() != ".svs"):
        if openslide_vendor(path) is not None:
            return _by_openslide(path)
        if path.suffix.lower() in _NOT_TIFF:
            raise _not_its_format(path, head)
    if is_tiff:
        return _tiff(path)
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:3] == b"\xff\xd8\xff":
        whole = WholeImage(path)
        scale = scale_of("", whole.shape, whole.resolution)
        return SlideContent("whole image", (whole,), SlideTags(), scale, notes=whole.notes, release=whole.release)
    raise _other_kind(path, head)


def _by_openslide(path: Path) -> SlideContent:
    """Open what OpenSlide knows; a TIFF that names a scanner but is no slide of it (a part, saved again) is read as a TIFF."""
    try:
        return open_with_openslide(path)
    except SlideError as error:
        if path.suffix.lower() in _BY_OPENSLIDE:
            raise
        try:
            content = _tiff(path)
        except SlideError:
            raise error from None
        why = error.problem.removeprefix(f"{path}: ")
        note = f"{path.name} names a scanner but is no slide of it ({why}): read as a plain TIFF"
        return replace(content, notes=(*content.notes, note))


def _tiff(path: Path) -> SlideContent:
    content = open_tiff(path)
    tags = aperio_tags(content.description, content.levels[0].shape)
    if tags.magnification is None:
        tags = replace(tags, magnification=content.magnification)
    return SlideContent(
        "tiff", content.levels, tags, content.scale, colours_sure=tags.is_aperio, notes=content.notes,
        close=content.file.close,
    )  # fmt: skip


def _not_its_format(path: Path, head: bytes) -> SlideError:
    """Why a file with the suffix of a scanner's slide is none: of these the first bytes may be a label's picture."""
    if not head or not head.strip(b"\0"):
        return _other_kind(path, head)
    what = f"is no {path.suffix.lower()} slide that OpenSlide knows"
    return SlideError(path, what, "copy it again, with the folder or the files that belong to it")


def _other_kind(path: Path, head: bytes) -> SlideError:
    """Why a file is no image that can be read, by its first bytes."""
    if not head:
        return SlideError(path, "is empty (0 bytes)", "copy or download it again")
    if not head.strip(b"\0"):
        return SlideError(path, "begins with zeros only: it was not copied to its end", "copy or download it again")
    for start, (what, mend) in _OTHER_KINDS.items():
        if start.match(head):
            return SlideError(path, f"is {what}", mend)
    return SlideError(
        path, f"starts with {head[:8]!r}: no slide, TIFF, PNG or JPEG", f"use one of {', '.join(IMAGE_SUFFIXES)}"
    )


def _set_scale(slide: Slide, given: float | None, scale: Scale, source: str, annotation: Path | None) -> None:
    """Take the user's word, else what the image states, else its annotation, else a guess from the magnification."""
    if given is not None:
        if plausible(given) is None:
            low, high = PLAUSIBLE_UM_PER_PX
            raise SlideError(slide.path, f"um_per_px {given:g}", f"give a value of {low:g} to {high:g}")
        slide.scale, slide.um_per_px_source = Scale(given, given, "given"), "given"
    elif scale.um_per_px is not None and not scale.guessed:
        slide.scale, slide.um_per_px_source = scale, source
    else:
        beside = scale_beside(slide.path, annotation)
        if beside is not None:
            um_per_px, kind = beside
            slide.scale, slide.um_per_px_source = Scale(um_per_px, um_per_px, kind), kind
        else:
            slide.scale, slide.um_per_px_source = scale, "magnification" if scale.guessed else ""
    if slide.scale_stated:
        _note_contradiction(slide, scale_beside(slide.path, annotation))
    slide.um_per_px = slide.scale.um_per_px
    slide.notes = (*slide.notes, *slide.scale.notes)


def _note_contradiction(slide: Slide, beside: tuple[float, str] | None) -> None:
    """Say that the annotation states another scale than the image, whose own is taken."""
    own = slide.scale.um_per_px
    if beside is None or own is None or same_scale(own, beside[0]):
        return
    note = f"the image says {own:.4g} um/px, its annotation ({beside[1]}) {beside[0]:.4g}: the image's is taken"
    slide.scale = replace(slide.scale, notes=(note, *slide.scale.notes))


def _set_channels(slide: Slide, order: ChannelOrder) -> None:
    """Take the order that the user gives; else a scanner's file is right, and the pixels of other files are asked."""
    if order != "auto":
        slide.channel_order = order
        return
    slide.channel_order = "rgb"
    if slide.colours_sure:
        return
    verdict = channel_verdict(channel_sample(slide))
    if verdict.swapped:
        slide.channel_order = "bgr"
        slide.notes = (*slide.notes, "red and blue are swapped in the file: put right")


def channel_sample(slide: Slide) -> NDArray[np.uint8]:
    """Pixels that tell the channel order, in the file's order: the middle of the smallest level, 1024 px at most."""
    level = slide._content.levels[-1]
    rows, columns = (_middle(n) for n in level.shape)
    return level.read(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)


def middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut out the part of a whole image that `channel_sample` would read."""
    return pixels[_middle(pixels.shape[0]), _middle(pixels.shape[1])]


def _middle(length: int) -> slice:
    size = min(length, _SAMPLE_PX)
    return slice((length - size) // 2, (length - size) // 2 + size)
