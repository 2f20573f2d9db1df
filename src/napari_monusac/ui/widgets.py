"""Small widgets that the panels share. No science, no file formats."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSettings, Qt, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTableWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.core.classes import Rgb
from napari_monusac.ui.work import Progress, Task, error_line, seconds_left, spoken_duration


def settings() -> QSettings:
    """Remembered folders and choices."""
    return QSettings("napari-monusac", "studio")


class Note(QLabel):
    """A paragraph of help, a warning or an error, wrapped, that can be selected and copied."""

    def __init__(self, text: str = "", kind: str = "hint") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.LinksAccessibleByMouse
        )
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self._kind = ""
        self.say(text, kind)

    def say(self, text: str, kind: str = "hint") -> None:
        """Show `text` as a "hint", "good", "warning" or "error"; nothing hides the label."""
        self.setText(text)
        self.setVisible(bool(text))
        if kind != self._kind:
            self._kind = kind
            edge = {"hint": "#7f8c9b", "good": "#009e73", "warning": "#e69f00", "error": "#d55e00"}[kind]
            self.setStyleSheet(
                f"Note, QLabel {{ border-left: 3px solid {edge}; padding: 4px 6px; background: transparent; }}"
            )


class Heading(QLabel):
    """A section's title."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        font = self.font()
        font.setBold(True)
        self.setFont(font)
        self.setContentsMargins(0, 6, 0, 0)


class ClassSwatch(QLabel):
    """A small square in a class's colour."""

    def __init__(self, rgb: Rgb, size: int = 12) -> None:
        super().__init__()
        self._color = QColor(*rgb)
        self.setFixedSize(size, size)

    def paintEvent(self, event: object) -> None:  # noqa: N802, ARG002 - Qt's name and signature
        """Draw the square with an outline that shows on light and on dark."""
        painter = QPainter(self)
        painter.setBrush(self._color)
        painter.setPen(QColor(110, 110, 110))
        painter.drawRect(0, 0, self.width() - 1, self.height() - 1)


class PathPicker(QWidget):
    """A remembered path with a button to choose another.

    Parameters
    ----------
    key : str
        Name under which the last paths are remembered; empty: not remembered.
    kind : {"folder", "file", "save"}
        What is chosen.
    filters : str
        File filter of the dialog.
    """

    changed = Signal(str)

    def __init__(
        self, key: str = "", kind: str = "folder", filters: str = "", tooltip: str = "", placeholder: str = ""
    ) -> None:
        super().__init__()
        self._key, self._kind, self._filters = key, kind, filters
        self.box = QComboBox()
        self.box.setEditable(True)
        self.box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.box.setMinimumContentsLength(8)
        self.box.setToolTip(tooltip)
        self.button = QPushButton("Browse…")
        self.button.setToolTip(tooltip)
        self.button.clicked.connect(self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box, 1)
        row.addWidget(self.button)
        self.box.addItems(self._remembered())
        self.box.setCurrentIndex(-1)
        line = self.box.lineEdit()
        line.setPlaceholderText(placeholder)
        line.editingFinished.connect(self._edited)
        self.box.activated.connect(lambda _: self._edited())
        self._last = ""

    @property
    def path(self) -> Path | None:
        """The chosen path, or None."""
        text = self.box.currentText().strip()
        return Path(text).expanduser() if text else None

    def set_path(self, path: Path | str | None, *, remember: bool = False) -> None:
        """Show a path without emitting `changed`."""
        self._last = "" if path is None else str(path)
        self.box.setEditText(self._last)
        self.box.lineEdit().setCursorPosition(len(self._last))
        self.box.setToolTip(self._last)
        if remember and self._last:
            self._remember(self._last)

    def _remembered(self) -> list[str]:
        if not self._key:
            return []
        value = settings().value(f"paths/{self._key}", [])
        items = [value] if isinstance(value, str) else list(value or [])
        return [i for i in items if i and Path(i).exists()]

    def _remember(self, text: str) -> None:
        if self._key:
            items = [text, *(i for i in self._remembered() if i != text)][:8]
            settings().setValue(f"paths/{self._key}", items)
            self.box.blockSignals(True)
            self.box.clear()
            self.box.addItems(items)
            self.box.setEditText(text)
            self.box.blockSignals(False)

    def _browse(self) -> None:
        start = str(self.path or (self._remembered() or [str(Path.home())])[0])
        if self._kind == "folder":
            chosen = QFileDialog.getExistingDirectory(self, "Choose a folder", start)
        elif self._kind == "file":
            chosen = QFileDialog.getOpenFileName(self, "Choose a file", start, self._filters)[0]
        else:
            chosen = QFileDialog.getSaveFileName(self, "Save as", start, self._filters)[0]
        if chosen:
            self.box.setEditText(chosen)
            self._edited()

    def _edited(self) -> None:
        text = self.box.currentText().strip()
        if text and text != self._last:
            self._last = text
            self._remember(text)
            self.box.setToolTip(text)
            self.changed.emit(text)


