"""The state of a session and its history: rows, maps, edits done and undone, told to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Box, union
from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.disk.checking import EditCheck
from napari_monusac.editing.disk.journal import Journal
from napari_monusac.editing.disk.records import Edit, Patch, Record, Saved, Step, changed_rows
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane
from napari_monusac.editing.nuclei.state import SessionState
from napari_monusac.masks.change import Change

#: What happens to pixels that a nucleus gives up: what lies hidden below comes back, or they are background.
Freed = Literal["reveal", "clear"]
Planned = Sequence[tuple[Plane, Change]]


def _tally(labels: NDArray[np.int32]) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def now() -> str:
    """Return the time as ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class SessionChange:
    """What listeners are told.

    Attributes
    ----------
    kind : str
        ``"edit"``, ``"undo"``, ``"redo"``, ``"saved"``, ``"selection"`` or ``"boundary"`` (another boundary width).
    name : str
        The command: ``"draw"``, ``"split"``, ``"class"`` ...
    box : tuple of int or None
        (top, left, bottom, right) in px: all that any of the four maps may have changed. None where no pixel did.
    ids : frozenset of int
        Nuclei that changed, came or went.
    created : tuple of int
        Those that came.
    """

    kind: str
    name: str = ""
    box: Box | None = None
    ids: frozenset[int] = frozenset()
    created: tuple[int, ...] = ()


