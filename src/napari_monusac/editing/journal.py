"""The journal of an editing session: an append-only file that holds every finished edit, whatever happens.

A record is a line: checksum, blank, JSON. Each is written, flushed and fsynced before the edit shows on the screen. A
last line that a crash tore is dropped; damage before it is an error. An operating-system lock tells a second window (or
a colleague) that the journal is in use; it goes with the process, so a killed one leaves none behind.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.locking import try_lock
from napari_monusac.editing.records import Header, Record, decode, encode


def read_journal(path: str | Path) -> tuple[list[Record], int]:
    """Read the records of a journal, whether it is in use or not.

    Parameters
    ----------
    path : str or Path
        The journal.

    Returns
    -------
    records, size
        All whole records, and the number of bytes that they take (a torn last line lies behind).

    Raises
    ------
    SessionError
        A line before the last one is damaged or missing, or the file cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SessionError(f"{path}: the journal cannot be read ({error.strerror})", "check the folder") from error
    lines = content.splitlines(keepends=True)
    records: list[Record] = []
    size = 0
    for number, line in enumerate(lines):
        try:
            record = decode(line)
            if record.n != number:
                raise ValueError(f"record {record.n} stands where record {number} should")
        except ValueError as error:
            if number == len(lines) - 1:
                break
            raise SessionError(
                f"{path}: line {number + 1} of {len(lines)} of the journal is damaged ({error})",
                "open the annotation without it; the journal is then put aside, not deleted",
            ) from error
        records.append(record)
        size += len(line)
    return records, size


class Journal:
    """An open, locked journal. Use `create` or `resume`.

    Attributes
    ----------
    path : Path
        The file.
    count : int
        Number of records, the header included: the number of the next one.
    """

    def __init__(self, path: Path, file: BinaryIO, count: int) -> None:
        self.path, self._file, self.count = path, file, count

    @classmethod
    def create(cls, path: Path, header: Header) -> Journal:
        """Start a journal.

        Raises
        ------
        FileExistsError
            There is one already.
        SessionError
            It cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        except FileExistsError:
            raise
        except OSError as error:
            raise _unwritable(path, error) from error
        try_lock(file)
        journal = cls(path, file, 0)
        journal.append(header)
        _sync_folder(path.parent)
        return journal

    @classmethod
    def seize(cls, path: Path) -> Journal | None:
        """Lock a journal without reading it (a damaged one can be put aside); None where its process still lives.

        Raises
        ------
        SessionError
            It cannot be opened for writing.
        """
        try:
            file = path.open("r+b")
        except OSError as error:
            raise _unwritable(path, error) from error
        if not try_lock(file):
            file.close()
            return None
        return cls(path, file, 0)

    @classmethod
    def resume(cls, path: Path) -> tuple[Journal, list[Record]] | None:
        """Lock and read a journal that another process left; None where its process still lives.

        Raises
        ------
        SessionError
            It is damaged, or cannot be written.
        """
        journal = cls.seize(path)
        if journal is None:
            return None
        try:
            records, size = read_journal(path)
        except SessionError:
            journal.close()
            raise
        journal._file.truncate(size)
        journal._file.seek(size)
        journal.count = len(records)
        return journal, records

    def append(self, record: Record) -> None:
        """Write a record so that not even a power cut takes it back.

        Raises
        ------
        SessionError
            The disk is full or gone; the journal is as it was.
        """
        where = self._file.tell()
        try:
            self._file.write(encode(record))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.seek(where)
                self._file.truncate(where)
            raise _unwritable(self.path, error) from error
        self.count += 1

    def close(self) -> None:
        """Let go of the file; it stays."""
        self._file.close()


def _unwritable(path: Path, error: OSError) -> SessionError:
    return SessionError(
        f"{path}: edits cannot be kept on disk ({error.strerror or error})", "free some space or choose a work folder"
    )


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder last (a folder cannot be opened on Windows, where this is not needed)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
