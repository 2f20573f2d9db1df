"""The list of errors: sorted and filtered by type, class and confidence; a row is a step away from the nucleus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QComboBox, QHeaderView, QLabel, QVBoxLayout, QWidget

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui.widgets.basic import Note, calm, row
from napari_monusac.ui.widgets.tables import (
    COUNTING,
    COUNTING_SHORT,
    CalmTable,
    class_words,
    judged_words,
    narrow,
    number,
)

if TYPE_CHECKING:
    from napari_monusac.scoring.errors.finding import Finding

_HEADERS = ("Error", "Class", "µm²", "IoU", "Sure", "Judged")
_JUDGED = 5
_TIPS = (
    "What is wrong with the nucleus",
    "Class in the truth → class that the model gave",
    "Area at fault, µm² (px where the image has no scale)",
    "Overlap of the true and the predicted nucleus",
    "How sure the model is of its nucleus",
    "Your answer: who is right",
)
#: Choices of confidence: words, lowest, highest.
_SURE = (("Any certainty", 0.0, 1.01), ("0.8 and up", 0.8, 1.01), ("0.5 to 0.8", 0.5, 0.8), ("under 0.5", 0.0, 0.5))
_ROWS_HIGH = 9
_WIDTHS = (80, 0, 44, 36, 40, 68)


class FindingsModel(QAbstractTableModel):
    """Findings as a Qt table; twenty thousand of them cost nothing until they are seen."""

    def __init__(self) -> None:
        super().__init__()
        self._all: list[Finding] = []
        self.verdicts: Mapping[str, str] = {}
        self.shown: list[Finding] = []
        self.kind = self.class_ = None
        self.sure = _SURE[0][1:]
        self._order: tuple[int, bool] | None = None

    def set_findings(self, findings: Sequence[Finding]) -> None:
        """Take other findings; filter and order stay."""
        self._all = list(findings)
        self.arrange()

    def set_verdicts(self, verdicts: Mapping[str, str]) -> None:
        """Show what the reader has answered: {key of a finding: verdict}. No row moves."""
        self.verdicts = verdicts
        if self.shown:
            self.dataChanged.emit(self.index(0, _JUDGED), self.index(len(self.shown) - 1, _JUDGED))

    @property
    def number(self) -> int:
        """Number of errors of the crop, filtered or not."""
        return len(self._all)

    @property
    def judged(self) -> int:
        """Number of errors of the crop that the reader has judged."""
        return sum(f.key in self.verdicts for f in self._all)

    def arrange(self) -> None:
        """Filter and sort anew."""
        self.beginResetModel()
        kept = [f for f in self._all if self._keeps(f)]
        if self._order is not None:
            column, backwards = self._order
            kept.sort(key=lambda f: _sort_key(f, column), reverse=backwards)
        self.shown = kept
        self.endResetModel()

    def _keeps(self, f: Finding) -> bool:
        low, high = self.sure
        if self.kind is not None and f.type.value != self.kind:
            return False
        if self.class_ is not None and self.class_ not in (f.truth_class, f.predicted_class):
            return False
        return (low, high) == _SURE[0][1:] if f.confidence is None else low <= f.confidence < high

    # -- Qt's names

    def rowCount(self, _: QModelIndex | None = None) -> int:  # noqa: N802
        """Number of rows."""
        return len(self.shown)

    def columnCount(self, _: QModelIndex | None = None) -> int:  # noqa: N802
        """Number of columns."""
        return len(_HEADERS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802
        """Titles and what they mean."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _HEADERS[section]
        return _TIPS[section] if role == Qt.ItemDataRole.ToolTipRole and section < len(_TIPS) else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Text of a cell."""
        f, column = self.shown[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return judged_words(self.verdicts.get(f.key)) if column == _JUDGED else _cell(f, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            said = self.verdicts.get(f.key)
            return class_words(f.truth_class, f.predicted_class) + (f"; you said: {said}" if said else "")
        if role == Qt.ItemDataRole.TextAlignmentRole and 1 < column < _JUDGED:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def sort(self, column: int, order: Any = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; findings come sorted by type, largest first."""
        if not 0 <= column < _JUDGED:
            return
        self._order = (column, order == Qt.SortOrder.DescendingOrder)
        self.arrange()


def _cell(f: Finding, column: int) -> str:
    if column == 0:
        return f.type.value.capitalize()
    if column == 1:
        return class_words(f.truth_class, f.predicted_class, short=True)
    if column == 2:
        return f"{f.size_um2:.0f}" if f.size_um2 is not None else f"{f.size_px:.0f} px"
    return number(f.iou if column == 3 else f.confidence)


def _sort_key(f: Finding, column: int) -> Any:
    if column < 2:
        return _cell(f, column)
    value = (f.size_px, f.iou, f.confidence)[column - 2]
    return -1.0 if value is None else value


