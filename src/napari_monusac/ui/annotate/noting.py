"""Notes and the menu of nuclei: what is written on some, and what is done to them where the hand is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QPoint, Signal
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QMenu, QPushButton, QWidget

from napari_monusac.app.actions import GIVE_UP
from napari_monusac.editing.commands import SetNote
from napari_monusac.ui.annotate.listing import NucleusTable
from napari_monusac.ui.annotate.menu import NucleusMenu
from napari_monusac.ui.canvas.keys import name_of
from napari_monusac.ui.editing.commands import Commands
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.widgets.basic import calm


class NoteLine(QWidget):
    """One line to write a note in; Enter writes it, an empty one takes the note away.

    Signals
    -------
    written(str) : the note.
    ended() : it is written or given up; the keyboard can go back to the canvas.
    """

    written = Signal(str)
    ended = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.about, self.text, self.cancel = QLabel(), QLineEdit(), calm(QPushButton("Cancel"))
        self.text.setPlaceholderText("Write, then Enter")
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.about)
        box.addWidget(self.text, 1)
        box.addWidget(self.cancel)
        self.text.returnPressed.connect(self._enter)
        self.cancel.clicked.connect(self.end)
        self.hide()

    def begin(self, about: str, text: str) -> None:
        """Ask for a note."""
        self.about.setText(about)
        self.text.setText(text)
        self.text.selectAll()
        self.show()
        self.text.setFocus()

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Give up by the key that gives up everything else."""
        if name_of(event) in GIVE_UP.keys:
            self.end()
        else:
            event.accept()  # what is typed here is no key of the canvas

    def _enter(self) -> None:
        text = self.text.text().strip()
        self.end()
        self.written.emit(text)

    def end(self) -> None:
        """Put the line away."""
        if self.isVisible():
            self.hide()
            self.ended.emit()


class Noting:
    """Writes notes on nuclei, and opens their menu.

    Parameters
    ----------
    controller : EditingController
        Whose session is meant.
    commands : Commands
        The reader's: they say which nuclei a key means.
    listing : NucleusTable
        The table, whose rows have the same menu.
    panel : QWidget
        Whose menu it is.
    """

    def __init__(
        self, controller: EditingController, commands: Commands, listing: NucleusTable, panel: QWidget
    ) -> None:
        self.controller, self.commands, self.line = controller, commands, NoteLine()
        self.nuclei_menu = NucleusMenu(controller, commands, listing.nuclei, panel)
        self._ids: list[int] = []
        self._before: QWidget | None = None
        self.line.written.connect(self._written)
        self.line.ended.connect(self._give_focus_back)
        controller.session_changed.connect(self.line.hide)
        self.nuclei_menu.note_asked.connect(self.begin)
        listing.menu_asked.connect(lambda at: self.nuclei_menu.open(controller.editing.selected, at))

    def note(self) -> None:
        """Ask for a note on the nuclei meant."""
        ids = self.commands.meant().ids
        if ids:
            self.begin(ids)
        else:
            self._nothing()

    def begin(self, ids: Collection[int]) -> None:
        """Ask for a note on these."""
        session = self.controller.session
        if session is None:
            return
        self._ids = [k for k in ids if k in session.rows]
        self.controller.flash(self._ids)
        notes = {session.rows[k].note for k in self._ids}
        row = session.rows[self._ids[0]]
        about = f"{row.class_name} {row.id}:" if len(self._ids) == 1 else f"{len(self._ids)} nuclei:"
        self._before = self.line.window().focusWidget()
        self.line.begin(about, notes.pop() if len(notes) == 1 else "")

    def _written(self, text: str) -> None:
        session = self.controller.session
        ids = [k for k in self._ids if session is not None and k in session.rows]
        if ids:
            self.controller.do(SetNote(text, ids))

    def _give_focus_back(self) -> None:
        """The keyboard goes back to where it was: the canvas, or the panel."""
        before, self._before = self._before, None
        if before is not None and isalive(before):
            before.setFocus()

    def right_clicked(self) -> None:
        """Open the menu of the nucleus there, or of the selected if it is one of them."""
        self._open(self.nuclei_menu.of_pointer(), QCursor.pos())

    def open_menu(self) -> None:
        """Open the menu of the nuclei meant."""
        self._open(self.commands.meant().ids, QCursor.pos())

    def _open(self, ids: Collection[int], at: QPoint) -> QMenu | None:
        if not ids:
            self._nothing()
        return self.nuclei_menu.open(ids, at)

    def _nothing(self) -> None:
        self.controller.said.emit("Nothing is selected, and no nucleus lies under the pointer.", "hint")
