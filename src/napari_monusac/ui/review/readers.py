"""Two readers: how far they agree, where they differ, and the ceiling that this sets for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Report, Task
from napari_monusac.core.errors import MonusacError
from napari_monusac.ui.widgets.basic import Heading, Note, TaskRow, column, row
from napari_monusac.ui.widgets.tables import Table, class_words, narrow, short_verdict

if TYPE_CHECKING:
    from napari_monusac.ui.review.reading import Reading

_BLIND = (
    "A second reader gives another name under Judge and sees nothing of the first one's answers. When both are done, "
    "compare them here."
)


class ReadersView(QWidget):
    """Compares two readers of a review folder.

    Signals
    -------
    chosen(Finding) : a difference was clicked.
    """

    chosen = Signal(object)

    def __init__(self, model: Any, reading: Reading) -> None:
        super().__init__()
        self.model, self.reading = model, reading
        self.agreement: Any = None
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
        self.after.hide()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.hint, row(self.first, self.second), self.start, self.progress, self.after):
            box.addWidget(widget)
        for signal in (reading.changed, reading.predictions_changed, reading.session_changed):
            signal.connect(self.look)
        self.look()

    def look(self) -> None:
        """See who has judged here."""
        from napari_monusac.review.judgements import readers_of

        names = list(readers_of(self.reading.folder))
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
        folder, collection, predictions = self.reading.folder, self.model.collection, self.reading.predictions

        def work(report: Report) -> Any:
            from napari_monusac.review.report import agreement_of

            agreement = agreement_of(folder, first, second)
            report(None, "Scoring one reader's truth against the other's")
            return agreement, inter_reader_pq(folder, collection, predictions, (first, second))

        task = self.model.work.task(work, self)
        task.done.connect(self._show)
        return self.progress.follow(task, "Comparing the readers…")

    def _show(self, result: tuple[Any, float | None]) -> None:
        from napari_monusac.review.report import agreement_sentence

        agreement, pq = result
        self.agreement = agreement
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
        self.after.show()

    def _clicked(self, at: int, _: int) -> None:
        if self.agreement is not None and at < len(self.agreement.differences):
            self.chosen.emit(self.agreement.differences[at].first.finding)


def inter_reader_pq(folder: Any, collection: Any, predictions: Any, readers: tuple[str, str]) -> float | None:
    """PQ of one reader's truth against the other's on the crops that both judged; None where that cannot be had."""
    from napari_monusac.review.readers import inter_reader_evaluation
    from napari_monusac.review.report import judgements_of
    from napari_monusac.scoring.report.folders import FolderPairs
    from napari_monusac.scoring.report.predictions import PredictionFolder

    if collection is None or predictions is None:
        return None
    sides = [judgements_of(folder, name) for name in readers]
    both = set.intersection(*({j.finding.crop for j in side.values()} for side in sides))
    pairs = FolderPairs(collection, PredictionFolder(predictions), both)
    try:
        return inter_reader_evaluation(pairs, *sides, bootstrap=0).pq if len(pairs) else None
    except MonusacError:
        return None  # judged on another prediction or truth: their verdicts compare all the same