class TaskRow(QWidget):
    """Progress bar, what is being done, time left, and a Cancel button; hidden while nothing runs."""

    def __init__(self, cancel_text: str = "Cancel") -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.label = Note()
        self.cancel = QPushButton(cancel_text)
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
        self._say(message)
        self.bar.setRange(0, 0)
        self._busy(True)
        task.progressed.connect(self._progressed)
        task.failed.connect(self._failed)
        task.cancelled.connect(self._was_cancelled)
        task.done.connect(self._done)
        task.finished.connect(self._finished)
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
        left = spoken_duration(seconds_left(self.task.started_at, progress.fraction))
        words = [w for w in (progress.message, f"{left} left" if left else "") if w]
        if words and not self.task.stopping:
            self._say(", ".join(words))

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.stop()
            self.cancel.setEnabled(False)
            self._say("Stopping…")

    def _failed(self, error: Exception) -> None:
        self.label.say(error_line(error), "error")

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
        self._busy(False)


class Section(QWidget):
    """A titled part of a panel that folds away; its state is remembered under its title."""

    def __init__(self, title: str, content: QWidget, *, opened: bool = True) -> None:
        super().__init__()
        self.toggle = QToolButton()
        self.toggle.setText(title)
        self.toggle.setCheckable(True)
        self.toggle.setChecked(opened)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setStyleSheet("QToolButton { border: none; font-weight: bold; }")
        self.content = content
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        box.addWidget(self.toggle)
        box.addWidget(content)
        self.toggle.toggled.connect(self._toggled)
        self._toggled(opened)

    def _toggled(self, opened: bool) -> None:
        self.toggle.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        self.content.setVisible(opened)


def scrolling(widget: QWidget) -> QScrollArea:
    """Put a panel into an area that scrolls up and down, never sideways."""
    area = QScrollArea()
    area.setWidget(widget)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return area


def column(*items: QWidget, margin: int = 0, spacing: int = 6, stretch: bool = False) -> QWidget:
    """Stack widgets in a column."""
    widget = QWidget()
    box = QVBoxLayout(widget)
    box.setContentsMargins(margin, margin, margin, margin)
    box.setSpacing(spacing)
    for item in items:
        box.addWidget(item)
    if stretch:
        box.addStretch(1)
    return widget


def row(*items: QWidget, stretch_first: bool = False) -> QWidget:
    """Put widgets side by side."""
    widget = QWidget()
    box = QHBoxLayout(widget)
    box.setContentsMargins(0, 0, 0, 0)
    for i, item in enumerate(items):
        box.addWidget(item, 1 if stretch_first and i == 0 else 0)
    return widget


def plain_table(headers: list[str], stretch: int) -> QTableWidget:
    """Make a table to read and to select rows in; the column `stretch` takes the room that is left."""
    table = QTableWidget(0, len(headers))
    table.setHorizontalHeaderLabels(headers)
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    header = table.horizontalHeader()
    for i in range(len(headers)):
        stretching = i == stretch
        header.setSectionResizeMode(
            i, QHeaderView.ResizeMode.Stretch if stretching else QHeaderView.ResizeMode.ResizeToContents
        )
    return table
