"""The lock of a run folder: which process writes there. A recycled pid, a restart or a clock that jumps fools nobody."""

from __future__ import annotations

import json
import math
import os
import platform
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from napari_monusac.core.errors import RunLockedError
from napari_monusac.core.files import replace_file

_START_TOLERANCE_S = 2.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NOBODY: dict[str, Any] = {"pid": 0}
#: Host of a lock that is there and cannot be read: it may be anybody's.
_UNKNOWN = "an unknown machine"


def this_process() -> dict[str, Any]:
    """Pid, start time and host of this process; see `process_record`."""
    return process_record(os.getpid())


def process_record(pid: int) -> dict[str, Any]:
    """Pid, start time (Unix, seconds) and host of a process of this machine.

    On Linux also which start of the machine it belongs to, and when it began in ticks since then: the Unix time of a
    process changes when somebody sets the clock, these do not.
    """
    record: dict[str, Any] = {
        "pid": pid, "started": psutil.Process(pid).create_time(), "host": platform.node(),
    }  # fmt: skip
    ticks = _ticks(pid)
    if ticks is not None and (boot := _boot_id()):
        record |= {"boot": boot, "ticks": ticks}
    return record


def _boot_id() -> str:
    with suppress(OSError, ValueError):
        return _BOOT_ID.read_text("ascii").strip()
    return ""


def _ticks(pid: int) -> int | None:
    """When a process began, ticks since the machine did (field 22 of its stat; the name before it may hold anything)."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    return None


def read_holder(path: Path) -> dict[str, Any] | None:
    """Read a lock file; None where there is none. One that is torn or foreign counts as held by nobody (pid 0).

    One that is there and cannot be read counts as held by another machine.
    """
    try:
        holder = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        return _NOBODY
    except OSError:
        return _NOBODY if path.is_dir() else {"pid": 0, "host": _UNKNOWN}
    except (ValueError, RecursionError):
        return _NOBODY
    return holder if isinstance(holder, dict) and _is_record(holder) else _NOBODY


def _is_record(holder: dict[str, Any]) -> bool:
    pid, started = holder.get("pid", 0), holder.get("started", 0)
    return (
        isinstance(pid, int) and not isinstance(pid, bool) and 0 <= pid < 2**31
        and isinstance(started, int | float) and math.isfinite(started)
        and isinstance(holder.get("host", ""), str)
    )  # fmt: skip


def is_of_this_machine(holder: dict[str, Any]) -> bool:
    """Whether a lock was taken on this machine."""
    return bool(holder.get("host", platform.node()) == platform.node())


def process_is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process that a lock names still runs. One of another machine cannot be asked and counts as alive."""
    if not is_of_this_machine(holder):
        return True
    try:
        process = psutil.Process(int(holder.get("pid", 0)) or -1)
        return _is_same(process, holder) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, OverflowError):
        return False


def _is_same(process: psutil.Process, holder: dict[str, Any]) -> bool:
    ticks, boot = _ticks(process.pid), _boot_id()
    if ticks is not None and boot and "boot" in holder and "ticks" in holder:
        return bool(holder["boot"] == boot and holder["ticks"] == ticks)
    return abs(process.create_time() - float(holder.get("started", 0))) < _START_TOLERANCE_S


class RunLock:
    """Holds the lock of a run folder while its block runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = False

    def __enter__(self) -> RunLock:
        content = json.dumps(this_process())
        for _ in range(3):
            try:
                _create(self.path, content)
            except FileExistsError:
                self._clear_if_stale()
                continue
            self._held = True
            return self
        raise RunLockedError(self.path.parent, "is being written by another process", "wait for it, or stop it")

    def _clear_if_stale(self) -> None:
        holder = read_holder(self.path)
        if holder is None:
            return
        if self.path.is_dir():
            raise RunLockedError(
                self.path.parent, f"cannot be locked: {self.path.name} is a folder", "move that folder away"
            )
        if process_is_alive(holder):
            who = f"process {holder.get('pid') or 'of unknown number'} on {holder.get('host')}"
            raise RunLockedError(
                self.path.parent,
                f"is being written by {who}",
                f"stop that run first (if it is gone, delete {self.path.name})",
            )
        self._take_away(holder)

    def _take_away(self, stale: dict[str, Any]) -> None:
        """Remove the lock that a killed process left.

        Renamed first, because two that find it stale must not remove each other's new lock.
        """
        aside = self.path.with_name(f".lock-{os.getpid()}-{id(self)}")
        with suppress(FileNotFoundError):
            replace_file(self.path, aside)
            if read_holder(aside) == stale:
                aside.unlink()
            else:
                replace_file(aside, self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            self._held = False
            with suppress(OSError):
                self.path.unlink()


def _create(path: Path, content: str) -> None:
    """Make a lock file with its content in one step: nobody ever sees an empty one and takes it for a torn one.

    Raises
    ------
    FileExistsError
        There is one.
    """
    draft = path.with_name(f".lock-{uuid.uuid4().hex[:12]}")
    try:
        draft.write_text(content, "utf-8")
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links: two steps
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    finally:
        with suppress(OSError):
            draft.unlink()
