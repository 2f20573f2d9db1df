"""Who is right, truth or model: the buttons under the list of errors, and what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.actions import (
    REVIEW_ACCEPT,
    REVIEW_CLASS,
    REVIEW_NEXT,
    REVIEW_PREVIOUS,
    REVIEW_REJECT,
    REVIEW_UNDO,
)
from napari_monusac.app.work import Task
from napari_monusac.core.classes import CLASSES
from napari_monusac.editing.commands import AcceptInPlace, EditCommand, SetClass, Undo
from napari_monusac.ui.editing.controller import controller_of
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import calm, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import Line, class_words, number
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel
    from napari_monusac.review.comparison import Comparison
    from napari_monusac.scoring.errors.finding import Finding


class CorrectedTruthButton(QWidget):
    """Writes the truth of the open crop as the reader judged it."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
        self._crop = ""
        self.button = calm(QPushButton("Write the corrected truth (XML)"))
        self.button.setToolTip("A new file in the review folder; the original stays as it is")
        self.button.clicked.connect(self.write)
        self.progress = TaskRow()
        self.where = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.button, self.progress, self.where):
            box.addWidget(widget)
        hear(self, model.compared, self._compared)
        self._compared(model.comparison)

    def _compared(self, comparison: Comparison | None) -> None:
        """There is something to write once a judgement changes the truth."""
        crop = comparison.pair.crop if comparison is not None else ""
        if crop != self._crop:
            self._crop = crop
            self.where.say("")
        self.button.setEnabled(comparison is not None and comparison.judged is not None)

    def write(self) -> Task | None:
        """Write the truth as judged into the review folder, in the background."""
        job = self.model.writing_corrected()
        if job is None:
            return None
        task = self.model.studio.work.task(job, self)
        task.done.connect(lambda path: self.where.say(f"Written: {path}", "good"))
        return self.progress.follow(task, "Writing the corrected truth…")


#: Verdict, words on the button, what it does to the corrected truth.
_VERDICTS = (
    ("truth right", "Truth is right", "The labels stay as they are (X does the same)"),
    ("model right", "Model is right", "In the corrected truth the model's nucleus takes the place of the labelled one"),
    ("both wrong", "Both wrong", "With a right class chosen: the labelled nucleus gets it. Without: to be drawn anew"),
    ("ambiguous", "Ambiguous", "The nucleus becomes an Ambiguous region: left out of training and of scores"),
    ("skip", "Skip", "No answer; it comes later"),
)

_CHOOSE = f"Choose an error in the list: {REVIEW_NEXT.key} and {REVIEW_PREVIOUS.key} step through."
_SETS_CLASS = {action.id for action in REVIEW_CLASS.values()}


