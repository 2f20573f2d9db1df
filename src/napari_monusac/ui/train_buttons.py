"""Check and Start, or Pause and Stop: what can be done with a training now."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_monusac.ui.widgets import row


class TrainButtons(QWidget):
    """Two buttons before a run and two while it is going, at the same place.

    A button that rests says why on hover, and the keyboard never slips from it to one that does more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.check, self.start = QPushButton("Check"), QPushButton("Start training")
        self.pause, self.stop = QPushButton("Pause"), QPushButton("Stop")
        self.check.setToolTip("Open every crop, do one training and one validation step, say how long it will take")
        self.estimate = QLabel("")
        self.estimate.setToolTip("By the last check. It depends on the epochs, the patches and this machine.")
        # under Start, which it is about
        self.estimate.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._idle = row(self.check, self.start)
        self._running = row(self.pause, self.stop)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        for widget in (self._idle, self._running, self.estimate):
            box.addWidget(widget)
        self.say_estimate("")
        self.show_state(running=False, opening=False, wrong="")

    def say_estimate(self, text: str) -> None:
        """Say how long a start will take; empty: nothing."""
        self.estimate.setText(text)
        self.estimate.setVisible(bool(text))

    def show_state(self, *, running: bool, opening: bool, wrong: str) -> None:
        """Offer what can be done now; `wrong`: why training cannot start."""
        self._hold_focus()
        self._idle.setVisible(not running)
        self._running.setVisible(running)
        self.start.setEnabled(not running and not opening and not wrong)
        why = "A run is being opened" if opening else wrong
        self.start.setToolTip(why or "Make a new folder for the run and train; the window stays usable")
        self.pause.setEnabled(running)
        self.pause.setToolTip("Wait after this batch of patches; what was learned stays, and Go on continues")
        self.stop.setEnabled(running)
        self.stop.setToolTip("End after this batch and keep the model; Resume in the table of runs goes on from there")

    def show_paused(self, paused: bool) -> None:
        """Say on the button what it does now."""
        self.pause.setText("Go on" if paused else "Pause")

    def stopping(self) -> None:
        """A stop was asked for: nothing more can be."""
        self._hold_focus()
        for button in (self.pause, self.stop):
            button.setEnabled(False)
            button.setToolTip("It stops after this batch")

    def _hold_focus(self) -> None:
        """Keep the keyboard here: Qt would hand it to the next control, whatever that does. Tab goes on from here."""
        if QApplication.focusWidget() in (self.start, self.pause, self.stop):
            self.setFocus()
