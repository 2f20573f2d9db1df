"""The history of a crop: which edits are in force, and which were undone."""

from __future__ import annotations

from typing import Literal

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.nuclei.edit import Edit


class History:
    """Edits in order.

    Attributes
    ----------
    done, undone : list of Edit
        In force, oldest first; and taken back, the last one last.
    """

    def __init__(self) -> None:
        self.done: list[Edit] = []
        self.undone: list[Edit] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self.done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to redo."""
        return bool(self.undone)

    @property
    def undo_name(self) -> str:
        """Name of the edit that undo would take back."""
        return self.done[-1].name if self.done else ""

    @property
    def redo_name(self) -> str:
        """Name of the edit that redo would bring back."""
        return self.undone[-1].name if self.undone else ""

    @property
    def state(self) -> int:
        """Number of the last edit that is in force; 0 = as opened. Two equal numbers are the same state."""
        return self.done[-1].n if self.done else 0

    def next_step(self, kind: Literal["undo", "redo"]) -> Edit:
        """Return the edit that an undo or redo is about.

        Raises
        ------
        SessionError
            There is none.
        """
        if kind == "undo" and not self.done:
            raise SessionError("there is nothing to undo", "this is how the file was opened")
        if kind == "redo" and not self.undone:
            raise SessionError("there is nothing to redo", "nothing was undone since the last edit")
        return (self.done if kind == "undo" else self.undone)[-1]

    def add(self, edit: Edit) -> None:
        """Put a new edit in force; what was undone cannot be redone any more."""
        self.done.append(edit)
        self.undone.clear()

    def step(self, kind: Literal["undo", "redo"]) -> Edit:
        """Take the last edit back, or the last undone one into force again; return it.

        Raises
        ------
        SessionError
            There is none.
        """
        edit = self.next_step(kind)
        there, back = (self.done, self.undone) if kind == "undo" else (self.undone, self.done)
        back.append(there.pop())
        return edit
