"""Which file is edited: that of the open crop, or a copy of it; and the session on it. No Qt, no napari."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_monusac.app.actions import UNDO
from napari_monusac.editing.disk.kept import kept_path
from napari_monusac.editing.disk.workplace import writable
from napari_monusac.plugin.layers import EDITABLE_PX

if TYPE_CHECKING:
    from napari_monusac.editing.disk.restoring import RestorePolicy
    from napari_monusac.editing.session import EditingSession


@dataclass(frozen=True, slots=True)
class Place:
    """What an editing session of the open crop needs.

    Attributes
    ----------
    image : str
        The image's path: tells crops apart.
    name : str
        The crop's name, for people.
    annotation : Path or None
        The annotation of the data set, if it has one.
    path : Path
        The file that is edited and saved: the annotation, or a copy in the work folder where that cannot be written.
    shape : tuple of int
        Height and width of what is edited, px.
    um_per_px : float or None
        Micrometres per px.
    boundary_width : int
        Width of the boundary that the ternary layer shows, px.
    copied : bool
        Whether `path` is a copy in the work folder.
    offset_px : tuple of int or None
        (y, x) of the region that is edited, in the slide; None: the whole image.
    whole : tuple of int
        Height and width of the image, px.
    image_offset_px : tuple of int
        Where the image layer begins in the slide, px, where it shows a part of it.
    collection : Path or None
        The folder that the crop was opened from, where `path` is a copy.
    """

    image: str
    name: str
    annotation: Path | None
    path: Path
    shape: tuple[int, int]
    um_per_px: float | None
    boundary_width: int = 3
    copied: bool = False
    offset_px: tuple[int, int] | None = None
    whole: tuple[int, int] = (0, 0)
    image_offset_px: tuple[int, int] = (0, 0)
    collection: Path | None = None

    @property
    def large(self) -> bool:
        """Whether only a region of the image can be edited, and none was chosen yet."""
        return self.offset_px is None and (self.whole[0] * self.whole[1] > EDITABLE_PX or any(self.image_offset_px))

    @property
    def part(self) -> tuple[int, int, int, int]:
        """What is edited: (y, x, height, width) in px of the slide."""
        return (*(self.offset_px or (0, 0)), *self.shape)


def place_of(
    about: Mapping[str, Any], shape: tuple[int, int], um_per_px: float | None, *, boundary_width: int = 3
) -> Place | None:
    """Return what a session of an open crop works on; None where it has no file.

    Parameters
    ----------
    about : mapping
        What its layers know of it: ``image``, ``crop``, ``annotation``, ``collection``, ``offset_px``.
    shape : tuple of int
        Height and width of what is shown of it, px.
    um_per_px : float or None
    boundary_width : int
        Px.
    """
    if not about.get("image"):
        return None
    y, x = (int(v) for v in about.get("offset_px", (0, 0)))
    source = Path(about["image"])
    annotation = Path(about["annotation"]) if about.get("annotation") else None
    own = annotation if annotation is not None else source.with_suffix(".xml")
    copied, collection = not writable(own.parent), None
    if copied:
        collection = Path(about["collection"]) if about.get("collection") else None
        own = kept_path(source, collection)
    return Place(
        image=str(source), name=str(about.get("crop") or source.name), annotation=annotation, path=own, shape=shape,
        um_per_px=um_per_px, boundary_width=boundary_width, copied=copied, whole=(shape[0] + y, shape[1] + x),
        image_offset_px=(y, x), collection=collection,
    )  # fmt: skip


def open_session(place: Place, author: str, restore: RestorePolicy) -> EditingSession:
    """Open the session of a place (no Qt: called in a worker).

    Raises
    ------
    MonusacError
        As `EditingSession.open`, or the copy in the work folder cannot be made.
    """
    from napari_monusac.core.errors import SessionError
    from napari_monusac.core.files import atomic_write
    from napari_monusac.editing.disk.kept import bring_here
    from napari_monusac.editing.session import EditingSession
    from napari_monusac.io.annotations.files import read_annotation, write_annotation

    word = bring_here(place.path, Path(place.image), place.annotation, place.collection) if place.copied else ""
    if place.copied and place.annotation is not None and not place.path.exists():
        try:
            place.path.parent.mkdir(parents=True, exist_ok=True)
            if place.annotation.suffix.lower() == ".xml":
                with atomic_write(place.path) as temporary:
                    shutil.copyfile(place.annotation, temporary)
            else:
                write_annotation(read_annotation(place.annotation), place.path)
        except OSError as error:
            raise SessionError(
                f"{place.path}: cannot be written ({error.strerror})", "set MONUSAC_WORK to a folder of yours"
            ) from error
    session = EditingSession.open(
        place.path, place.shape, author=author, um_per_px=place.um_per_px,
        boundary_width=place.boundary_width, restore=restore, offset_px=place.offset_px,
    )  # fmt: skip
    session.found = word
    return session


def how_it_opened(place: Place, session: EditingSession) -> tuple[str, str]:
    """Return what the reader should know about a session that was opened, and the kind of the note."""
    if session.file.in_use:
        return f"{place.name} is edited in another window too: the second to save is asked.", "warning"
    if session.restored is not None:
        number, who = session.restored.edits, session.restored.author
        edits = f"{number} edits that were not saved" if number != 1 else "One edit that was not saved"
        came = f"{edits} came back{f', the last by {who}' if who else ''}. {UNDO.key} takes them back one by one."
        if session.restored.dropped:
            return f"{came} The journal's last record was damaged and is left out.", "warning"
        return came, "good"
    if session.found:
        return session.found, "warning"
    if place.copied:
        return f"This folder cannot be written: corrections are kept in {place.path.parent}.", "hint"
    return "", "hint"
