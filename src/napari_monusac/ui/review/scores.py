"""Scores: the four scorings side by side with the reason each differs, per class, with the edge forgiven or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget
from superqt import QLabeledSlider

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui.widgets.basic import Heading, calm, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import COUNTING, PQ, SCORED, Table, narrow, number, span

if TYPE_CHECKING:
    from napari_monusac.scoring.matching.matching import AmbiguousRule
    from napari_monusac.scoring.metrics.evaluation import Evaluation

_TITLES = {"legacy-2020": "Legacy", "corrected": "Corrected", "per-patient": "Patient", "mpq-plus": "mPQ+"}
_OF_CLASS = ("Class", "SQ", "DQ", "IoU", "Right", "Spur.", "Miss.")
_OF_CLASS_TIPS = (
    "",
    "SQ, segmentation quality: mean IoU of the matched nuclei",
    "DQ, detection quality: F1 of the matches (IoU above 0.5)",
    "IoU of the pixels of this class (the network's own class map)",
    "Nuclei that are matched",
    "Spurious: predicted, without a labelled partner of this class at IoU above 0.5",
    "Missed: labelled, without a predicted partner of this class at IoU above 0.5",
)


#: What is done with Ambiguous regions: words, rule.
_AMBIGUOUS = (("Ambiguous regions: left out", "mask"), ("Ambiguous regions: spurious forgiven", "discount"))


class ScoresView(QWidget):
    """The scores of an evaluation.

    Signals
    -------
    rule_changed(str) : Ambiguous regions are to be treated another way ("mask" or "discount").
    """

    rule_changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.evaluation: Evaluation | None = None
        self._others: dict[str, Evaluation] = {}
        self.ambiguous = calm(QComboBox())
        for words, rule in _AMBIGUOUS:
            self.ambiguous.addItem(words, rule)
        self.ambiguous.setToolTip(
            "Left out: neither truth nor prediction counts there. Forgiven: both count, but a prediction without a "
            "partner that lies there by more than half is no false alarm"
        )
        narrow(self.ambiguous)
        self.ambiguous.currentIndexChanged.connect(lambda _: self._rule_chosen())
        self.title = Heading("")
        self.tolerance = QLabeledSlider(Qt.Orientation.Horizontal)
        self.tolerance.setRange(0, 3)
        self.tolerance.setToolTip("Forgive edges that are off by this many pixels: nobody draws an edge to the pixel")
        self.tolerance.valueChanged.connect(lambda _: self._show())
        label = QLabel("Edge forgiven, px")
        self.scorings = Table(["PQ", *_TITLES.values()])
        self.scorings.cellClicked.connect(lambda _, column: self.explain(column))
        self.scorings.horizontalHeader().sectionClicked.connect(self.explain)
        self.reason = Note()
        self.what = Note(PQ)
        self.counting = Note(SCORED)
        self.counting.setToolTip(COUNTING)
        self.by_class = Table(_OF_CLASS)
        self.by_class.set_headers(_OF_CLASS, _OF_CLASS_TIPS)
        self.facts = Table(["Over all classes", "", "95 %"])
        self.notes = Note(kind="warning")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        line = row(label, self.tolerance)
        line.layout().setStretch(1, 1)
        for widget in (
            self.title,
            self.what,
            line,
            self.ambiguous,
            self.scorings,
            self.reason,
            self.by_class,
            self.counting,
            self.facts,
            self.notes,
        ):
            box.addWidget(widget)

    def set_evaluation(
        self, evaluation: Evaluation | None, title: str = "", *, forgiving: Evaluation | None = None, both: bool = False
    ) -> None:
        """Show scores.

        Parameters
        ----------
        evaluation : Evaluation or None
            The scores.
        title : str
            Of what.
        forgiving : Evaluation, optional
            The same with Ambiguous regions treated the other way, to be switched to at once.
        both : bool
            Offer both ways although only one is at hand: `rule_changed` asks for the other.
        """
        self.evaluation = evaluation
        self._others = {e.ambiguous: e for e in (evaluation, forgiving) if e is not None}
        self.ambiguous.setVisible(both or len(self._others) > 1)
        self.title.setText(title)
        self._show()

    @property
    def rule(self) -> AmbiguousRule:
        """What is done with Ambiguous regions."""
        return "discount" if self.ambiguous.currentData() == "discount" else "mask"

    def _rule_chosen(self) -> None:
        if self.rule in self._others:
            self._show()
        else:
            self.rule_changed.emit(self.rule)

    def _show(self) -> None:
        e = self._others.get(self.rule, self.evaluation)
        if e is None:
            return
        level = next((t for t in e.tolerance if t.tolerance_px == self.tolerance.value()), e)
        self._show_scorings(level.scorings, e.headline)
        rows = [
            (name, number(q.sq), number(q.dq), number(e.pixels.iou.get(name)), str(q.tp), str(q.fp), str(q.fn))
            for name, q in level.by_class.items()
        ]
        q = level.instances
        rows.append(("Any class", number(q.sq), number(q.dq), "", str(q.tp), str(q.fp), str(q.fn)))
        self.by_class.fill(rows)
        self._show_facts(e)
        self.notes.say("\n".join(f"{note[:1].upper()}{note[1:]}" for note in e.notes), "warning")

    def _show_scorings(self, scorings: Any, headline: str) -> None:
        tips = (PQ, *(f"{s.label}. {s.reason}" for s in scorings))
        self.scorings.set_headers(("PQ", *(_TITLES.get(s.key, s.label) for s in scorings)), tips)
        rows = [("All classes", *(number(s.pq) for s in scorings))]
        if any(s.patients for s in scorings):
            rows.append(("  95 %", *(span(s.interval, s.patients, with_n=False) for s in scorings)))
            rows.append(("  of n patients", *(str(s.patients) for s in scorings)))
        rows += [(c.label, *(number(s.by_class.get(c.label)) for s in scorings)) for c in CLASSES]
        self.scorings.fill(rows)
        at = next((i for i, s in enumerate(scorings, 1) if s.key == headline), 1)
        self.scorings.bold(at)
        self._reasons = {i: f"{s.label}: {s.reason}" for i, s in enumerate(scorings, 1)}
        if self.reason.text() not in self._reasons.values():
            self.explain(at)

    def explain(self, column: int) -> None:
        """Say why a scoring differs from the others."""
        self.reason.say(getattr(self, "_reasons", {}).get(column, ""))

    def _show_facts(self, e: Evaluation) -> None:
        p = e.pixels

        def pooled(key: str) -> str:
            return span(e.intervals.get(key), e.interval_patients.get(key, 0))

        self.facts.fill(
            [
                ("Combo (0.7 inside + 0.3 boundary)", number(p.combo), pooled("combo")),
                ("Dice inside", number(p.dice_inside), pooled("dice_inside")),
                (f"Dice boundary ({e.boundary_words})", number(p.dice_boundary), pooled("dice_boundary")),
                (
                    "Detection F1 (centres within 3 µm)",
                    number(e.detection.f1),
                    span(e.detection.interval, e.detection.patients),
                ),
                ("mIoU, five classes of pixels", number(p.miou_macro), ""),
            ]
        )
        self.facts.setColumnHidden(2, not any(e.interval_patients.values()))
