"""Follow ``events.jsonl`` while another thread or process writes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from napari_monusac.core.events import TrainEvent, parse_event

_POLL_S = 0.1


def follow_events(
    file: Path,
    offset: int = 0,
    is_alive: Callable[[], bool] = lambda: True,
    should_stop: Callable[[], bool] | None = None,
    *,
    poll_s: float = _POLL_S,
) -> Iterator[TrainEvent]:
    """Give each event as it is written, from a byte offset on.

    Parameters
    ----------
    file : Path
        May not exist yet.
    offset : int
        Bytes to skip.
    is_alive : callable
        Whether the writer lives; once it does not and all is read, following ends.
    should_stop : callable, optional
        Ends the following at once.
    poll_s : float
        Seconds between looks.

    Yields
    ------
    TrainEvent
        A line that is not whole yet is waited for; a line that a crash tore is left out.
    """
    rest = b""
    while not (should_stop and should_stop()):
        alive = is_alive()  # asked first: what is written before the end is read below
        chunk = _read(file, offset)
        offset += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            try:
                yield parse_event(line)
            except ValidationError:
                continue
        if not chunk:
            if not alive:
                return
            time.sleep(poll_s)


def _read(file: Path, offset: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            return stream.read()
    except FileNotFoundError:
        return b""
