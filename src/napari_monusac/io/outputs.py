"""What this program writes itself: masks, label maps, run folders, reviews. None of it is ever a crop."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Collection
from pathlib import Path

from napari_monusac.core.errors import CollectionError
from napari_monusac.core.files import draft_beside

#: Folder of a review (judgements, corrected truth): it may lie among the predictions and holds none.
REVIEW_FOLDER = "monusac-review"
#: Log of a folder of mended copies that is not whole yet.
MENDING = "mending.jsonl"
#: Stands near the beginning of every image that is an output.
MARK = "napari-monusac output"
_MARKED_SUFFIXES = (".tif", ".tiff", ".png")
_HEAD_BYTES = 4096
_DERIVED = re.compile(
    r"_(instances?|semantic|ternary|ambiguous|ignore|labels?|masks?|overlay|predict(?:ion|ed)?|corrected)$",
    re.IGNORECASE,
)
_RUN_FILES = frozenset({"split.json", "recipe.toml"})


def is_output_folder(folder: Path, files: Collection[str]) -> str:
    """Say what a folder of ours is, in words; empty where it is none.

    Parameters
    ----------
    folder : Path
        The folder.
    files : collection of str
        Names of the files in it.
    """
    if folder.name == REVIEW_FOLDER:
        return "a review"
    if MENDING in files:
        return "an unfinished mend"
    if "run.json" in files and not _RUN_FILES.isdisjoint(files):
        return "a training run"
    return ""


def is_output_image(path: Path, stem: str, stems: Collection[str]) -> bool:
    """Tell whether an image is a mask or picture that was written from a crop.

    Parameters
    ----------
    path : Path
        The image. At most its first 4 KiB are read, and its tags where its name is that of a mask.
    stem : str
        Its name without suffix, as compared (NFC, case folded).
    stems : collection of str
        Names of all images of the folder that is looked through, in the same form.
    """
    match = _DERIVED.search(stem)
    if match is not None and stem[: match.start()] in stems:
        return True
    if path.suffix.lower() not in _MARKED_SUFFIXES:
        return False
    return _is_marked(path) or (match is not None and _holds_labels(path))


def marked_png(content: bytes) -> bytes:
    """Return a PNG file with our mark in it (a tEXt chunk after the header), so that it is never taken for a crop."""
    body = b"tEXtSoftware\0" + MARK.encode("ascii")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    header = 8 + 25  # signature, and the header's length, name, 13 bytes and checksum
    return content[:header] + chunk + content[header:]


def refuse_inside(out: str | Path, data: str | Path, what: str) -> None:
    """Refuse to write into the data: what lies there would be taken for data the next time.

    Parameters
    ----------
    out, data : str or Path
        Where to write, and the folder of the data.
    what : str
        What would be written, for the message.

    Raises
    ------
    CollectionError
        `out` is `data` or lies inside of it.
    """
    target, root = Path(out).resolve(), Path(data).resolve()
    if target == root or root in target.parents:
        raise CollectionError(
            out,
            f"lies in the data folder {data}, where {what} would be taken for data",
            "choose a folder outside of it",
        )


class NamesApart:
    """Names of what is written into a folder; two that differ in case alone are one file on some disks."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._names: dict[str, str] = {}

    def take(self, name: str) -> None:
        """Take a name, before anything is written under it.

        Raises
        ------
        CollectionError
            On this disk it is that of another one, which would be overwritten.
        """
        other = self._names.setdefault(name.casefold(), name)
        if other != name and not knows_case(self._out):
            problem = f"{name} would overwrite {other}: this disk does not tell upper from lower case"
            raise CollectionError(self._out, problem, "rename one of the crops, or write to another disk")


def knows_case(folder: Path) -> bool:
    """Whether a disk tells names apart that differ in case alone."""
    probe = draft_beside(folder / "case")
    probe.touch()
    try:
        return not probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink()


def _is_marked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return MARK.encode("ascii") in file.read(_HEAD_BYTES)
    except OSError:
        return False  # opening it will say so


def _holds_labels(path: Path) -> bool:
    """Whether a .tif is one plane of whole numbers, as label maps are and slides are not."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return len(file.pages) == 1 and page.ndim == 2 and page.dtype is not None and page.dtype.kind == "u"
    except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError):
        return False  # opening it will say so
