"""The list of errors: sorted and filtered by type, class and confidence; a row is a step away from the nucleus."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import calm, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import (
    COUNTING,
    COUNTING_SHORT,
    Column,
    RowTable,
    class_words,
    judged_words,
    narrow,
    number,
)

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel
    from napari_monusac.scoring.errors.finding import Finding

#: What each column is sorted by; answers are not.
_SORTED: tuple[Literal["type", "class", "size", "iou", "confidence"], ...] = (
    "type", "class", "size", "iou", "confidence",
)  # fmt: skip
JUDGED = 5
#: Choices of confidence: words, lowest, highest.
_SURE = (
    ("Any certainty", 0.0, 1.0), ("0.8 and up", 0.8, 1.0), ("0.5 to 0.8", 0.5, math.nextafter(0.8, 0)),
    ("under 0.5", 0.0, math.nextafter(0.5, 0)),
)  # fmt: skip
_ROWS_HIGH = 9


class ErrorsView(QWidget):
    """The errors of the open crop, with their filters."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
        self.counts = Note()
        self.counting = QLabel(COUNTING_SHORT)
        self.counting.setToolTip(COUNTING)
        self.kind, self.class_, self.sure = calm(QComboBox()), calm(QComboBox()), calm(QComboBox())
        self.kind.addItem("Any error", None)
        self.class_.addItem("Any class", None)
        for c in CLASSES:
            self.class_.addItem(c.label, c)
        for words, low, high in _SURE:
            self.sure.addItem(words, (low, high))
        self.table: RowTable[Finding] = RowTable(self._columns(), self._tip, _ROWS_HIGH)
        self.table.sort_with(self._sort)
        self.table.setColumnHidden(JUDGED, True)
        filters = row(self.kind, self.class_, self.sure)
        filters.layout().setSpacing(4)
        for i, stretch in enumerate((5, 5, 6)):
            filters.layout().setStretch(i, stretch)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.counts, filters, self.table, self.counting):
            box.addWidget(widget)
        for combo in (self.kind, self.class_, self.sure):
            narrow(combo)
            combo.currentIndexChanged.connect(lambda _: self._filter())
        self.table.chosen.connect(model.go_to)
        hear(self, model.compared, self._compared)
        hear(self, model.listing_changed, lambda _: self._list())
        hear(self, model.finding_changed, lambda f: self.table.choose(model.place_of(f)))
        hear(self, model.judged, self._judged)
        self._compared()

    def _columns(self) -> tuple[Column[Finding], ...]:
        return (
            Column("Error", lambda f: f.type.value.capitalize(), "What is wrong with the nucleus", 80),
            Column(
                "Class",
                lambda f: class_words(f.truth_class, f.predicted_class, short=True),
                "Class in the truth → class that the model gave",
            ),
            Column("µm²", _size, "Area at fault, µm² (px where the image has no scale)", 44, right=True),
            Column("IoU", lambda f: number(f.iou), "Overlap of the true and the predicted nucleus", 36, right=True),
            Column("Sure", lambda f: number(f.confidence), "How sure the model is of its nucleus", 40, right=True),
            Column("Judged", lambda f: judged_words(self.model.verdict_of(f)), "Your answer: who is right", 68),
        )

    def _tip(self, f: Finding) -> str:
        said = self.model.verdict_of(f)
        return class_words(f.truth_class, f.predicted_class) + (f"; you said: {said}" if said else "")

    def _compared(self, _: object = None) -> None:
        """Show the errors of a comparison; the chosen one stays chosen where it is still there."""
        comparison, wanted = self.model.comparison, self.kind.currentData()
        self.kind.blockSignals(True)
        self.kind.clear()
        self.kind.addItem("Any error", None)
        for kind, n in comparison.findings.counts().items() if comparison is not None else ():
            self.kind.addItem(f"{kind.value.capitalize()} ({n})", kind.value)
        self.kind.setCurrentIndex(max(0, self.kind.findData(wanted)))
        self.kind.blockSignals(False)
        self._list()
        self._judged()

    def _list(self) -> None:
        self.table.show_values(self.model.errors, self.model.place_of(self.model.finding))

    def _judged(self) -> None:
        """Mark the errors that the reader has judged. No row moves."""
        comparison = self.model.comparison
        if comparison is None:
            return
        found = comparison.findings
        judged, elsewhere = self.model.count_judged(found)
        self.table.setColumnHidden(JUDGED, not judged)
        self.table.look_again()
        words = ", ".join(f"{n} {kind.value}" for kind, n in found.counts().items() if n)
        if words and judged:
            words += f" – {judged} of {len(found)} judged"
        if words and elsewhere:
            words += f", {elsewhere} only in another prediction"
        self.counts.say(words or "No errors: every nucleus is right.", "hint" if words else "good")
        self.counts.setToolTip(COUNTING)  # a note's own tooltip is what it has to shorten

    def _filter(self) -> None:
        from napari_monusac.review.queue import QueueFilter

        low, high = self.sure.currentData()
        wanted = QueueFilter(
            types=_only(self.kind), classes=_only(self.class_), lowest_confidence=low, highest_confidence=high
        )
        self.model.listing = replace(self.model.listing, filter=wanted)

    def _sort(self, column: int, backwards: bool) -> None:
        if column < len(_SORTED):
            self.model.listing = replace(self.model.listing, column=_SORTED[column], backwards=backwards)


def _only(combo: QComboBox) -> frozenset[Any]:
    """What a filter keeps: everything, or the one thing that is chosen."""
    data = combo.currentData()
    return frozenset() if data is None else frozenset([data])


def _size(f: Finding) -> str:
    return f"{f.size_um2:.0f}" if f.size_um2 is not None else f"{f.size_px:.0f} px"
