"""Which pages of a TIFF are the slide: its pyramid, and R, G, B in pages of their own; never label, macro or thumbnail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tifffile

from napari_monusac.core.errors import SlideError
from napari_monusac.io.ome import OmePixels, ome_images, ome_pixels

PageKind = Literal["image", "reduced", "label", "macro", "thumbnail", "mask"]
#: More top-level pages than this are not looked at.
_MOST_PAGES = 64
#: A first page this many times smaller than another is no slide, whatever it says of itself.
_MUCH_LARGER = 4
#: Hamamatsu's tag of the magnification; below 0 for the macro image and the map.
NDPI_LENS = 65421
#: Names of associated images: "Label", "Label Image", "Slide_Label", "label 387x463", "Thumbnail", "Overview image".
_ASSOCIATED = re.compile(
    r"\s*(?:(?:\w+[ _-]){0,2}|.{0,20}[:=]\s*)(label|macro|thumbnail|overview|barcode|probability|preview|slide ?map)"
    r"(?:[ _-]*(?:image|page|picture|area|map))?[ _-]*(?:\d+ *x *\d+.*)?\s*",
    re.IGNORECASE | re.DOTALL,
)
_OME_ASSOCIATED = re.compile(r"(?<![a-z])(label|macro|thumbnail|overview|barcode)(?![a-z])", re.IGNORECASE)
_KINDS: dict[str, PageKind] = {"label": "label", "barcode": "label", "macro": "macro", "overview": "macro"}
#: Words by which dyes of fluorescence are named; and what belongs to R, G and B.
_DYES = re.compile(
    r"dapi|hoechst|fitc|tritc|cy ?\d|e?gfp|rfp|yfp|cfp|mcherry|alexa|(?<![a-z])af ?\d{3}|texas ?red|dsred|rhodamine|"
    r"opal|spectrum ?(green|orange|aqua)|sytox|propidium|fluor|pan-?ck|cd\d|ki-?67|autofl",
    re.IGNORECASE,
)
_COLOURS = (r"r|red", r"g|green", r"b|blue")
_ALPHA = "a|alpha|opacity|transparency"
_MEND_RGB = "export the H&E image as RGB"


@dataclass(frozen=True, slots=True)
class SlidePages:
    """The pages of a slide.

    Attributes
    ----------
    levels : tuple of tuple of tifffile.TiffPage
        Largest first; one page a level, or three (red, green, blue).
    notes : tuple of str
        What the user should be told.
    """

    levels: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...]


def slide_pages(tiff: Any, shrunken: Callable[[Any, Any], bool]) -> SlidePages:
    """Find the slide among the pages of a TIFF.

    Parameters
    ----------
    tiff : tifffile.TiffFile
        The open file.
    shrunken : callable
        ``shrunken(small, large)`` looks at pixels of two pages, and says whether the one is the other, smaller. Only
        asked where no tag tells.

    Raises
    ------
    SlideError
        It holds no image, only pages that may identify a patient, or channels of fluorescence.
    """
    pages = _top_pages(tiff)
    images = ome_images(_description(pages[0]))
    kinds = [_kind(page, _ome_of_page(images, k), many=len(images) > 1) for k, page in enumerate(pages)]
    base, notes = _base(tiff, pages, kinds, shrunken)
    planes, plane_notes = _planes(tiff, base, [p for p, kind in zip(pages, kinds, strict=True) if kind == "image"])
    reduced = [p for p, kind in zip(pages, kinds, strict=True) if kind in ("image", "reduced") and p is not base]
    if len(planes) > 1:
        levels = tuple(zip(*(_subs(page) for page in planes), strict=False))
        return SlidePages((planes, *_falling(levels, base)), (*notes, *plane_notes))
    levels = tuple((p,) for p in [base, *_pyramid(base, reduced, shrunken)])
    used = {id(level[0]) for level in levels}
    rest = [
        p for p in reduced if id(p) not in used and (p.is_tiled or not base.is_tiled) and not int(p.subfiletype) & 1
    ]
    if rest and not plane_notes:
        number = f"{len(rest) + 1}{' or more' if len(pages) == _MOST_PAGES else ''}"
        notes = (*notes, f"the file holds {number} images: only that on page {int(base.index) + 1} is read")
    return SlidePages(levels, (*notes, *plane_notes))


def names_people(tiff: Any) -> bool:
    """Whether a TIFF holds what may identify a patient or a reader: a label or macro page, or Aperio's description.

    Raises
    ------
    SlideError
        It holds no image.
    """
    pages = _top_pages(tiff)
    images = ome_images(_description(pages[0]))
    kinds = (_kind(page, _ome_of_page(images, k), many=len(images) > 1) for k, page in enumerate(pages))
    return any(_description(p).startswith("Aperio") for p in pages) or bool({"label", "macro"} & set(kinds))


def _path(tiff: Any) -> str:
    return str(tiff.filehandle.path)


def _top_pages(tiff: Any) -> list[Any]:
    pages = []
    for k in range(_MOST_PAGES):
        try:
            page = tiff.pages[k]
        except IndexError:
            break
        if isinstance(page, tifffile.TiffPage) and page.is_tiled is not None:
            pages.append(page)
    if not pages or pages[0].index != 0:
        raise SlideError(_path(tiff), "holds no image", "the file is damaged: copy it again")
    return pages


def _description(page: Any) -> str:
    return str(page.description or "")


def _size(page: Any) -> tuple[int, int]:
    return int(page.imagelength), int(page.imagewidth)


def _area(page: Any) -> int:
    height, width = _size(page)
    return height * width


def _kind(page: Any, ome: OmePixels | None, *, many: bool) -> PageKind:
    """What a page is, by its tags, its description, and its name in OME-XML (where that describes several images)."""
    flags = int(page.subfiletype)
    lens = page.tags.valueof(NDPI_LENS)
    if isinstance(lens, int | float) and lens < 0:
        return "macro"
    word = _associated(_description(page)) or _associated(str(page.tags.valueof(285) or ""))
    if not word and many and ome is not None:
        match = _OME_ASSOCIATED.search(ome.name)
        word = match.group(1).casefold() if match else ""
    if word:
        return _KINDS.get(word, "thumbnail")
    if flags == 9:  # Aperio's mark of the macro image
        return "macro"
    if _description(page).startswith("Aperio") and not page.is_tiled and page.index:
        return "thumbnail"
    return "mask" if flags & 4 else "reduced" if flags & 1 else "image"


def _associated(text: str) -> str:
    """The word for an associated image where a description is its name; a text that only mentions it is none."""
    if text.startswith("Aperio"):
        text = text.split("|")[0].partition("\n")[2]
        match = re.match(r"\s*(label|macro|thumbnail)\b", text, re.IGNORECASE)
    else:
        match = _ASSOCIATED.fullmatch(text[:200])
    return match.group(1).casefold() if match else ""


def _ome_of_page(images: Sequence[OmePixels], page: int) -> OmePixels | None:
    """The OME image that a page belongs to: they stand in order, each with one page a plane."""
    for image in images:
        page -= image.pages
        if page < 0:
            return image
    return None


def _base(
    tiff: Any, pages: list[Any], kinds: list[PageKind], shrunken: Callable[[Any, Any], bool]
) -> tuple[Any, tuple[str, ...]]:
    """The page of the slide's level 0, and what to say where it is not the first."""
    images = [p for p, kind in zip(pages, kinds, strict=True) if kind == "image"]
    images = images or [p for p, kind in zip(pages, kinds, strict=True) if kind == "reduced"]
    if not images:
        found = " and ".join(dict.fromkeys(kinds))
        problem = f"holds no slide, only its {found} page, which may identify a patient and is never shown"
        raise SlideError(_path(tiff), problem, "open the slide itself")
    base, largest = images[0], max(images, key=_area)
    if _area(largest) > _area(base) and (
        _area(largest) >= _MUCH_LARGER * _area(base)
        or (largest.is_tiled and not base.is_tiled)
        or (_same_aspect(base, largest) and shrunken(base, largest))
    ):
        base = largest
    if base is pages[0]:
        return base, ()
    what = {"label": "a label", "macro": "a macro image", "image": "a smaller image", "reduced": "a smaller image"}
    first = what.get(kinds[0], f"a {kinds[0]}")
    return base, (f"the first page is {first}: the slide on page {int(base.index) + 1} is read",)


