"""The key map: one window with every key, opened and closed by the question mark. It never stops the work."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QHBoxLayout, QVBoxLayout, QWidget

from napari_monusac.app.actions import ACTIONS, GIVE_UP, KEYS, RULE, KeyGroup, keymap
from napari_monusac.ui.canvas.keys import name_of, shadowed
from napari_monusac.ui.widgets.basic import key_table, scrolling
from napari_monusac.ui.widgets.note import Note

#: The groups of each column.
_COLUMNS = (
    (KeyGroup.CLASSES, KeyGroup.TOOLS, KeyGroup.SEEING),
    (KeyGroup.ABOUT, KeyGroup.MOUSE),
    (KeyGroup.MENDING, KeyGroup.REVIEW),
)
_WIDTH_PX, _HEIGHT_PX = 1240, 860
#: What a window's frame, and a scroll bar, take.
_FRAME_PX, _BAR_PX = 40, 40
ABOUT = (
    "These keys work on the layers of the open crop while Annotate (or Review) is shown; napari's own come back as soon as "
    "another panel is. Undo and redo of edits stay ours, and so does saving while there are edits to save."
)


class KeyMap(QDialog):
    """The key map as a window of its own; not modal."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Tool)
        self.setWindowTitle("Keys of the MoNuSAC Studio")
        self.setModal(False)
        columns = QHBoxLayout()
        columns.setSpacing(28)
        for groups in _COLUMNS:
            column = QVBoxLayout()
            for group, lines in keymap():
                if group in groups:
                    column.addWidget(key_table(lines, group))
            column.addStretch(1)
            columns.addLayout(column, 1)
        covered = ", ".join(f"{key} ({words[:1].lower()}{words[1:]})" for key, words in shadowed(ACTIONS))
        whole = QWidget()
        box = QVBoxLayout(whole)
        box.addLayout(columns)
        for words in (RULE, ABOUT, f"napari's own that rest meanwhile: {covered}." if covered else ""):
            box.addWidget(Note(words))
        room = parent.screen().availableSize()
        width = min(_WIDTH_PX, room.width() - _FRAME_PX)
        whole.setFixedWidth(width - _BAR_PX)
        QVBoxLayout(self).addWidget(scrolling(whole))  # what a small screen has no room for
        self.resize(width, min(_HEIGHT_PX, room.height() - 2 * _FRAME_PX))

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Close by the key that opened it, or the one that gives things up."""
        if event.text() in KEYS.keys or name_of(event) in GIVE_UP.keys:
            self.close()
        else:
            super().keyPressEvent(event)

    def toggle(self) -> None:
        """Show the key map, or close it."""
        if self.isVisible():
            self.close()
        else:
            self.show()
            self.raise_()
