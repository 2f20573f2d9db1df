"""Long paths in short lines: what is cut out of the middle stands in the tooltip."""

from __future__ import annotations

import re
from pathlib import Path

from napari_monusac.core.errors import FileProblem
from napari_monusac.ui.note import Note
from napari_monusac.ui.work import error_line

#: Three lines of the dock, and a name that still fits on one of them.
_LONGEST, _LONGEST_NAME = 120, 48


def short_path(path: str | Path, longest: int = _LONGEST, longest_name: int = _LONGEST_NAME) -> str:
    """A path with its start and its end, and "…" for what was too long between them."""
    parts = re.split(r"([/\\])", str(path))
    parts = [_short_name(p, longest_name) for p in parts]
    if len("".join(parts)) <= longest:
        return "".join(parts)
    # the last name is what tells folders apart; names before it go as long as there is room
    head, tail = parts[:4], parts[-1:]
    while len(parts) > len(head) + len(tail) + 2:
        more = parts[-len(tail) - 2 : -len(tail)]
        if len("".join([*head, "…", *more, *tail])) >= longest:
            break
        tail = [*more, *tail]
    return "".join([*head, "…", parts[-len(tail) - 1] if len(parts) > len(tail) else "", *tail])


def _short_name(name: str, longest: int) -> str:
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def say_error(note: Note, error: BaseException, kind: str = "error") -> None:
    """Say an error in a note, its path shortened; the whole line is the tooltip."""
    whole = error_line(error)
    line = whole
    if isinstance(error, FileProblem):
        line = whole.replace(str(error.path), short_path(error.path))
    note.say(line, kind, whole if line != whole else "")


def in_micrometres(text: str) -> str:
    """Write µm where a text that also goes to plain terminals says um."""
    return re.sub(r"\bum(?![A-Za-z0-9_])", "µm", text)
