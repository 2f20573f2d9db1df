"""Background work for the panels: one function in a napari worker thread, with progress and a way to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from napari_monusac.core.errors import Cancelled, MonusacError
from napari_monusac.ui.widgets.activity import Activity


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
    """

    fraction: float | None = None
    message: str = ""
    payload: Any = None


class Report(Protocol):
    """What a task's function calls to say how far it is; raises `Cancelled` once the user has asked to stop."""

    def __call__(self, fraction: float | None = None, message: str = "", payload: Any = None) -> None:
        """Report progress."""

    @property
    def stopping(self) -> bool:
        """Whether the user has asked to stop."""


class Task(QObject):
    """One function running in a background thread. All signals arrive on the Qt thread.

    Parameters
    ----------
    function : callable
        Called as ``function(report)`` in the thread; ``report(fraction, message, payload)`` shows progress and raises
        `Cancelled` when the user asked to stop. ``report.stopping`` can be polled instead.
    title : str
        What is being done, for napari's activity dock; work without a title is not shown there.

    Notes
    -----
    Exactly one of `done`, `failed`, `cancelled` is emitted, then `finished`.
    """

    progressed = Signal(object)
    done = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    finished = Signal()

    def __init__(self, function: Callable[[Report], Any], *, title: str = "", throttle_s: float = 0.05) -> None:
        super().__init__()
        self.title = title
        self._activity: Activity | None = None
        self._function = function
        self._stopping = False
        self._throttle_s = throttle_s
        self._last_report = 0.0
        self._outcome: tuple[str, Any] = ("cancelled", None)
        self._worker: Any = None
        self.started_at = time.monotonic()

    @property
    def running(self) -> bool:
        """Whether the thread is at work."""
        return self._worker is not None

    @property
    def stopping(self) -> bool:
        """Whether the user has asked to stop, or napari is closing and waits for its workers."""
        return self._stopping or (self._worker is not None and self._worker.abort_requested)

    def start(self) -> Task:
        """Start the thread."""
        _RUNNING.add(self)
        self.started_at = time.monotonic()
        if self.title:
            self._activity = Activity(self.title, self.stop)
            self.progressed.connect(self._show_activity)
        self._worker = create_worker(_once(self._run), _ignore_errors=True)
        self._worker.finished.connect(self._conclude)
        self._worker.start()
        return self

    def stop(self) -> None:
        """Ask the function to stop at its next report."""
        self._stopping = True

    def abandon(self) -> None:
        """Ask the function to stop and tell nobody of its end: the widgets that wait for it are going away."""
        self._stopping = True
        self.blockSignals(True)
        self._end_activity()

    def __call__(self, fraction: float | None = None, message: str = "", payload: Any = None) -> None:
        """Report progress (called in the thread)."""
        if self.stopping:
            raise Cancelled("stopped by the user")
        now = time.monotonic()
        if payload is not None or now - self._last_report >= self._throttle_s:
            self._last_report = now
            self.progressed.emit(Progress(fraction, message, payload))

    def _run(self) -> None:
        try:
            self._outcome = ("done", self._function(self))
        except Cancelled:
            self._outcome = ("cancelled", None)
        except MonusacError as error:
            self._outcome = ("failed", error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach the user, not die in a thread
            self._outcome = ("failed", error)

    def _show_activity(self, progress: Progress) -> None:
        if self._activity is not None:
            left = spoken_duration(seconds_left(self.started_at, progress.fraction))
            self._activity.update(progress.fraction, f"{left} left" if left else "")

    def _end_activity(self) -> None:
        activity, self._activity = self._activity, None
        if activity is not None:
            activity.close()

    def _conclude(self) -> None:
        self._worker = None
        self._end_activity()
        _RUNNING.discard(self)
        kind, value = self._outcome
        # whoever keeps the task keeps neither what it made (a session, a prediction) nor what it was made of
        self._outcome, self._function = ("", None), _nothing
        if kind == "done":
            self.done.emit(value)
        elif kind == "failed":
            self.failed.emit(value)
        else:
            self.cancelled.emit()
        self.finished.emit()
        self._let_go()

    def _let_go(self) -> None:
        """Nothing comes any more: let go of those who waited for it."""
        for signal in (self.progressed, self.done, self.failed, self.cancelled, self.finished):
            with suppress(TypeError):  # nobody waited for this one
                signal.disconnect()


def _nothing(_: Report) -> None:
    """What an ended task does."""


def _once(function: Callable[[], None]) -> Callable[[], None]:
    """Make a function that lets go of what it calls: napari's list of workers keeps each until its window closes."""
    held = [function]

    def run() -> None:
        held.pop()()

    return run


class Latest(QObject):
    """One piece of work at a time, in the background; of what is asked for meanwhile only the last is done, after it.

    For controls that are dragged: the window stays usable, and what is shown in the end is what the control says.
    """

    done = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
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
            self._task.blockSignals(True)
            self._task = None

    def _begin(self) -> None:
        function, self._waiting = self._waiting, None
        if function is None:
            return
        self._task = Task(lambda _: function())
        self._task.done.connect(self.done)
        self._task.failed.connect(self.failed)
        self._task.finished.connect(self._ended)
        self._task.start()

    def _ended(self) -> None:
        self._task = None
        self._begin()


_RUNNING: set[Task] = set()


def stop_all() -> None:
    """Ask every running task to stop; none of them is heard of again (the window is closing)."""
    for task in tuple(_RUNNING):
        # when the interpreter ends, Qt may have taken the task's object away before us
        with suppress(RuntimeError):
            task.abandon()


def seconds_left(started_at: float, fraction: float | None) -> float | None:
    """Time left, in seconds, from the time taken so far; None while too little is done to tell."""
    if not fraction or fraction < 0.01:
        return None
    elapsed = time.monotonic() - started_at
    return elapsed / fraction - elapsed


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