class ErrorsView(QWidget):
    """The list with its filters.

    Signals
    -------
    chosen(Finding) : a row was clicked or stepped to.
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.model = FindingsModel()
        self.counts = Note()
        self.counting = QLabel(COUNTING_SHORT)
        self.counting.setToolTip(COUNTING)
        self._words = ""
        self.kind, self.class_, self.sure = calm(QComboBox()), calm(QComboBox()), calm(QComboBox())
        for combo in (self.kind, self.class_, self.sure):
            narrow(combo)
        self.kind.addItem("Any error", None)
        self.class_.addItem("Any class", None)
        for c in CLASSES:
            self.class_.addItem(c.label, c)
        for words, low, high in _SURE:
            self.sure.addItem(words, (low, high))
        self.table = CalmTable()
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        # findings come sorted by type, largest first: no column sorts them until it is clicked
        self.table.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.table.setSortingEnabled(True)
        self.table.horizontalHeader().setHighlightSections(False)
        self.table.show_rows(_ROWS_HIGH)
        header = self.table.horizontalHeader()
        header.setMinimumSectionSize(20)
        for i, width in enumerate(_WIDTHS):
            header.setSectionResizeMode(
                i, QHeaderView.ResizeMode.Interactive if i != 1 else QHeaderView.ResizeMode.Stretch
            )
            if width:
                header.resizeSection(i, width)
        self.table.setColumnHidden(_JUDGED, True)
        filters = row(self.kind, self.class_, self.sure)
        filters.layout().setSpacing(4)
        for i, stretch in enumerate((5, 5, 6)):
            filters.layout().setStretch(i, stretch)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.counts, filters, self.table, self.counting):
            box.addWidget(widget)
        for combo in (self.kind, self.class_, self.sure):
            combo.currentIndexChanged.connect(lambda _: self._filter())
        self.table.selectionModel().currentRowChanged.connect(self._row_changed)

    @property
    def current(self) -> Finding | None:
        """The finding whose row is chosen."""
        at = self.table.selectionModel().currentIndex()
        return self.model.shown[at.row()] if at.isValid() and at.row() < len(self.model.shown) else None

    def rowCount(self) -> int:  # noqa: N802 - as Qt's tables have it
        """Number of errors shown."""
        return self.model.rowCount()

    def set_findings(self, findings: Any) -> None:
        """Show the errors of a comparison; the chosen one stays chosen where it is still there."""
        kept = self.current
        at = self.table.selectionModel().currentIndex().row()
        counts = findings.counts()
        wanted = self.kind.currentData()
        self.kind.blockSignals(True)
        self.kind.clear()
        self.kind.addItem("Any error", None)
        for kind, n in counts.items():
            self.kind.addItem(f"{kind.value.capitalize()} ({n})", kind.value)
        self.kind.setCurrentIndex(max(0, self.kind.findData(wanted)))
        self.kind.blockSignals(False)
        self.model.set_findings(findings)
        words = ", ".join(f"{n} {kind.value}" for kind, n in counts.items() if n)
        self._words = words
        self._say()
        self._keep(kept, at)

    def set_verdicts(self, verdicts: Mapping[str, str]) -> None:
        """Mark the errors that the reader has judged: {key of a finding: verdict}."""
        self.model.set_verdicts(verdicts)
        self.table.setColumnHidden(_JUDGED, not self.model.judged)
        self._say()

    def _say(self) -> None:
        words, (judged, number_) = self._words, (self.model.judged, self.model.number)
        if words and judged:
            words += f" – {judged} of {number_} judged"
        self.counts.say(words or "No errors: every nucleus is right.", "hint" if words else "good")
        self.counts.setToolTip(COUNTING)  # a note's own tooltip is what it has to shorten

    def _keep(self, kept: Finding | None, at: int) -> None:
        """Choose what was chosen, without moving the camera; where it is gone, the next step goes to its place."""
        if kept is None:
            return
        keys = [f.key for f in self.model.shown]
        selection = self.table.selectionModel()
        selection.blockSignals(True)
        if kept.key in keys:
            self._select(keys.index(kept.key))
            self._mended_at = None
        else:
            self._mended_at = at
        selection.blockSignals(False)
        self.table.viewport().update()

    _mended_at: int | None = None

    def _select(self, at: int) -> None:
        index = self.model.index(at, 0)
        flags = QItemSelectionModel.SelectionFlag
        self.table.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
        self.table.scrollTo(index)

    def step(self, by: int) -> None:
        """Go to the next (1) or previous (-1) error, around the ends."""
        n = self.model.rowCount()
        if not n:
            return
        at = self.table.selectionModel().currentIndex()
        if at.isValid():
            self._select((at.row() + by) % n)
        elif self._mended_at is not None:
            self._select((self._mended_at + (by if by < 0 else 0)) % n)
        else:
            self._select(0 if by > 0 else n - 1)
        self._mended_at = None

    def _filter(self) -> None:
        self.model.kind, self.model.class_ = self.kind.currentData(), self.class_.currentData()
        self.model.sure = tuple(self.sure.currentData())
        self.model.arrange()

    def _row_changed(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid():
            self.chosen.emit(self.model.shown[index.row()])
