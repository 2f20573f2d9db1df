"""The queue: what to look at next over the whole folder, most uncertain first, with or without truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QHeaderView,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.actions import REVIEW_NEXT, REVIEW_PREVIOUS
from napari_monusac.app.work import Task
from napari_monusac.core.classes import CLASSES
from napari_monusac.scoring.errors.finding import FindingType
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import Note, TaskRow, calm, column, row, step_buttons
from napari_monusac.ui.widgets.settings import ReaderName
from napari_monusac.ui.widgets.tables import SHORT, CalmTable, class_words, judged_words, narrow, number

if TYPE_CHECKING:
    from napari_monusac.review.queue import ReviewItem
    from napari_monusac.ui.review.reading import Reading


_HEADERS = ("", "What", "Class", "Uncertainty", "Crop")
_TIPS = (
    "Looked at, and your answer",
    "An error, or a nucleus that the model is uncertain about",
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
            return f.type.value.capitalize() if item.kind == "error" else "Uncertain"
        if column_ == 2:
            words = class_words(f.truth_class, f.predicted_class, short=True)
            rare = item.second_class
            return f"{words} / {SHORT[rare.label]}" if item.rare_second_choice and rare is not None else words
        return number(item.uncertainty) if column_ == 3 else f.crop


_ORDERS = (("Most uncertain first", "uncertainty"), ("Largest fault first", "size"), ("Crop by crop", "crop"))
_KINDS = (("Errors, uncertain", ()), ("Only errors", ("error",)), ("Only uncertain", ("uncertain",)))
_ROWS_HIGH = 9
_WIDTHS = (62, 82, 104, 46, 0)


def _chosen(combo: QComboBox) -> frozenset[Any]:
    """What a filter keeps: everything, or the one thing that is chosen."""
    data = combo.currentData()
    return frozenset() if data is None else frozenset([data])


class QueueView(QWidget):
    """The queue of the present reader.

    Signals
    -------
    chosen(Finding) : an item was clicked or stepped to.
    """

    chosen = Signal(object)

    def __init__(self, model: Any, reading: Reading) -> None:
        super().__init__()
        self.model, self.reading = model, reading
        self.hint = Note()
        self.name = ReaderName()
        self.name.given.connect(reading.set_reader)
        self.start = QPushButton("Open the queue")
        self.start.setToolTip("Errors of crops with truth and uncertain nuclei of all crops; found once, then kept")
        self.start.clicked.connect(self.open)
        self.progress = TaskRow()
        self.bar = QProgressBar()
        self.bar.setFormat("%v of %m looked at")
        self.order, self.kind = calm(QComboBox()), calm(QComboBox())
        for words, order in _ORDERS:
            self.order.addItem(words, order)
        for words, kinds in _KINDS:
            self.kind.addItem(words, kinds)
        self.type, self.class_, self.patient = calm(QComboBox()), calm(QComboBox()), calm(QComboBox())
        for combo, words in ((self.type, "Any type"), (self.class_, "Any class"), (self.patient, "Any patient")):
            combo.addItem(words, None)
        for kind in FindingType:
            self.type.addItem(kind.value.capitalize(), kind)
        for cls in CLASSES:
            self.class_.addItem(cls.label, cls)
        self.rare = calm(QCheckBox("Rare classes as second choice"))
        self.rare.setToolTip("Nuclei that the model nearly called a neutrophil or a macrophage")
        self.open_only = calm(QCheckBox("Only what I have not looked at"))
        self.items = ItemsModel()
        self.table = CalmTable()
        self.table.setModel(self.items)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # crops of a patient differ in their last letters
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.show_rows(_ROWS_HIGH)
        header = self.table.horizontalHeader()
        header.setMinimumSectionSize(16)
        for i, width in enumerate(_WIDTHS):
            stretch = QHeaderView.ResizeMode.Interactive if width else QHeaderView.ResizeMode.Stretch
            header.setSectionResizeMode(i, stretch)
            if width:
                header.resizeSection(i, width)
        self.anew = calm(QPushButton("Build the queue anew"))
        self.anew.setToolTip("Look through the predictions again; what you looked at stays so where it is found again")
        self.anew.clicked.connect(lambda: self.open(anew=True))
        self.previous, self.next = step_buttons(REVIEW_PREVIOUS, REVIEW_NEXT)
        self.after = column(
            self.bar,
            row(self.order, self.kind),
            row(self.type, self.class_, self.patient),
            self.rare,
            self.open_only,
            self.table,
            row(self.previous, self.next),
            self.anew,
        )
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.hint, self.name, self.start, self.progress, self.after):
            box.addWidget(widget)
        self._connect()
        self._session_changed()

    def _connect(self) -> None:
        for combo in (self.order, self.kind, self.type, self.class_, self.patient):
            narrow(combo)
            combo.currentIndexChanged.connect(lambda _: self._filter())
        for check in (self.rare, self.open_only):
            check.toggled.connect(lambda _: self._filter())
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.table.selectionModel().currentRowChanged.connect(self._row_changed)
        self.reading.session_changed.connect(self._session_changed)
        self.reading.predictions_changed.connect(self._session_changed)
        self.reading.changed.connect(self._judged)
        hear(self, self.model.collection_changed, lambda _: self._session_changed())

    def _session_changed(self) -> None:
        session, reading = self.reading.session, self.reading
        ready = self.model.collection is not None and reading.predictions is not None
        self.hint.say(
            ""
            if session is not None
            else "Open a folder of crops first (Slides)."
            if self.model.collection is None
            else "Choose the folder of predictions above: its uncertain nuclei and its errors then queue up here."
            if reading.predictions is None
            else "Give your name: progress and judgements are kept for each reader."
            if not reading.reader
            else f"{reading.reader}, your place in the queue is kept."
        )
        self.name.setVisible(ready and not reading.reader)
        self.start.setVisible(session is None)
        self.start.setEnabled(ready and bool(reading.reader))
        self.after.setVisible(session is not None)
        self.items.refresh(session.queue if session is not None else None, self._verdicts())
        if session is not None:
            self._show_state(session.queue)

    def _show_state(self, queue: Any) -> None:
        """Filter, order and place as this reader left them."""
        state = queue.state
        boxes = (self.order, self.kind, self.type, self.class_, self.patient, self.rare, self.open_only)
        for box in boxes:
            box.blockSignals(True)
        while self.patient.count() > 1:
            self.patient.removeItem(1)
        for name in sorted({i.finding.patient for i in queue.items.values()}):
            self.patient.addItem(name, name)
        f = state.filter
        for combo, chosen in ((self.type, f.types), (self.class_, f.classes), (self.patient, f.patients)):
            combo.setCurrentIndex(max(0, combo.findData(next(iter(chosen)))) if chosen else 0)
        self.order.setCurrentIndex(max(0, self.order.findData(state.order)))
        kinds = [set(k) for _, k in _KINDS]
        self.kind.setCurrentIndex(kinds.index(set(state.filter.kinds)) if set(state.filter.kinds) in kinds else 0)
        self.rare.setChecked(state.filter.rare_second_choice)
        self.open_only.setChecked(state.filter.open_only)
        for box in boxes:
            box.blockSignals(False)
        self._show_progress()

    def open(self, *, anew: bool = False) -> Task | None:
        """Open the queue in the background; it is built when there is none, or `anew`."""
        task = self.reading.open_session(anew=anew)
        if task is None:
            return None
        for button in (self.start, self.anew):
            button.setEnabled(False)
        task.finished.connect(lambda: [button.setEnabled(True) for button in (self.start, self.anew)])
        return self.progress.follow(task, "Opening the queue…")

    def _filter(self) -> None:
        session = self.reading.session
        if session is None:
            return
        queue = session.queue
        changed = {
            "kinds": frozenset(self.kind.currentData() or ()),
            "types": _chosen(self.type),
            "classes": _chosen(self.class_),
            "patients": _chosen(self.patient),
            "rare_second_choice": self.rare.isChecked(),
            "open_only": self.open_only.isChecked(),
        }
        queue.set_filter(queue.state.filter.model_copy(update=changed))
        queue.set_order(self.order.currentData())
        self.items.refresh(queue)
        self._show_progress()

    def _judged(self) -> None:
        if self.reading.session is not None:
            self.items.refresh(self.reading.session.queue, self._verdicts())
            self._show_progress()
        else:
            self._session_changed()

    def _verdicts(self) -> Mapping[str, str]:
        session = self.reading.session
        return {k: j.verdict.value for k, j in session.log.judgements.items()} if session is not None else {}

    def _show_progress(self) -> None:
        session = self.reading.session
        if session is not None:
            done, total = session.queue.progress
            self.bar.setRange(0, max(1, total))
            self.bar.setValue(done)
            judged = sum(key in self.items.verdicts for key in session.queue.items)
            self.bar.setFormat(f"%v of %m looked at, {judged} judged")

    # -- getting about

    def step(self, by: int) -> None:
        """Go to the next (1) or previous (-1) item; after an answer to the next that is open."""
        session = self.reading.session
        if session is None:
            return
        queue = session.queue
        current = queue.current
        if not self.table.selectionModel().currentIndex().isValid() and current is not None:
            if by > 0 and queue.is_done(current.key):
                current = queue.next_open() or current
        else:
            current = queue.step(by)
        if current is not None:
            self._select(queue.index)

    def _select(self, at: int | None) -> None:
        if at is None:
            return
        flags = QItemSelectionModel.SelectionFlag
        index = self.items.index(at, 0)
        self.table.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
        self.table.scrollTo(index)

    def _row_changed(self, index: QModelIndex, _: QModelIndex) -> None:
        item = self.items.item(index.row()) if index.isValid() else None
        if item is not None and self.reading.session is not None:
            self.reading.session.queue.go_to(item.key)
            self.chosen.emit(item.finding)
