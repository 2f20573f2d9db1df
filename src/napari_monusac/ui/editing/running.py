"""Running commands on a session: at once, or after something long in the background that needs the session whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from qtpy.QtCore import QObject, QThread, Signal

from napari_monusac.app.work import Report, Task, error_line
from napari_monusac.core.errors import MonusacError

if TYPE_CHECKING:
    from napari_monusac.app.studio import StudioModel
    from napari_monusac.editing.commands import Command
    from napari_monusac.editing.nuclei.edit import SessionChange
    from napari_monusac.editing.session import EditingSession


#: What is called with a change once it is made.
Then: TypeAlias = "Callable[[SessionChange], object]"


@dataclass(frozen=True, slots=True)
class Question:
    """Something the reader must decide, shown in the panel with one button an answer; nothing waits for it."""

    text: str
    answers: tuple[tuple[str, Callable[[], object]], ...]
    kind: str = "warning"


class Running(QObject):
    """What runs commands. `EditingController` is one.

    Signals
    -------
    said(str, str) : a line for the reader, and its kind.
    busy_changed(bool) : edits wait while the session is being saved.
    """

    said = Signal(str, str)
    busy_changed = Signal(bool)
    model: StudioModel

    def __init__(self) -> None:
        super().__init__()
        self.session: EditingSession | None = None
        self.busy = False
        self._waiting: list[tuple[Command, Then | None]] = []
        self._late: list[SessionChange] = []

    def adopt(self, *, only_if_told: bool = False) -> None:
        """Make commands of what napari's own tools have painted."""
        raise NotImplementedError

    def heard(self, change: SessionChange) -> None:
        """Show a change of the session."""
        raise NotImplementedError

    def freed(self) -> None:
        """Let napari's tools paint, or not, as `busy` says."""
        raise NotImplementedError

    def do(self, command: Command, then: Then | None = None) -> bool:
        """Do a command now, or after the saving that is under way; False where it could not be done.

        `then`: called with what changed, if anything did.
        """
        if self.session is None:
            self.said.emit("Open a crop first (Slides).", "hint")
            return False
        if self.busy:
            self._waiting.append((command, then))
            return True
        self.adopt(only_if_told=True)
        try:
            change = self.session.do(command)
        except MonusacError as error:
            self.said.emit(error_line(error), "warning")
            return False
        self.said.emit("", "hint")
        if change is not None and then is not None:
            then(change)
        return True

    def exclusively(self, work: Callable[[EditingSession], Any]) -> Task | None:
        """Run something long on the session in the background; edits wait until it is through. Not started yet."""
        session = self.session
        if session is None or self.busy:
            return None
        self.adopt()
        self._set_busy(True)

        def in_thread(_: Report) -> Any:
            return work(session)

        task = self.model.work.task(in_thread, self)
        task.finished.connect(self._free)
        return task

    def put_off(self, change: SessionChange) -> bool:
        """Keep a change that a worker told of for later; False on the Qt thread, where it can be shown."""
        elsewhere = QThread.currentThread() is not self.thread()
        if elsewhere:
            self._late.append(change)
        return elsewhere

    def forget_waiting(self) -> None:
        """Drop commands that wait for a session that is left."""
        self._waiting.clear()

    def _free(self) -> None:
        self._set_busy(False)
        late, self._late = self._late, []
        for change in late:
            self.heard(change)
        waiting, self._waiting = self._waiting, []
        for command, then in waiting:
            self.do(command, then)

    def _set_busy(self, busy: bool) -> None:
        self.busy = busy
        self.freed()
        self.busy_changed.emit(busy)
