"""What a session that did not end well has left: journals with edits that the file does not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.disk.checking import EditCheck
from napari_monusac.editing.disk.journal import Journal
from napari_monusac.editing.disk.provenance import sidecar_of
from napari_monusac.editing.disk.records import Header, Record, Saved, Step
from napari_monusac.editing.disk.workplace import Version, Workplace, content_of, sha256
from napari_monusac.editing.history import History
from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.edit import Edit
from napari_monusac.editing.nuclei.frame import Frame, OtherRegion

RestorePolicy = Literal["auto", "base", "discard"]


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A journal with edits that the file does not have."""

    journal: Journal
    records: list[Record]
    base: bytes
    sidecar: bytes

    def known_version(self, disk: Version) -> Version:
        """Return what should be on disk when saving: what is there if this journal knows it, else the base."""
        return disk if _is_known(self.records, disk) else Version(sha256(self.base), sha256(self.sidecar))

    @property
    def tells_sidecar(self) -> bool:
        """Whether the journal says with which sidecar it began."""
        header = self.records[0]
        return isinstance(header, Header) and header.sidecar is not None


def version_of(record: Header | Saved, disk: Version) -> Version:
    """Return what a record says was on disk; earlier versions do not tell the sidecar, which is then as it is."""
    return Version(record.sha256, disk.sidecar if record.sidecar is None else record.sidecar)


def _is_known(records: Sequence[Record], disk: Version) -> bool:
    """Whether both files are as this session left them; a process that is killed while saving leaves one of each."""
    known = [version_of(r, disk) for r in records if isinstance(r, Header | Saved)]
    return any(v.annotation == disk.annotation for v in known) and any(v.sidecar == disk.sidecar for v in known)


def _is_saved(records: Sequence[Record], disk: Version) -> bool:
    """Whether the state at the end of a journal is that of the files, without carrying the edits out."""
    history, saved = History(), {}
    for record in records:
        if isinstance(record, Header):
            saved[0] = version_of(record, disk)
        elif isinstance(record, Edit):
            history.add(record)
        elif isinstance(record, Step):
            with suppress(SessionError):  # nothing to undo: carrying it out will say so
                history.step(record.kind)
        else:
            saved[history.state] = version_of(record, disk)
    return saved.get(history.state) == disk


def carry_out(
    records: Iterable[Record], nuclei: CropNuclei, history: History, *, whole_rows: bool = True
) -> dict[int, Saved]:
    """Carry the records of a journal out, each edit after a look at it.

    Parameters
    ----------
    records : iterable of Record
        Of the journal.
    nuclei : CropNuclei
        As the journal's annotation has them; changed in place.
    history : History
        Empty; gets the edits.
    whole_rows : bool
        See `EditCheck`.

    Returns
    -------
    dict
        {state: how it was saved}.

    Raises
    ------
    SessionError
        A record is wrong: it and those after it are not carried out, and these nuclei are good for nothing.
    """
    saved, check = {}, EditCheck(nuclei, whole_rows=whole_rows)
    for record in records:
        if isinstance(record, Edit):
            check.check(record)
            nuclei.write(record, undo=False, follow=False)
            history.add(record)
        elif isinstance(record, Step):
            try:
                edit = history.step(record.kind)
            except SessionError as error:
                raise SessionError(
                    f"record {record.n} of the journal has nothing to {record.kind}", "it is damaged"
                ) from error
            check.step(edit, undo=record.kind == "undo")
            nuclei.write(edit, undo=record.kind == "undo", follow=False)
        elif isinstance(record, Saved):
            saved[history.state] = record
    nuclei.maps.refresh_all()
    return saved


def find_unsaved(
    place: Workplace, disk: Version, restore: RestorePolicy, frame: Frame
) -> tuple[Unsaved | None, tuple[Path, ...], tuple[Path, ...]]:
    """Look through the journals of an annotation; those without unsaved edits are put aside.

    Parameters
    ----------
    place : Workplace
        Where they lie.
    disk : Version
        The annotation and its sidecar as they are now.
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


def _opened(place: Workplace, path: Path, disk: Version, restore: RestorePolicy, frame: Frame) -> Unsaved | None:
    resumed = Journal.resume(path)
    if resumed is None:
        return None
    journal, records = resumed
    if not any(isinstance(r, Edit) for r in records) or _is_saved(records, disk):
        journal.close()
        place.put_aside(path, with_base=not records)
        return None
    try:
        return _fitting(place, journal, records, disk, restore, frame)
    except SessionError:
        journal.close()
        raise


def _fitting(
    place: Workplace, journal: Journal, records: list[Record], disk: Version, restore: RestorePolicy, frame: Frame
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
    if not _is_known(records, disk) and restore == "auto":
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
    sidecar = content_of(sidecar_of(place.annotation if header.sidecar is None else place.base_of(journal.path)))
    if header.sidecar not in (None, sha256(sidecar)):
        raise SessionError(
            f"{sidecar_of(place.base_of(journal.path))}: are not the notes that the journal starts from",
            "put the earlier version there, or discard these edits",
        )
    return Unsaved(journal, records, base, sidecar)
