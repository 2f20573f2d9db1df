"""Writing files whole or not at all, also where another program looks into them."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

#: Pauses between tries while another program holds a file open (Windows: a spreadsheet, a virus scanner), 5 s in all.
PAUSES_S: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.75, 1.5, 2.0)
#: Windows: access denied, sharing violation, lock violation.
_HELD_WINDOWS = {5, 32, 33}
_HELD = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY}
#: What is not finished, or about to be replaced: machine, process and a number, all hexadecimal.
_DRAFT = re.compile(
    r"\.(?P<name>.+)\.(?P<kind>tmp|old)-(?P<machine>[0-9a-f]{6})(?P<pid>[0-9a-f]{8})[0-9a-f]{6}(?:\..*)?"
)
#: Another machine's processes cannot be asked; nothing is written for so long.
_FORGOTTEN_S = 7 * 86_400.0
#: Folders that this process has cleared of what killed processes left.
_cleared: set[tuple[int, Path]] = set()


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


def draft_beside(path: Path, suffix: str = "", kind: str = "tmp") -> Path:
    """Return a new hidden name beside a file or folder, for what will take its place (``tmp``) or had it (``old``).

    The name says whose it is. What killed processes left in that folder is cleared before this process's first one.
    """
    clear_leftovers(path.parent)
    # a folder set aside gets its name back where a kill came between: whole; a draft's name only helps a reader
    name = path.name if kind == "old" else path.stem[:40] if suffix else path.name[:40]
    return path.with_name(f".{name}.{kind}-{_this_machine()}{os.getpid():08x}{uuid.uuid4().hex[:6]}{suffix}")


def clear_leftovers(folder: Path) -> None:
    """Remove the drafts that killed processes left in a folder, once in the life of this process.

    A folder that was set aside for another that never came gets its name back.
    """
    if (os.getpid(), folder) in _cleared:
        return
    _cleared.add((os.getpid(), folder))
    with suppress(OSError):
        left = [(Path(entry.path), found) for entry in os.scandir(folder) if (found := _DRAFT.fullmatch(entry.name))]
        for path, found in left:
            if not _is_abandoned(path, found):
                continue
            if found["kind"] == "old" and not folder.joinpath(found["name"]).exists():
                path.rename(folder / found["name"])
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_abandoned(path: Path, found: re.Match[str]) -> bool:
    """Whether the process that made a draft is gone; one of another machine, once it has been still for a week."""
    if found["machine"] == _this_machine():
        return not psutil.pid_exists(int(found["pid"], 16))
    # both times are the disk's: clocks of two machines differ, and some jump
    probe = draft_beside(path)
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink()
    return now - path.stat().st_mtime > _FORGOTTEN_S


@functools.cache
def _this_machine() -> str:
    """A mark of this machine, its start, and (Linux) the container, within which a process number means something."""
    parts = [platform.node()]
    with suppress(OSError, ValueError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:6]


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
    temporary = draft_beside(path, path.suffix)
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
