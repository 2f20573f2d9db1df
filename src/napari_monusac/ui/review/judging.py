"""Who is right, truth or model: the buttons under the list of errors, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
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
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.commands import AcceptInPlace, EditCommand, SetClass, Undo
from napari_monusac.ui.editing.controller import controller_of
from napari_monusac.ui.widgets.basic import Note, TaskRow, calm, row
from napari_monusac.ui.widgets.tables import Line, class_words, number

if TYPE_CHECKING:
    from napari_monusac.scoring.errors.finding import Finding
    from napari_monusac.ui.review.data import CropReview
    from napari_monusac.ui.review.reading import Reading


class CorrectedTruthButton(QWidget):
    """Writes the truth of the open crop as the reader judged it.

    Parameters
    ----------
    reading : Reading
        The reader's judgements, and where the review is kept.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading
        self.review: CropReview | None = None
        self.button = calm(QPushButton("Write the corrected truth (XML)"))
        self.button.setToolTip("A new file in the review folder; the original stays as it is")
        self.button.clicked.connect(self.write)
        self.progress = TaskRow()
        self.where = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.button, self.progress, self.where):
            box.addWidget(widget)
        self.set_review(None)

    def set_review(self, review: CropReview | None) -> None:
        """There is something to write once a judgement changes the truth."""
        if review is None or self.review is None or review.pair.crop != self.review.pair.crop:
            self.where.say("")
        self.review = review
        self.button.setEnabled(review is not None and review.judged is not None)

    def write(self) -> Task | None:
        """Write the truth as judged into the review folder, in the background."""
        review, crop, collection = self.review, self.reading.model.crop, self.reading.model.collection
        if review is None or crop is None or collection is None:
            return None
        judgements, reader = self.reading.of_crop(review.pair.crop), self.reading.reader
        path = self.reading.folder / "corrected" / crop.patient / f"{crop.name.replace('/', '_')}.xml"
        task = self.reading.model.work.task(lambda _: _write(review, collection, crop, judgements, path, reader), self)
        task.done.connect(lambda p: self.where.say(f"Written: {p}", "good"))
        return self.progress.follow(task, "Writing the corrected truth…")


