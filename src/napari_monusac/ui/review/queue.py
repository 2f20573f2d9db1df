"""The queue: what to look at next over the whole folder, most uncertain first, with or without truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.actions import REVIEW_NEXT, REVIEW_PREVIOUS
from napari_monusac.app.work import Task
from napari_monusac.core.classes import CLASSES
from napari_monusac.scoring.errors.finding import FindingType
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import calm, column, row, step_buttons
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.settings import ReaderName
from napari_monusac.ui.widgets.tables import SHORT, Column, RowTable, class_words, judged_words, narrow, number
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel
    from napari_monusac.review.queue import ReviewItem, ReviewQueue


_ORDERS = (("Most uncertain first", "uncertainty"), ("Largest fault first", "size"), ("Crop by crop", "crop"))
_KINDS = (("Errors, uncertain", ()), ("Only errors", ("error",)), ("Only uncertain", ("uncertain",)))
_ROWS_HIGH = 9


def _chosen(combo: QComboBox) -> frozenset[Any]:
    """What a filter keeps: everything, or the one thing that is chosen."""
    data = combo.currentData()
    return frozenset() if data is None else frozenset([data])


class QueueView(QWidget):
    """The queue of the present reader."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
        self.hint = Note()
        self.name = ReaderName()
        self.name.given.connect(lambda name: setattr(model, "reader", name))
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
        self.table: RowTable[ReviewItem] = RowTable(self._columns(), self._tip, _ROWS_HIGH)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # crops of a patient differ in their last letters
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
        self._show()

    def _columns(self) -> tuple[Column[ReviewItem], ...]:
        return (
            Column("", self._looked_at, "Looked at, and your answer", 62),
            Column("What", _what, "An error, or a nucleus that the model is uncertain of", 82),
            Column("Class", _class_words, "Class in the truth → class that the model gave / its second choice", 104),
            Column("Unsure", lambda i: number(i.uncertainty), "Uncertainty of the model. 0: none, 1: great", 52),
            Column("Crop", lambda i: i.finding.crop, "The crop that it lies in"),
        )

    def _looked_at(self, item: ReviewItem) -> str:
        queue = self.model.queue
        looked = "✓" if queue is not None and queue.is_done(item.key) else ""
        return judged_words(self.model.verdict_of(item.finding)) or looked

    def _tip(self, item: ReviewItem) -> str:
        f, said = item.finding, self.model.verdict_of(item.finding)
        second = f"; second choice {item.second_class.label}" if item.second_class is not None else ""
        words = f"{class_words(f.truth_class, f.predicted_class)}{second}; {f.crop}"
        return f"{words}; you said: {said}" if said else words

    def _connect(self) -> None:
        model = self.model
        for combo in (self.order, self.kind, self.type, self.class_, self.patient):
            narrow(combo)
            combo.currentIndexChanged.connect(lambda _: self._filter())
        for check in (self.rare, self.open_only):
            check.toggled.connect(lambda _: self._filter())
        self.previous.clicked.connect(lambda: model.step(-1))
        self.next.clicked.connect(lambda: model.step(1))
        self.table.chosen.connect(lambda item: model.go_to(item.finding))
        for signal in (model.session_changed, model.predictions_changed, model.reader_changed):
            hear(self, signal, lambda _: self._show())
        hear(self, model.studio.collection_changed, lambda _: self._show())
        hear(self, model.judged, self._list)
        hear(self, model.queue_arranged, self._list)
        hear(self, model.finding_changed, self._choose)

    def _show(self) -> None:
        model, queue = self.model, self.model.queue
        collection = model.studio.collection
        ready = collection is not None and model.predictions is not None
        self.hint.say(
            ""
            if queue is not None
            else "Open a folder of crops first (Slides)."
            if collection is None
            else "Choose the folder of predictions above: its uncertain nuclei and its errors then queue up here."
            if model.predictions is None
            else "Give your name: progress and judgements are kept for each reader."
            if not model.reader
            else f"{model.reader}, your place in the queue is kept."
        )
        self.name.setVisible(ready and not model.reader)
        self.start.setVisible(queue is None)
        self.start.setEnabled(ready and bool(model.reader))
        self.after.setVisible(queue is not None)
        if queue is not None:
            self._show_state(queue)
        self._list()

    def _show_state(self, queue: ReviewQueue) -> None:
        """Filter and order as this reader left them."""
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
        self.kind.setCurrentIndex(kinds.index(set(f.kinds)) if set(f.kinds) in kinds else 0)
        self.rare.setChecked(f.rare_second_choice)
        self.open_only.setChecked(f.open_only)
        for box in boxes:
            box.blockSignals(False)

    def open(self, *, anew: bool = False) -> Task | None:
        """Open the queue in the background; it is built when there is none, or `anew`."""
        job = self.model.opening_queue(anew=anew)
        if job is None:
            return None
        task = self.model.studio.work.task(job, self)
        task.done.connect(self.model.take_session)
        for button in (self.start, self.anew):
            button.setEnabled(False)
        task.finished.connect(lambda: [button.setEnabled(True) for button in (self.start, self.anew)])
        return self.progress.follow(task, "Opening the queue…")

    def _filter(self) -> None:
        queue = self.model.queue
        if queue is None:
            return
        changed = {
            "kinds": frozenset(self.kind.currentData() or ()),
            "types": _chosen(self.type),
            "classes": _chosen(self.class_),
            "patients": _chosen(self.patient),
            "rare_second_choice": self.rare.isChecked(),
            "open_only": self.open_only.isChecked(),
        }
        self.model.arrange_queue(queue.state.filter.model_copy(update=changed), self.order.currentData())

    def _list(self) -> None:
        """Show the items, and how many of them are looked at and judged."""
        queue = self.model.queue
        self.table.show_values(queue.shown if queue is not None else ())
        if queue is not None:
            self._choose(self.model.finding)
            done, total = queue.progress
            self.bar.setRange(0, max(1, total))
            self.bar.setValue(done)
            judged, elsewhere = self.model.count_judged(item.finding for item in queue.items.values())
            more = f" ({elsewhere} only in another prediction)" if elsewhere else ""
            self.bar.setFormat(f"%v of %m looked at, {judged} judged{more}")

    def _choose(self, finding: Any) -> None:
        queue = self.model.queue
        current = queue.current if queue is not None else None
        there = current is not None and finding is not None and current.finding.same_as(finding)
        self.table.choose(queue.index if queue is not None and there else None)


def _what(item: ReviewItem) -> str:
    return item.finding.type.value.capitalize() if item.kind == "error" else "Uncertain"


def _class_words(item: ReviewItem) -> str:
    f, second = item.finding, item.second_class
    words = class_words(f.truth_class, f.predicted_class, short=True)
    return f"{words} / {SHORT[second.label]}" if item.rare_second_choice and second is not None else words
