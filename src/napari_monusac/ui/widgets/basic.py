"""Small widgets that the panels share. No science, no file formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QScrollArea,
    QTableWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.core.classes import Rgb
from napari_monusac.ui.widgets.note import short_path
from napari_monusac.ui.widgets.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_monusac.app.actions import Action
    from napari_monusac.io.collection.patients import Grouping

T = TypeVar("T")


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


class Section(QWidget):
    """A titled part of a panel that folds away; how the user left it is remembered under its title."""

    def __init__(self, title: str, content: QWidget, *, opened: bool = True) -> None:
        super().__init__()
        opened = SETTINGS.now.sections.get(title, opened)
        self.toggle = QToolButton()
        self.toggle.setText(title)
        self.toggle.setCheckable(True)
        self.toggle.setChecked(opened)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setStyleSheet(
            "QToolButton { border: none; font-weight: bold; } QToolButton:focus { text-decoration: underline; }"
        )
        self.toggle.setToolTip("Show or hide this part")
        self.content = content
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        box.addWidget(self.toggle)
        box.addWidget(content)
        self.toggle.toggled.connect(self._toggled)
        # clicked: what a panel unfolds by itself is no wish of the user's
        self.toggle.clicked.connect(lambda on: SETTINGS.keep("sections", {**SETTINGS.now.sections, title: on}))
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
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # else Tab stops where nothing is seen
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


def calm(button: Any) -> Any:
    """Let a button take the keyboard by Tab, not by a click: after a click keys go on to the canvas."""
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


def button_of(action: Action[Any]) -> Any:
    """A calm button that says what an action of the table does, with its key."""
    button = calm(QPushButton(action.label))
    button.setToolTip(action.tooltip)
    return button


def form_button(action: Action[T], on: T) -> Any:
    """A button of a form that does an action: a click takes the keyboard, so that what is typed in a field is taken."""
    button = QPushButton(action.label)
    button.setToolTip(action.tooltip)
    button.clicked.connect(lambda _=False: action.run(on))
    return button


def offer(button: Any, action: Action[Any], why: str = "") -> None:
    """Let a button do its action, or rest and say why on hover."""
    button.setEnabled(not why)
    button.setToolTip(why or action.tooltip)


def step_buttons(previous: Action[Any], following: Action[Any]) -> tuple[Any, Any]:
    """Return buttons that go to the one before and the one after."""
    before, after = button_of(previous), button_of(following)
    before.setText(f"\u25c0 {previous.label}")
    after.setText(f"{following.label} \u25b6")
    return before, after


def key_table(lines: Iterable[tuple[str, str]], title: str = "") -> QWidget:
    """A small table of keys and what they do."""
    widget = QWidget()
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setVerticalSpacing(2)
    if title:
        grid.addWidget(Heading(title), 0, 0, 1, 2)
    for at, (keys, words) in enumerate(lines, start=1):
        key, text = QLabel(keys), QLabel(words)
        font = key.font()
        font.setBold(True)
        key.setFont(font)
        text.setWordWrap(True)
        grid.addWidget(key, at, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(text, at, 1)
    grid.setColumnMinimumWidth(0, 110 if title else 0)
    grid.setColumnStretch(1, 1)
    return widget


def grouping_words(grouping: Grouping) -> str:
    """Say how many crops of how many patients, and what told them."""
    guess = " Look whether they are right: no patient may train and validate." if grouping.guessed else ""
    where = f" ({short_path(grouping.file, 60)})" if grouping.file is not None else ""
    notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in grouping.notes)
    return f"{str(grouping)[:1].upper()}{str(grouping)[1:]}{where}.{guess}{notes}"
