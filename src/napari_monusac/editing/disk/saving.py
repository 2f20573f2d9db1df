"""Saving a session: never over somebody else's work, never without the version before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from napari_monusac.core.errors import AnnotationError, SessionError
from napari_monusac.core.files import atomic_write, atomic_write_bytes, draft_beside, whole_stem, whole_suffix
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.disk.building import Built, build_annotation
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
from napari_monusac.editing.disk.records import Saved
from napari_monusac.editing.disk.workplace import Version, Workplace, sha256
from napari_monusac.editing.history import SessionChange, now
from napari_monusac.editing.predicted import Accepting
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
    """

    path: Path
    regions: int
    untouched: int
    redrawn: int
    trimmed: int = 0
    hidden: int = 0
    backup: Path | None = None


class SavingSession(Accepting):
    """Saving. `EditingSession.open` fills in the fields."""

    path: Path | None = None
    _place: Workplace | None = None
    _base: bytes = b""
    _sidecar: bytes = b""
    _disk: Version = Version("", "")
    _saved: dict[int, Version]

    @property
    def unsaved(self) -> bool:
        """Whether there are edits (notes too) that the files do not have."""
        return self._saved.get(self.state) != self._disk

    def annotation(self) -> Annotation:
        """Return the present state as an annotation: untouched regions are those of the file, to the letter."""
        return build_annotation(self, layered=self.path is None or _layered(self.path)).annotation

    def save(
        self, path: str | Path | None = None, *, on_conflict: Literal["raise", "overwrite"] = "raise"
    ) -> SaveReport:
        """Write the annotation and its sidecar, which are one saving; the version before goes to the history.

        A process that is killed between the two leaves the journal: the edits come back when the file is opened again.

        Parameters
        ----------
        path : str or Path, optional
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
        target = self.path if path is None else Path(path)
        if target is None:
            raise SessionError("this session has no file", "give the path to save it to")
        own = self.path is not None and target.resolve() == self.path.resolve()
        place = self._place if own and self._place is not None else Workplace(target)
        with self._turn(place):
            return self._save(target, place, own, on_conflict)

    def _save(self, target: Path, place: Workplace, own: bool, on_conflict: str) -> SaveReport:
        disk = Version.of(target)
        if own and on_conflict == "raise" and disk != self._disk:
            raise self._conflict(target, disk)
        built = build_annotation(self, layered=_layered(target))
        content = self._content(built, target, place)
        time, new = now(), sha256(content)
        notes = self._provenance(target, built, SavingNote(author=self.author, time=time, sha256=new))
        saved = Version(new, sha256(notes))
        if own and self._journal is not None:
            record = Saved(
                n=self._numbered + 1, sha256=new, sidecar=saved.sidecar, author=self.author, time=time
            )  # fmt: skip
            self._record(record)
        backup = place.back_up(target) if disk.annotation != new else None
        if backup is not None or not own or disk != self._disk or self._loses_notes(target, notes):
            place.back_up(sidecar_of(target))
        self._put(target, content, notes, own)
        if own:
            self._disk = self._saved[self.state] = saved
            self.tell(SessionChange("saved", target.name))
        regions, redrawn = len(built.annotation.regions), len(built.redrawn)
        return SaveReport(
            target, regions, regions - redrawn, redrawn, len(built.trimmed), len(built.hidden), backup
        )  # fmt: skip

    @contextmanager
    def _turn(self, place: Workplace) -> Iterator[None]:
        """Let one process save at a time: between looking at the file and replacing it nobody else may do so."""
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
            with exclusive(place.folder / "saving.lock"):
                yield
        except OSError as error:
            raise SessionError(
                f"{place.folder}: cannot be written ({error.strerror})", "choose a work folder"
            ) from error

    def _content(self, built: Built, target: Path, place: Workplace) -> bytes:
        """Return the bytes of the file; those that were opened, where every edit is undone."""
        if not self.state and self._base and self.path is not None and whole_suffix(target) == whole_suffix(self.path):
            return self._base
        draft = draft_beside(place.folder / "saving", whole_suffix(target))
        try:
            write_annotation(built.annotation, draft)
            return draft.read_bytes()
        finally:
            draft.unlink(missing_ok=True)

    def _put(self, target: Path, content: bytes, notes: bytes, own: bool) -> None:
        """Replace both files; a full disk refuses before either is touched."""
        with ExitStack() as stack:
            try:
                draft = stack.enter_context(atomic_write(sidecar_of(target)))
                draft.write_bytes(notes)
                atomic_write_bytes(target, content)
            except OSError as error:
                raise AnnotationError(
                    target, f"cannot be written ({error.strerror})", "save it in a folder you may write to"
                ) from error
            if own:  # the sidecar may still fail: then the next saving knows what is there
                self._disk = replace(self._disk, annotation=sha256(content))
            try:
                stack.close()
            except OSError as error:
                raise SessionError(
                    f"{target}: was saved, but notes and who drew what could not be written ({error.strerror})",
                    "save once more",
                ) from error

    def _provenance(self, target: Path, built: Built, saving: SavingNote) -> bytes:
        """Return the bytes of the sidecar."""
        known = read_provenance(target)
        pairs = ((region, row) for region, row in built.pairs if row is not None)
        savings = (*(known.savings if known else ()), saving)
        return make_provenance(target, savings, pairs, kept=self._known_outside(known)).to_bytes()

    def _loses_notes(self, target: Path, notes: bytes) -> bool:
        """Whether the sidecar that is there says of some nucleus what the new one does not."""
        known, new = read_provenance(target), parse_provenance(notes, target)
        return known is not None and new is not None and not set(known.nuclei) <= set(new.nuclei)

    def _known_outside(self, known: ProvenanceFile | None) -> tuple[NucleusNote, ...]:
        """Return what the sidecar knows about nuclei outside the edited part."""
        if known is None or not known.nuclei or not self.outside:
            return ()
        keys = {outline_key(self.source.regions[i].vertices) for i in self.outside}
        return tuple(entry for entry in known.nuclei if entry.outline in keys)

    def _conflict(self, target: Path, disk: Version) -> SaveConflict:
        known = read_provenance(target)
        other = next((s for s in reversed(known.savings if known else ()) if s.sha256 == disk.annotation), None)
        name = "".join(c if c.isalnum() else "-" for c in self.author).strip("-") or "mine"
        stem, suffix = whole_stem(target), whole_suffix(target)
        suggested = target.with_name(f"{stem}.{name}{suffix}")
        number = 2
        while suggested.exists():
            suggested = target.with_name(f"{stem}.{name}-{number}{suffix}")
            number += 1
        return SaveConflict(target, suggested, other, notes_only=disk.annotation == self._disk.annotation)


def _layered(path: Path) -> bool:
    return path.suffix.lower() == ".xml"
