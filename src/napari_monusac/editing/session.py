"""The editing session of one crop: its parts, put together; opened, restored after a crash, changed, saved, closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.commands import Command, EditCommand, RebuildBoundary, Redo, Select, SelectWithin, Undo
from napari_monusac.editing.disk.file import SaveReport, SessionFile
from napari_monusac.editing.disk.provenance import parse_provenance, sidecar_of, with_provenance
from napari_monusac.editing.disk.records import Step
from napari_monusac.editing.disk.restoring import RestorePolicy, Unsaved, carry_out, find_unsaved, version_of
from napari_monusac.editing.disk.workplace import Version, Workplace, content_of, sha256
from napari_monusac.editing.history import History
from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.edit import SessionChange, Signature, now
from napari_monusac.editing.nuclei.frame import Frame
from napari_monusac.editing.nuclei.maps import LiveMaps
from napari_monusac.editing.nuclei.rows import NucleusRow
from napari_monusac.editing.planning import Desk, edit_of
from napari_monusac.editing.predicted import FoundNuclei
from napari_monusac.editing.selection import Selection, SelectMode
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.masks import edits
from napari_monusac.masks.strokes import polygon_stamp


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


class EditingSession:
    """Nuclei of one crop while they are edited. No Qt, no napari.

    `EditingSession(annotation, shape)` keeps everything in memory; `EditingSession.open` works on a file, keeps a
    journal and saves. `do` is the one way to change something. Views hold on to the arrays of ``session.maps`` (changed
    in place) and `listen`.

    Attributes
    ----------
    nuclei : CropNuclei
        Rows and maps.
    history : History
        Edits done and undone.
    selection : Selection
        What is selected, and the class of new nuclei.
    predicted : FoundNuclei
        What a network found.
    file : SessionFile
        Journal and saved file.
    author : str
        Whose name stands on the edits from now on.
    restored : Restored or None
        What was brought back from a journal when the session was opened.
    found : str
        What was said when corrections of this crop were found in another place; see `napari_monusac.editing.disk.kept`.
    """

    def __init__(
        self, annotation: Annotation, shape: tuple[int, int], *, author: str = "", boundary_width: int = 3,
        offset_px: tuple[int, int] | None = None, file: SessionFile | None = None,
    ) -> None:  # fmt: skip
        self.nuclei = CropNuclei(annotation, shape, boundary_width=boundary_width, offset_px=offset_px)
        self.history = History()
        self.selection = Selection(self.nuclei)
        self.predicted = FoundNuclei(self.nuclei)
        self.file = SessionFile() if file is None else file
        self.author = author
        self.restored: Restored | None = None
        self.found = ""
        self._listeners: list[Callable[[SessionChange], None]] = []

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
        annotation = _read(path, place, content, found)
        if annotation.um_per_px is None and um_per_px is not None:
            annotation = replace(annotation, um_per_px=um_per_px)
        if found is not None:
            content, sidecar = found.base, found.sidecar
        file = SessionFile(path, place, content, sidecar)
        file.waiting, file.in_use = waiting, in_use
        session = cls(
            annotation, shape, author=author, boundary_width=boundary_width, offset_px=offset_px, file=file
        )  # fmt: skip
        known = parse_provenance(sidecar, sidecar_of(path))
        if known is not None:
            session.nuclei.set_rows(with_provenance(session.rows, annotation, known))
        if found is not None:
            session._resume(found, disk)
        return session

    def _resume(self, found: Unsaved, disk: Version) -> None:
        try:
            saved = carry_out(found.records, self.nuclei, self.history, whole_rows=found.tells_sidecar)
        except SessionError as error:
            found.journal.close()
            raise SessionError(f"{found.journal.path}: {error.problem}", error.mend) from error
        self.file.known = found.known_version(disk)
        versions = {state: version_of(record, disk) for state, record in saved.items()}
        self.file.resumed(found.journal, versions, found.records[-1].n)
        last = self.history.done[-1] if self.history.done else None
        self.restored = Restored(
            len(self.history.done), last.author if last else "", last.time if last else "", found.journal.dropped
        )

    # -- what everybody looks at

    @property
    def rows(self) -> Mapping[int, NucleusRow]:
        """All nuclei and Ambiguous regions by id (a view that follows)."""
        return self.nuclei.rows

    @property
    def maps(self) -> LiveMaps:
        """The four arrays, changed in place."""
        return self.nuclei.maps

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what is edited, px."""
        return self.nuclei.shape

    @property
    def unsaved(self) -> bool:
        """Whether there are edits (notes too) that the files do not have."""
        return self.file.lacks(self.history.state)

    @property
    def unsaved_edits(self) -> int | None:
        """How many edits were made since the files were as they are; None where saved edits were undone since."""
        states = [0, *(edit.n for edit in self.history.done)]
        saved = next((at for at in reversed(range(len(states))) if not self.file.lacks(states[at])), None)
        return None if saved is None else len(states) - 1 - saved

    # -- listening

    def listen(self, callback: Callable[[SessionChange], None]) -> Callable[[], None]:
        """Call `callback` after each change, in the caller's thread; return what ends that."""
        self._listeners.append(callback)

        def stop() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return stop

    def _tell(self, change: SessionChange) -> SessionChange:
        for callback in tuple(self._listeners):
            callback(change)
        return change

    # -- changing

    def do(self, command: Command) -> SessionChange | None:
        """Do what a reader wants done: the one door for strokes, keys, buttons and scripts.

        Returns
        -------
        SessionChange or None
            What changed; None where nothing did.

        Raises
        ------
        SessionError
            It cannot be done, or the journal cannot be written: nothing has changed.
        """
        match command:
            case Undo():
                return self._step("undo") if self.history.can_undo else None
            case Redo():
                return self._step("redo") if self.history.can_redo else None
            case Select():
                return self._select(command.ids, command.mode)
            case SelectWithin():
                plane, stamp = self.maps.plane(command.plane), polygon_stamp(command.vertices, self.shape)
                return self._select(edits.labels_inside(plane, stamp, boxes=self.maps.boxes), command.mode)
            case RebuildBoundary():
                box = self.maps.rebuild_boundary(command.box)
                return self._tell(SessionChange("boundary", "rebuild boundary", box, command.ids))
            case _:
                return self._edit(command)

    def _edit(self, command: EditCommand) -> SessionChange | None:
        """EditPlan a command, write its edit to the journal, carry it out, tell of it."""
        desk = Desk(self.nuclei, self.selection, self.predicted, Signature.of(self.author))
        edit = edit_of(command.plan(desk), desk, self.file.records + 1)
        if edit is None:
            return None
        self.file.record(edit, self.nuclei)
        self.history.add(edit)
        return self._tell(self.nuclei.carry_out(edit, "edit"))

    def undo(self) -> SessionChange:
        """Take the last edit back.

        Raises
        ------
        SessionError
            There is none, or the journal cannot be written.
        """
        return self._step("undo")

    def redo(self) -> SessionChange:
        """Bring the last undone edit back.

        Raises
        ------
        SessionError
            There is none, or the journal cannot be written.
        """
        return self._step("redo")

    def _step(self, kind: Literal["undo", "redo"]) -> SessionChange:
        self.history.next_step(kind)
        self.file.record(Step(kind=kind, n=self.file.records + 1, time=now()), self.nuclei)
        return self._tell(self.nuclei.carry_out(self.history.step(kind), kind))

    def _select(self, ids: Iterable[int], mode: SelectMode) -> SessionChange | None:
        changed = self.selection.change(ids, mode)
        return self._tell(SessionChange("selection", ids=changed)) if changed else None

    # -- the file

    def annotation(self) -> Annotation:
        """Return the present state as an annotation: untouched regions are those of the file, to the letter."""
        return self.file.annotation(self.nuclei)

    def save(
        self, path: str | Path | None = None, *, on_conflict: Literal["raise", "overwrite"] = "raise"
    ) -> SaveReport:
        """Write the annotation and its sidecar; the version before goes to the history (see `SessionFile.save`)."""
        to = None if path is None else Path(path)
        report = self.file.save(self.nuclei, self.history.state, self.author, to, on_conflict)
        if report.own:
            self._tell(SessionChange("saved", report.path.name))
        return report

    def close(self, *, discard: bool = False) -> None:
        """End the session: edits that no file has stay in the journal and come back, unless `discard` is said."""
        self._listeners.clear()
        self.file.close(self.history.state, discard=discard)

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
