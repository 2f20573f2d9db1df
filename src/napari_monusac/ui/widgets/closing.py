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
        question = self._next_question(watched)
        if question is None and self.asking is None:
            return False
        event.ignore()
        if question is not None and self.asking is None:
            self._ask(watched, question)
        return True

    def _next_question(self, window: QWidget) -> Question | None:
        model, training = self.model, self.model.training
        if not self._edits_decided and model.saver is not None and model.saver.unsaved():
            return Question(
                f"{model.saver.unsaved()} has edits that are not saved to its file. They are kept, and come back when it "
                "is opened again.",
                (
                    ("Save and close", lambda: self._save(window)),
                    ("Close, keep them for later", lambda: self._edits_are_kept(window)),
                    ("Stay", self._stay),
                ),
            )
        if not self._run_decided and training.ends_with_window:
            return Question(
                f"{training.run.recipe.name if training.run is not None else 'A run'} is being trained in this window.",
                (
                    ("Stop and save", lambda: self._run_stops(window)),
                    ("Go on in its own process", lambda: self._hand_over(window)),
                    ("Stay", self._stay),
                ),
            )
        return None

    def _ask(self, window: QWidget, question: Question) -> None:
        box = self.asking = QMessageBox(window)
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

    def _stay(self) -> None:
        self._edits_decided = self._run_decided = False

    def _save(self, window: QWidget) -> None:
        if self.model.saver is not None:
            self.model.saver.save(window.close)

    def _edits_are_kept(self, window: QWidget) -> None:
        self._edits_decided = True
        window.close()

    def _run_stops(self, window: QWidget) -> None:
        self._run_decided = True
        window.close()

    def _hand_over(self, window: QWidget) -> None:
        self.model.tell("The run goes over to its own process; the window closes once it is there…")
        self.model.training.hand_over(window.close)


def _in_use(window: QWidget) -> bool:
    """Whether somebody looks at the window: a program that closes its viewer has taken the canvas off it before."""
    return window.isVisible() and any(canvas.isVisible() for canvas in window.findChildren(QtViewer))
