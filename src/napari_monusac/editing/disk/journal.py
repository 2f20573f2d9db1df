"""The journal of an editing session: an append-only file that holds every finished edit, whatever happens.

A record is a line: checksum, blank, JSON. Each is written and fsynced before the edit shows on the screen. A last line
that a crash tore is dropped; damage before it, and a record that is whole but wrong, is an error. An operating-system lock tells a second window (or
a colleague) that the journal is in use; it goes with the process, so a killed one leaves none behind.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import FileIO
from pathlib import Path

from napari_monusac.core.errors import SessionError
from napari_monusac.core.jsonl import AppendLog, DamagedLine, read_records
from napari_monusac.editing.disk.records import FORMAT, Header, Record, decode, encode

# The journal itself is locked (filelock would want a file of its own for each).
# Windows locks ranges of bytes and keeps others from reading them: lock one that no file of ours reaches.
_LOCK_BYTE = 1 << 40

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: FileIO) -> bool:
        """Lock an open file for this process; False where another holder has it."""
        where = file.tell()
        try:
            file.seek(_LOCK_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            file.seek(where)
        return True

else:
    import fcntl

    def _try_lock(file: FileIO) -> bool:
        """Lock an open file for this process; False where another holder has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


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
        A line before the last one is damaged or missing, a record is wrong, or the file cannot be read.
    """
    try:
        return read_records(path, _parsed)
    except OSError as error:
        raise SessionError(f"{path}: the journal cannot be read ({error.strerror})", "check the folder") from error
    except DamagedLine as error:
        raise SessionError(
            f"{path}: line {error.number} of {error.count} of the journal is damaged ({error})",
            "open the annotation without it; the journal is then put aside, not deleted",
        ) from error


def _parsed(number: int, line: bytes) -> Record:
    record = decode(line)
    if record.n != number:
        raise ValueError(f"record {record.n} stands where record {number} should")
    if isinstance(record, Header) != (number == 0):
        raise ValueError(f"a record of the kind {record.kind} stands at place {number}")
    if isinstance(record, Header) and record.format > FORMAT:
        raise ValueError(f"format {record.format} is that of a later version")
    return record


class Journal:
    """An open, locked journal. Use `create` or `resume`.

    Attributes
    ----------
    path : Path
        The file.
    count : int
        Number of records, the header included: the number of the next one.
    dropped : bool
        Whether the last line was left out although it was whole: its checksum is wrong.
    """

    def __init__(self, path: Path, file: FileIO, count: int) -> None:
        self.path, self._log, self.count = path, AppendLog(file), count
        self.dropped = False

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
            file = path.open("xb", buffering=0)
        except FileExistsError:
            raise
        except OSError as error:
            raise _unwritable(path, error) from error
        _try_lock(file)
        journal = cls(path, file, 0)
        try:
            journal.append(header)
            _sync_folder(path.parent)
        except BaseException:
            # an empty journal would take one of the names for good
            journal.close()
            with suppress(OSError):
                path.unlink()
            raise
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
            file = path.open("r+b", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from error
        if not _try_lock(file):
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
        journal.dropped = journal._log.cut(size)
        journal.count = len(records)
        return journal, records

    def append(self, record: Record) -> None:
        """Write a record so that not even a power cut takes it back.

        Raises
        ------
        SessionError
            The disk is full or gone; the journal is as it was.
        """
        try:
            self._log.append(encode(record))
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.count += 1

    def close(self) -> None:
        """Let go of the file; it stays."""
        self._log.close()


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