class Judging(QWidget):
    """Judge the chosen error, or mend the labels at once.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose labels are mended.
    model : ReviewModel
        The error that is looked at, and who judges.
    """

    def __init__(self, viewer: Any, model: ReviewModel) -> None:
        super().__init__()
        self.model, self.controller = model, controller_of(viewer)
        self.about = Line(_CHOOSE)
        self.verdicts: dict[str, QPushButton] = {}
        grid = QGridLayout()
        grid.setSpacing(3)
        for at, (verdict, words, tip) in enumerate(_VERDICTS):
            button = calm(QPushButton(words))
            button.setToolTip(f"{tip}. The answers make a corrected truth of their own")
            button.clicked.connect(lambda _=False, v=verdict: self.judge(v))
            self.verdicts[verdict] = button
            grid.addWidget(button, at // 3, at % 3)
        for i in range(3):
            grid.setColumnStretch(i, 1)
        self.undo_button = calm(QPushButton("Undo"))
        self.undo_button.setToolTip("Take back the last judgement or edit that was made here")
        self.undo_button.clicked.connect(self.undo)
        grid.addWidget(self.undo_button, 1, 2)
        self.right_class = calm(QComboBox())
        self.right_class.addItem("Right class: –", None)
        for c in CLASSES:
            self.right_class.addItem(c.label, int(c))
        self.right_class.setMinimumContentsLength(8)
        self.right_class.setToolTip("The class that the nucleus should have, for the corrected truth")
        self.note = QLineEdit()
        self.note.setPlaceholderText("Note (kept with the judgement)")
        self.reader = QLineEdit(model.reader)
        self.reader.setPlaceholderText("Reader's name")
        self.reader.setToolTip("Each reader has judgements of their own and does not see those of another")
        self.mend: dict[str, QPushButton] = {}
        for action in (*REVIEW_CLASS.values(), REVIEW_ACCEPT, REVIEW_REJECT):
            number_first = f"{action.key} {action.text}" if action.id in _SETS_CLASS else action.label
            button = calm(QPushButton(number_first))
            button.setToolTip(f"{action.words} {REVIEW_UNDO.label} takes it back")
            self.mend[action.id] = button
        for class_number, action in REVIEW_CLASS.items():
            self.mend[action.id].clicked.connect(lambda _=False, n=class_number: self.set_class(n))
        self.mend[REVIEW_ACCEPT.id].clicked.connect(self.accept)
        self.mend[REVIEW_REJECT.id].clicked.connect(self.reject)
        mend = QGridLayout()
        mend.setSpacing(3)
        for at, button in enumerate(self.mend.values()):
            mend.addWidget(button, at // 3, at % 3)
        for i in range(3):
            mend.setColumnStretch(i, 1)
        self.score = Note()
        self.message = Note()
        self.corrected = CorrectedTruthButton(model)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(5)
        box.addWidget(self.about)
        box.addLayout(grid)
        box.addLayout(mend)
        box.addWidget(self.message)
        box.addWidget(row(self.right_class, self.note))
        reader = QLabel("Reader")
        reader.setToolTip(self.reader.toolTip())
        line = row(reader, self.reader)
        for widget in (self.score, line, self.corrected):
            box.addWidget(widget)
        self.reader.editingFinished.connect(lambda: setattr(model, "reader", self.reader.text().strip()))
        hear(self, model.said, self.message.say)
        hear(self, model.reader_changed, lambda name: self.reader.setText(name))
        hear(self, model.judged, lambda: self._show_finding(model.finding))
        hear(self, model.finding_changed, self._show_finding)
        hear(self, model.compared, self._compared)
        hear(self, model.studio.crop_changed, lambda _: self.message.say(""))
        self._compared(model.comparison)
        self._show_finding(model.finding)

    # -- what is judged

    def _compared(self, comparison: Comparison | None) -> None:
        """Show what the judgements make of the score."""
        judged = comparison.judged if comparison is not None else None
        words = list(comparison.notes) if comparison is not None else []
        if comparison is not None and judged is not None:
            before, now = comparison.evaluation, judged
            words.insert(0, f"As judged: PQ {number(before.pq)} → {number(now.pq)}, "
                            f"detection F1 {number(before.detection.f1)} → {number(now.detection.f1)}")  # fmt: skip
        self.score.say("\n".join(words), "good" if judged is not None else "warning")
        self._buttons()

    def _show_finding(self, finding: Finding | None) -> None:
        """Say what is judged now."""
        if finding is None:
            self.about.say(_CHOOSE)
        else:
            f = finding
            size = f"{f.size_um2:.0f} µm²" if f.size_um2 is not None else f"{f.size_px:.0f} px"
            words = [f"{f.type.value.capitalize()}: {class_words(f.truth_class, f.predicted_class)}", size]
            if f.confidence is not None:
                words.append(f"model {f.confidence:.0%} sure")
            said = self.model.judgement_of(f)
            if said is not None:
                words.append(f"you said: {said.verdict.value}" + (f" ({said.note})" if said.note else ""))
            self.about.say(", ".join(words))
        self.note.clear()
        self.right_class.setCurrentIndex(0)
        self._buttons()

    def _buttons(self) -> None:
        f, session = self.model.finding, self.controller.session is not None
        for button in self.verdicts.values():
            button.setEnabled(f is not None)
        for name, button in self.mend.items():
            predicted = f is not None and bool(f.prediction_ids)
            may = name == REVIEW_REJECT.id or (session and (predicted or name != REVIEW_ACCEPT.id))
            button.setEnabled(f is not None and may)
        self.undo_button.setEnabled(bool(self.model.undoable))

    # -- judging

    def judge(self, verdict: str) -> None:
        """Answer for the error that is looked at; the next one comes."""
        name, note, chosen = self.reader.text().strip(), self.note.text().strip(), self.right_class.currentData()
        if name:
            self.model.reader = name  # what another reader had begun to say is cleared
        said = self.model.judge(verdict, chosen_class=chosen, note=note)
        if not said and not name:
            self.reader.setFocus()
        self._buttons()

    def reject(self) -> None:
        """Say that the model is wrong here."""
        self.judge("truth right")

    def accept(self) -> None:
        """Take the model's nucleus into the labels."""
        if self.model.finding is not None and self._can_edit():
            self._accept(self.model.finding)

    def set_class(self, class_number: int) -> None:
        """Give the labelled nucleus a class; where there is none, the model's comes into the labels with it."""
        f = self.model.finding
        if f is None or not self._can_edit():
            return
        if f.truth_ids:
            self._edit(SetClass(class_number, f.truth_ids))
        else:
            self._accept(f, class_number)

    def _can_edit(self) -> bool:
        if self.controller.session is None:
            self.message.say("The labels of this crop cannot be edited yet: see Annotate.", "warning")
        return self.controller.session is not None

    def _accept(self, f: Finding, class_number: int | None = None) -> None:
        if not f.prediction_ids:
            self.message.say("The model found no nucleus here: there is nothing to accept.", "hint")
            return
        other = self.model.other_prediction(f)
        if other:
            self.message.say(other, "warning")
            return
        if not self.controller.ready_prediction():
            self.message.say("Predict this crop first (Predict); then its nuclei can be accepted.", "hint")
            return
        self._edit(AcceptInPlace(f.prediction_ids, class_number))

    def _edit(self, command: EditCommand) -> None:
        session = self.controller.session
        if session is None:
            return
        before = session.history.state
        said: list[tuple[str, str]] = []

        def hear(words: str, kind: str) -> None:
            said.append((words, kind))

        self.controller.said.connect(hear)
        done = self.controller.do(command)
        self.controller.said.disconnect(hear)
        if done and session.history.state != before:
            self.message.say("The labels are changed; Save (Annotate) writes them.", "good")
            self.model.edited()
        elif said and said[-1][0]:
            self.message.say(*said[-1])
        self._buttons()

    def undo(self) -> None:
        """Take back what was done here last."""
        if self.model.undo() == "edit":
            self.controller.do(Undo())
            self.message.say("The edit is taken back.", "hint")
        self._buttons()
