"""Drives one training run for the dock: in napari's own background thread or in a child process."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.app.work import Report, Task, Work
from napari_monusac.core.events import BatchEnded, EpochEnded, RunEnded, RunStarted, TrainEvent

if TYPE_CHECKING:
    from napari_monusac.io.runs.run_folder import RunFolder

#: How often the dock takes in what the run said. Eyes need no more, and the Qt thread stays free.
_DRAIN_MS = 150


class Training(QObject):
    """The run of one Studio.

    Signals
    -------
    events(list) : new `TrainEvent` values, in order, at most seven times a second.
    started(object), ended(object) : the RunFolder; the `RunEnded` event, or the exception that ended it.
    """

    events = Signal(object)
    started = Signal(object)
    ended = Signal(object)

    def __init__(self, work: Work, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._work = work
        self.run: RunFolder | None = None
        self.where = "thread"
        self.progress = RunProgress()
        self._task: Task | None = None
        self._queue: deque[TrainEvent] = deque()
        self._end: Any = None
        self._timer = QTimer(self)
        self._timer.setInterval(_DRAIN_MS)
        self._timer.timeout.connect(self._drain)

    @property
    def running(self) -> bool:
        """Whether a run is being followed."""
        return self._task is not None

    def start(self, run: RunFolder, where: str = "thread", device: str = "auto") -> None:
        """Train in the background ("thread") or start a child process ("child") that goes on when napari closes."""
        self._follow(run, where, device, attach=False)

    def attach(self, run: RunFolder) -> None:
        """Follow a run that another process is training."""
        self._follow(run, "child", "auto", attach=True)

    def stop(self) -> None:
        """Ask the run to stop: within one batch it saves and ends."""
        if self.run is not None:
            self.run.request_stop()

    def pause(self, paused: bool) -> None:
        """Let the run wait after the current batch, or go on."""
        if self.run is not None:
            self.progress.pause(paused)
            if paused:
                self.run.request_pause()
            else:
                self.run.request_resume()

    def release(self) -> None:
        """Napari closes: a thread's run saves and ends, a child's goes on unwatched."""
        if self._task is None:
            return
        if self.where == "thread":
            self.stop()
        else:
            self._task.stop()

    def _follow(self, run: RunFolder, where: str, device: str, *, attach: bool) -> None:
        self.run, self.where = run, where
        self._queue.clear()
        self._end = None
        self.progress = RunProgress()

        def in_thread(report: Report) -> None:
            from napari_monusac.learn.loop import train

            # napari waits for its workers when it closes: `stopping` is true then, and the run saves and ends
            for event in train(run.recipe, run, should_stop=lambda: report.stopping, device=device):
                self._queue.append(event)

        def in_child(report: Report) -> None:
            from napari_monusac.jobs.job import attach_job, start_job

            job = attach_job(run) if attach else start_job(run, where="child", device=device)
            for event in job.events(should_stop=lambda: report.stopping):
                self._queue.append(event)

        self._task = self._work.task(in_thread if where == "thread" else in_child, self)
        self._task.failed.connect(self._failed)
        self._task.finished.connect(self._finished)
        self._timer.start()
        self._task.start()
        self.started.emit(run)

    def _failed(self, error: Exception) -> None:
        self._end = error

    def _drain(self) -> None:
        batch = []
        while self._queue:
            event = self._queue.popleft()
            self.progress.take(event)
            if isinstance(event, RunEnded):
                self._end = event
            batch.append(event)
        if batch:
            self.events.emit(batch)

    def _finished(self) -> None:
        self._timer.stop()
        self._drain()
        self._task = None
        self.ended.emit(self._end)


class RunProgress:
    """Where a run is, from its events: for the progress bar and the time left."""

    def __init__(self) -> None:
        self.epoch = self.epochs = self.step = self.steps_per_epoch = self.step_in_epoch = self.total_steps = 0
        self.first_step: int | None = None
        self.started_at = time.monotonic()
        self.best_combo: float | None = None
        self.device = ""
        self._paused_at: float | None = None

    def take(self, event: TrainEvent) -> None:
        """Take in one event."""
        if isinstance(event, RunStarted):
            self.epochs, self.steps_per_epoch = event.epochs, event.steps_per_epoch
            self.total_steps = event.total_steps or event.epochs * event.steps_per_epoch
            self.epoch = event.first_epoch
            self.device = f"{event.device}, {event.precision}" if event.precision else event.device
        elif isinstance(event, BatchEnded):
            self.epoch, self.step, self.step_in_epoch = event.epoch, event.step, event.step_in_epoch
            if self.first_step is None:
                # the first step carries compilation and the loader's start: timing begins after it
                self.first_step, self.started_at = event.step, time.monotonic()
        elif isinstance(event, EpochEnded) and (self.best_combo is None or event.scores.combo > self.best_combo):
            self.best_combo = event.scores.combo

    def pause(self, paused: bool) -> None:
        """The run waits, or goes on: time spent waiting says nothing of its pace."""
        if paused and self._paused_at is None:
            self._paused_at = time.monotonic()
        elif not paused and self._paused_at is not None:
            self.started_at += time.monotonic() - max(self._paused_at, self.started_at)
            self._paused_at = None

    @property
    def paused(self) -> bool:
        """Whether the run waits."""
        return self._paused_at is not None

    @property
    def fraction(self) -> float:
        """Share of all steps that are done, 0 to 1."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left, in seconds, at the pace so far (validation included); None at the start."""
        done = self.step - (self.first_step or 0)
        if done < 3 or not self.total_steps:
            return None
        return (time.monotonic() - self.started_at) / done * (self.total_steps - self.step)
