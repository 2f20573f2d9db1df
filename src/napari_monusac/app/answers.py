"""What a model answers: a command that cannot be carried out says why, and a line for the reader has its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_monusac.app.work import error_line

NoteKind = Literal["hint", "good", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Refused:
    """A command was not carried out. It is false, so that ``if model.start(): ...`` reads as it is meant.

    Attributes
    ----------
    why : str
        In words for the reader; empty where nothing needs to be said (it is being done already).
    """

    why: str = ""

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the reader.

    Attributes
    ----------
    text : str
    kind : {"hint", "good", "warning", "error"}
    error : Exception or None
        What it tells of, where it is an error: it knows its file.
    """

    text: str = ""
    kind: NoteKind = "hint"
    error: BaseException | None = None

    @classmethod
    def of(cls, error: BaseException, kind: NoteKind = "error") -> Said:
        """The line of an error."""
        return cls(error_line(error), kind, error)
