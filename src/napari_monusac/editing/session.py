"""The editing session of one crop: opened, restored after a crash, saved, closed."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.disk.checking import EditCheck
from napari_monusac.editing.disk.journal import Journal
from napari_monusac.editing.disk.provenance import parse_provenance, sidecar_of, with_provenance
from napari_monusac.editing.disk.records import Edit, Header, Record
from napari_monusac.editing.disk.restoring import RestorePolicy, Unsaved, find_unsaved, version_of
from napari_monusac.editing.disk.saving import SavingSession
from napari_monusac.editing.disk.workplace import Version, Workplace, content_of, sha256
from napari_monusac.editing.history import now
from napari_monusac.editing.nuclei.frame import Frame
from napari_monusac.io.annotations.files import read_annotation


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back from the journal of a session that did not end well.

    Attributes
    ----------
    edits : int
        Number of edits that came back.
    author, time : str
        Who made the last one, and when.
    dropped : bool
        Whether a last record was left out because it is damaged.
    """

    edits: int
    author: str
    time: str
    dropped: bool = False


class EditingSession(SavingSession):
    """Nuclei of one crop while they are edited: maps, rows, commands, undo, journal. No Qt, no napari.

    `EditingSession(annotation, shape)` keeps everything in memory; `EditingSession.open` works on a file, keeps a
    journal and saves. Views hold on to the arrays of ``session.maps`` (changed in place) and `listen`.

    Attributes
    ----------
    restored : Restored or None
        What was brought back from a journal when the session was opened.
    waiting : tuple of Path
        Further journals with unsaved edits on this file, of other windows that did not end well.
    in_use : tuple of Path
        Journals of other windows (or colleagues) that work on this file now.
    found : str
        What was said when corrections of this crop were found in another place; see `napari_monusac.editing.disk.kept`.
    """

    restored: Restored | None = None
    waiting: tuple[Path, ...] = ()
    in_use: tuple[Path, ...] = ()
    found: str = ""
    _closed: bool = False

    def __init__(
        self, annotation: Annotation, shape: tuple[int, int], *, author: str = "", boundary_width: int = 3,
        offset_px: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(annotation, shape, author=author, boundary_width=boundary_width, offset_px=offset_px)
        self._saved = {0: self._disk}

    @classmethod
    def open(
        cls,
        path: str | Path,
        shape: tuple[int, int],
        *,
        author: str = "",
        um_per_px: float | None = None,
        work: str | Path | None = None,
        boundary_width: int = 3,
        restore: RestorePolicy = "auto",
        offset_px: tuple[int, int] | None = None,
    ) -> Self:
        """Open an annotation for editing; unsaved edits of a session that was killed come back.

        Parameters
        ----------
        path : str or Path
            The annotation. It need not exist: saving then makes it.
        shape : tuple of int
            Height and width of the image, px, or of the part of it that is edited.
        author : str
            The reader's name, which stands on every edit.
        um_per_px : float, optional
            Micrometres per px, where the annotation does not say.
        work : str or Path, optional
            Folder for journal and history; by default ``.monusac`` beside the annotation.
        boundary_width : int
            Width of the ternary map's boundary, px.
        restore : {"auto", "base", "discard"}
            Unsaved edits in a journal: ``"auto"`` brings them back, and refuses if somebody else changed the file
            since; ``"base"`` brings them back on the version that they were made on (saving will then say so);
            ``"discard"`` puts the journal aside, into the history.
        offset_px : tuple of int, optional
            (y, x) of the first pixel of the part that is edited; everything outside it stays as the file has it. By
            default the whole image is edited.

        Raises
        ------
        AnnotationError
            The annotation cannot be read.
        SessionError
            A journal is damaged, made for another image shape, or does not fit the file. `OtherRegion`: it was made
            for another part of the image.
        """
        path = Path(path)
        place = Workplace(path, None if work is None else Path(work))
        content, sidecar = content_of(path), content_of(sidecar_of(path))
        disk = Version(sha256(content), sha256(sidecar))
        found, waiting, in_use = find_unsaved(place, disk, restore, Frame.of(shape, offset_px))
        base = content if found is None else found.base
        annotation = _read(path, place, content, found)
        if annotation.um_per_px is None and um_per_px is not None:
            annotation = replace(annotation, um_per_px=um_per_px)
        session = cls(annotation, shape, author=author, boundary_width=boundary_width, offset_px=offset_px)
        session.path, session._place, session._base = path, place, base
        session._sidecar = sidecar if found is None else found.sidecar
        session._disk = disk if found is None else found.known_version(disk)
        session._saved = {0: Version(sha256(base), sha256(session._sidecar))}
        known = parse_provenance(session._sidecar, sidecar_of(path))
        if known is not None:
            session._set_rows(with_provenance(session.rows, annotation, known))
        if found is not None:
            session._resume(found, disk)
        session.waiting, session.in_use = waiting, in_use
        return session

    def _resume(self, found: Unsaved, disk: Version) -> None:
        self._journal = found.journal
        try:
            saved = self._replay(found.records, EditCheck(self, whole_rows=found.tells_sidecar))
        except SessionError as error:
            self._journal = None
            found.journal.close()
            raise SessionError(f"{found.journal.path}: {error.problem}", error.mend) from error
        self._saved |= {state: version_of(record, disk) for state, record in saved.items()}
        last = self._done[-1] if self._done else None
        self.restored = Restored(
            len(self._done), last.author if last else "", last.time if last else "", found.journal.dropped
        )

    def _record(self, record: Record) -> None:
        """Start the journal with the first edit: looking at a crop writes nothing."""
        if self._closed:
            raise SessionError("this session is closed", "open the crop again")
        if self._journal is None and self._place is not None and isinstance(record, Edit):
            self._start_journal(self._place)
        super()._record(record)

    def _start_journal(self, place: Workplace) -> None:
        header = Header(
            annotation=place.annotation.name, sha256=sha256(self._base), sidecar=sha256(self._sidecar), shape=self.shape,
            offset_px=self.frame.offset_px if self.frame.region else None,
            host=platform.node(), author=self.author, time=now(),
        )  # fmt: skip
        journal = None
        while journal is None:
            try:
                journal = Journal.create(place.new_journal(), header)
            except FileExistsError:
                continue  # another window was faster: take the next name
        try:
            place.keep_base(journal.path, self._base, self._sidecar)
        except SessionError:
            journal.close()
            journal.path.unlink(missing_ok=True)
            raise
        self._journal = journal

    @property
    def writable(self) -> bool:
        """Whether edits can be kept on disk where the journal would be."""
        return self._place is None or self._place.writable()

    def earlier_versions(self) -> Sequence[Path]:
        """Return the versions that savings replaced, oldest first."""
        return self._place.earlier_versions() if self._place is not None else ()

    def close(self, *, discard: bool = False) -> None:
        """End the session.

        With everything saved, or with `discard`, the journal goes to the history; else it stays, and its edits come
        back when the file is opened again.
        """
        self._closed = True
        journal, self._journal = self._journal, None
        self._listeners.clear()
        if journal is None:
            return
        journal.close()
        if self._place is not None and (discard or not self.unsaved):
            self._place.put_aside(journal.path, with_base=self.unsaved)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(path: Path, place: Workplace, content: bytes, found: Unsaved | None) -> Annotation:
    """Read the annotation that a session starts from: the file, or the copy that its journal was begun with."""
    if found is not None and found.base != content:
        copy = place.base_of(found.journal.path)
        return replace(read_annotation(copy), source=path) if found.base else Annotation(source=path)
    return read_annotation(path) if content else Annotation(source=path)
