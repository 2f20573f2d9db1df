"""Where the processes of one run meet before they train together, and learn within seconds that one of them has failed.

A failed rank leaves its reason in the store that all of them see (``torchrun``'s own, or that of rank 0), and leaves
the group. Collectives of gloo then end by themselves; those of NCCL may wait for ever: a watching thread aborts them.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from itertools import count as counting
from typing import Any

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from napari_monusac.core.errors import TrainingError

_MEET_S = 300.0
_POLL_S = 0.25
_LINGER_S = 5.0
_GRACE_S = 3.0
_RUNS = counting()


class RankFailedError(TrainingError):
    """Another process of this run has failed."""


class Meeting:
    """The meeting of the processes of one run.

    Parameters
    ----------
    rank, count : int
        This process, of how many.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count
        # a process may train several runs one after another: each has keys of its own
        self._name = f"napari-monusac/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_RUNS)}"
        self._failure = ""
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None

    def store(self) -> Any:
        """The keys of this run, in the store that all processes see.

        Raises
        ------
        RankFailedError
            It cannot be reached: rank 0 did not come, or is gone.
        """
        try:
            return PrefixStore(self._name, _shared_store())
        except (RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise RankFailedError(f"rank 0 cannot be reached ({reason})", "start all processes of the run") from error

    def meet(self) -> None:
        """Wait until every process is ready to connect.

        Raises
        ------
        RankFailedError
            One of them has failed, or did not come.
        """
        store = self.store()
        store.set(f"ready/{self.rank}", "1")
        until = time.monotonic() + _MEET_S
        while missing := [k for k in range(self.count) if not store.check([f"ready/{k}"])]:
            if self._look(store):
                raise RankFailedError(self._failure)
            if time.monotonic() > until:
                raise RankFailedError(f"rank {missing[0]} did not come within {_MEET_S:.0f} s", "start all processes")
            time.sleep(_POLL_S)

    def watch(self) -> None:
        """Look for a failure of another process in the background until `end`."""
        self._watcher = threading.Thread(target=self._watch, name="monusac-ranks", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        with suppress(RuntimeError, OSError, RankFailedError):  # the store is gone: the collectives say so themselves
            store = PrefixStore(self._name, _cloned(_shared_store()))
            while not self._over.wait(_POLL_S):
                if self._look(store):
                    if not self._over.wait(_GRACE_S):
                        _abort()
                    return

    def _look(self, store: Any) -> bool:
        if not self._failure and store.check(["failed"]):
            self._failure = store.get("failed").decode("utf-8", "replace")
            store.set(f"seen/{self.rank}", "1")
        return bool(self._failure)

    def tell(self, message: str) -> None:
        """Tell the others that this process has failed, and give them some seconds to hear it."""
        if self._failure:
            return  # it has failed because of another, whose reason stands there
        with suppress(RuntimeError, OSError, RankFailedError):
            store = self.store()
            mine = f"rank {self.rank} failed: {message}"
            if store.compare_set("failed", "", mine) != mine.encode():
                self._look(store)  # another was first
                return
            others = [f"seen/{k}" for k in range(self.count) if k != self.rank]
            until = time.monotonic() + _LINGER_S
            while time.monotonic() < until and not all(store.check([k]) for k in others):
                time.sleep(_POLL_S)

    def failure(self) -> str:
        """Which other process has failed and why; empty where none has said so."""
        with suppress(RuntimeError, OSError, RankFailedError):
            self._look(self.store())
        return self._failure

    def end(self) -> None:
        """End the watching."""
        self._over.set()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join(_GRACE_S)


@lru_cache(maxsize=1)
def _shared_store() -> Any:
    """The store of ``torchrun``, or that of rank 0; one for as long as the process lives."""
    return next(iter(rendezvous("env://", timeout=timedelta(seconds=_MEET_S))))[0]


def _cloned(store: Any) -> Any:
    """A connection of its own, where torch offers one: a thread must not wait for another's answer."""
    try:
        return store.clone()
    except (AttributeError, RuntimeError):
        return store


def _abort() -> None:
    """End collectives that wait for a process that will not come any more."""
    group = dist.group.WORLD
    with suppress(RuntimeError, AttributeError):
        if group is not None:
            group.abort()
