"""Tables of Review: they fit the dock, leave the keys to the canvas, and are as high as what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QItemSelection, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QListWidget,
    QSizePolicy,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_monusac.core.classes import NucleusClass

#: Why "missed" is another number in the list of errors, in the difference map and in the scores.
COUNTING_SHORT = "Scores count merged and split as missed and spurious."
COUNTING = (
    "The list of errors names each fault once, with all nuclei that take part. The difference map counts the further "
    "nuclei of a merge as missed, and the further pieces of a split as spurious. Scores pair nuclei at IoU above 0.5: "
    "merged, split and loose-edged ones without such a partner are missed and spurious there, and per class a wrong class "
    "counts as one missed and one spurious."
)
SCORED = "Spurious and missed: no partner at IoU above 0.5, so merged and split ones too; per class a wrong class is one of each."
PQ = "PQ (panoptic quality) = SQ × DQ: how well matched nuclei fit, times how many are matched. 1 is perfect, 0 none."

#: What the columns of tables mean, by their title.
TIPS: Mapping[str, str] = {
    "PQ": PQ,
    "F1": "Detection F1: 2 × found / (labelled + predicted); found: centres within 3 µm",
    "Nuclei": "Labelled nuclei",
    "Patients": "Patients with crops of this organ",
}
#: Verdicts for a narrow column.
VERDICTS: Mapping[str, str] = {
    "truth right": "truth", "model right": "model", "both wrong": "neither", "ambiguous": "ambig.",
}  # fmt: skip


def short_verdict(verdict: str) -> str:
    """A verdict for a narrow column."""
    return VERDICTS.get(verdict, verdict)


def judged_words(verdict: str | None) -> str:
    """What stands in the row of an error that was judged: a tick and the verdict; empty without one."""
    return f"✓ {short_verdict(verdict)}" if verdict else ""


#: Short names for narrow columns; the whole name stands in the tooltip.
SHORT = {"Epithelial": "Epith.", "Lymphocyte": "Lymph.", "Neutrophil": "Neutr.", "Macrophage": "Macr.",
         "Unclassified": "Uncl.", "Spurious": "Spurious", "Missed": "Missed"}  # fmt: skip


def number(value: float | None, digits: int = 2) -> str:
    """Show a score with the precision it has; undefined stays undefined."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def span(interval: Any, patients: int = 0, *, with_n: bool = True) -> str:
    """Show a 95 % interval with its number of patients; why there is none; empty where none was asked for."""
    if interval is None:
        return "" if not patients else f"n = {patients}, too few" if with_n else "too few"
    ends = f"{interval.low:.2f}–{interval.high:.2f}"
    return f"{ends}, n = {interval.n}" if with_n and interval.n is not None else ends


def class_words(truth: NucleusClass | None, predicted: NucleusClass | None, *, short: bool = False) -> str:
    """A class, or "truth → prediction" where the two differ."""
    names = [c.label for c in (truth, predicted) if c is not None]
    if len(set(names)) < 2:
        return names[0] if names else ""
    return " → ".join(SHORT[n] for n in names) if short else " → ".join(names)


def narrow(combo: QComboBox) -> None:
    """Let a choice be as wide as there is room, and no wider."""
    combo.setMinimumContentsLength(6)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)


def is_ours(event: Any) -> bool:
    """Whether a key belongs to the canvas (letters, digits ...): a list would search its rows for them."""
    return bool(event.text().strip())


def keep_calm(table: QTableView) -> None:
    """A table that is read, clicked and scrolled; only Tab brings the keyboard to it, to go through its rows."""
    table.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    table.setTabKeyNavigation(False)  # Tab goes on, it does not walk through cells
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    table.setMinimumWidth(0)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 8)
    table.setWordWrap(False)


