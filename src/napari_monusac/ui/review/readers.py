"""Two readers: how far they agree, where they differ, and the ceiling that this sets for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Task
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import Heading, column, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import Table, class_words, narrow, short_verdict
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel

_BLIND = (
    "A second reader gives another name under Judge and sees nothing of the first one's answers. When both are done, "
    "compare them here."
)


class ReadersView(QWidget):
    """Compares two readers of a review folder."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
        self.hint = Note()
        self.first, self.second = QComboBox(), QComboBox()
        for combo in (self.first, self.second):
            narrow(combo)
        self.start = QPushButton("Compare the readers")
        self.start.setToolTip("Shows the answers of both: do it when both are done")
        self.start.clicked.connect(self.compare)
        self.progress = TaskRow()
        self.words = Note(kind="good")
        self.table = Table()
        self.differences = Table(["Where they differ", "First", "Second"], rows_at_most=8)
        self.differences.cellClicked.connect(self._clicked)
        self.details = column(self.table, Heading("Differences (click: see it)"), self.differences)
        self.after = column(self.words, self.details)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.hint, row(self.first, self.second), self.start, self.progress, self.after):
            box.addWidget(widget)
        hear(self, model.judged, self.look)
        hear(self, model.readers_compared, self._show)
        self.look()
        self._show(model.agreement)

    def look(self) -> None:
        """See who has judged here."""
        names = list(self.model.readers())
        for combo in (self.first, self.second):
            chosen = combo.currentText()
            if [combo.itemText(i) for i in range(combo.count())] != names:
                combo.clear()
                combo.addItems(names)
                combo.setCurrentText(chosen)
        if len(names) > 1 and self.first.currentIndex() == self.second.currentIndex():
            self.second.setCurrentIndex((self.first.currentIndex() + 1) % len(names))
        self.start.setEnabled(len(names) > 1)
        self.hint.say(_BLIND if len(names) < 2 else "")

    def compare(self) -> Task | None:
        """Compare the two in the background."""
        first, second = self.first.currentText(), self.second.currentText()
        if not first or not second or first == second:
            self.hint.say("Choose two readers.", "warning")
            return None
        job = self.model.comparing_readers(first, second)
        task = self.model.studio.work.task(job, self)
        task.done.connect(lambda found: setattr(self.model, "agreement", found))
        return self.progress.follow(task, "Comparing the readers…")

    def _show(self, found: tuple[Any, float | None] | None) -> None:
        self.after.setVisible(found is not None)
        if found is None:
            return
        from napari_monusac.review.report import agreement_sentence

        agreement, pq = found
        self.words.say(agreement_sentence(agreement, pq), "good")
        self.table.set_headers(
            [f"{agreement.first} ↓  {agreement.second} →", *(short_verdict(v) for v in agreement.verdicts)]
        )
        self.table.fill([(v, *map(str, n)) for v, n in zip(agreement.verdicts, agreement.table, strict=True)])
        rows = []
        for d in agreement.differences:
            f = d.first.finding
            words = f"{f.type.value.capitalize()} {class_words(f.truth_class, f.predicted_class, short=True)}"
            rows.append((words, short_verdict(d.first.verdict.value), short_verdict(d.second.verdict.value)))
        self.differences.fill(
            rows, [f"{d.first.finding.crop}; {d.first.note}; {d.second.note}" for d in agreement.differences]
        )
        self.details.setVisible(agreement.both > 0)

    def _clicked(self, at: int, _: int) -> None:
        differences = self.model.agreement[0].differences if self.model.agreement is not None else ()
        if at < len(differences):
            self.model.go_to(differences[at].first.finding)
