"""The key map: one window with every key, opened and closed by the question mark. It never stops the work."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui.canvas.help import KEY_WORDS
from napari_monusac.ui.widgets.basic import Heading, Note

#: Groups of (keys, what they do), as they are shown. The first column, then the second.
GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Class of the nucleus under the pointer, or of the selected ones",
        (*((str(int(c)), c.label) for c in CLASSES), ("0", "Unclassified"), ("5", "Ambiguous region")),
    ),
    (
        "Getting about",
        (
            ("N   P", "Next, previous nucleus or audit item"),
            ("Page Down   Page Up", "Next, previous crop"),
            ("Alt+1 to 6", "Slides, Annotate, Masks, Train, Predict, Review"),
            ("D", "Done: save, mark the crop, go to the next one that nobody has reviewed"),
            ("Space (held)", "Move the slide with any tool; the wheel zooms"),
        ),
    ),
    (
        "Mending",
        (
            ("S", "Split where the shape suggests it; else the split tool"),
            ("M", "Merge the selected; else the merge tool"),
            ("A", "Accept the predicted nucleus (Shift+A: in place of what is there)"),
            ("X   Del", "Delete"),
            ("F", "Mend the audit item as suggested"),
            ("Ctrl+Z", "Undo, without limit"),
            ("Ctrl+Shift+Z", "Redo"),
            ("Ctrl+S", "Save the crop, from each panel while there are unsaved edits"),
        ),
    ),
    (
        "Tools",
        (
            ("V", "Pick"),
            ("B", "Brush"),
            ("L", "Lasso"),
            ("G", "Polygon (double click ends it)"),
            ("E", "Erase"),
            ("Shift+S", "Split by a stroke"),
        ),
    ),
    (
        "Seeing",
        (
            ("O", "All classes as outlines, or filled"),
            ("Shift+O", "Only the class under the pointer, or the chosen one"),
            ("?", "This key map"),
        ),
    ),
    (
        "Mouse, tool Pick",
        (
            ("Click", "Select; with Shift or Ctrl one more"),
            ("Shift+drag", "Select with a lasso"),
            ("Ctrl+drag", "Select with a box"),
            ("Drag", "Move the slide"),
        ),
    ),
    ("While Review is shown", KEY_WORDS),
)
ABOUT = (
    "These keys work on the layers of the open crop while Annotate (or Review) is shown. napari uses 1 to 7 and some letters for "
    "its own brush there: those come back as soon as another panel is shown. Undo and redo of edits stay ours, "
    "and so does Ctrl+S while there are edits to save."
)


class KeyMap(QDialog):
    """The key map as a window of its own; not modal."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Tool)
        self.setWindowTitle("Keys of the MoNuSAC Studio")
        self.setModal(False)
        columns = QHBoxLayout()
        columns.setSpacing(28)
        half = len(GROUPS) // 2
        for groups in (GROUPS[:half], GROUPS[half:]):
            column = QVBoxLayout()
            for title, lines in groups:
                column.addWidget(_group(title, lines))
            column.addStretch(1)
            columns.addLayout(column, 1)
        box = QVBoxLayout(self)
        box.addLayout(columns)
        box.addWidget(Note(ABOUT))
        self.setMinimumWidth(940)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Close by the key that opened it, or Escape."""
        if event.text() == "?" or event.key() == Qt.Key.Key_Escape:
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


def _group(title: str, lines: tuple[tuple[str, str], ...]) -> QWidget:
    widget = QWidget()
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setVerticalSpacing(2)
    grid.addWidget(Heading(title), 0, 0, 1, 2)
    for at, (keys, words) in enumerate(lines, start=1):
        key = QLabel(keys)
        font = key.font()
        font.setBold(True)
        key.setFont(font)
        text = QLabel(words)
        text.setWordWrap(True)
        grid.addWidget(key, at, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(text, at, 1)
    grid.setColumnMinimumWidth(0, 110)
    grid.setColumnStretch(1, 1)
    return widget
