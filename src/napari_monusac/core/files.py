"""Writing files whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is fsynced and takes its place, on any error it is removed.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder must exist.

    Yields
    ------
    Path
        The temporary file, already created and empty, with the suffix of `path`.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written; `path` is then as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def atomic_write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def atomic_write_text(path: str | Path, content: str) -> None:
    """Write `content` as UTF-8, whole or not at all."""
    atomic_write_bytes(path, content.encode("utf-8"))
