"""The lock of a run folder: pid and start time of the process that writes there; a recycled pid fools nobody."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from napari_monusac.core.errors import RunLockedError
from napari_monusac.core.files import replace_file

_START_TOLERANCE_S = 2.0


def this_process() -> dict[str, Any]:
    """Pid, start time (Unix, seconds) and host of this process."""
    return process_record(os.getpid())


def process_record(pid: int) -> dict[str, Any]:
    """Pid, start time (Unix, seconds) and host of a process of this machine."""
    return {"pid": pid, "started": psutil.Process(pid).create_time(), "host": platform.node()}


def read_holder(path: Path) -> dict[str, Any] | None:
    """Read a lock file; None where there is none. A torn file counts as held by nobody (pid 0)."""
    try:
        holder = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {"pid": 0}
    return holder if isinstance(holder, dict) else {"pid": 0}


def is_of_this_machine(holder: dict[str, Any]) -> bool:
    """Whether a lock was taken on this machine."""
    return bool(holder.get("host", platform.node()) == platform.node())


def process_is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process that a lock names still runs. One of another machine cannot be asked and counts as alive."""
    if not is_of_this_machine(holder):
        return True
    try:
        process = psutil.Process(int(holder.get("pid", 0)) or -1)
        same = abs(process.create_time() - float(holder.get("started", 0))) < _START_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


class RunLock:
    """Holds the lock of a run folder while its block runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = False

    def __enter__(self) -> RunLock:
        content = json.dumps(this_process())
        for _ in range(3):
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                self._clear_if_stale()
                continue
            with os.fdopen(descriptor, "w") as file:
                file.write(content)
            self._held = True
            return self
        raise RunLockedError(self.path.parent, "is being written by another process", "wait for it, or stop it")

    def _clear_if_stale(self) -> None:
        holder = read_holder(self.path)
        if holder is None:
            return
        if process_is_alive(holder):
            who = f"process {holder.get('pid')} on {holder.get('host')}"
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