def _write(review: CropReview, collection: Any, crop: Any, judgements: Any, path: Path, reader: str) -> Path:
    import numpy as np

    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.review.annotation import write_corrected
    from napari_monusac.review.truth import correct_truth
    from napari_monusac.ui.review.data import applicable

    pair = review.pair
    if crop.annotation is None:
        raise SessionError(f"{crop.name}: has no annotation file", "save its labels first (Annotate)")
    annotation = collection.annotation(crop)
    (y, x), (height, width) = pair.offset_px, pair.truth.shape
    with collection.open(crop) as slide:
        saved = label_maps(annotation, slide.shape).instances[y : y + height, x : x + width]
    if not np.array_equal(saved, pair.truth):
        raise SessionError(
            f"{crop.annotation}: the labels in the window are not those of the file",
            "save them (Annotate), open the crop again, and judge what is left",
        )
    write_corrected(annotation, correct_truth(pair, applicable(pair, judgements)), path, reader)
    return path


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
    reading : Reading
        The reader's judgements.

    Signals
    -------
    judged() : the chosen error has an answer; time for the next.
    """

    judged = Signal()

    def __init__(self, viewer: Any, reading: Reading) -> None:
        super().__init__()
        self.viewer, self.reading = viewer, reading
        self.controller = controller_of(viewer)
        self.finding: Finding | None = None
        self.review: CropReview | None = None
        self._done: list[str] = []  # what Undo takes back: "edit" or "judgement"
        self._judge_name = reading.reader
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
        self.reader = QLineEdit(reading.reader)
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
        self.corrected = CorrectedTruthButton(reading)
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
        self.reader.editingFinished.connect(lambda: reading.set_reader(self.reader.text()))
        reading.said.connect(self.message.say)
        reading.changed.connect(self._reading_changed)
        self.show_finding(None)

    # -- what is judged

    def set_review(self, review: CropReview | None) -> None:
        """Show what the judgements make of the score."""
        self.review = review
        judged = review.judged if review is not None else None
        words = list(review.notes) if review is not None else []
        if review is not None and judged is not None:
            before, now = review.evaluation, judged
            words.insert(0, f"As judged: PQ {number(before.pq)} → {number(now.pq)}, "
                            f"detection F1 {number(before.detection.f1)} → {number(now.detection.f1)}")  # fmt: skip
        self.score.say("\n".join(words), "good" if judged is not None else "warning")
        self.corrected.set_review(review)
        self._buttons()

    def show_finding(self, finding: Finding | None) -> None:
        """Say what is judged now."""
        self.finding = finding
        if finding is None:
            self.about.say(_CHOOSE)
        else:
            f = finding
            size = f"{f.size_um2:.0f} µm²" if f.size_um2 is not None else f"{f.size_px:.0f} px"
            words = [f"{f.type.value.capitalize()}: {class_words(f.truth_class, f.predicted_class)}", size]
            if f.confidence is not None:
                words.append(f"model {f.confidence:.0%} sure")
            said = self.reading.judgement_of(f)
            if said is not None:
                words.append(f"you said: {said.verdict.value}" + (f" ({said.note})" if said.note else ""))
            self.about.say(", ".join(words))
        self.note.clear()
        self.right_class.setCurrentIndex(0)
        self._buttons()

    def _buttons(self) -> None:
        there, session = self.finding is not None, self.controller.session is not None
        f = self.finding
        for button in self.verdicts.values():
            button.setEnabled(there)
        for name, button in self.mend.items():
            predicted = f is not None and bool(f.prediction_ids)
            may = name == REVIEW_REJECT.id or (session and (predicted or name != REVIEW_ACCEPT.id))
            button.setEnabled(there and may)
        self.undo_button.setEnabled(bool(self._done))

    def _reading_changed(self) -> None:
        if self._judge_name != self.reading.reader:  # Undo does not reach into another reader's log
            self._judge_name = self.reading.reader
            self._done = [d for d in self._done if d == "edit"]
        if self.reader.text() != self.reading.reader:
            self.reader.setText(self.reading.reader)
        finding = self.finding
        self.show_finding(finding)

    # -- judging

    def judge(self, verdict: str) -> None:
        """Answer for the chosen error and go to the next."""
        if self.finding is None:
            return
        name = self.reader.text().strip()
        if name and name != self.reading.reader:
            self.reading.set_reader(name)
        done = self.reading.judge(
            self.finding, verdict, chosen_class=self.right_class.currentData(), note=self.note.text().strip()
        )
        if done:
            self._done.append("judgement")
            self._buttons()
            self.judged.emit()
        elif not name:
            self.reader.setFocus()

    def reject(self) -> None:
        """Say that the model is wrong here."""
        self.judge("truth right")

    def accept(self) -> None:
        """Take the model's nucleus into the labels."""
        if self.finding is not None and self._can_edit():
            self._accept(self.finding)

    def set_class(self, class_number: int) -> None:
        """Give the labelled nucleus a class; where there is none, the model's comes into the labels with it."""
        f = self.finding
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
        other = self.reading.other_prediction(f)
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
            self._done.append("edit")
            self.message.say("The labels are changed; Save (Annotate) writes them.", "good")
            self.judged.emit()
        elif said and said[-1][0]:
            self.message.say(*said[-1])
        self._buttons()

    def undo(self) -> None:
        """Take back what was done here last."""
        if not self._done:
            return
        if self._done.pop() == "judgement":
            judgement = self.reading.undo()
            self.message.say(f"Taken back: {judgement.verdict.value}." if judgement is not None else "", "hint")
        else:
            self.controller.do(Undo())
            self.message.say("The edit is taken back.", "hint")
        self._buttons()

    def forget(self) -> None:
        """Another crop: Undo does not reach into the last one's labels."""
        self._done = [d for d in self._done if d == "judgement"]
        self.message.say("")
        self.show_finding(None)
