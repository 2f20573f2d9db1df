"""Saving, leaving, done, and back into training: what the buttons at the end of the Annotate panel do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_monusac.app.actions import SAVE
from napari_monusac.app.editing import Question
from napari_monusac.app.work import Report, Task, error_line
from napari_monusac.ui.canvas.keys import name_of
from napari_monusac.ui.editing.controller import EditingController

if TYPE_CHECKING:
    from napari_monusac.editing.session import EditingSession


class WindowWatch(QObject):
    """Saves at Ctrl+S.

    Parameters
    ----------
    panel : QWidget
        The Annotate panel.
    saving : Saving
        What saves.
    """

    def __init__(self, panel: QWidget, saving: Saving) -> None:
        super().__init__(panel)
        self.panel, self.saving, self.controller = panel, saving, saving.controller
        self._watched = 0  # the window by its number: a reference would keep it alive

    def watch(self) -> None:
        """Listen to the window that the panel is in now."""
        window = self.panel.window()
        if window is not self.panel and id(window) != self._watched:
            self._watched = id(window)
            window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Take the key before napari does."""
        if event.type() == QEvent.Type.ShortcutOverride and self._is_save(event):
            # accepted: napari's own (it saves layers) does not hear of it
            event.accept()
            if not event.isAutoRepeat():
                self.saving.save_now()
            return True
        return bool(super().eventFilter(watched, event))

    def _is_save(self, event: Any) -> bool:
        """Whether this is the key that saves, and ours: the crop is edited here, or has edits that no file has."""
        session = self.controller.session
        return bool(name_of(event) in SAVE.keys and session is not None and (self.panel.isVisible() or session.unsaved))


