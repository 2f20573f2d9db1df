"""Who writes where: locks that a folder shows to everybody (`ProcessLock`), and a turn that is waited for (`exclusive`).

A run folder or a store names the process that writes into it in a file, for those who look (also from another machine). A
recycled pid, a restart or a clock that jumps fools nobody.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from filelock import FileLock, Timeout

from napari_monusac.core.errors import FileProblem, RunLockedError, SessionError, StoreError
from napari_monusac.core.files import draft_beside, replace_file

#: A store's lock of another machine that was not touched for so long is a dead worker's, s. It is touched with each tile.
SILENT_S = 120.0
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


class ProcessLock:
    """Holds a lock file, which names this process, while its block runs.

    Parameters
    ----------
    path : Path
        The lock file.
    what : Path, optional
        What it keeps others off, for the message; its folder by default.
    error : type of FileProblem
        What is raised where another process holds it.
    silent_s : float, optional
        A lock of another machine that was not touched for so long is a dead process's. Without it such a lock holds
        until somebody deletes it: its process cannot be asked.
    """

    def __init__(
        self,
        path: Path,
        what: Path | None = None,
        *,
        error: type[FileProblem] = RunLockedError,
        silent_s: float | None = None,
    ) -> None:
        self.path, self._what, self._error, self._silent_s = path, what or path.parent, error, silent_s
        self._mine: dict[str, Any] | None = None

    def __enter__(self) -> ProcessLock:
        mine = this_process()
        for _ in range(3):
            try:
                _create(self.path, json.dumps(mine))
            except FileExistsError:
                self._clear_if_stale()
                continue
            self._mine = mine
            return self
        raise self._error(self._what, "is being written by another process", "wait for it, or stop it")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mine, self._mine = self._mine, None
        if mine is not None and read_holder(self.path) == mine:  # else it is somebody else's by now
            with suppress(OSError):
                self.path.unlink()

    def touch(self) -> None:
        """Say that this process is still at work, and make sure that nobody has taken the lock meanwhile.

        Raises
        ------
        FileProblem
            Somebody has; of the type that was given.
        """
        holder = read_holder(self.path)
        if holder != self._mine:
            raise self._taken(holder or _NOBODY)
        with suppress(OSError):
            os.utime(self.path)

    def _clear_if_stale(self) -> None:
        holder = read_holder(self.path)
        if holder is None:
            return
        if self.path.is_dir():
            raise self._error(self._what, f"cannot be locked: {self.path.name} is a folder", "move that folder away")
        if self._silent_s is not None and not is_of_this_machine(holder):
            self._wait_for_a_sign(holder, self._silent_s)
        elif process_is_alive(holder):
            raise self._taken(holder)
        self._take_away(holder)

    def _taken(self, holder: dict[str, Any]) -> FileProblem:
        who = f"another process, {holder.get('pid') or 'of unknown number'} on {holder.get('host', 'this machine')}"
        mend = f"wait for it, or stop it (if it is gone, delete {self.path.name})"
        return self._error(self._what, f"is being written by {who}", mend)

    def _wait_for_a_sign(self, holder: dict[str, Any], silent_s: float) -> None:
        """Come back once another machine has been silent for long enough."""
        with suppress(FileNotFoundError):
            first = self.path.stat().st_mtime_ns
            # both times are the disk's: clocks of two machines differ
            end = time.monotonic() + silent_s - max(0.0, (_time_on_disk(self.path) - first) / 1e9)
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(1.0, left))
                if self.path.stat().st_mtime_ns != first:
                    raise self._taken(holder)

    def _take_away(self, stale: dict[str, Any]) -> None:
        """Remove the lock that a killed process left.

        Renamed first, because two that find it stale must not remove each other's new lock.
        """
        aside = draft_beside(self.path)
        with suppress(FileNotFoundError):
            replace_file(self.path, aside)
            if read_holder(aside) == stale:
                aside.unlink()
            else:
                replace_file(aside, self.path)


@contextmanager
def store_lock(store: Path) -> Iterator[ProcessLock]:
    """Lock a stored prediction, or the work that will be one, against processes of all machines that share the disk.

    Call its `touch` now and then while the work goes on.

    Raises
    ------
    StoreError
        Another process is at it.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    with ProcessLock(store.with_name(f"{store.name}.lock"), store, error=StoreError, silent_s=SILENT_S) as lock:
        yield lock


@contextmanager
def exclusive(path: Path, patience_s: float = 15.0) -> Iterator[None]:
    """Hold a lock of the operating system while the block runs, waiting for its turn; it goes with the process.

    Raises
    ------
    SessionError
        Another process holds it for longer than `patience_s`.
    OSError
        The folder cannot be written.
    """
    try:
        with FileLock(path, timeout=patience_s, poll_interval=0.02):
            yield
    except Timeout as error:
        raise SessionError(f"{path}: another process is writing here", "try again in a moment") from error


def _time_on_disk(beside: Path) -> int:
    """The time as the disk of a file tells it, Unix, ns."""
    draft = draft_beside(beside)
    try:
        draft.touch()
        return draft.stat().st_mtime_ns
    except OSError:
        return time.time_ns()
    finally:
        with suppress(OSError):
            draft.unlink()


def _create(path: Path, content: str) -> None:
    """Make a lock file with its content in one step: nobody ever sees an empty one and takes it for a torn one.

    Raises
    ------
    FileExistsError
        There is one.
    """
    draft = draft_beside(path)
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
