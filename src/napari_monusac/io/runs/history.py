"""What ``events.jsonl`` tells: whole lines, without what a resumed process ran again; and the epochs as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from napari_monusac.core.events import (
    BatchEnded,
    CheckpointSaved,
    EpochEnded,
    RunEnded,
    RunStarted,
    TrainEvent,
    parse_event,
)
from napari_monusac.core.files import PAUSES_S, atomic_write_text
from napari_monusac.core.jsonl import AppendLog

_TAIL_BYTES = 1 << 16

_LOSSES = tuple(f"{part}_{kind}" for part in ("train", "val") for kind in ("loss", "semantic_loss", "ternary_loss"))
_SCORES = (
    "combo",
    "dice_inside",
    "dice_boundary",
    "miou_macro",
    "miou_micro",
    "miou_macro_nuclei",
    "miou_micro_nuclei",
)


_BATCH = b'"kind":"batch-ended"'


def parse_lines(content: bytes, *, batches: bool = True) -> Iterator[TrainEvent]:
    """Events of whole lines; a line that a crash tore is no event and is left out.

    Without `batches`, which are nearly all lines of a long run, reading takes a fraction of the time.
    """
    for line in content.splitlines():
        if not batches and _BATCH in line:
            continue
        with suppress(ValidationError):
            yield parse_event(line)


def without_superseded(events: list[TrainEvent]) -> list[TrainEvent]:
    """Leave out batches, epochs and checkpoints that a resumed process ran again after a crash.

    A `RunStarted` says at which step it goes on; what was recorded of later steps before it is void.
    """
    kept: list[TrainEvent] = []
    for event in events:
        if isinstance(event, RunStarted):
            kept = [e for e in kept if not _is_void(e, event)]
        kept.append(event)
    return kept


def _is_void(event: TrainEvent, start: RunStarted) -> bool:
    if isinstance(event, BatchEnded):
        return event.step > start.first_step
    return isinstance(event, EpochEnded | CheckpointSaved) and event.epoch >= start.first_epoch


def metrics_csv(epochs: list[EpochEnded]) -> str:
    """Return the epochs as CSV: losses, scores, learning rate, seconds."""
    classes = list(dict.fromkeys(name for e in epochs for name in e.scores.iou))
    scores = [*_SCORES, *(["pq"] if any(e.scores.pq is not None for e in epochs) else [])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "step", "lr", "seconds", *_LOSSES, *scores, *(f"iou_{c.lower()}" for c in classes)])
    for e in epochs:
        values = (
            [getattr(e, k) for k in _LOSSES]
            + [getattr(e.scores, k) for k in scores]
            + [e.scores.iou.get(c) for c in classes]
        )
        writer.writerow(
            [e.epoch, e.step, e.lr, round(e.seconds, 3), *("" if v is None else round(v, 6) for v in values)]
        )
    return text.getvalue()


class MetricsTable:
    """The table of the epochs on disk. It is a copy for people, so whoever holds it open never ends a run.

    Parameters
    ----------
    path : Path
        The CSV file.

    Attributes
    ----------
    pending : list of EpochEnded
        Rows that could not be written yet; each `write` tries all of them again.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.pending: list[EpochEnded] = []

    def write(self, epochs: list[EpochEnded]) -> list[str]:
        """Write the whole table; returns what must be told: that it cannot be written, once until it can be again."""
        try:
            # patience once: a spreadsheet stays open for hours, a virus scanner for a moment
            atomic_write_text(self.path, metrics_csv(epochs), () if self.pending else PAUSES_S)
        except OSError as error:
            known, self.pending = bool(self.pending), epochs
            what = f"{self.path}: cannot be written ({error.strerror or error})"
            mend = "close the program that holds it open; its rows follow as soon as it can be written"
            return [] if known else [f"{what} — {mend}"]
        self.pending = []
        return []

    def catch_up(self) -> list[str]:
        """Try once more to write what is pending."""
        return self.write(self.pending) if self.pending else []


#: Takes an event; gives back what must be told besides.
Recorder = Callable[[TrainEvent], list[str]]


@contextmanager
def event_recorder(events_file: Path, metrics_file: Path) -> Iterator[Recorder]:
    """Give a function that appends events to one file and keeps a table of the epochs in the other."""
    table = MetricsTable(metrics_file)
    with closing(AppendLog.open(events_file, durable=False)) as log:
        log.end_line()
        history: list[TrainEvent] = read_events(events_file, batches=False)

        def record(event: TrainEvent) -> list[str]:
            log.append(event.to_json_line().encode() + b"\n")
            if isinstance(event, EpochEnded | RunStarted):
                history[:] = without_superseded([*history, event])
                epochs = [e for e in history if isinstance(e, EpochEnded)]
                return table.write(epochs) if epochs else []
            return table.catch_up() if isinstance(event, RunEnded) else []

        yield record


def read_events(file: Path, *, superseded: bool = False, batches: bool = True) -> list[TrainEvent]:
    """All events of a file (without `batches`: all but those), none where there is no file."""
    try:
        events = list(parse_lines(file.read_bytes(), batches=batches))
    except FileNotFoundError:
        return []
    return events if superseded else without_superseded(events)


def last_event(file: Path) -> TrainEvent | None:
    """The last whole event, read from the end of the file."""
    try:
        with file.open("rb") as stream:
            stream.seek(0, io.SEEK_END)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        with suppress(ValidationError):
            return parse_event(line)
    return None
