"""The file of a session: its journal, and saving; never over somebody else's work, never without the version before it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from napari_monusac.core.errors import AnnotationError, SessionError
from napari_monusac.core.files import atomic_write, atomic_write_bytes, draft_beside, whole_stem, whole_suffix
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.disk.building import Built, build_annotation
from napari_monusac.editing.disk.journal import Journal
from napari_monusac.editing.disk.provenance import (
    NucleusNote,
    ProvenanceFile,
    SavingNote,
    make_provenance,
    outline_key,
    parse_provenance,
    read_provenance,
    sidecar_of,
)
from napari_monusac.editing.disk.records import Header, Record, Saved
from napari_monusac.editing.disk.workplace import Version, Workplace, sha256
from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.edit import Edit, now
from napari_monusac.io.annotations.files import write_annotation
from napari_monusac.io.locks import exclusive


class SaveConflict(SessionError):
    """The file on disk, or its sidecar, is no longer the one that was opened: somebody else saved it.

    Attributes
    ----------
    path : Path
        The file, which holds the other's version.
    suggested : Path
        A free name beside it for this session's version.
    other_author, other_time : str
        Who saved it and when, where the sidecar says so.
    notes_only : bool
        Whether the outlines are those that were opened, and only notes (or who drew what) were changed.
    """

    def __init__(self, path: Path, suggested: Path, other: SavingNote | None, *, notes_only: bool = False) -> None:
        self.path, self.suggested, self.notes_only = path, suggested, notes_only
        self.other_author, self.other_time = (other.author, other.time) if other else ("", "")
        who = f" by {self.other_author}" if self.other_author else ""
        when = f" at {self.other_time}" if self.other_time else ""
        super().__init__(
            f"{path}: {'its notes were' if notes_only else 'was'} changed{who}{when} since it was opened, nothing is "
            "overwritten",
            f"save yours as {suggested.name} and compare, or overwrite (the other version is then kept in the history)",
        )


@dataclass(frozen=True, slots=True)
class SaveReport:
    """What a saving did.

    Attributes
    ----------
    path : Path
        The file that was written.
    regions, untouched, redrawn, trimmed, hidden : int
        Number of regions, of those kept to the letter, of those outlined from pixels; of the latter, those trimmed only
        because of the order of the layers; and those left out because nothing of them is to be seen.
    backup : Path or None
        The version before.
    own : bool
        Whether it is the session's own file, not a copy.
    """

    path: Path
    regions: int
    untouched: int
    redrawn: int
    trimmed: int = 0
    hidden: int = 0
    backup: Path | None = None
    own: bool = True


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a saving goes, whether that is the session's own file, and what is there now."""

    path: Path
    place: Workplace
    own: bool
    disk: Version


