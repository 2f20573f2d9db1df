"""The scale that an annotation states: of a given file, or of the one that lies beside an image."""

from __future__ import annotations

import codecs
import gzip
import os
import re
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

from napari_monusac.core.files import whole_suffix
from napari_monusac.io.scale import plausible, scale_number

#: An ImageScope file says it in its root element, our GeoJSON before or behind its features.
_END_BYTES = 64 * 2**10
_MOST_UNPACKED = 512 * 2**20
_SHELVES_UP = 3
_SHELF = re.compile(
    r"(?:(?:tissue|he|raw)[ _-]?)?(?:images?|imgs?|tiles|patches|crops|rois|slides|wsis?|svs|tiff?s?|pngs?|jpe?gs?)|"
    r"annotations?|annots?|labels?|xmls?|geojsons?|outlines|ground[ _-]?truth|gt|truth",
    re.IGNORECASE,
)
_XML = re.compile(r"""MicronsPerPixel\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_JSON = re.compile(r"""["']umPerPx["']\s*:\s*["']?([^"',}\]\s]+(?:,\d+(?=["']))?)""")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


def annotation_um_per_px(path: Path) -> float | None:
    """Micrometres per pixel that an annotation file states; None where it does not, or where no microscope has them.

    Parameters
    ----------
    path : Path
        ImageScope XML in any encoding (``MicronsPerPixel``), or GeoJSON as we write it (``umPerPx``); need not exist.
    """
    try:
        head, tail = _packed_ends(path) if path.suffix.lower() == ".gz" else _ends(path)
    except (OSError, EOFError, zlib.error):
        return None
    text, is_json = _text(head), whole_suffix(path).lower().removesuffix(".gz") in (".geojson", ".json")
    match = _JSON.search(text) or _JSON.search(_text(tail)) if is_json else _XML.search(text)
    return plausible(scale_number(next((g for g in match.groups() if g is not None), None))) if match else None


def _ends(path: Path) -> tuple[bytes, bytes]:
    """The first and the last bytes of a file."""
    with path.open("rb") as file:
        head = file.read(_END_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(head), size - _END_BYTES))
        return head, file.read()


def _packed_ends(path: Path) -> tuple[bytes, bytes]:
    """The first and the last bytes of what a gzip file holds; the last of a very long one are not looked for."""
    with gzip.open(path) as file:
        head = file.read(_END_BYTES)
        tail, read = b"", len(head)
        while read < _MOST_UNPACKED and (block := file.read(1 << 20)):
            tail, read = (tail + block)[-_END_BYTES:], read + len(block)
        return head, tail


def _text(content: bytes) -> str:
    """Text of whatever encoding: by its mark, else by the zeros between ASCII letters; Latin-1 never fails."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    if content[1:2] == b"\0":
        return content.decode("utf-16-le", "replace")
    if content[:1] == b"\0":
        return content.decode("utf-16-be", "replace")
    return content.decode("latin-1")


def scale_beside(image: Path, annotation: Path | None = None) -> tuple[float, str] | None:
    """Micrometres per pixel of the annotation that belongs to an image.

    Parameters
    ----------
    image : Path
        The image.
    annotation : Path, optional
        Its annotation, where that is known; else those of its name beside it are asked: ``a.xml``, ``a.XML``,
        ``a.geojson``, ``a.tif.geojson``, for ``a.ome.tif`` also ``a.xml``; where there is none, those on the shelves
        beside its own (``Tissue Images/`` and ``Annotations/``, ``images/train/`` and ``labels/train/``).

    Returns
    -------
    um_per_px, kind : float, {"xml", "geojson"}
        None where no annotation states it.
    """
    for path in [annotation] if annotation is not None else _annotations_beside(image):
        um_per_px = annotation_um_per_px(path)
        if um_per_px is not None:
            return um_per_px, whole_suffix(path).lower().lstrip(".").removesuffix(".gz")
    return None


def is_shelf(name: str) -> bool:
    """Tell whether a folder holds one kind of file of a set (images, annotations), and not a part of the set."""
    return _SHELF.fullmatch(name.strip()) is not None


def _annotations_beside(image: Path) -> list[Path]:
    """Annotations of the image's name in its folder, else on the shelves beside its own."""
    return _of_name(image, image.parent) or [p for folder in _other_shelves(image) for p in _of_name(image, folder)]


def _other_shelves(image: Path) -> Iterator[Path]:
    """Folders that differ from the image's by the name of one shelf, up to three folders up."""
    for folder in list(image.absolute().parents)[:_SHELVES_UP]:
        if not is_shelf(folder.name):
            continue
        inside = image.absolute().parent.relative_to(folder)
        try:
            found = sorted(p for p in folder.parent.iterdir() if p != folder and is_shelf(p.name))
        except OSError:
            continue
        yield from (p / inside for p in found if (p / inside).is_dir())


def _of_name(image: Path, folder: Path) -> list[Path]:
    """Annotations of the image's name in a folder, .xml first; case and composition of letters do not count."""
    stems = [image.name, image.stem, *([image.stem[:-4]] if image.stem.lower().endswith(".ome") else [])]
    wanted = [_key(stem + suffix) for suffix in (".xml", ".geojson", ".geojson.gz") for stem in reversed(stems)]
    try:
        names = {_key(path.name): path for path in sorted(folder.iterdir())}
    except OSError:
        return []
    return [names[key] for key in wanted if key in names]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
