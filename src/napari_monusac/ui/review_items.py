"""The items of the queue as a Qt table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt

from napari_monusac.ui.review_widgets import SHORT, class_words, number
from napari_monusac.ui.review_words import judged_words

if TYPE_CHECKING:
    from napari_monusac.session.review import ReviewItem

_HEADERS = ("", "What", "Class", "Doubt", "Crop")
_TIPS = (
    "Looked at, and your answer",
    "An error, or a nucleus that the model is in doubt of",
    "Class in the truth → class that the model gave / its second choice",
    "0: none, 1: great",
    "The crop that it lies in",
)


class ItemsModel(QAbstractTableModel):
    """The shown items of a queue as a Qt table."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: Any = None
        self.verdicts: Mapping[str, str] = {}

    def refresh(self, queue: Any, verdicts: Mapping[str, str] | None = None) -> None:
        """Show what a queue shows now, and what the reader has answered: {key of an item: verdict}."""
        self.beginResetModel()
        self.queue = queue
        if verdicts is not None:
            self.verdicts = verdicts
        self.endResetModel()

    def item(self, at: int) -> ReviewItem | None:
        """The item of a row."""
        return self.queue.shown[at] if self.queue is not None and 0 <= at < len(self.queue.shown) else None

    def rowCount(self, _: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Number of rows."""
        return len(self.queue.shown) if self.queue is not None else 0

    def columnCount(self, _: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Number of columns."""
        return len(_HEADERS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802 - Qt's name
        """Titles."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _HEADERS[section]
        return _TIPS[section] if role == Qt.ItemDataRole.ToolTipRole and section < len(_TIPS) else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Text of a cell."""
        item = self.item(index.row())
        if item is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._cell(item, index.column())
        if role == Qt.ItemDataRole.ToolTipRole:
            f = item.finding
            second = f"; second choice {item.second_class.label}" if item.second_class is not None else ""
            said = self.verdicts.get(item.key)
            words = f"{class_words(f.truth_class, f.predicted_class)}{second}; {f.crop}"
            return f"{words}; you said: {said}" if said else words
        return None

    def _cell(self, item: ReviewItem, column_: int) -> str:
        f = item.finding
        if column_ == 0:
            return judged_words(self.verdicts.get(item.key)) or ("✓" if self.queue.is_done(item.key) else "")
        if column_ == 1:
            return f.type.value.capitalize() if item.kind == "error" else "Doubtful"
        if column_ == 2:
            words = class_words(f.truth_class, f.predicted_class, short=True)
            rare = item.second_class
            return f"{words} / {SHORT[rare.label]}" if item.rare_second_choice and rare is not None else words
        return number(item.doubt) if column_ == 3 else f.crop