class CalmTable(QTableView):
    """A view whose rows the arrow keys walk through; letters and digits go on to the panel, which acts on them."""

    def __init__(self) -> None:
        super().__init__()
        keep_calm(self)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Leave our keys to the panel; Enter is a click."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.clicked.emit(self.currentIndex())
        elif is_ours(event):
            event.ignore()
        else:
            super().keyPressEvent(event)

    def fit_into(self, height: int) -> None:
        """Be as high as the rows that fit into this height, in px: four at least, 16 at most."""
        self.show_rows(min(max(4, height // self.verticalHeader().defaultSectionSize()), 16))

    def show_rows(self, number: int) -> None:
        """Be as high as so many rows."""
        height = self.horizontalHeader().sizeHint().height() + number * self.verticalHeader().defaultSectionSize() + 4
        self.setFixedHeight(height)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a `RowTable`: title, the text of a value's cell, what the title means, width in px (0: what is left)."""

    title: str
    text: Callable[[T], str]
    tip: str = ""
    width: int = 0
    right: bool = False


class _Rows(QAbstractTableModel, Generic[T]):
    """Values of any kind as rows of text; twenty thousand of them cost nothing until they are seen."""

    def __init__(self, columns: Sequence[Column[T]], tip: Callable[[T], str]) -> None:
        super().__init__()
        self.columns, self._tip = columns, tip
        self.rows: Sequence[T] = ()
        self.sort_by: Callable[[int, bool], object] | None = None

    def show(self, rows: Sequence[T]) -> None:
        """Show these."""
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def rowCount(self, _: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Number of rows."""
        return len(self.rows)

    def columnCount(self, _: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Number of columns."""
        return len(self.columns)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802 - Qt's name
        """Titles and what they mean."""
        if orientation == Qt.Orientation.Horizontal and section < len(self.columns):
            column = self.columns[section]
            return {Qt.ItemDataRole.DisplayRole: column.title, Qt.ItemDataRole.ToolTipRole: column.tip}.get(
                Qt.ItemDataRole(role)
            )
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Text of a cell, and what more is to be said of its row."""
        value, column = self.rows[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(value)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(value)
        if role == Qt.ItemDataRole.TextAlignmentRole and column.right:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def sort(self, column: int, order: Any = Qt.SortOrder.AscendingOrder) -> None:
        """Ask for another order: rows are sorted where they come from."""
        if self.sort_by is not None and column >= 0:
            self.sort_by(column, order == Qt.SortOrder.DescendingOrder)


class RowTable(CalmTable, Generic[T]):
    """Values of any kind, one a row, of which one is chosen.

    Parameters
    ----------
    columns : sequence of Column
        What is shown of each.
    tip : callable
        What more is to be said of one.
    rows_high : int
        Rows that are seen at once.

    Signals
    -------
    chosen(object) : the user went to a row; its value.
    several(object) : the user selected these rows; their values. Only of a table made with `many`.
    """

    chosen = Signal(object)
    several = Signal(object)

    def __init__(
        self, columns: Sequence[Column[T]], tip: Callable[[T], str], rows_high: int, *, many: bool = False
    ) -> None:
        super().__init__()
        self._rows = _Rows(columns, tip)
        self.setModel(self._rows)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(16)
        header.setHighlightSections(False)
        for i, column in enumerate(columns):
            mode = QHeaderView.ResizeMode.Interactive if column.width else QHeaderView.ResizeMode.Stretch
            header.setSectionResizeMode(i, mode)
            if column.width:
                header.resizeSection(i, column.width)
        self.show_rows(rows_high)
        if many:
            self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
            self.selectionModel().selectionChanged.connect(self._selection_changed)
        else:
            self.selectionModel().currentRowChanged.connect(self._row_changed)

    def sort_with(self, sort_by: Callable[[int, bool], object]) -> None:
        """Let a click on a title ask for an order: its column, backwards or not. Until then rows stand as they come."""
        self._rows.sort_by = sort_by
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)

    @property
    def rows(self) -> Sequence[T]:
        """The values that are shown."""
        return self._rows.rows

    def show_values(self, rows: Sequence[T], chosen: int | None = None) -> None:
        """Show other values, and one of them as chosen."""
        self._rows.show(rows)
        self.choose(chosen)

    def look_again(self) -> None:
        """The same values are to be said in other words."""
        if self._rows.rows:
            last = self._rows.index(len(self._rows.rows) - 1, len(self._rows.columns) - 1)
            self._rows.dataChanged.emit(self._rows.index(0, 0), last)

    def choose(self, at: int | None) -> None:
        """Show a row as chosen, or none. Nobody is told: whoever asks for it knows."""
        selection, flags = self.selectionModel(), QItemSelectionModel.SelectionFlag
        selection.blockSignals(True)
        if at is None:
            selection.clear()
        else:
            index = self._rows.index(at, 0)
            selection.setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
            self.scrollTo(index)
        selection.blockSignals(False)
        self.viewport().update()

    def select(self, rows: Sequence[int]) -> None:
        """Show these rows (rising) as selected, the first of them in view. Nobody is told."""
        chosen, last = QItemSelection(), len(self._rows.columns) - 1
        for run in np.split(np.asarray(rows, int), np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else ():
            chosen.select(self._rows.index(int(run[0]), 0), self._rows.index(int(run[-1]), last))
        selection, flags = self.selectionModel(), QItemSelectionModel.SelectionFlag
        selection.blockSignals(True)
        selection.select(chosen, flags.ClearAndSelect)
        if len(rows):
            selection.setCurrentIndex(self._rows.index(int(rows[0]), 0), flags.NoUpdate)
            self.scrollTo(self._rows.index(int(rows[0]), 0))
        selection.blockSignals(False)
        self.viewport().update()

    def _selection_changed(self, *_: object) -> None:
        ranges = self.selectionModel().selection()
        rows = sorted({k for part in ranges for k in range(part.top(), part.bottom() + 1)})
        self.several.emit([self._rows.rows[k] for k in rows])

    def text(self, row: int, column: int) -> str:
        """What a cell says."""
        return self._rows.columns[column].text(self._rows.rows[row])

    def _row_changed(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid():
            self.chosen.emit(self._rows.rows[index.row()])


class CalmList(QListWidget):
    """A list whose items the arrow keys walk through; Enter is a click, letters and digits go on to the panel."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Leave our keys to the panel."""
        item = self.currentItem()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and item is not None:
            self.itemClicked.emit(item)
        elif is_ours(event):
            event.ignore()
        else:
            super().keyPressEvent(event)


class Table(QTableWidget):
    """A small table. The first column stretches, the others are as wide as they need to be.

    Parameters
    ----------
    headers : sequence of str
        Column titles.
    rows_at_most : int
        More rows scroll.
    """

    def __init__(self, headers: Sequence[str] = (), rows_at_most: int = 12) -> None:
        super().__init__(0, len(headers))
        keep_calm(self)
        self._rows_at_most = rows_at_most
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setMinimumSectionSize(20)
        self.set_headers(headers)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Enter is a click on the cell; our keys are left to the panel."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentRow() >= 0:
            self.cellClicked.emit(self.currentRow(), self.currentColumn())
        elif is_ours(event):
            event.ignore()
        else:
            super().keyPressEvent(event)

    def set_headers(self, headers: Sequence[str], tooltips: Sequence[str] = ()) -> None:
        """Title the columns."""
        self.setColumnCount(len(headers))
        self.setHorizontalHeaderLabels(list(headers))
        header = self.horizontalHeader()
        for i in range(len(headers)):
            stretch = QHeaderView.ResizeMode.Stretch if i == 0 else QHeaderView.ResizeMode.ResizeToContents
            header.setSectionResizeMode(i, stretch)
            tip = tooltips[i] if i < len(tooltips) else TIPS.get(headers[i], "")
            self.horizontalHeaderItem(i).setToolTip(tip)

    def fill(self, rows: Sequence[Sequence[str]], tooltips: Sequence[str] = ()) -> None:
        """Show rows of text; numbers stand right."""
        self.setRowCount(len(rows))
        for i, texts in enumerate(rows):
            for k, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if k:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                item.setToolTip(tooltips[i] if i < len(tooltips) else text)
                self.setItem(i, k, item)
        self.fit()

    def bold(self, column: int) -> None:
        """Set one column in bold: the number to quote."""
        for i in range(self.rowCount()):
            item = self.item(i, column)
            font = item.font()
            font.setBold(True)
            item.setFont(font)

    def tint(self, row: int, column: int, strength: float, rgb: tuple[int, int, int]) -> None:
        """Colour a cell's background, 0 not at all to 1 strongly."""
        self.item(row, column).setBackground(QColor(*rgb, round(150 * min(1.0, max(0.0, strength)))))

    def fit(self) -> None:
        """Be as high as the rows, up to the limit."""
        shown = min(self._rows_at_most, max(1, self.rowCount()))
        rows = sum(self.rowHeight(i) for i in range(min(shown, self.rowCount())))
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows + 4)


class Line(QWidget):
    """Text in a place of fixed height: another text moves nothing around it and lays nothing out anew.

    Parameters
    ----------
    text : str
        The text.
    lines : int
        Lines that there is room for; more ends in an ellipsis, and all of it stands in the tooltip.
    """

    def __init__(self, text: str = "", lines: int = 2) -> None:
        super().__init__()
        self._text, self._lines = "", lines
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + 8)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.say(text)

    def text(self) -> str:
        """What stands there."""
        return self._text

    def say(self, text: str) -> None:
        """Show another text."""
        if text != self._text:
            self._text = text
            self.setToolTip(text)
            self.setAccessibleName(text)
            self.update()

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the text, wrapped, beside an edge like that of a note."""
        painter = QPainter(self)
        painter.fillRect(0, 0, 3, self.height(), QColor("#7f8c9b"))
        painter.setPen(self.palette().color(self.foregroundRole()))
        room = self.rect().adjusted(9, 4, -4, -4)
        text = self._text
        flags = Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignVCenter
        while text and painter.boundingRect(room, flags, text).height() > room.height():
            text = text[: -2 if text.endswith("…") else -1].rstrip() + "…"
        painter.drawText(room, flags, text)
