"""Asks before a window is closed by its user: about edits that no file has, and about a run that ends with napari."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_monusac.app.editing import Question

if TYPE_CHECKING:
    from napari_monusac.app.studio import StudioModel


class ClosingWatch(QObject):
    """Holds a window open until its user has decided what becomes of edits and of the run.

    A program that closes its viewer (`viewer.close()`) is not asked: edits are kept, a run saves and ends.

    Parameters
    ----------
    window : QWidget
        The main window.
    model : StudioModel
    """

    def __init__(self, window: QWidget, model: StudioModel) -> None:
        super().__init__(window)
        self.model = model
        #: the question that is shown, while one is
        self.asking: QMessageBox | None = None
        #: questions that are answered: the next close is one
        self._edits_decided = self._run_decided = False
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Ask, where there is something to decide."""
        if event.type() != QEvent.Type.Close or not isinstance(watched, QWidget) or not _in_use(watched):
            return False
        if self.asking is not None:
            self.asking.raise_()
        question = self._next_question()
        if question is None and self.asking is None:
            return False
        event.ignore()
        if question is not None and self.asking is None:
            self._ask(question)
        return True

    def _next_question(self) -> Question | None:
        model, training = self.model, self.model.training
        if not self._edits_decided and model.saver is not None and model.saver.unsaved():
            return Question(
                f"{model.saver.unsaved()} has edits that are not saved to its file. They are kept, and come back when it "
                "is opened again.",
                (
                    ("Save and close", self._save),
                    ("Close, keep them for later", self._edits_are_kept),
                    ("Stay", self._stay),
                ),
            )
        if not self._run_decided and training.ends_with_window:
            return Question(
                f"{training.run.recipe.name if training.run is not None else 'A run'} is being trained in this window.",
                (
                    ("Stop and save", self._run_stops),
                    ("Go on in its own process", self._hand_over),
                    ("Stay", self._stay),
                ),
            )
        return None

    def _ask(self, question: Question) -> None:
        box = self.asking = QMessageBox(self._window())
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Close napari")
        box.setText(question.text)
        answers = {}
        for words, answer in question.answers:
            last = words == question.answers[-1][0]
            role = QMessageBox.ButtonRole.RejectRole if last else QMessageBox.ButtonRole.AcceptRole
            button = box.addButton(words, role)
            answers[button] = answer
            if last:
                box.setEscapeButton(button)

        def decided(_: Any) -> None:
            answer: Callable[[], object] = answers.get(box.clickedButton(), self._stay)
            self.asking = None
            box.deleteLater()
            answer()

        box.finished.connect(decided)
        box.open()

    def _window(self) -> Any:
        # asked for each time: what is kept for an answer would keep a closed window alive
        return self.parent()

    def _close(self) -> None:
        self._window().close()

    def _stay(self) -> None:
        self._edits_decided = self._run_decided = False

    def _save(self) -> None:
        if self.model.saver is not None:
            self.model.saver.save(self._close)

    def _edits_are_kept(self) -> None:
        self._edits_decided = True
        self._close()

    def _run_stops(self) -> None:
        self._run_decided = True
        self._close()

    def _hand_over(self) -> None:
        self.model.tell("The run goes over to its own process; the window closes once it is there…")
        self.model.training.hand_over(self._close)


def _in_use(window: QWidget) -> bool:
    """Whether somebody looks at the window: a program that closes its viewer has taken the canvas off it before."""
    return window.isVisible() and any(canvas.isVisible() for canvas in window.findChildren(QtViewer))
