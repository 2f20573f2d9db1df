"""Parts of the Annotate panel: class buttons, tool buttons, questions. Views only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledSlider

from napari_monusac.app.actions import CLASS, FILL, FILL_OF, TOOL
from napari_monusac.app.editing import Question
from napari_monusac.core.classes import AMBIGUOUS, AMBIGUOUS_COLOR, CLASSES, PALETTES, NucleusClass, PaletteName, Rgb
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID
from napari_monusac.masks.wand import WAND_TOLERANCE
from napari_monusac.ui.widgets.basic import calm, row
from napari_monusac.ui.widgets.note import Note

#: Key of each class and its number in a row, in the order of the buttons.
_ROW_NUMBER = {0: int(NucleusClass.UNCLASSIFIED), 5: AMBIGUOUS_ID}
CLASS_KEYS: tuple[tuple[int, int], ...] = tuple((key, _ROW_NUMBER.get(key, key)) for key in CLASS)
#: Tools that draw nuclei, over their neighbours or not.
DRAWING = ("brush", "lasso", "polygon", "wand", "rectangle", "ellipse")
_NAMES = {**{int(c): c.label for c in (*CLASSES, NucleusClass.UNCLASSIFIED)}, AMBIGUOUS_ID: AMBIGUOUS}


def rgb_of(number: int, palette: PaletteName) -> Rgb:
    """Return the colour of a class by its number in a row (5 is an Ambiguous region)."""
    return AMBIGUOUS_COLOR if number == AMBIGUOUS_ID else PALETTES[palette][NucleusClass(number)]


def color_icon(rgb: Rgb, *, filled: bool = True, size: int = 16) -> QIcon:
    """A square in a class's colour, filled or as an outline, with an edge that shows on light and on dark."""
    picture = QPixmap(size, size)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.fillRect(0, 0, size, size, QColor(110, 110, 110))
    painter.fillRect(1, 1, size - 2, size - 2, QColor(*rgb))
    if not filled:
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Clear)
        painter.fillRect(4, 4, size - 8, size - 8, Qt.GlobalColor.transparent)
    painter.end()
    return QIcon(picture)


