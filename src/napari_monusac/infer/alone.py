"""One process at a time writes a stored prediction, on one machine or on several that share a disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_monusac.core.errors import RunLockedError, StoreError
from napari_monusac.io.runs.lock import RunLock, is_of_this_machine, read_holder, this_process

#: A lock of another machine that was not touched for so long is a dead worker's, s. It is touched with each tile.
SILENT_S = 120.0


@contextmanager
def alone(store: Path) -> Iterator[Callable[[], None]]:
    """Keep others off a store, or off the work that will be one.

    Gives a function to call now and then: it says that this process is still at work, and makes sure that nobody has
    taken the lock meanwhile.

    Raises
    ------
    StoreError
        Another process is at it.
    """
    path = store.with_name(f"{store.name}.lock")
    store.parent.mkdir(parents=True, exist_ok=True)
    holder = read_holder(path)
    if holder is not None and not is_of_this_machine(holder):
        _wait_for_a_sign(path, store)
        path.unlink(missing_ok=True)
    lock = RunLock(path)
    try:
        lock.__enter__()
    except RunLockedError as error:
        raise _taken(store) from error
    me = this_process()

    def still_here() -> None:
        if read_holder(path) != me:
            raise _taken(store)
        with suppress(OSError):
            os.utime(path)

    try:
        yield still_here
    finally:
        if read_holder(path) == me:
            lock.__exit__(None, None, None)


def _wait_for_a_sign(path: Path, store: Path) -> None:
    """Come back once another machine has been silent for long enough; its process cannot be asked.

    Raises
    ------
    StoreError
        It is still at work.
    """
    with suppress(FileNotFoundError):
        first = path.stat().st_mtime_ns
        left = SILENT_S - max(0.0, time.time() - first / 1e9)
        while left > 0:
            time.sleep(min(1.0, left))
            left -= 1.0
            if path.stat().st_mtime_ns != first:
                raise _taken(store)


def _taken(store: Path) -> StoreError:
    return StoreError(store, "is being written by another process", "wait for it, or stop it")
