"""Long work in napari's activity dock (bottom right of the window): a bar, the time left, a Cancel button."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

from napari.utils.progress import cancelable_progress
from qtpy.QtCore import QObject, QTimer

from napari_monusac.app.training import TrainingModel
from napari_monusac.app.work import Progress, Task, Work, spoken_duration

#: Work that is done sooner than this never shows in the dock: it would only flash.
_PATIENCE_MS = 500
#: napari lets Qt work off events whenever a bar changes, so bars change on a timer of their own and never in a slot.
_REFRESH_MS = 300
_STEPS = 1000


class _Bar(cancelable_progress):
    """napari's bar, with our words for the time left, and a Cancel that is passed on at once."""

    def __init__(self, title: str, stop: Callable[[], object]) -> None:
        self._stop = stop
        self.left = ""
        # without a window tqdm would write to the terminal
        super().__init__(total=_STEPS, desc=title, file=io.StringIO())

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002 - tqdm's signature
        """Tell the dock the time left."""
        self.events.eta(value=self.left)

    def cancel(self) -> None:
        """Pass the user's Cancel on."""
        super().cancel()
        self._stop()


class Activity(QObject):
    """One piece of work in the activity dock, from half a second after its start until `close`.

    Parameters
    ----------
    title : str
        What is being done.
    stop : callable
        Called when the user presses Cancel in the dock.

    Notes
    -----
    Made, updated and closed on the Qt thread.
    """

    def __init__(self, title: str, stop: Callable[[], object]) -> None:
        super().__init__()
        self._title, self._stop = title, stop
        self._fraction: float | None = None
        self._left = ""
        self._bar: Any = None
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._refresh)
        self._timer.start(_PATIENCE_MS)
        self.started_at = time.monotonic()

    def update(self, fraction: float | None, left: str = "") -> None:
        """Say how far the work is (0 to 1; None: not known) and the time left in words."""
        self._fraction, self._left = fraction, left

    def close(self) -> None:
        """Take the work out of the dock."""
        self._closed = True
        self._timer.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def _refresh(self) -> None:
        # napari works off events while it adds or changes a bar: the work may have ended before it is done with that
        if self._bar is None:
            bar = _Bar(self._title, self._stop)
            if self._closed:
                bar.close()
                return
            self._bar = bar
        bar, fraction = self._bar, self._fraction
        total = _STEPS if fraction is not None else 0
        if bar.total != total:
            bar.total = total
        bar.left = self._left
        if fraction is not None:
            bar.update(max(0, min(_STEPS, round(fraction * _STEPS)) - bar.n))
        bar.events.eta(value=bar.left)
        if not self._closed:
            self._timer.start(_REFRESH_MS)


def show_activities(work: Work) -> None:
    """Show the titled tasks of a window in the activity dock."""
    shown: dict[Task, Activity] = {}

    def begin(task: Task) -> None:
        if not task.title:
            return
        activity = shown[task] = Activity(task.title, task.stop)

        def tell(progress: Progress) -> None:
            left = spoken_duration(progress.seconds_left)
            activity.update(progress.fraction, f"{left} left" if left else "")

        task.progressed.connect(tell)

    def end(task: Task) -> None:
        activity = shown.pop(task, None)
        if activity is not None:
            activity.close()

    work.begun.connect(begin)
    work.ended.connect(end)


def show_run(training: TrainingModel) -> None:
    """Show the run of a window in the activity dock, whichever panel shows it, or none."""
    shown: list[Activity] = []

    def tell() -> None:
        progress, run = training.progress, training.run
        if not training.running or run is None:
            return
        if not shown:
            shown.append(Activity(f"Training {run.recipe.name}", lambda: training.stop()))
        duration = spoken_duration(progress.seconds_left)
        shown[0].update(progress.fraction, "paused" if progress.paused else f"{duration} left" if duration else "")

    def end(_: object) -> None:
        while shown:
            shown.pop().close()

    training.progressed.connect(tell)
    training.ended.connect(end)