def _same_aspect(small: Any, large: Any) -> bool:
    height, width = _size(small)
    if height < 1 or width < 1:
        return False
    scale = _size(large)[1] / width
    return abs(_size(large)[0] / scale - height) <= max(2.0, 0.02 * height)


def _subs(page: Any) -> list[Any]:
    return [p for p in list(page.pages or ())[:_MOST_PAGES] if isinstance(p, tifffile.TiffPage) and p.is_tiled]


def _falling(levels: Sequence[tuple[Any, ...]], base: Any) -> list[tuple[Any, ...]]:
    """Levels of planes that get smaller from one to the next."""
    kept: list[tuple[Any, ...]] = []
    for level in levels:
        last = kept[-1][0] if kept else base
        if _area(level[0]) < _area(last) and len({_size(p) for p in level}) == 1 and _same_aspect(level[0], base):
            kept.append(level)
    return kept


def _pyramid(base: Any, others: list[Any], shrunken: Callable[[Any, Any], bool]) -> list[Any]:
    """The reduced images of a page, by size: SubIFDs, pages that tags or vendors say to be reduced, or whose pixels do."""
    subs = _subs(base)
    kept: list[Any] = []
    for page in sorted([*subs, *others], key=_area, reverse=True):
        last = kept[-1] if kept else base
        if not _can_be_level(page, last, base):
            continue
        trusted = any(page is s for s in subs) or int(page.subfiletype) & 1 or _same_vendor(page, base)
        if trusted or shrunken(page, last):
            kept.append(page)
    return kept


