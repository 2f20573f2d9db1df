"""A paragraph of help, a warning or an error."""

from __future__ import annotations

import re
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_monusac.app.work import error_line
from napari_monusac.core.errors import FileProblem

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


#: A unit after its number: part of no path and no name.
_UM = re.compile(r"(?<=\d )um(?=[/,;:)\s]|\.?$)")


def in_micrometres(text: str) -> str:
    """Write µm where a text that also goes to plain terminals says um."""
    return re.sub(r"\bum(?![A-Za-z0-9_])", "µm", text)


class Note(QLabel):
    """A paragraph of help, a warning or an error, wrapped, that can be selected and copied."""

    def __init__(self, text: str = "", kind: str = "hint") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.LinksAccessibleByMouse
        )
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self._kind = ""
        self.say(text, kind)

    def say(self, text: str, kind: str = "hint", whole: str = "") -> None:
        """Show `text` as a "hint", "good", "warning" or "error"; nothing hides the label. `whole`: all of it, on hover."""
        self.setText(_UM.sub("µm", text))
        self.setToolTip(whole)
        self.setVisible(bool(text))
        if kind != self._kind:
            self._kind = kind
            edge = {"hint": "#7f8c9b", "good": "#009e73", "warning": "#e69f00", "error": "#d55e00"}[kind]
            self.setStyleSheet(
                f"Note, QLabel {{ border-left: 3px solid {edge}; padding: 4px 6px; background: transparent; }}"
            )
