"""Sinks: functions that take each event of a run. They are context managers, so that files are closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.events import BatchEnded, EpochEnded, TrainEvent
from napari_monusac.core.files import atomic_write_text
from napari_monusac.io.runs.history import MetricsTable, metrics_csv

Sink = Callable[[TrainEvent], None]


@contextmanager
def jsonl_sink(path: str | Path) -> Iterator[Sink]:
    """Append each event as one JSON line (a run folder's own ``events.jsonl`` is written by `train` already)."""
    with Path(path).open("a", encoding="utf-8") as file:

        def take(event: TrainEvent) -> None:
            file.write(event.to_json_line() + "\n")
            file.flush()

        yield take


@contextmanager
def csv_sink(path: str | Path) -> Iterator[Sink]:
    """Keep a table with one row an epoch.

    While another program holds it open the rows wait; they are written with a later epoch, or at the end.

    Raises
    ------
    OSError
        At the end: it still cannot be written.
    """
    epochs: list[EpochEnded] = []
    table = MetricsTable(path)

    def take(event: TrainEvent) -> None:
        if isinstance(event, EpochEnded):
            epochs.append(event)
            table.write(epochs)

    yield take
    if table.pending:
        atomic_write_text(path, metrics_csv(epochs))


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