class EditHistory(SessionState):
    """The edits of one crop, in memory or with a journal. `EditingSession` adds the tools."""

    def __init__(
        self, annotation: Annotation, shape: tuple[int, int], *, author: str = "", boundary_width: int = 3,
        offset_px: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(annotation, shape, author=author, boundary_width=boundary_width, offset_px=offset_px)
        self._done: list[Edit] = []
        self._undone: list[Edit] = []
        self._numbered = 0
        self._journal: Journal | None = None
        self._listeners: list[Callable[[SessionChange], None]] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to redo."""
        return bool(self._undone)

    @property
    def undo_name(self) -> str:
        """Name of the edit that `undo` would take back."""
        return self._done[-1].name if self._done else ""

    @property
    def redo_name(self) -> str:
        """Name of the edit that `redo` would bring back."""
        return self._undone[-1].name if self._undone else ""

    @property
    def state(self) -> int:
        """Number of the last edit that is in force; 0 = as opened. Two equal numbers are the same state."""
        return self._done[-1].n if self._done else 0

    def edits(self) -> tuple[Edit, ...]:
        """Return the edits in force, oldest first."""
        return tuple(self._done)

    # -- listening ----------------------------------------------------------------------------------------------------

    def listen(self, callback: Callable[[SessionChange], None]) -> Callable[[], None]:
        """Call `callback` after each change, in the caller's thread; return what ends that."""
        self._listeners.append(callback)

        def stop() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return stop

    def tell(self, change: SessionChange) -> SessionChange:
        """Tell all listeners of a change, and return it."""
        for callback in tuple(self._listeners):
            callback(change)
        return change

    # -- changing -----------------------------------------------------------------------------------------------------

    def undo(self) -> SessionChange:
        """Take the last edit back.

        Raises
        ------
        SessionError
            There is none, or the journal cannot be written.
        """
        if not self._done:
            raise SessionError("there is nothing to undo", "this is how the file was opened")
        self._record(Step(kind="undo", n=self._numbered + 1, time=now()))
        edit = self._done.pop()
        self._undone.append(edit)
        return self.tell(self._carried_out(edit, "undo"))

    def redo(self) -> SessionChange:
        """Bring the last undone edit back.

        Raises
        ------
        SessionError
            There is none, or the journal cannot be written.
        """
        if not self._undone:
            raise SessionError("there is nothing to redo", "nothing was undone since the last edit")
        self._record(Step(kind="redo", n=self._numbered + 1, time=now()))
        edit = self._undone.pop()
        self._done.append(edit)
        return self.tell(self._carried_out(edit, "redo"))

    def _do(
        self,
        name: str,
        planned: Planned,
        rows: Mapping[int, NucleusRow | None] | None = None,
        *,
        freed: Freed = "reveal",
    ) -> SessionChange | None:
        """Make a command of planned changes and rows, write it to the journal, carry it out; None if nothing changes.

        Nuclei whose pixels change are the reader's from then on; those left without one go. `rows` wins.
        """
        planned = [(plane, change) for plane, change in planned if not change.is_empty]
        after: dict[int, NucleusRow | None] = {}
        time = now()
        settled = []
        for plane, change in planned:
            final, lost = self._settle(plane, change, freed)
            settled.append((plane, final))
            after |= self._touched(plane, change, lost, time)
        after |= rows or {}
        before, after = changed_rows({k: self._rows.get(k) for k in after}, after)
        patches = tuple(Patch.pack(change, plane) for plane, change in settled if not change.is_empty)
        if not patches and not before:
            return None
        edit = Edit(
            n=self._numbered + 1, name=name, patches=patches, before=before, after=after, author=self.author, time=time
        )
        self._record(edit)
        self._done.append(edit)
        self._undone.clear()
        return self.tell(self._carried_out(edit, "edit"))

    def _settle(self, plane: Plane, change: Change, freed: Freed) -> tuple[Change, set[int]]:
        """Decide about the pixels that are given up: what lies below comes back, or loses them as well."""
        given_up = change.changed & (change.after == 0)
        if not given_up.any():
            return change, set()
        if freed == "clear":
            hidden = self._outlines.covering(change.box, given_up, plane, self._rows)
            return change, hidden
        below = self._outlines.below(change.box, plane, self._rows, without=change.labels)
        return replace(change, after=np.where(given_up, below, change.after).astype(np.int32)), set()

    def _touched(self, plane: Plane, change: Change, lost: set[int], time: str) -> dict[int, NucleusRow | None]:
        """Rows of the nuclei whose outline an edit changes (a hidden pixel that comes back changes none)."""
        mask = change.changed
        losses, gains = _tally(change.before[mask]), _tally(change.after[mask])
        parents = dict(change.parents)
        rows: dict[int, NucleusRow | None] = {}
        for label in sorted((change.labels | lost) - {0}):
            row = self._rows.get(label)
            if row is None:
                rows[label] = self._new_row(label, plane, time, parents.get(label))
            elif label not in self._beyond and (
                self.maps.stamp(plane, label).area_px - losses.get(label, 0) + gains.get(label, 0) <= 0
            ):
                rows[label] = None  # one that goes on outside the frame still has its pixels there
            else:
                rows[label] = row.model_copy(
                    update={"intact": False, "provenance": "human", "author": self.author, "time": time}
                )
        return rows

    def _new_row(self, label: int, plane: Plane, time: str, parent: int | None) -> NucleusRow:
        born = {"provenance": "human", "author": self.author, "time": time}
        if parent is not None and parent in self._rows:
            like = {"id": label, "source": None, "intact": False, "confidence": None, "note": ""}
            return self._rows[parent].model_copy(update=like | born)
        class_id = AMBIGUOUS_ID if plane == "ambiguous" else self._class_for_new()
        return NucleusRow(id=label, class_id=class_id, author=self.author, time=time)

    def _class_for_new(self) -> int:
        raise NotImplementedError

    def set_boundary_width(self, width_px: int) -> SessionChange:
        """Change the width of the ternary map's boundary (a view of the same nuclei: no edit).

        Raises
        ------
        RecipeError
            The width is not odd or out of range.
        """
        self.maps.set_boundary_width(width_px)
        return self.tell(SessionChange("boundary", f"{width_px} px", (0, 0, *self.shape)))

    # -- carrying out -------------------------------------------------------------------------------------------------

    def _record(self, record: Record) -> None:
        """Put a record where no crash takes it, before it takes effect."""
        if self._journal is not None:
            self._journal.append(record)
        self._numbered = record.n

    def _carried_out(self, edit: Edit, kind: Literal["edit", "undo", "redo"]) -> SessionChange:
        rows = edit.before if kind == "undo" else edit.after
        gone = edit.after if kind == "undo" else edit.before
        created = tuple(k for k, row in rows.items() if row is not None and gone.get(k) is None)
        boxes = self._write(edit, undo=kind == "undo")
        self._set_rows(rows)
        boxes += [self.maps.boxes[k] for k in rows if k in self.maps.boxes]
        box = None
        for each in boxes:
            box = each if box is None else union(box, each)
        if box is not None:
            box = self.maps.refresh(box)
        return SessionChange(kind, edit.name, box, edit.ids, created)

    def _replay(self, records: Iterable[Record], check: EditCheck | None = None) -> dict[int, Saved]:
        """Bring the state of a journal back; return {state: how it was saved}.

        Raises
        ------
        SessionError
            A record is wrong: it and those after it are not carried out, and this session is good for nothing.
        """
        saved, check = {}, check or EditCheck(self)
        for record in records:
            if isinstance(record, Edit):
                check.check(record)
                self._write(record, undo=False, follow=False)
                self._set_rows(record.after)
                self._done.append(record)
                self._undone.clear()
            elif isinstance(record, Step):
                there, back = (self._done, self._undone) if record.kind == "undo" else (self._undone, self._done)
                if not there:
                    raise SessionError(
                        f"record {record.n} of the journal has nothing to {record.kind}", "it is damaged"
                    )
                edit = there.pop()
                back.append(edit)
                check.step(edit, undo=record.kind == "undo")
                self._write(edit, undo=record.kind == "undo", follow=False)
                self._set_rows(edit.before if record.kind == "undo" else edit.after)
            elif isinstance(record, Saved):
                saved[self.state] = record
            self._numbered = record.n
        self.maps.refresh_all()
        return saved