class Saving(QObject):
    """Flows that end the work on a crop. Nothing here asks in a window of its own.

    Parameters
    ----------
    controller : EditingController
        Whose session is meant.

    Signals
    -------
    progressed(str) : how many crops are done, in words.
    """

    progressed = Signal(str)

    def __init__(self, controller: EditingController, parent: QObject) -> None:
        super().__init__(parent)
        self.controller = controller
        self.model = controller.model
        #: whether the panel with our messages is shown; Ctrl+S works from the others, too
        self.shown: Callable[[], bool] = lambda: True
        self.model.may_leave_crop = self.may_leave
        self.model.saver = self
        controller.session_changed.connect(self.count)

    # -- saving

    def unsaved(self) -> str:
        """Name the crop that has edits which no file has; empty where there are none."""
        session = self.controller.session
        if session is None:
            return ""
        self.controller.adopt()
        return self._name() if session.unsaved else ""

    def _name(self) -> str:
        place = self.controller.editing.place
        return place.name if place is not None else "this crop"

    def save(self, then: Callable[[], object] | None = None, *, overwrite: bool = False) -> Task | None:
        """Save in the background; the version before is kept. `then` is called once it is on disk."""

        def work(session: EditingSession) -> Any:
            return session.save(on_conflict="overwrite" if overwrite else "raise")

        task = self.controller.exclusively(work)
        if task is None:
            return None
        self.controller.said.emit("Saving…", "hint")
        outcome: list[Any] = []
        task.done.connect(lambda saved: outcome.append(saved))
        task.failed.connect(lambda error: self._not_saved(error, then))
        # after the controller has let edits go on again
        task.finished.connect(lambda: self._saved(outcome[0], then) if outcome else None)
        return task.start()

    def save_now(self) -> None:
        """Save; says so where there is nothing to save."""
        session = self.controller.session
        if session is None or self.controller.busy:
            return
        self.controller.adopt()
        if session.unsaved:
            self.save()
        else:
            self.controller.said.emit("Everything is saved.", "hint")

    def _saved(self, report: Any, then: Callable[[], object] | None) -> None:
        kept = f"; the version before is kept as {report.backup.name}" if report.backup is not None else ""
        nuclei = f"{report.regions} outlines, {report.untouched} of them untouched"
        self.controller.settle()
        words = f"Saved as {report.path.name}: {nuclei}{kept}."
        self.controller.said.emit(words, "good")
        if not self.shown():
            self.model.tell(words, "good")
        if then is not None:
            then()

    def _not_saved(self, error: Exception, then: Callable[[], object] | None) -> None:
        from napari_monusac.editing.disk.file import SaveConflict

        if not isinstance(error, SaveConflict):
            self.controller.said.emit(error_line(error), "error")
            if not self.shown():
                self.model.tell(error_line(error), "error")
            return
        self.controller.said.emit("", "hint")
        self.model.panel_asked.emit("Annotate")  # the question stands there
        who = f" by {error.other_author}" if error.other_author else ""
        when = f" ({error.other_time})" if error.other_time else ""
        answers = (
            (f"Save mine as {error.suggested.name}", lambda: self._save_beside(error.suggested)),
            ("Take mine, keep theirs in the history", lambda: self.save(then, overwrite=True)),
            ("Not now", lambda: None),
        )
        what = f"The notes of {error.path.name} were changed" if error.notes_only else f"{error.path.name} was saved"
        text = f"{what}{who}{when} since you opened it. Nothing was overwritten."
        self.controller.editing.question = Question(text, answers)

    def _save_beside(self, path: Path) -> None:
        task = self.controller.exclusively(lambda s: s.save(path))
        if task is not None:
            task.done.connect(
                lambda report: self.controller.said.emit(f"Yours is {report.path.name}; compare the two.", "good")
            )
            task.failed.connect(self._failed)
            task.start()

    # -- leaving

    def may_leave(self, go: Callable[[], object]) -> bool:
        """Whether another crop may be opened now; else the panel asks, and calls `go` once that is decided."""
        controller, session = self.controller, self.controller.session
        if session is None:
            return True
        controller.adopt()
        if controller.busy:
            controller.said.emit("Saving… then open the crop again.", "hint")
            return False
        if not session.unsaved:
            return True
        answers: tuple[tuple[str, Callable[[], object]], ...] = (
            ("Save and go on", lambda: self.save(go)),
            ("Leave, keep them for later", go),
            ("Stay", lambda: None),
        )
        number = session.unsaved_edits
        edits = "unsaved edits" if number is None else "one unsaved edit" if number == 1 else f"{number} unsaved edits"
        controller.editing.question = Question(f"{self._name()} has {edits}. None is lost either way.", answers)
        self.model.panel_asked.emit("Annotate")
        return False

    # -- done

    def _marks(self) -> Any:
        """The marks of the open collection (read from disk); None without one."""
        from napari_monusac.editing.progress import marks_of

        collection = self.model.collection
        return None if collection is None else marks_of(Path(collection.root), [c.name for c in collection.crops])

    def done(self) -> None:
        """Save, mark the crop as done, and go to the next one that nobody has reviewed."""
        session, crop = self.controller.session, self.model.crop
        if session is None or crop is None or self.model.collection is None:
            self.controller.said.emit("Open a folder of crops first (Slides); then crops can be done.", "hint")
            return
        self.controller.adopt()
        if session.unsaved:
            self.save(self._mark_done)
        else:
            self._mark_done()

    def _mark_done(self) -> Task | None:
        crop, collection = self.model.crop, self.model.collection
        if crop is None or collection is None:
            return None
        author = self.controller.session.author if self.controller.session is not None else ""
        names = [c.name for c in collection.crops]

        def work(_: Report) -> tuple[Any, str | None, str]:
            marks = self._marks()
            marks.set_mark(crop.name, "done", author=author)
            return crop, marks.next_open(names, after=crop.name), _share_done(marks, names)

        task = self.model.work.task(work, self)
        task.done.connect(self._marked)
        task.failed.connect(self._failed)
        return task.start()

    def _failed(self, error: Exception) -> None:
        self.controller.said.emit(error_line(error), "error")

    def _marked(self, answer: tuple[Any, str | None, str]) -> None:
        crop, following, share = answer
        self.progressed.emit(share)
        self.model.tell(f"{crop.name} is done.", "good")
        collection = self.model.collection
        if following is None or collection is None:
            self.controller.said.emit("Every crop of this folder is done.", "good")
            return
        self.model.ask_for_crop(collection.crop(following))

    def count(self) -> None:
        """Say how many crops are done."""
        collection = self.model.collection
        if collection is None or self.controller.session is None:
            return
        names = [c.name for c in collection.crops]
        task = self.model.work.task(lambda _: _share_done(self._marks(), names), self)
        task.done.connect(self._tell)
        task.start()

    def _tell(self, share: str) -> None:
        # a method of this object, not a lambda: Qt drops the connection when the panel goes
        self.progressed.emit(share)


def _share_done(marks: Any, names: list[str]) -> str:
    return f"{sum(marks.mark_of(n) is not None for n in names)} of {len(names)} crops done"