def _can_be_level(page: Any, previous: Any, base: Any) -> bool:
    if not page.is_tiled or int(page.samplesperpixel) != int(base.samplesperpixel) or page.dtype != base.dtype:
        return False
    (height, width), (above, beside) = _size(page), _size(previous)
    return height >= 1 and width >= 1 and height < above and width < beside and _same_aspect(page, base)


def _same_vendor(page: Any, base: Any) -> bool:
    """Aperio's and Ventana's levels are known by their descriptions; other tiled pages of these do not occur."""
    texts = _description(page), _description(base)
    return all(t.startswith("Aperio") for t in texts) or all(re.match(r"level=\d+ ", t) for t in texts)


# --- red, green and blue in pages of their own ---


def _planes(tiff: Any, base: Any, images: list[Any]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Pages of red, green and blue, or the base alone, with what to tell the user.

    Raises
    ------
    SlideError
        They are no red, green and blue.
    """
    if int(base.photometric) not in (0, 1):
        return (base,), ()
    same = [p for p in images if _size(p) == _size(base) and p.dtype == base.dtype]
    text = _description(images[0] if images else base) or _description(base)
    ome = ome_pixels(text, _size(base))
    names = [c.get("Name", "") for c in ome.channels] if ome is not None else _labels(tiff, text)
    dyes = _dyes(ome, names)
    if int(base.samplesperpixel) == 3 and int(base.photometric) == 1 and not dyes:
        return (base,), ("three grey channels are read as red, green and blue",)
    channels, stride, depth = _axes(text, ome, base, len(same))
    named = None if dyes else _named_planes(names, channels, same[::stride])
    if named is not None:
        return named
    if (dyes and channels > 1) or channels == 2 or channels > 3 or (channels == 0 and len(same) > 3):
        what = (
            f"{channels} channels ({', '.join(n for n in names if n)[:80]})"
            if dyes
            else f"{channels or len(same)} grey channels"
        )
        problem = f"holds {what}: fluorescence or a stack, no red, green and blue of a stained slide"
        raise SlideError(_path(tiff), problem, _MEND_RGB)
    if channels == 3 or (channels == 0 and len(same) == 3):
        chosen = same[::stride][:3]
        if int(base.samplesperpixel) == 1 and len(chosen) == 3:
            return tuple(chosen), ("red, green and blue are read from three pages",)
    grey = "the image is grey: nuclei are told apart without the colours of the stain"
    stack = (f"the file is a stack of {max(depth, len(same))} images: only the first is read",)
    return (base,), (grey, *(stack if max(depth, len(same)) > 1 else ()))


def _axes(text: str, ome: OmePixels | None, base: Any, pages: int) -> tuple[int, int, int]:
    """Channels (0 where nothing is said), pages from one channel to the next, and depths x times."""
    samples = int(base.samplesperpixel)
    if ome is not None:
        z, t = ome.number("SizeZ", 1), ome.number("SizeT", 1)
        steps = {"Z": z, "T": t, "C": ome.number("SizeC", 1)}
        order = ome.attributes.get("DimensionOrder", "XYCZT")[2:]
        stride = 1
        for axis in order[: order.find("C")] if "C" in order else "":
            stride *= steps.get(axis, 1)
        return (samples if samples > 1 else steps["C"]), stride, z * t
    if text.startswith("ImageJ="):
        lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        z, t, c = (_whole(lines, key) for key in ("slices", "frames", "channels"))
        return (c, 1, z * t) if max(c, z, t) > 1 or pages == 1 else (0, 1, 1)
    axes, shape = _shaped(text)
    if axes and len(axes) == len(shape):
        sizes = dict(zip(axes, shape, strict=True))
        z = sizes.get("Z", 1) * sizes.get("T", 1)
        stride = 1
        for axis in axes[axes.find("C") + 1 :].replace("Y", "").replace("X", "") if "C" in axes else "":
            stride *= sizes.get(axis, 1)
        if "C" in sizes or z > 1:
            return max(samples, sizes.get("C", 1)), stride, z
    return (samples if samples > 2 else 0), 1, 1


def _shaped(text: str) -> tuple[str, list[int]]:
    """Axes and shape of tifffile's own JSON."""
    try:
        about = json.loads(text) if text.startswith("{") else {}
    except ValueError:
        return "", []
    axes, shape = about.get("axes", ""), about.get("shape", [])
    whole = isinstance(shape, list) and all(isinstance(n, int) and n > 0 for n in shape)
    return (axes, shape) if isinstance(axes, str) and whole else ("", [])


def _whole(lines: Mapping[str, str], key: str) -> int:
    text = lines.get(key, "1").strip()
    return int(text) if re.fullmatch(r"[1-9]\d{0,6}", text, re.ASCII) else 1


def _labels(tiff: Any, text: str) -> list[str]:
    """Names of channels as ImageJ and tifffile's JSON have them."""
    if text.startswith("ImageJ="):
        names = (tiff.imagej_metadata or {}).get("Labels", [])
    else:
        try:
            channel = json.loads(text).get("Channel") if text.startswith("{") else None
        except ValueError:
            channel = None
        names = channel.get("Name", []) if isinstance(channel, dict) else []
    return [str(n) for n in names] if isinstance(names, list | tuple) else []


def names_dyes(names: Sequence[str]) -> bool:
    """Whether names of channels are those of fluorescent dyes."""
    return any(_DYES.search(name) for name in names)


def _dyes(ome: OmePixels | None, names: list[str]) -> bool:
    """Whether channels are of fluorescence: by their names, or by what OME says of their light."""
    if names_dyes(names):
        return True
    return ome is not None and any(
        c.get("ContrastMethod", "") == "Fluorescence" or "Fluor" in c or "EmissionWavelength" in c for c in ome.channels
    )


def _named_planes(
    names: list[str], channels: int, pages: Sequence[Any]
) -> tuple[tuple[Any, ...], tuple[str, ...]] | None:
    """Pages of red, green, blue and, where there is one, alpha, where names tell them; None where they do not."""
    if channels < 3 or len(names) < channels or len(pages) < channels or int(pages[0].samplesperpixel) != 1:
        return None
    where = [[k for k, name in enumerate(names[:channels]) if _is_named(name, word)] for word in (*_COLOURS, _ALPHA)]
    if any(len(w) != 1 for w in where[:3]) or len({w[0] for w in where[:3]}) < 3:
        return None
    chosen = [w[0] for w in where if len(w) == 1]
    notes = ["red, green and blue are read from three pages"]
    if len(chosen) == 4:
        notes.append("the fourth channel is transparency: what is clear is shown white, as glass")
    rest = [names[k] or f"channel {k + 1}" for k in range(channels) if k not in chosen]
    if rest:
        notes.append(f"left out: {', '.join(rest)[:80]}")
    return tuple(pages[k] for k in chosen), tuple(notes)


def _is_named(name: str, word: str) -> bool:
    """Whether a word (``r|red``) stands in a name of a channel: Red, TL Red, Brightfield_R, "R (transmitted)"."""
    return re.search(rf"(?<![a-z])(?:{word})(?![a-z])", name, re.IGNORECASE) is not None
