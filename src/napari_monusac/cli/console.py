"""A training run on the terminal: a progress bar with the time left, one line an epoch. Everything on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_monusac.cli.shell import bar_on_stderr, tell
from napari_monusac.core.events import (
    BatchEnded,
    CheckpointSaved,
    EpochEnded,
    RunStarted,
    ThresholdsFitted,
    TrainEvent,
    Warned,
)

if TYPE_CHECKING:
    from napari_monusac.io.runs.run_folder import RunFolder


@contextmanager
def console_sink(run: RunFolder, *, quiet: bool = False) -> Iterator[Callable[[TrainEvent], None]]:
    """Give a function that shows events; `quiet` shows none (ranks other than the first).

    Parameters
    ----------
    run : RunFolder
        The run that is followed.
    quiet : bool
        Show nothing.
    """
    if quiet:
        yield lambda _event: None
        return
    with bar_on_stderr() as bar:
        yield _View(run, bar).take


class _View:
    def __init__(self, run: RunFolder, bar: Any) -> None:
        self.run, self.bar = run, bar
        self.task: Any = None
        self.steps_per_epoch = 0
        self.epochs = 0
        self.best = False

    def take(self, event: TrainEvent) -> None:
        if isinstance(event, RunStarted):
            self._started(event)
        elif isinstance(event, BatchEnded):
            text = f"epoch {event.epoch}/{self.epochs}  loss {event.loss:.3f}"
            self.bar.update(self.task, completed=event.step, description=text)
        elif isinstance(event, CheckpointSaved):
            self.best = event.which == "best"
        elif isinstance(event, EpochEnded):
            self._epoch(event)
        elif isinstance(event, ThresholdsFitted):
            tell(event.fitted.sentence())
        elif isinstance(event, Warned):
            tell(f"warning: {event.message}")

    def _started(self, event: RunStarted) -> None:
        self.epochs, self.steps_per_epoch = event.epochs, event.steps_per_epoch
        crops = f"{event.training_crops} crops to train on, {event.validation_crops} to validate"
        tell(
            f"{event.recipe} ({event.fingerprint}) on {event.device} ({event.device_reason}): {crops}, {self.run.path}"
        )
        if event.scale:
            tell(event.scale)
        total = event.total_steps or event.epochs * event.steps_per_epoch
        self.task = self.bar.add_task(
            "starting", total=total, completed=(event.first_epoch - 1) * event.steps_per_epoch
        )

    def _epoch(self, event: EpochEnded) -> None:
        s = event.scores
        mark = "  best" if self.best else ""
        self.best = False
        tell(
            f"epoch {event.epoch}/{self.epochs}  combo {s.combo:.3f}  inside {_number(s.dice_inside)}  "
            f"boundary {_number(s.dice_boundary)}  mIoU {_number(s.miou_macro)}  "
            f"loss {event.train_loss:.3f} (validation {event.val_loss:.3f})  {event.seconds:.0f} s{mark}"
        )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
