"""What a session that did not end well has left: journals with edits that the file does not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.frame import Frame, OtherRegion
from napari_monusac.editing.journal import Journal
from napari_monusac.editing.records import Edit, Header, Record, Saved, Step
from napari_monusac.editing.workplace import Workplace, content_of, sha256

RestorePolicy = Literal["auto", "base", "discard"]


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A journal with edits that the file does not have."""

    journal: Journal
    records: list[Record]
    base: bytes

    def known_sha(self, disk: str) -> str:
        """Return the hash that the file should have when saving: its own if this journal knows it, else the base's."""
        return disk if disk in _known_hashes(self.records) else sha256(self.base)


def _known_hashes(records: Sequence[Record]) -> set[str]:
    return {r.sha256 for r in records if isinstance(r, Header | Saved)}


def _is_saved(records: Sequence[Record], disk: str) -> bool:
    """Whether the state at the end of a journal is that of the file, without carrying the edits out."""
    done: list[int] = []
    undone: list[int] = []
    saved = {0: records[0].sha256} if records and isinstance(records[0], Header) else {}
    for record in records:
        if isinstance(record, Edit):
            done.append(record.n)
            undone.clear()
        elif isinstance(record, Step):
            there, back = (done, undone) if record.kind == "undo" else (undone, done)
            if there:
                back.append(there.pop())
        elif isinstance(record, Saved):
            saved[done[-1] if done else 0] = record.sha256
    return saved.get(done[-1] if done else 0) == disk


def find_unsaved(
    place: Workplace, disk: str, restore: RestorePolicy, frame: Frame
) -> tuple[Unsaved | None, tuple[Path, ...], tuple[Path, ...]]:
    """Look through the journals of an annotation; those without unsaved edits are put aside.

    Parameters
    ----------
    place : Workplace
        Where they lie.
    disk : str
        SHA-256 of the annotation file as it is now.
    restore : {"auto", "base", "discard"}
        As in `EditingSession.open`.
    frame : Frame
        The part of the image that is edited.

    Returns
    -------
    unsaved, waiting, in_use
        The first journal with unsaved edits, locked; further ones; those that another process holds.

    Raises
    ------
    SessionError
        A journal is damaged, made for another image shape, or does not fit the file.
    """
    found: Unsaved | None = None
    waiting, in_use = [], []
    for path in place.journals():
        journal = Journal.seize(path)
        if journal is None:
            in_use.append(path)
        elif restore == "discard":
            journal.close()
            place.put_aside(path, with_base=True)
        elif found is not None:
            journal.close()
            waiting.append(path)
        else:
            journal.close()
            found = _opened(place, path, disk, restore, frame)
    return found, tuple(waiting), tuple(in_use)


def _opened(place: Workplace, path: Path, disk: str, restore: RestorePolicy, frame: Frame) -> Unsaved | None:
    resumed = Journal.resume(path)
    if resumed is None:
        return None
    journal, records = resumed
    if not records or _is_saved(records, disk):
        journal.close()
        place.put_aside(path, with_base=False)
        return None
    try:
        return _fitting(place, journal, records, disk, restore, frame)
    except SessionError:
        journal.close()
        raise


def _fitting(
    place: Workplace, journal: Journal, records: list[Record], disk: str, restore: RestorePolicy, frame: Frame
) -> Unsaved:
    header = records[0]
    if not isinstance(header, Header):
        raise SessionError(f"{journal.path}: does not begin as a journal does", "discard these edits")
    made = Frame.of(header.shape, header.offset_px)
    if made != frame:
        at = f" at {made.offset_px}" if made.region else ""
        raise OtherRegion(
            f"{journal.path}: was made for an image of {made.shape} px{at}, this one has {tuple(frame.shape)}",
            "open the right image or region, or discard these edits",
            made,
        )
    if disk not in _known_hashes(records) and restore == "auto":
        edits = sum(isinstance(r, Edit) for r in records)
        raise SessionError(
            f"{place.annotation}: was changed by somebody else while {edits} edits wait in the journal",
            "restore them on the version that they were made on, or discard them",
        )
    base = content_of(place.base_of(journal.path))
    if sha256(base) != header.sha256:
        raise SessionError(
            f"{place.base_of(journal.path)}: is not the annotation that the journal starts from",
            "put the earlier version there, or discard these edits",
        )
    return Unsaved(journal, records, base)
