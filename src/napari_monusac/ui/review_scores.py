"""Scores: the four scorings side by side with the reason each differs, per class, with the edge forgiven or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from superqt import QLabeledSlider

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui.review_widgets import Table, number, span
from napari_monusac.ui.widgets import Heading, Note, row

if TYPE_CHECKING:
    from napari_monusac.scoring.evaluation import Evaluation

_TITLES = {"legacy-2020": "Legacy", "corrected": "Corrected", "per-patient": "Patient", "mpq-plus": "mPQ+"}
_OF_CLASS = ("Class", "SQ", "DQ", "IoU", "Right", "Spur.", "Miss.")
_OF_CLASS_TIPS = (
    "",
    "Segmentation quality: mean IoU of the matched nuclei",
    "Detection quality: F1 of the matches (IoU above 0.5)",
    "IoU of the pixels of this class (the network's own class map)",
    "Nuclei that are matched",
    "Spurious: predicted, not in the truth",
    "Missed: in the truth, not predicted",
)


class ScoresView(QWidget):
    """The scores of an evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluation: Evaluation | None = None
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
        self.by_class = Table(_OF_CLASS)
        self.by_class.set_headers(_OF_CLASS, _OF_CLASS_TIPS)
        self.facts = Table(["Over all classes", "", "95 %"])
        self.notes = Note(kind="warning")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        line = row(label, self.tolerance)
        line.layout().setStretch(1, 1)
        for widget in (self.title, line, self.scorings, self.reason, self.by_class, self.facts, self.notes):
            box.addWidget(widget)

    def set_evaluation(self, evaluation: Evaluation | None, title: str = "") -> None:
        """Show scores."""
        self.evaluation = evaluation
        self.title.setText(title)
        self._show()

    def _show(self) -> None:
        e = self.evaluation
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
        self.notes.say("\n".join(e.notes), "warning")

    def _show_scorings(self, scorings: Any, headline: str) -> None:
        tips = ("Panoptic quality", *(f"{s.label}. {s.reason}" for s in scorings))
        self.scorings.set_headers(("PQ", *(_TITLES.get(s.key, s.label) for s in scorings)), tips)
        rows = [("All classes", *(number(s.pq) for s in scorings))]
        if any(s.interval is not None for s in scorings):
            rows.append(("  95 % interval", *(span(s.interval) for s in scorings)))
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
        i, p = e.intervals, e.pixels
        self.facts.fill(
            [
                ("Combo (0.7 inside + 0.3 boundary)", number(p.combo), span(i.get("combo"))),
                ("Dice inside", number(p.dice_inside), span(i.get("dice_inside"))),
                (f"Dice boundary ({e.boundary_width} px)", number(p.dice_boundary), span(i.get("dice_boundary"))),
                ("Detection F1 (centres within 3 µm)", number(e.detection.f1), span(e.detection.interval)),
                ("mIoU, five classes of pixels", number(p.miou_macro), ""),
            ]
        )
        self.facts.setColumnHidden(2, not any(v is not None for v in i.values()))
