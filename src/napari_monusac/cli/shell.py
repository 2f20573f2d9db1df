"""What all commands share: output on the right stream, errors in one line, a clean Ctrl-C."""

from __future__ import annotations

import codecs
import dataclasses
import io
import json
import math
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

T = TypeVar("T")
#: What JSON itself leaves as it is: lone surrogates, which no encoding has, and what a terminal obeys.
_JSON_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: What stands for a character on a terminal that lacks it.
_PLAIN = {"–": "-", "—": "-", "…": "...", "×": "x", "µ": "u", "±": "+-", "“": '"', "”": '"', "≥": ">=", "≤": "<="}
#: Exit code of a run that was stopped (Ctrl-C, SIGTERM, a stop file), as shells have it: 128 + SIGINT.
STOPPED = 130

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]
Patients = Annotated[
    Path | None,
    typer.Option(
        "--patients",
        help="A table (crop, patient) that says whose crop is whose. Default: patients.csv in the folder, if there is one.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]


def complete_recipe(incomplete: str) -> list[str]:
    """Names of recipes that begin as what was typed, for the completion of the shell."""
    from napari_monusac.core.recipe import SPEAKING_NAMES, recipe_names

    return [name for name in (*recipe_names(), *SPEAKING_NAMES) if name.startswith(incomplete)]


def _console(stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # Into a file or a pipe, 80 columns would fold every table.
    return Console(file=stream, width=None if stream.isatty() else 160, highlight=False)


def tell(message: str) -> None:
    """Say something to the person: on stderr, so that stdout stays a clean answer."""
    _console(True).print(visible(message), markup=False, soft_wrap=True)


def answer(text: str) -> None:
    """Give the command's answer as text on stdout."""
    _write(visible(text, keep="\n\t"))


def _write(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def answer_json(value: Any) -> None:
    """Give the command's answer as one JSON document on stdout."""
    wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(plain(value), indent=1, ensure_ascii=not wide, allow_nan=False)
    _write(_JSON_UNSEEN.sub(lambda m: f"\\u{ord(m[0]):04x}", text))


def plain(value: Any) -> Any:
    """Turn models, dataclasses, arrays, paths and numbers that JSON lacks (NaN becomes null) into plain values."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Enum):
        return value.name.capitalize() if isinstance(value, int) else plain(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on stdout; numbers to the right, None as a dash."""
    from rich.table import Table
    from rich.text import Text

    cells = [["–" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        numeric = bool(cells) and all(_is_number(row[i]) for row in cells)
        last = i == len(columns) - 1
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=not last)
    for row in cells:
        grid.add_row(*(Text(visible(c)) for c in row))
    console = _console(False)
    if title:
        console.print(Text(visible(title)), soft_wrap=True)
    console.print(grid)
    console.print()


def _is_number(text: str) -> bool:
    if text == "–":
        return True
    with suppress(ValueError):
        float(text.replace("~", "").replace("%", ""))
        return True
    return False


def bar_on_stderr() -> Progress:
    """Make a progress bar on stderr; nothing is drawn where stderr is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=_console(True), disable=not sys.stderr.isatty(), transient=True)


@contextmanager
def progress(total: float, what: str) -> Iterator[Callable[[float, str], None]]:
    """Show a progress bar while the block runs; yields ``step(done, text)``."""
    with bar_on_stderr() as bar:
        task = bar.add_task(what, total=total)

        def step(done: float, text: str = "") -> None:
            bar.update(task, completed=done, description=visible(f"{what} {text}".strip()))

        yield step


#: The wish to stop of the `stop_on_signal` that is entered, in the main thread.
_WISHES: list[threading.Event] = []


@contextmanager
def stop_on_signal(note: str) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (or SIGTERM) into a wish that a loop asks for; the second one interrupts at once.

    Inside another one it asks for the same wish: a signal stops both loops, whichever runs when it comes.

    Parameters
    ----------
    note : str
        What to tell the user at the first Ctrl-C.

    Yields
    ------
    callable
        Whether to stop.
    """
    if _WISHES and threading.current_thread() is threading.main_thread():
        yield _WISHES[-1].is_set
        return
    wished = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if wished.is_set():
            raise KeyboardInterrupt
        wished.set()
        tell(note)

    if threading.current_thread() is not threading.main_thread():
        yield wished.is_set  # signals reach the main thread only; a caller in a thread has a stop of its own
        return
    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    _WISHES.append(wished)
    try:
        yield wished.is_set
    finally:
        _WISHES.remove(wished)
        for number, handler in before.items():
            signal.signal(number, handler)


def one_line(error: BaseException) -> str:
    """Say an error in one line: what, where, how to mend."""
    if isinstance(error, MonusacError):
        text = str(error)
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror or error} — {_mend(error)}"
    elif isinstance(error, OSError):
        text = f"{error} — {_mend(error)}"
    else:
        text = str(error)
    return visible(" ".join(text.split()))


def plain_where_narrow() -> None:
    """Replace characters that the terminal cannot show (ASCII, old code pages) by plain ones."""
    codecs.register_error("monusac", _narrow)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="monusac")


def _narrow(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in part), error.end


def _mend(error: BaseException) -> str:
    mends = {
        FileNotFoundError: "check the path",
        PermissionError: "choose a folder that you may write, or change its permissions",
        FileExistsError: "choose another name, or remove what is there",
        IsADirectoryError: "give a file, not a folder",
        NotADirectoryError: "give a folder, not a file",
    }
    if isinstance(error, OSError) and error.errno == 28:
        return "the disk is full: free some space"
    return next((text for kind, text in mends.items() if isinstance(error, kind)), "check the disk and the path")


def fail(error: BaseException) -> None:
    """Print the one line of an error on stderr, in the form ``error: what, where - mend``."""
    sys.stderr.write(f"error: {one_line(error)}\n")
    sys.stderr.flush()


def existing_folder(path: Path) -> Path:
    """Give the path back when it is a folder.

    Raises
    ------
    NotADirectoryError, FileNotFoundError
        It is a file, or not there.
    """
    if not path.exists():
        raise FileNotFoundError(2, "no such folder", str(path))
    if not path.is_dir():
        raise NotADirectoryError(20, "is a file", str(path))
    return path
