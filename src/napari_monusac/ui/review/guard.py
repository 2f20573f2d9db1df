"""The regression guard: what a new model fixed, and what it newly broke, nucleus by nucleus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHeaderView,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.work import Report, Task
from napari_monusac.ui.review.gallery import Place
from napari_monusac.ui.widgets.basic import Note, PathPicker, TaskRow, calm, column
from napari_monusac.ui.widgets.tables import SHORT, CalmTable, Table, number

if TYPE_CHECKING:
    from napari_monusac.scoring.report.guard import Guard, NucleusChange
    from napari_monusac.ui.review.reading import Reading

_HINT = "Two models on the same crops: choose for each a folder of predictions, a run folder, or a checkpoint file."
_ROWS_HIGH = 8
_OF_CLASS = ("Class", "PQ", "Fixed", "Broken", "Gone", "New")
_OF_CLASS_TIPS = (
    "", "PQ per patient, before → after; point at a row for the 95 % interval of the difference", "Right now, wrong before", "Wrong now, right before",
    "Spurious nuclei that are gone", "Spurious nuclei that are new",
)  # fmt: skip
#: What is looked at first.
_FIRST = ("newly broken", "fixed", "newly spurious", "spurious gone")
_HEADERS = ("Change", "Class", "Before → after", "Crop")


class ChangesModel(QAbstractTableModel):
    """Changed nuclei as a Qt table."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[NucleusChange] = []

    def show(self, changes: list[NucleusChange]) -> None:
        """Show these."""
        self.beginResetModel()
        self.shown = changes
        self.endResetModel()

    def rowCount(self, _: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Number of rows."""
        return len(self.shown)

    def columnCount(self, _: QModelIndex | None = None) -> int:  # noqa: N802 - Qt's name
        """Number of columns."""
        return len(_HEADERS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802 - Qt's name
        """Titles."""
        shown = orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole
        return _HEADERS[section] if shown else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Text of a cell."""
        c = self.shown[index.row()]
        words = (c.kind.value.capitalize(), SHORT.get(c.nucleus_class.label, c.nucleus_class.label),
                 f"{SHORT.get(c.before, c.before) or '–'} → {SHORT.get(c.after, c.after) or '–'}", c.crop)  # fmt: skip
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return words[index.column()]
        return None


class GuardView(QWidget):
    """Compares two models.

    Signals
    -------
    chosen(Place) : a changed nucleus was clicked.
    """

    chosen = Signal(object)

    def __init__(self, model: Any, reading: Reading) -> None:
        super().__init__()
        self.model, self.reading = model, reading
        self.guard: Guard | None = None
        self.hint = Note(_HINT)
        self.before = PathPicker("guard-before", placeholder="Before")
        self.after_path = PathPicker("guard-after", placeholder="After")
        form = QWidget()
        fields = QFormLayout(form)
        fields.setContentsMargins(0, 0, 0, 0)
        fields.addRow("Before", self.before)
        fields.addRow("After", self.after_path)
        self.training = QCheckBox("Training crops too")
        self.training.setToolTip(
            "Crops that one of the two was trained on are left out and counted: it knows them by heart. "
            "Tick to compare them all the same"
        )
        self.start = QPushButton("See what changed")
        self.start.clicked.connect(self.compare)
        self.progress = TaskRow()
        self.verdict = Note()
        self.by_class = Table(_OF_CLASS)
        self.by_class.set_headers(_OF_CLASS, _OF_CLASS_TIPS)
        self.by_class.cellClicked.connect(self._cell)
        self.kind = calm(QComboBox())
        self.kind.addItem("All changes", None)
        self.kind.currentIndexChanged.connect(lambda _: self._list())
        self.changes = ChangesModel()
        self.table = CalmTable()
        self.table.setModel(self.changes)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setFixedHeight((_ROWS_HIGH + 1) * (self.table.fontMetrics().height() + 9))
        header = self.table.horizontalHeader()
        header.setMinimumSectionSize(20)
        for i, width in enumerate((106, 56, 128, 0)):
            mode = QHeaderView.ResizeMode.Interactive if width else QHeaderView.ResizeMode.Stretch
            header.setSectionResizeMode(i, mode)
            if width:
                header.resizeSection(i, width)
        self.table.clicked.connect(self._clicked)
        self.result = column(self.verdict, self.by_class, self.kind, self.table)
        self.result.hide()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.hint, form, self.training, self.start, self.progress, self.result):
            box.addWidget(widget)

    def compare(self) -> Task | None:
        """Compare the two in the background; a checkpoint predicts the labelled crops first."""
        collection, before, after = self.model.collection, self.before.path, self.after_path.path
        if collection is None or before is None or after is None:
            self.hint.say("Open a folder of crops (Slides), then choose both.", "warning")
            return None
        self.hint.say(_HINT)
        cache = self.reading.folder.parent / "napari-monusac-guard"
        training = self.training.isChecked()
        if self.reading.predictions is not None:
            cache = self.reading.folder / "guard"

        def work(report: Report) -> Guard:
            from napari_monusac.infer.predicted_folder import predictions_of
            from napari_monusac.scoring.report.guard import guard_folders

            folders = [
                predictions_of(
                    path,
                    collection,
                    cache,
                    include_training=training,
                    report=report,
                    should_stop=lambda: report.stopping,
                )
                for path in (before, after)
            ]
            report(None, "Comparing nucleus by nucleus")
            return guard_folders(collection.root, *folders, include_training=training)

        task = self.model.work.task(work, self)
        task.done.connect(self._show)
        task.finished.connect(lambda: self.start.setEnabled(True))
        self.start.setEnabled(False)
        return self.progress.follow(task, "Reading…")

    def _show(self, guard: Guard) -> None:
        self.guard = guard
        from napari_monusac.scoring.metrics.evaluation import interval_words

        kind = {"better": "good", "worse": "error"}.get(guard.verdict, "hint")
        notes = "\n".join(guard.notes)
        self.verdict.say(f"{guard.verdict.capitalize()}. {guard.reason}" + (f"\n{notes}" if notes else ""), kind)
        self.by_class.fill(
            [
                (name, f"{number(c.pq_before)}→{number(c.pq_after)}",
                 *map(str, (c.fixed, c.broken, c.spurious_gone, c.spurious_new)))
                for name, c in guard.by_class.items()
            ],
            [
                f"{name}: difference of PQ, 95 % {interval_words(c.interval, c.patients, '+.3f') or 'not defined'}"
                for name, c in guard.by_class.items()
            ],
        )  # fmt: skip
        self.kind.blockSignals(True)
        self.kind.clear()
        self.kind.addItem(f"All changes ({len(guard.changes)})", None)
        for value in dict.fromkeys(c.kind for c in guard.changes):
            self.kind.addItem(
                f"{value.value.capitalize()} ({sum(c.kind is value for c in guard.changes)})", (value, None)
            )
        self.kind.blockSignals(False)
        self._list()
        self.result.show()

    def _list(self) -> None:
        wanted = self.kind.currentData()
        changes = sorted(self.guard.changes, key=lambda c: _FIRST.index(c.kind.value)) if self.guard is not None else []
        if wanted is not None:
            kind, name = wanted
            changes = [c for c in changes if c.kind == kind and name in (None, c.nucleus_class.label)]
        self.changes.show(changes)

    def _cell(self, at: int, column_: int) -> None:
        """A number of the table: list its nuclei."""
        from napari_monusac.scoring.report.guard import ChangeKind

        kinds = (ChangeKind.FIXED, ChangeKind.BROKEN, ChangeKind.SPURIOUS_GONE, ChangeKind.SPURIOUS_NEW)
        if self.guard is None or column_ < 2:
            return
        name, kind = list(self.guard.by_class)[at], kinds[column_ - 2]
        self.kind.addItem(f"{kind.value.capitalize()}, {name}", (kind, name))
        self.kind.setCurrentIndex(self.kind.count() - 1)

    def _clicked(self, index: QModelIndex) -> None:
        c = self.changes.shown[index.row()]
        self.chosen.emit(Place(c.crop, c.centre, c.box, c.truth_id, c.after_id, c.kind.value))