class ClassButtons(QWidget):
    """One button a class with its key and how many nuclei there are; its colour is a button too: outline or filled.

    Signals
    -------
    chosen(int) : the key of a class.
    fill_asked(int) : the number of a class that is to be filled, or outlined.
    """

    chosen = Signal(int)
    fill_asked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[int, QPushButton] = {}
        self.chips: dict[int, QToolButton] = {}
        self._palette: PaletteName = "imagescope"
        self._filled: frozenset[int] = frozenset()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        for at, (key, number) in enumerate(CLASS_KEYS):
            button = calm(QPushButton())
            button.setCheckable(True)
            button.setStyleSheet("QPushButton { text-align: left; padding: 4px 6px; }")
            button.setToolTip(CLASS[key].tooltip)
            button.clicked.connect(lambda _=False, k=key: self.chosen.emit(k))
            chip = calm(QToolButton())
            chip.setIconSize(QSize(16, 16))
            chip.setAutoRaise(True)
            chip.clicked.connect(lambda _=False, n=number: self.fill_asked.emit(n))
            self.buttons[number], self.chips[number] = button, chip
            grid.addWidget(chip, at // 2, 2 * (at % 2))
            grid.addWidget(button, at // 2, 2 * (at % 2) + 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        self._show_chips()
        self.set_counts({})

    def set_palette(self, palette: PaletteName) -> None:
        """Show the colours of a palette."""
        self._palette = palette
        self._show_chips()

    def set_filled(self, filled: frozenset[int]) -> None:
        """Show which classes are filled."""
        self._filled = filled
        self._show_chips()

    def _show_chips(self) -> None:
        for number, chip in self.chips.items():
            filled = number in self._filled
            chip.setIcon(color_icon(rgb_of(number, self._palette), filled=filled))
            now, other = ("filled", "outlines only") if filled else ("outlines", "filled, too")
            chip.setToolTip(f"{_NAMES[number]}: {now}. Click: {other} ({FILL_OF.key}; {FILL.key} for all classes)")

    def set_counts(self, counts: Mapping[int, int]) -> None:
        """Show how many there are: {number of the class in a row: nuclei}."""
        for key, number in CLASS_KEYS:
            self.buttons[number].setText(f"{key}   {_NAMES[number]}   {counts.get(number, 0)}")

    def set_current(self, number: int) -> None:
        """Show which class new nuclei get."""
        for each, button in self.buttons.items():
            button.setChecked(each == number)


class ToolButtons(QWidget):
    """The tools, what the one in hand does, and its settings."""

    chosen = Signal(str)
    size_changed = Signal(int)
    tolerance_changed = Signal(int)
    over_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        group.setExclusive(False)
        grid = QGridLayout()
        grid.setSpacing(3)
        for at, tool in enumerate(TOOL):
            button = calm(QPushButton(TOOL[tool].text))
            button.setCheckable(True)
            button.setToolTip(f"{TOOL[tool].label}. {TOOL[tool].words}")
            button.setMinimumWidth(60)
            button.clicked.connect(lambda _=False, t=tool: self.chosen.emit(t))
            self.buttons[tool] = button
            grid.addWidget(button, at // 4, at % 4)
        self.help = Note()
        self.size = QLabeledSlider(Qt.Orientation.Horizontal)
        self.size.setRange(1, 60)
        self.size.setValue(10)
        self.size.setToolTip("Width of the brush in image px (napari's own [ and ] work too)")
        self.size.valueChanged.connect(self.size_changed.emit)
        self.over = calm(QCheckBox("Over neighbours"))
        self.over.setToolTip("What is drawn wins over nuclei that are there already; else they keep their pixels")
        self.over.toggled.connect(self.over_changed.emit)
        self.tolerance = QLabeledSlider(Qt.Orientation.Horizontal)
        self.tolerance.setRange(4, 60)
        self.tolerance.setValue(WAND_TOLERANCE)
        self.tolerance.setToolTip("How unlike the stain may be that the wand still takes: more takes paler edges")
        self.tolerance.valueChanged.connect(self.tolerance_changed.emit)
        self.settings = row(self.size, self.tolerance, self.over, stretch_first=True)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(3)
        box.addLayout(grid)
        box.addWidget(self.help)
        box.addWidget(self.settings)
        self.set_current("pick")

    def set_current(self, tool: str) -> None:
        """Show which tool is in hand; empty for one of napari's own."""
        for name, button in self.buttons.items():
            button.setChecked(name == tool)
        self.help.say(TOOL[tool].words if tool else "One of napari's own tools is in hand: what it paints is kept.")
        self.size.setVisible(tool in ("brush", "erase"))
        self.tolerance.setVisible(tool == "wand")
        self.over.setVisible(tool in DRAWING)
        self.settings.setVisible(tool in (*DRAWING, "erase"))


class QuestionBar(QWidget):
    """A decision that the reader is offered in the panel; nothing waits for it.

    Signals
    -------
    answered() : the reader has chosen; the question is taken away, then the answer is carried out.
    """

    answered = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.text = Note(kind="warning")
        self.buttons: list[QPushButton] = []
        self._line = QHBoxLayout()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.text)
        box.addLayout(self._line)
        self.hide()

    def ask(self, question: Question | None) -> None:
        """Show a question, or take it away."""
        for button in self.buttons:
            self._line.removeWidget(button)
            button.deleteLater()
        self.buttons = []
        self.setVisible(question is not None)
        if question is None:
            return
        self.text.say(question.text, question.kind)
        for words, action in question.answers:
            button = calm(QPushButton(words))
            button.clicked.connect(lambda _=False, do=action: self._answered(do))
            self._line.addWidget(button)
            self.buttons.append(button)

    def _answered(self, action: Any) -> None:
        self.answered.emit()
        action()


def slider(low: int, high: int, value: int, tooltip: str) -> QSlider:
    """A plain slider of whole numbers."""
    made = QSlider(Qt.Orientation.Horizontal)
    made.setRange(low, high)
    made.setValue(value)
    made.setToolTip(tooltip)
    return made
