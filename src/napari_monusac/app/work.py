"""Background work of one window: a function in a thread, with progress, a way to stop, and one outcome. No Qt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from psygnal import Signal

from napari_monusac.core.errors import Cancelled, MonusacError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is.

    Attributes
    ----------
    fraction : float or None
        0 to 1, or None while the length is not known.
    message : str
        What is being done, in words for the user.
    payload : object
        An intermediate result to show at once (a finished tile, an event), or None.
    seconds_left : float or None
        Time left, at the pace so far; None while it cannot be told.
    """

    fraction: float | None = None
    message: str = ""
    payload: Any = None
    seconds_left: float | None = None


class Report(Protocol):
    """What a task's function calls to say how far it is; raises `Cancelled` once the user has asked to stop."""

    def __call__(self, fraction: float | None = None, message: str = "", payload: Any = None) -> None:
        """Report progress."""

    @property
    def stopping(self) -> bool:
        """Whether the user has asked to stop."""


class Work:
    """All tasks of one window. They end with it, and with the panel that asked for them; other windows' go on.

    Attributes
    ----------
    deliver : callable
        Called in a task's thread with a function that is to run in the window's. Without a window it waits in a queue,
        until `wait` comes by.
    is_there : callable
        Whether somebody who asked for a task still lives: what Qt has deleted is not to be told of anything.
    begun, ended : Signal(Task)
        A task has started; its thread is through, whether anybody was told of it or not.
    """

    begun = Signal(object)
    ended = Signal(object)

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.deliver: Callable[[Callable[[], object]], object] = self._inbox.put
        self.is_there: Callable[[object], bool] = lambda _: True
        self.closed = False
        self._running: dict[Task, threading.Thread] = {}

    @property
    def running(self) -> tuple[Task, ...]:
        """The tasks whose end was not told yet."""
        return tuple(self._running)

    def task(
        self,
        function: Callable[[Report], Any],
        owner: object,
        *,
        title: str = "",
        dropped: Callable[[Any], object] | None = None,
    ) -> Task:
        """Make a task of this window, not started.

        Parameters
        ----------
        function : callable
            Called as ``function(report)`` in the thread.
        owner : object
            For whom it is done, a widget or a model: once it is gone the task stops, and nobody is told of its end.
        title : str
            What is being done, for napari's activity dock; work without a title is not shown there.
        dropped : callable, optional
            Called with what the function has returned where nobody waits for it any more: to close what it opened.
        """
        return Task(self, function, owner, title, dropped)

    def stop(self) -> None:
        """Ask every task to stop; none of them is heard of again."""
        for task in self.running:
            task.abandon()

    def close(self) -> None:
        """End with the window: every task stops, and no other is started."""
        self.closed = True
        self.stop()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the threads: the interpreter must not end while one of them saves."""
        for thread in tuple(self._running.values()):
            thread.join(timeout_s)

    def wait(self, timeout_s: float = 60.0) -> None:
        """Without a window: tell of what the tasks do until all have ended.

        Raises
        ------
        TimeoutError
            They have not.
        """
        end = time.monotonic() + timeout_s
        while self._running:
            try:
                self._inbox.get(timeout=max(0.0, end - time.monotonic()))()
            except Empty:
                raise TimeoutError(f"{len(self._running)} tasks still run after {timeout_s:g} s") from None

    def _begin(self, task: Task, run: Callable[[], None]) -> None:
        self._running[task] = thread = threading.Thread(target=run, name=task.title or "napari-monusac")
        self.begun.emit(task)
        thread.start()

    def _end(self, task: Task) -> None:
        self._running.pop(task, None)
        self.ended.emit(task)


class Task:
    """One function running in a thread. Its signals arrive in the window's thread.

    Made by `Work.task`. Exactly one of `done`, `failed`, `cancelled` is emitted, then `finished`.

    Notes
    -----
    ``report(fraction, message, payload)`` shows progress, and raises `Cancelled` where the user has asked to stop;
    ``report.stopping`` can be polled instead.
    """

    progressed = Signal(object)
    done = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    finished = Signal()

    def __init__(
        self,
        work: Work,
        function: Callable[[Report], Any],
        owner: object,
        title: str = "",
        dropped: Callable[[Any], object] | None = None,
    ) -> None:
        self.title = title
        self._dropped = dropped
        self._work = work
        self._function: Callable[[Report], Any] = function
        self._owner: object = owner
        self._stopping = self._abandoned = False
        self._throttle_s = 0.05
        self._last_report = 0.0
        self._pace = Pace()
        self._outcome: tuple[str, Any] = ("cancelled", None)

    @property
    def running(self) -> bool:
        """Whether its end was not told yet."""
        return self in self._work.running

    @property
    def stopping(self) -> bool:
        """Whether the user has asked to stop, or nobody waits for it any more."""
        return self._stopping or not self._is_waited_for()

    def start(self) -> Task:
        """Start the thread; in a window that is closing nothing happens."""
        if not self._work.closed:
            self._work._begin(self, self._run)
        return self

    def stop(self) -> None:
        """Ask the function to stop at its next report."""
        self._stopping = True

    def abandon(self) -> None:
        """Ask the function to stop and tell nobody of its end: those who wait for it are going away."""
        self._stopping = self._abandoned = True

    def __call__(self, fraction: float | None = None, message: str = "", payload: Any = None) -> None:
        """Report progress (called in the thread)."""
        if self.stopping:
            raise Cancelled("stopped by the user")
        now = time.monotonic()
        if payload is not None or now - self._last_report >= self._throttle_s:
            self._last_report = now
            progress = Progress(fraction, message, payload, self._pace.seconds_left(fraction))
            self._work.deliver(lambda: self._tell(progress))

    def _is_waited_for(self) -> bool:
        return not self._abandoned and (self._owner is None or self._work.is_there(self._owner))

    def _tell(self, progress: Progress) -> None:
        if self._is_waited_for():
            self.progressed.emit(progress)

    def _run(self) -> None:
        try:
            self._outcome = ("done", self._function(self))
        except Cancelled:
            self._outcome = ("cancelled", None)
        except MonusacError as error:
            self._outcome = ("failed", error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach the user, not die in a thread
            self._outcome = ("failed", error)
        self._work.deliver(self._conclude)

    def _conclude(self) -> None:
        self._work._end(self)
        kind, value = self._outcome
        heard, self._owner = self._is_waited_for(), None
        if not heard and kind == "done" and self._dropped is not None:
            self._dropped(value)
        # whoever keeps the task keeps neither what it made (a session, a prediction) nor what it was made of
        self._outcome, self._function, self._dropped = ("", None), _nothing, None
        try:
            if heard and kind == "done":
                self.done.emit(value)
            elif heard and kind == "failed":
                self.failed.emit(value)
            elif heard:
                self.cancelled.emit()
        finally:
            if heard:
                self.finished.emit()
            for signal in (self.progressed, self.done, self.failed, self.cancelled, self.finished):
                signal.disconnect()  # nothing comes any more: let go of those who waited for it


def _nothing(_: Report) -> None:
    """What an ended task does."""


class Latest:
    """One piece of work at a time, in the background; of what is asked for meanwhile only the last is done, after it.

    For controls that are dragged: the window stays usable, and what is shown in the end is what the control says.

    Parameters
    ----------
    work : Work
        Of the window.
    owner : object
        For whom it is done.
    """

    done = Signal(object)
    failed = Signal(object)

    def __init__(self, work: Work, owner: object) -> None:
        self._work, self._owner = work, owner
        self._waiting: Callable[[], Any] | None = None
        self._task: Task | None = None

    def ask(self, function: Callable[[], Any]) -> None:
        """Do this as soon as nothing else is being done."""
        self._waiting = function
        if self._task is None:
            self._begin()

    def forget(self) -> None:
        """Nobody waits any more for what was asked for."""
        self._waiting = None
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _begin(self) -> None:
        function, self._waiting = self._waiting, None
        if function is None:
            return
        self._task = self._work.task(lambda _: function(), self._owner)
        self._task.done.connect(lambda value: self.done.emit(value))
        self._task.failed.connect(lambda error: self.failed.emit(error))
        self._task.finished.connect(self._ended)
        self._task.start()

    def _ended(self) -> None:
        self._task = None
        self._begin()


#: The share of the work from which on a time can be told.
_SMALLEST_SHARE = 0.01


class Pace:
    """How fast a task goes. It is counted from the first unit of work on: what prepares it says nothing of its pace."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last = 0.0

    def seconds_left(self, fraction: float | None) -> float | None:
        """Take in how much is done, 0 to 1, and tell the time left, in seconds; None while too little is done to tell."""
        if not fraction:
            return None
        now = time.monotonic()
        if self._first is None or fraction < self._last:  # it begins, or another part of it does
            self._first = (now, fraction)
        self._last = fraction
        begun_at, before = self._first
        done = fraction - before
        return (now - begun_at) / done * (1.0 - fraction) if done >= _SMALLEST_SHARE else None


def spoken_duration(seconds: float | None) -> str:
    """Return a duration for people: ``"2 h 10 min"``, ``"4 min"``, ``"12 s"``; empty when not known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def error_line(error: BaseException) -> str:
    """Return one line for the user: our own errors as they are, others with their type."""
    if isinstance(error, MonusacError):
        return str(error)
    return f"{type(error).__name__}: {error} — this is a fault in napari-monusac, please report it"
