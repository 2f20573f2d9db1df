"""The regression guard: what a new model fixed, and what it newly broke, nucleus by nucleus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Task
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import calm, column
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.tables import SHORT, Column, RowTable, Table, number
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel
    from napari_monusac.scoring.report.guard import Guard, NucleusChange

_HINT = "Two models on the same crops: choose for each a folder of predictions, a run folder, or a checkpoint file."
_ROWS_HIGH = 8
_OF_CLASS = ("Class", "PQ", "Fixed", "Broken", "Gone", "New")
_OF_CLASS_TIPS = (
    "", "PQ per patient, before → after; point at a row for the 95 % interval of the difference", "Right now, wrong before", "Wrong now, right before",
    "Spurious nuclei that are gone", "Spurious nuclei that are new",
)  # fmt: skip
#: What is looked at first.
_FIRST = ("newly broken", "fixed", "newly spurious", "spurious gone")


def _short(name: str) -> str:
    return SHORT.get(name, name)


_COLUMNS: tuple[Column[NucleusChange], ...] = (
    Column("Change", lambda c: c.kind.value.capitalize(), width=106),
    Column("Class", lambda c: _short(c.nucleus_class.label), width=56),
    Column("Before → after", lambda c: f"{_short(c.before) or '–'} → {_short(c.after) or '–'}", width=128),
    Column("Crop", lambda c: c.crop),
)


class GuardView(QWidget):
    """Compares two models."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
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
        self.table: RowTable[NucleusChange] = RowTable(_COLUMNS, lambda c: f"{c.kind.value}, {c.crop}", _ROWS_HIGH)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.chosen.connect(self._chosen)
        self.result = column(self.verdict, self.by_class, self.kind, self.table)
        self.result.hide()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.hint, form, self.training, self.start, self.progress, self.result):
            box.addWidget(widget)
        hear(self, model.guarded, self._show)
        hear(self, model.guard_asked, self._asked)
        self._show(model.guard)

    def compare(self) -> Task | None:
        """Compare the two in the background; a checkpoint predicts the labelled crops first."""
        before, after = self.before.path, self.after_path.path
        job = (
            self.model.guarding(before, after, training=self.training.isChecked())
            if before is not None and after is not None
            else None
        )
        if job is None:
            self.hint.say("Open a folder of crops (Slides), then choose both.", "warning")
            return None
        self.hint.say(_HINT)
        task = self.model.studio.work.task(job, self)
        task.done.connect(lambda guard: setattr(self.model, "guard", guard))
        task.finished.connect(lambda: self.start.setEnabled(True))
        self.start.setEnabled(False)
        return self.progress.follow(task, "Reading…")

    def _asked(self, pair: tuple[Path, Path] | None) -> None:
        """Compare two models that were chosen elsewhere."""
        if pair is not None and self.progress.task is None:
            self.before.set_path(pair[0], remember=True)
            self.after_path.set_path(pair[1], remember=True)
            self.compare()

    def _show(self, guard: Guard | None) -> None:
        self.result.setVisible(guard is not None)
        if guard is None:
            return
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

    def _list(self) -> None:
        wanted, guard = self.kind.currentData(), self.model.guard
        changes = sorted(guard.changes, key=lambda c: _FIRST.index(c.kind.value)) if guard is not None else []
        if wanted is not None:
            kind, name = wanted
            changes = [c for c in changes if c.kind == kind and name in (None, c.nucleus_class.label)]
        self.table.show_values(changes)

    def _cell(self, at: int, column_: int) -> None:
        """A number of the table: list its nuclei."""
        from napari_monusac.scoring.report.guard import ChangeKind

        guard = self.model.guard
        kinds = (ChangeKind.FIXED, ChangeKind.BROKEN, ChangeKind.SPURIOUS_GONE, ChangeKind.SPURIOUS_NEW)
        if guard is None or column_ < 2:
            return
        name, kind = list(guard.by_class)[at], kinds[column_ - 2]
        self.kind.addItem(f"{kind.value.capitalize()}, {name}", (kind, name))
        self.kind.setCurrentIndex(self.kind.count() - 1)

    def _chosen(self, c: NucleusChange) -> None:
        from napari_monusac.review.places import FindingPlace

        self.model.go_to(FindingPlace(c.crop, c.centre, c.box, c.truth_id, c.after_id))
