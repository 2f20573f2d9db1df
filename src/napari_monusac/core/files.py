"""Writing files whole or not at all, also where another program looks into them."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

#: Pauses between tries while another program holds a file open (Windows: a spreadsheet, a virus scanner), 5 s in all.
PAUSES_S: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.75, 1.5, 2.0)
#: Windows: access denied, sharing violation, lock violation.
_HELD_WINDOWS = {5, 32, 33}
_HELD = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY}


def whole_suffix(path: str | Path) -> str:
    """Return the suffix of a file, with that of what is packed in it: ``.geojson.gz``."""
    path = Path(path)
    return (Path(path.stem).suffix if path.suffix.lower() == ".gz" else "") + path.suffix


def whole_stem(path: str | Path) -> str:
    """Return the name of a file without its `whole_suffix`."""
    return Path(path).name.removesuffix(whole_suffix(path))


def folder_key(folder: str | Path) -> str:
    """Return a name that is this folder's alone: its own, and a mark of its resolved path."""
    where = Path(folder).resolve()
    mark = hashlib.sha256(str(where).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{where.name or 'root'}-{mark}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their names."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def is_held(error: OSError) -> bool:
    """Whether an error may mean that another program holds the file open, so that waiting helps."""
    return error.errno in _HELD or getattr(error, "winerror", None) in _HELD_WINDOWS


def replace_file(source: str | Path, target: str | Path, pauses_s: Sequence[float] = PAUSES_S) -> None:
    """Move a file (or folder) to its place; where another program holds one of the two, wait and try again.

    Parameters
    ----------
    source, target : str or Path
        As of `os.replace`.
    pauses_s : sequence of float
        Seconds to wait before each further try; empty = one try.

    Raises
    ------
    OSError
        It is still held after the last pause, or something else is wrong (told at once).
    """
    for pause in pauses_s:
        try:
            os.replace(source, target)  # noqa: PTH105 - one spelling for files and folders, and for tests
        except OSError as error:
            if not is_held(error):
                raise
            time.sleep(pause)
        else:
            return
    os.replace(source, target)  # noqa: PTH105


@contextmanager
def atomic_write(path: str | Path, pauses_s: Sequence[float] = PAUSES_S) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is fsynced and takes its place, on any error it is removed.

    A file that is there already keeps its mode; a new one gets what the umask leaves, whoever writes the temporary one.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder must exist.
    pauses_s : sequence of float
        See `replace_file`.

    Yields
    ------
    Path
        The temporary file, already created and empty, with the suffix of `path`.

    Raises
    ------
    OSError
        The disk is full, the folder cannot be written, or another program holds the file; `path` is then as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    temporary.touch(exist_ok=False)
    mode = _mode_of(path) or _mode_of(temporary)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if mode and mode != _mode_of(temporary):
            with suppress(OSError):  # a share that knows no modes
                temporary.chmod(mode)
        replace_file(temporary, path, pauses_s)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _mode_of(path: Path) -> int:
    """Permissions of a file, 0 where there is none."""
    with suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode)
    return 0


def atomic_write_bytes(path: str | Path, content: bytes, pauses_s: Sequence[float] = PAUSES_S) -> None:
    """Write `content` whole or not at all."""
    with atomic_write(path, pauses_s) as temporary:
        temporary.write_bytes(content)


def atomic_write_text(path: str | Path, content: str, pauses_s: Sequence[float] = PAUSES_S) -> None:
    """Write `content` as UTF-8, whole or not at all."""
    atomic_write_bytes(path, content.encode("utf-8"), pauses_s)
