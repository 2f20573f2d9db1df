"""Names of classes that nobody knows: how many there are in the folder, and what the reader says they mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.actions import NAME_CLASSES
from napari_monusac.core.classes import Meaning, class_names_given, plain_name
from napari_monusac.core.errors import MonusacError
from napari_monusac.io.annotations.class_names import MEANINGS, keep_class_names, take_kept_names
from napari_monusac.ui.widgets.basic import form_button, scrolling
from napari_monusac.ui.widgets.note import Note, say_error

_LEAVE = "not known"
_HOW = (
    "Say what each name means; a name that stays “not known” leaves its nuclei without a class: they train the outlines, "
    "not the classes. Ambiguous: an area that is left out of training and scores. Ignored: in no mask. The files stay as "
    "they are."
)
#: Names that the line in the panel spells out.
_NAMED = 4
_LONGEST = 32


class ClassNames(QWidget):
    """Says which class names of the folder nobody knows, and asks what they mean.

    Signals
    -------
    kept(Path) : names were given a meaning, or it was taken back; counts and maps are to be made anew.
    """

    kept = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._unknown: dict[str, dict[str, int]] = {}
        self._broken = False
        self.said = Note()
        self.said.setTextFormat(Qt.TextFormat.PlainText)
        self.ask = form_button(NAME_CLASSES, self)
        self.dialog: NamesDialog | None = None
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.said)
        box.addWidget(self.ask)
        try:
            take_kept_names()
        except MonusacError as error:
            self._broken = True  # said until the file is mended
            say_error(self.said, error, "warning")
            self.ask.hide()
        self.forget()

    def forget(self) -> None:
        """Another folder, or all counted anew."""
        self._unknown.clear()
        self._say()

    def show_crop(self, name: str, unknown: Mapping[str, int]) -> None:
        """Take note of the unknown class names of a crop, with their number of nuclei."""
        if self._unknown.get(name, {}) != unknown:
            self._unknown[name] = dict(unknown)
            self._say()

    @property
    def unknown(self) -> dict[str, int]:
        """Unknown names of all crops with their number of nuclei, the most frequent first; case does not matter."""
        number: Counter[str] = Counter()
        spelled: dict[str, str] = {}
        for names in self._unknown.values():
            for name, nuclei in names.items():
                number[spelled.setdefault(plain_name(name), name)] += nuclei
        return dict(number.most_common())

    def _say(self) -> None:
        if self._broken:
            return
        unknown, given = self.unknown, class_names_given()
        self.setVisible(bool(unknown or given))
        if unknown:
            first = ", ".join(f"{_short(name)} ({nuclei})" for name, nuclei in list(unknown.items())[:_NAMED])
            more = " …" if len(unknown) > _NAMED else ""
            names = "1 name of a class is" if len(unknown) == 1 else f"{len(unknown)} names of classes are"
            self.said.say(f"{names} not known: {first}{more}", "warning", "\n".join(unknown))
            self.ask.setText("Say what it means…" if len(unknown) == 1 else NAME_CLASSES.text)
        elif given:
            names = "1 name of a class is" if len(given) == 1 else f"{len(given)} names of classes are"
            self.said.say(f"{names} taken as you said.", "hint", "\n".join(given))
            self.ask.setText("Change names of classes…")

    def open_dialog(self) -> NamesDialog:
        """Ask what the names mean."""
        self.dialog = NamesDialog(self.unknown, class_names_given(), self)
        self.dialog.accepted.connect(self._keep)
        self.dialog.open()
        return self.dialog

    def _keep(self) -> None:
        changes = self.dialog.changes() if self.dialog is not None else {}
        if not changes:
            return
        try:
            file: Path = keep_class_names(changes)
        except MonusacError as error:
            say_error(self.said, error)
            return
        self.forget()
        self.kept.emit(file)


class NamesDialog(QDialog):
    """A row a name: how many nuclei bear it, and what it means.

    Parameters
    ----------
    unknown : mapping of str to int
        Names that nobody knows, with their number of nuclei.
    given : mapping of str to meaning
        Names that were given a meaning before.
    parent : QWidget
    """

    def __init__(self, unknown: Mapping[str, int], given: Mapping[str, Meaning], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Names of classes")
        self._given = dict(given)
        self.meanings: dict[str, QComboBox] = {}
        rows, grid = QWidget(), QGridLayout()
        rows.setLayout(grid)
        for column, title in enumerate(("Name in the files", "Nuclei", "Means")):
            grid.addWidget(QLabel(title), 0, column)
        for row, name in enumerate((*unknown, *(n for n in given if n not in unknown)), 1):
            self._add(grid, row, name, unknown.get(name))
        grid.setColumnStretch(0, 1)
        grid.setRowStretch(grid.rowCount(), 1)
        buttons = QDialogButtonBox()
        self.keep = QPushButton("Keep")
        self.keep.setToolTip("Count and draw with these names now, and whenever this window opens")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Leave the names as they are")
        buttons.addButton(self.keep, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.addButton(self.cancel, QDialogButtonBox.ButtonRole.RejectRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        box = QVBoxLayout(self)
        box.addWidget(Note(_HOW))
        box.addWidget(scrolling(rows), 1)
        box.addWidget(buttons)
        self.resize(520, min(640, 220 + 34 * len(self.meanings)))

    def _add(self, grid: QGridLayout, row: int, name: str, nuclei: int | None) -> None:
        label = QLabel(_short(name))
        label.setTextFormat(Qt.TextFormat.PlainText)
        label.setToolTip(name)
        number = QLabel("" if nuclei is None else str(nuclei))
        number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        means = QComboBox()
        means.addItems([_LEAVE, *MEANINGS])
        means.setCurrentText(self._word(name))
        means.setAccessibleName(f"What {name} means")
        means.setToolTip(f"What nuclei called {name} are")
        label.setBuddy(means)
        self.meanings[name] = means
        for column, widget in enumerate((label, number, means)):
            grid.addWidget(widget, row, column)

    def _word(self, name: str) -> str:
        meaning = self._given.get(plain_name(name))
        return next((word for word, m in MEANINGS.items() if m == meaning), _LEAVE)

    def changes(self) -> dict[str, Meaning | None]:
        """Names of which another meaning was chosen; None where it was taken back."""
        chosen = {name: box.currentText() for name, box in self.meanings.items()}
        return {name: MEANINGS.get(word) for name, word in chosen.items() if word != self._word(name)}


def _short(name: str) -> str:
    """A name of a stranger's file on one line."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