class SessionFile:
    """What a session has on disk: the annotation and its sidecar, and the journal of what they do not have.

    `SessionFile()` has nothing on disk: edits stay in memory, and saving makes copies.

    Parameters
    ----------
    path : Path or None
        The annotation.
    place : Workplace or None
        Where its journal and earlier versions are.
    base, sidecar : bytes
        The annotation and its sidecar as they were opened.

    Attributes
    ----------
    known : Version
        What should be on disk when saving.
    records : int
        Number of the last record: edits, undos, redos and savings are counted, also without a journal.
    waiting : tuple of Path
        Further journals with unsaved edits on this file, of other windows that did not end well.
    in_use : tuple of Path
        Journals of other windows (or colleagues) that work on this file now.
    """

    def __init__(
        self, path: Path | None = None, place: Workplace | None = None, base: bytes = b"", sidecar: bytes = b""
    ) -> None:
        self.path, self._place, self._base, self._sidecar = path, place, base, sidecar
        opened = Version(sha256(base), sha256(sidecar)) if path is not None else Version("", "")
        self.known = opened
        self.records = 0
        self.journal: Journal | None = None
        self.waiting: tuple[Path, ...] = ()
        self.in_use: tuple[Path, ...] = ()
        self._saved: dict[int, Version] = {0: opened}
        self._closed = False

    def lacks(self, state: int) -> bool:
        """Whether the files do not have this state of the history (notes too)."""
        return self._saved.get(state) != self.known

    @property
    def writable(self) -> bool:
        """Whether edits can be kept on disk where the journal would be."""
        return self._place is None or self._place.writable()

    def earlier_versions(self) -> Sequence[Path]:
        """Return the versions that savings replaced, oldest first."""
        return self._place.earlier_versions() if self._place is not None else ()

    # -- the journal

    def resumed(self, journal: Journal, saved: Mapping[int, Version], records: int) -> None:
        """Go on with a journal that was carried out: its last record, and the states that it says were saved."""
        self.journal, self.records = journal, records
        self._saved |= saved

    def record(self, record: Record, nuclei: CropNuclei) -> None:
        """Put a record where no crash takes it, before it takes effect. The journal begins with the first edit.

        Raises
        ------
        SessionError
            The session is closed, or the disk refuses: the journal is as it was.
        """
        if self._closed:
            raise SessionError("this session is closed", "open the crop again")
        if self.journal is None and self._place is not None and isinstance(record, Edit):
            self.journal = self._begun(self._place, record, nuclei)
        if self.journal is not None:
            self.journal.append(record)
        self.records = record.n

    def _begun(self, place: Workplace, first: Edit, nuclei: CropNuclei) -> Journal:
        header = Header(
            annotation=place.annotation.name, sha256=sha256(self._base), sidecar=sha256(self._sidecar),
            shape=nuclei.shape, offset_px=nuclei.frame.offset_px if nuclei.frame.region else None,
            host=platform.node(), author=first.author, time=first.time,
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
        return journal

    def close(self, state: int, *, discard: bool = False) -> None:
        """End the work on the file.

        With this state of the history saved, or with `discard`, the journal goes to the history; else it stays, and its
        edits come back when the file is opened again.
        """
        self._closed = True
        journal, self.journal = self.journal, None
        if journal is None:
            return
        journal.close()
        unsaved = self.lacks(state)
        if self._place is not None and (discard or not unsaved):
            self._place.put_aside(journal.path, with_base=unsaved)

    # -- saving

    def annotation(self, nuclei: CropNuclei) -> Annotation:
        """Return nuclei as an annotation: untouched regions are those of the file, to the letter."""
        return build_annotation(nuclei, layered=self.path is None or _layered(self.path)).annotation

    def save(
        self, nuclei: CropNuclei, state: int, author: str, path: Path | None = None,
        on_conflict: Literal["raise", "overwrite"] = "raise",
    ) -> SaveReport:  # fmt: skip
        """Write the annotation and its sidecar, which are one saving; the version before goes to the history.

        A process that is killed between the two leaves the journal: the edits come back when the file is opened again.

        Parameters
        ----------
        nuclei : CropNuclei
            What is written.
        state : int
            Which state of the history that is.
        author : str
            Who saves.
        path : Path, optional
            Another file (a copy: the session stays with its own). By default the file that was opened.
        on_conflict : {"raise", "overwrite"}
            What to do when the file or its sidecar is no longer the one that was opened.

        Raises
        ------
        SaveConflict
            Somebody else has saved it in between; both versions can be kept, see its message.
        SessionError
            The session has no file, or the version before cannot be kept.
        AnnotationError
            The file cannot be written.
        """
        target = self.path if path is None else path
        if target is None:
            raise SessionError("this session has no file", "give the path to save it to")
        own = self.path is not None and target.resolve() == self.path.resolve()
        place = self._place if own and self._place is not None else Workplace(target)
        with _turn(place):
            disk = Version.of(target)
            if own and on_conflict == "raise" and disk != self.known:
                raise self._conflict(target, disk, author)
            return self._written(nuclei, state, author, _Target(target, place, own, disk))

    def _written(self, nuclei: CropNuclei, state: int, author: str, to: _Target) -> SaveReport:
        built = build_annotation(nuclei, layered=_layered(to.path))
        content = self._content(built, state, to)
        time, new = now(), sha256(content)
        notes = _provenance(nuclei, to.path, built, SavingNote(author=author, time=time, sha256=new))
        saved = Version(new, sha256(notes))
        if to.own and self.journal is not None:
            number = self.records + 1
            self.record(Saved(n=number, sha256=new, sidecar=saved.sidecar, author=author, time=time), nuclei)
        backup = to.place.back_up(to.path) if to.disk.annotation != new else None
        if backup is not None or not to.own or to.disk != self.known or _loses_notes(to.path, notes):
            to.place.back_up(sidecar_of(to.path))
        self._put(to, content, notes)
        if to.own:
            self.known = self._saved[state] = saved
        regions, redrawn = len(built.annotation.regions), len(built.redrawn)
        return SaveReport(
            to.path, regions, regions - redrawn, redrawn, len(built.trimmed), len(built.hidden), backup, to.own
        )  # fmt: skip

    def _content(self, built: Built, state: int, to: _Target) -> bytes:
        """Return the bytes of the file; those that were opened, where every edit is undone."""
        if not state and self._base and self.path is not None and whole_suffix(to.path) == whole_suffix(self.path):
            return self._base
        draft = draft_beside(to.place.folder / "saving", whole_suffix(to.path))
        try:
            write_annotation(built.annotation, draft)
            return draft.read_bytes()
        finally:
            draft.unlink(missing_ok=True)

    def _put(self, to: _Target, content: bytes, notes: bytes) -> None:
        """Replace both files; a full disk refuses before either is touched."""
        with ExitStack() as stack:
            try:
                draft = stack.enter_context(atomic_write(sidecar_of(to.path)))
                draft.write_bytes(notes)
                atomic_write_bytes(to.path, content)
            except OSError as error:
                raise AnnotationError(
                    to.path, f"cannot be written ({error.strerror})", "save it in a folder you may write to"
                ) from error
            if to.own:  # the sidecar may still fail: then the next saving knows what is there
                self.known = replace(self.known, annotation=sha256(content))
            try:
                stack.close()
            except OSError as error:
                raise SessionError(
                    f"{to.path}: was saved, but notes and who drew what could not be written ({error.strerror})",
                    "save once more",
                ) from error

    def _conflict(self, target: Path, disk: Version, author: str) -> SaveConflict:
        known = read_provenance(target)
        other = next((s for s in reversed(known.savings if known else ()) if s.sha256 == disk.annotation), None)
        name = "".join(c if c.isalnum() else "-" for c in author).strip("-") or "mine"
        stem, suffix = whole_stem(target), whole_suffix(target)
        suggested = target.with_name(f"{stem}.{name}{suffix}")
        number = 2
        while suggested.exists():
            suggested = target.with_name(f"{stem}.{name}-{number}{suffix}")
            number += 1
        return SaveConflict(target, suggested, other, notes_only=disk.annotation == self.known.annotation)


@contextmanager
def _turn(place: Workplace) -> Iterator[None]:
    """Let one process save at a time: between looking at the file and replacing it nobody else may do so."""
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(place.folder / "saving.lock"):
            yield
    except OSError as error:
        raise SessionError(f"{place.folder}: cannot be written ({error.strerror})", "choose a work folder") from error


def _provenance(nuclei: CropNuclei, target: Path, built: Built, saving: SavingNote) -> bytes:
    """Return the bytes of the sidecar."""
    known = read_provenance(target)
    pairs = ((region, row) for region, row in built.pairs if row is not None)
    savings = (*(known.savings if known else ()), saving)
    return make_provenance(target, savings, pairs, kept=_known_outside(nuclei, known)).to_bytes()


def _loses_notes(target: Path, notes: bytes) -> bool:
    """Whether the sidecar that is there says of some nucleus what the new one does not."""
    known, new = read_provenance(target), parse_provenance(notes, target)
    return known is not None and new is not None and not set(known.nuclei) <= set(new.nuclei)


def _known_outside(nuclei: CropNuclei, known: ProvenanceFile | None) -> tuple[NucleusNote, ...]:
    """Return what the sidecar knows about nuclei outside the edited part."""
    if known is None or not known.nuclei or not nuclei.outside:
        return ()
    keys = {outline_key(nuclei.source.regions[i].vertices) for i in nuclei.outside}
    return tuple(entry for entry in known.nuclei if entry.outline in keys)


def _layered(path: Path) -> bool:
    return path.suffix.lower() == ".xml"
