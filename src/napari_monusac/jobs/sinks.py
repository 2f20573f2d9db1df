"""Sinks: functions that take each event of a run. They are context managers, so that files are closed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.events import BatchEnded, EpochEnded, TrainEvent

if TYPE_CHECKING:
    from napari_monusac.io.runs.run_folder import RunFolder

Sink = Callable[[TrainEvent], None]


@contextmanager
def tensorboard_sink(folder: str | Path) -> Iterator[Sink]:
    """Write losses, scores and learning rate for TensorBoard (extra ``[tensorboard]``; no torch is needed).

    Raises
    ------
    MonusacError
        TensorBoard is not installed.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise MonusacError("TensorBoard is not installed", "pip install 'napari-monusac[tensorboard]'") from error
    writer = EventFileWriter(str(folder))

    def take(event: TrainEvent) -> None:
        values = scalars(event)
        if values:
            summary = Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])
            writer.add_event(Event(wall_time=event.time, step=getattr(event, "step", 0), summary=summary))

    try:
        yield take
    finally:
        writer.close()


def tensorboard_of(run: RunFolder, *, wanted: bool) -> tuple[AbstractContextManager[Sink], ...]:
    """Return the sink that writes for TensorBoard into a run's folder; none where it is not wanted."""
    return (tensorboard_sink(run.path / "tensorboard"),) if wanted else ()


def has_tensorboard() -> bool:
    """Whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def scalars(event: TrainEvent) -> dict[str, float]:
    """Numbers of an event by name, for curves; none for events without any."""
    if isinstance(event, BatchEnded):
        return {
            "batch/loss": event.loss,
            "batch/semantic loss": event.semantic_loss,
            "batch/ternary loss": event.ternary_loss,
            "learning rate": event.lr,
        }
    if not isinstance(event, EpochEnded):
        return {}
    s = event.scores
    found: dict[str, Any] = {
        "loss/training": event.train_loss,
        "loss/validation": event.val_loss,
        "score/combo": s.combo,
        "score/Dice inside": s.dice_inside,
        "score/Dice boundary": s.dice_boundary,
        "score/mIoU macro": s.miou_macro,
        "score/mIoU micro": s.miou_micro,
        **{f"IoU/{name}": value for name, value in s.iou.items()},
    }
    return {k: float(v) for k, v in found.items() if v is not None}


def played(events: Iterable[TrainEvent], *sinks: Any) -> Iterator[TrainEvent]:
    """Pass events on, giving each to every sink first.

    Parameters
    ----------
    events : iterable of TrainEvent
    *sinks : context managers of sinks
        As the functions of this module make them.
    """
    with ExitStack() as stack:
        takes = [stack.enter_context(sink) for sink in sinks]
        for event in events:
            for take in takes:
                take(event)
            yield event
