"""A background task in a panel: how far it is, the time left, and a way to stop."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Progress, Task, spoken_duration
from napari_monusac.ui.widgets.note import Note, say_error


class TaskRow(QWidget):
    """Progress bar, what is being done, time left, and a Cancel button; hidden while nothing runs.

    Parameters
    ----------
    cancel_text : str
        On the button that stops the task.
    asked_by : QWidget, optional
        The button that starts the tasks. It rests while one runs: the keyboard goes to Cancel, and back to it after.
    """

    def __init__(self, cancel_text: str = "Cancel", asked_by: QWidget | None = None) -> None:
        super().__init__()
        self._asked_by = asked_by
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.label = Note()
        self.cancel = QPushButton(cancel_text)
        self.cancel.setToolTip("Stop this")
        self.task: Task | None = None
        self._said = ""
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addLayout(row)
        box.addWidget(self.label)
        self.cancel.clicked.connect(self._cancel)
        self._busy(False)

    def follow(self, task: Task, message: str) -> Task:
        """Show a task until it has finished, and the error if it fails. Starts it."""
        self.task = task
        task.title = task.title or message.rstrip("…")
        self._say(message)
        self.bar.setRange(0, 0)
        self._busy(True)
        if self._asked_by is not None:
            if self._asked_by.hasFocus():
                self.cancel.setFocus()
            self._asked_by.setEnabled(False)
        for signal, call in (
            (task.progressed, self._progressed), (task.failed, self._failed), (task.cancelled, self._was_cancelled),
            (task.done, self._done), (task.finished, self._finished),
        ):  # fmt: skip
            # another task may take its place: it is not heard of any more then
            signal.connect(lambda *values, call=call: call(*values) if self.task is task else None)
        return task.start()

    def _busy(self, busy: bool) -> None:
        self.bar.setVisible(busy)
        self.cancel.setVisible(busy)
        self.cancel.setEnabled(busy)

    def _progressed(self, progress: Progress) -> None:
        if self.task is None:
            return
        if progress.fraction is not None:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * progress.fraction))
        left = spoken_duration(progress.seconds_left)
        words = [w for w in (progress.message, f"{left} left" if left else "") if w]
        if words and not self.task.stopping:
            self._say(", ".join(words))

    def _cancel(self) -> None:
        if self.task is not None:
            # the button stays as it is: a key that is pressed twice must not reach the next one
            self.task.stop()
            self._say("Stopping…")

    def _failed(self, error: Exception) -> None:
        say_error(self.label, error)

    def _was_cancelled(self) -> None:
        self.label.say("Stopped.")

    def _done(self, _: object) -> None:
        # what the panel has said of the result stays
        if self.label.text() == self._said:
            self.label.say("")

    def _say(self, text: str) -> None:
        self._said = text
        self.label.say(text)

    def _finished(self) -> None:
        self.task = None
        if self._asked_by is not None:
            self._asked_by.setEnabled(True)
            if self.cancel.hasFocus():
                self._asked_by.setFocus()
        self._busy(False)
