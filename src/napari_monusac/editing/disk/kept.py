"""Corrections of data that cannot be written: where they are kept, and finding them again.

The place of a crop follows from its collection's resolved path and from the crop's own in it, never from names alone.
Corrections of earlier versions (kept by names) and of a collection that was moved are brought there once: the first
where the annotation that they began with is the crop's, the second where the image is the same and no longer where it
was.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_monusac.core.errors import SessionError
from napari_monusac.core.files import atomic_write_text, folder_key, replace_file
from napari_monusac.editing.disk.provenance import sidecar_of
from napari_monusac.editing.disk.workplace import FOLDER_NAME, Workplace, content_of, work_folder

_PART = 1 << 20


class _Card(BaseModel):
    """Of which image the corrections beside it are."""

    model_config = ConfigDict(extra="forbid")

    image: str
    fingerprint: str


def folder_in(image: Path, root: Path) -> Path:
    """Return the folder of an image inside of its collection; one that only links there gets a name of its own."""
    place, root = image.parent.resolve(), root.resolve()
    return place.relative_to(root) if place.is_relative_to(root) else Path(folder_key(place))


def kept_path(image: Path, collection: Path | None) -> Path:
    """Return where the corrected annotation of a crop lies whose folder cannot be written."""
    base = work_folder(collection)
    folder = Path(folder_key(image.parent)) if collection is None else folder_in(image, collection)
    return base / folder / f"{image.stem}.xml"


def bring_here(place: Path, image: Path, annotation: Path | None, collection: Path | None) -> str:
    """Move corrections of this crop that lie elsewhere to `place`, if there are none yet; return a word on it.

    Parameters
    ----------
    place : Path
        See `kept_path`.
    image, annotation : Path
        Of the crop in its collection.
    collection : Path or None
        Its collection.

    Raises
    ------
    SessionError
        A file cannot be read or moved.
    """
    try:
        word = "" if place.exists() else _found(place, image, annotation, collection)
        _card_of(place).parent.mkdir(parents=True, exist_ok=True)
        card = _Card(image=str(image.resolve()), fingerprint=_fingerprint(image))
        if _read_card(_card_of(place)) != card:
            atomic_write_text(_card_of(place), card.model_dump_json())
    except OSError as error:
        raise SessionError(
            f"{place}: cannot be written ({error.strerror})", "set MONUSAC_WORK to a folder of yours"
        ) from error
    return word


def _found(place: Path, image: Path, annotation: Path | None, collection: Path | None) -> str:
    old = work_folder() / (collection.name if collection else "") / image.resolve().parent.name / place.name
    if old.exists() and old != place and not _card_of(old).exists():
        if annotation is None:
            _move(old, place)
            return f"Corrections of an earlier version were in {old.parent}: make sure that they are of this crop."
        if content_of(_first_version(old, place)) == content_of(annotation):
            _move(old, place)
            return f"Corrections of an earlier version were moved here from {old.parent}."
        return f"{old} holds corrections of a crop of this name that began with another annotation: not used."
    for card in work_folder().rglob(f"{FOLDER_NAME}/{_card_of(place).name}".replace("[", "[[]")):
        known, other = _read_card(card), card.parent.parent / place.name
        if known is None or other == place or not other.exists() or Path(known.image).exists():
            continue
        if known.fingerprint == _fingerprint(image):
            _move(other, place)
            return f"The corrections came along from where this crop lay before ({Path(known.image).parent})."
    return ""


def _first_version(old: Path, place: Path) -> Path:
    """Return the oldest version of an annotation, also where a killed move has brought its history away already."""
    return next(iter((*Workplace(place).earlier_versions(), *Workplace(old).earlier_versions())), old)


def _move(old: Path, new: Path) -> None:
    """Move an annotation with its sidecar, journals and history; the annotation last, so that a killed move goes on."""
    hidden = old.parent / FOLDER_NAME
    names = (old.name, sidecar_of(old).name)
    found = [p for n in names for p in (*hidden.glob(f"{n}.*"), *hidden.glob(f"history/{n}.*"))]
    for path in (*found, sidecar_of(old), old):
        target = new.parent / path.relative_to(old.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            replace_file(path, target)
    _card_of(old).unlink(missing_ok=True)


def _card_of(place: Path) -> Path:
    return place.parent / FOLDER_NAME / f"{place.stem}.image.json"


def _read_card(path: Path) -> _Card | None:
    with suppress(OSError, ValidationError):
        return _Card.model_validate_json(path.read_bytes())
    return None


def _fingerprint(image: Path) -> str:
    """Size, beginning and end of a file: slides are too large to read for a name."""
    digest = hashlib.sha256()
    with image.open("rb") as file:
        size = file.seek(0, 2)
        digest.update(b"%d" % size)
        for where in (0, max(0, size - _PART)):
            file.seek(where)
            digest.update(file.read(_PART))
    return digest.hexdigest()
