"""Which file a crop's editing session works on, and opening it in the background, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels

from napari_monusac.app.actions import UNDO
from napari_monusac.app.work import Report, Task, Work
from napari_monusac.editing.disk.kept import kept_path
from napari_monusac.editing.disk.workplace import writable
from napari_monusac.plugin.layers import EDITABLE_PX
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.editing.ready import VIEWS, Ready, ready
from napari_monusac.ui.widgets import settings as annotate_settings

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


def place_of(image: Image | None, nuclei: Labels | None, ternary: Labels | None = None) -> Place | None:
    """Return what a session of these layers works on; None where there is no image file, or the image is gone and only
    a part of it is labelled.
    """
    base: Any = nuclei if nuclei is not None else image
    if base is None:
        return None
    about = (image if image is not None else base).metadata.get("monusac", {})
    y, x = (int(v) for v in about.get("offset_px", (0, 0)))
    if not about.get("image") or (image is None and (y or x)):
        return None
    pixels = base.data if image is None else image.data[0] if image.multiscale else image.data
    height, width_px = int(pixels.shape[0]), int(pixels.shape[1])
    source = Path(about["image"])
    annotation = Path(about["annotation"]) if about.get("annotation") else None
    own = annotation if annotation is not None else source.with_suffix(".xml")
    copied, collection = not writable(own.parent), None
    if copied:
        collection = Path(about["collection"]) if about.get("collection") else None
        own = kept_path(source, collection)
    width = int(ternary.metadata.get("monusac", {}).get("boundary_width", 3)) if ternary is not None else 3
    return Place(
        image=str(source), name=str(about.get("crop") or source.name), annotation=annotation, path=own,
        shape=(height, width_px), um_per_px=canvas.um_per_px(base), boundary_width=width, copied=copied,
        whole=(height + y, width_px + x), image_offset_px=(y, x), collection=collection,
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


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What is to be opened."""

    place: Place
    author: str
    restore: RestorePolicy
    shown: dict[str, Any]


class SessionOpener:
    """Opens one session at a time: a journal is locked while it is read, so two openings must not cross.

    Parameters
    ----------
    work : Work
        Of the window.
    owner : object
        Whose session it is: nothing is opened any more once it is gone.
    opened : callable
        Called on the Qt thread with (place, ready session).
    failed : callable
        Called on the Qt thread with (place, error).
    """

    def __init__(
        self,
        work: Work,
        owner: object,
        opened: Callable[[Place, Ready], None],
        failed: Callable[[Place, Any], None],
    ) -> None:
        self._work, self._owner = work, owner
        self._opened, self._failed = opened, failed
        self._task: Task | None = None
        self._wanted: Wanted | None = None

    @property
    def busy(self) -> bool:
        """Whether a session is being opened."""
        return self._task is not None

    def ask(self, place: Place | None, restore: RestorePolicy = "auto", shown: Mapping[str, Any] | None = None) -> None:
        """Open the session of `place` next; one that is being opened is given up. None: only give up.

        `shown`: the arrays that layers show now, by name; those that are equal to the session's need no drawing.
        """
        self._wanted = None if place is None else Wanted(place, annotate_settings.reader(), restore, dict(shown or {}))
        if self._task is None:
            self._next()

    def _next(self) -> None:
        wanted = self._wanted
        if wanted is None:
            return

        def work(_: Report) -> Ready:
            return ready(open_session(wanted.place, wanted.author, wanted.restore), wanted.shown)

        task = self._task = self._work.task(work, self._owner)
        task.done.connect(lambda made: self._done(wanted, made))
        task.failed.connect(lambda error: self._lost(wanted, error))
        task.finished.connect(self._finished)
        task.start()

    def _done(self, wanted: Wanted, made: Ready) -> None:
        if self._wanted is wanted:
            self._wanted = None
            self._opened(wanted.place, made)
        else:
            made.session.close()

    def _lost(self, wanted: Wanted, error: Any) -> None:
        if self._wanted is wanted:
            self._wanted = None
            self._failed(wanted.place, error)

    def _finished(self) -> None:
        self._task = None
        self._next()


def arrays_of(viewer: Any) -> dict[str, Any]:
    """Return what the layers of a crop show now, by name."""
    found = {name: canvas.find_layer(viewer, name) for name in VIEWS}
    return {name: layer.data for name, layer in found.items() if isinstance(layer, Labels)}
