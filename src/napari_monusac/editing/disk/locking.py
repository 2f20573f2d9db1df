"""Locks of the operating system: they go with the process, so that a killed one leaves none behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from napari_monusac.core.errors import SessionError

# Windows locks ranges of bytes and keeps others from reading them: lock one that no file of ours reaches.
_LOCK_BYTE = 1 << 40

if sys.platform == "win32":
    import msvcrt

    def try_lock(file: BinaryIO | FileIO) -> bool:
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

    def try_lock(file: BinaryIO | FileIO) -> bool:
        """Lock an open file for this process; False where another holder has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextmanager
def exclusive(path: Path, patience_s: float = 15.0) -> Iterator[None]:
    """Hold a lock file while the block runs, waiting for its turn.

    Raises
    ------
    SessionError
        Another process holds it for longer than `patience_s`.
    OSError
        The folder cannot be written.
    """
    end = time.monotonic() + patience_s
    with path.open("ab") as file:
        while not try_lock(file):
            if time.monotonic() > end:
                raise SessionError(f"{path}: another process is writing here", "try again in a moment")
            time.sleep(0.02)
        yield
