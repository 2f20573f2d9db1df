"""Who reads, on which predictions: the reader's judgements and queue, and where they are kept. No widgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_monusac.app.work import Report, Task, error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.files import folder_key
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets import settings as annotate_settings

if TYPE_CHECKING:
    from napari_monusac.review.judgements import Judgement, JudgementLog
    from napari_monusac.review.session import ReviewSession
    from napari_monusac.scoring.errors.finding import Finding

#: Where reviews go whose predictions lie in no folder, beside the folder of runs.
REVIEWS = "napari-monusac-reviews"
OTHER_PREDICTION = (
    "This nucleus was found in another prediction than the one that is open. Choose the folder of predictions again, or "
    "build the queue anew."
)


class Reading(QObject):
    """The judgements of the present reader.

    Parameters
    ----------
    model : StudioModel
        For the open collection and crop.

    Signals
    -------
    changed() : a judgement was made or taken back, or another reader reads.
    predictions_changed() : another folder of predictions.
    session_changed() : a queue was opened or closed.
    said(str, str) : a line for the reader, and its kind.
    """

    changed = Signal()
    predictions_changed = Signal()
    session_changed = Signal()
    said = Signal(str, str)

    def __init__(self, model: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self.predictions: Path | None = None
        self.session: ReviewSession | None = None
        self._log: JudgementLog | None = None
        self._reader: str | None = None
        hear(self, model.collection_changed, lambda _: self._forget())

    # -- who

    @property
    def reader(self) -> str:
        """The reader's name; empty while nobody gave one."""
        return annotate_settings.reader() if self._reader is None else self._reader

    def set_reader(self, name: str) -> None:
        """Another reader reads: their own judgements, and nobody else's."""
        if name.strip() == self.reader:
            return
        self._reader = name.strip()
        if not annotate_settings.reader():
            annotate_settings.set_reader(self._reader)
        self._forget()

    # -- where

    def set_predictions(self, folder: Path | None) -> None:
        """Review the predictions of a folder."""
        if folder != self.predictions:
            self.predictions = folder
            self._forget()
            self.predictions_changed.emit()

    @property
    def folder(self) -> Path:
        """The review folder: among the predictions, else one for the open collection."""
        from napari_monusac.scoring.report.predictions import REVIEW_FOLDER

        if self.predictions is not None:
            return self.predictions / REVIEW_FOLDER
        base = Path(self.model.runs_folder).parent / REVIEWS
        if self.model.collection is None:
            return base / "crops"
        root = Path(self.model.collection.root)
        return base / folder_key(root)

    def _forget(self) -> None:
        self._log = None
        if self.session is not None:
            self.session = None
            self.session_changed.emit()
        self.changed.emit()

    # -- the queue

    def open_session(self, *, anew: bool = False) -> Task | None:
        """Return a task (not started) that opens the queue of the folder, and builds it if there is none or `anew`."""
        collection, predictions, reader = self.model.collection, self.predictions, self.reader
        if collection is None or predictions is None or not reader:
            return None

        def work(report: Report) -> Any:
            from napari_monusac.review.session import ReviewSession

            return ReviewSession.open(
                collection.root, predictions, reader, anew=anew,
                progress=lambda done, total, name: report(done / max(1, total), f"Looking through {name}"),
                should_stop=lambda: report.stopping,
            )  # fmt: skip

        def opened(session: Any) -> None:
            if self.predictions == predictions and self.reader == reader:
                self.session, self._log = session, session.log
                self.session_changed.emit()
                self.changed.emit()
                self.said.emit(" ".join(session.notes), "hint")

        task: Task = self.model.work.task(work, self)
        task.done.connect(opened)
        return task

    # -- judgements

    def log(self) -> JudgementLog | None:
        """The reader's log, opened on first use; None without a name, or where the folder refuses (that is said)."""
        if self._log is None and self.reader:
            from napari_monusac.review.judgements import JudgementLog

            try:
                self._take_over()
                self._log = JudgementLog.open(self.folder, self.reader)
            except MonusacError as error:
                self.said.emit(error_line(error), "error")
                return None
            self.said.emit(" ".join(self._log.notes), "warning")
        return self._log

    def of_crop(self, crop: str) -> list[Judgement]:
        """The reader's last words on a crop; nothing is made on disk for asking."""
        if self._log is None and not (self.reader and self._exists()):
            return []
        log = self.log()
        return log.of_crop(crop) if log is not None else []

    def _exists(self) -> bool:
        from napari_monusac.review.judgements import log_path

        return log_path(self.folder, self.reader).exists()

    def verdicts_of_crop(self, crop: str) -> dict[str, str]:
        """The reader's verdicts on a crop: {key of a finding: verdict}."""
        return {j.key: j.verdict.value for j in self.of_crop(crop)}

    def judgement_of(self, finding: Finding) -> Judgement | None:
        """What the reader said of a finding."""
        return next((j for j in self.of_crop(finding.crop) if j.key == finding.key), None)

    def judge(self, finding: Finding, verdict: str, *, chosen_class: int | None = None, note: str = "") -> bool:
        """Write a judgement down; False where it could not be (that is said)."""
        if not self.reader:
            self.said.emit("Give your name first: it stands on every judgement.", "warning")
            return False
        other = self.other_prediction(finding)
        if other:
            self.said.emit(other, "warning")
            return False
        log = self.log()
        if log is None:
            return False
        try:
            log.judge(finding, verdict, chosen_class=chosen_class, note=note, truth_sha256=self._truth_hash(),
                      fingerprint=finding.fingerprint)  # fmt: skip
            if self.session is not None and finding.key in self.session.queue.items:
                self.session.queue.mark(finding.key)
        except MonusacError as error:
            self.said.emit(error_line(error), "error")
            return False
        self.changed.emit()
        return True

    def undo(self) -> Judgement | None:
        """Take the last judgement back; None where there is none."""
        log = self.log()
        try:
            judgement = log.undo() if log is not None else None
            if judgement is not None and self.session is not None and judgement.key in self.session.queue.items:
                self.session.queue.mark(judgement.key, done=judgement.key in self.session.log.judgements)
        except MonusacError as error:
            self.said.emit(error_line(error), "error")
            return None
        if judgement is not None:
            self.changed.emit()
        return judgement

    def other_prediction(self, finding: Finding) -> str:
        """Why an error is not one of the prediction that is open: found in another one, or crop. Empty where it is."""
        crop = self.model.crop
        if crop is not None and finding.crop not in ("", crop.name):
            return f"This nucleus lies in {finding.crop}, {crop.name} is open: go to it first."
        here = self.model.counted_in()
        return OTHER_PREDICTION if here and finding.counted_in not in ("", here) else ""

    def _truth_hash(self) -> str:
        from napari_monusac.editing.disk.workplace import content_of, sha256

        crop = self.model.crop
        there = crop is not None and crop.annotation is not None and crop.annotation.exists()
        return sha256(content_of(crop.annotation)) if there else ""

    def _take_over(self) -> None:
        """Move the review that an earlier version kept by the collection's name, where it is of this one."""
        from napari_monusac.review.judgements import take_over

        collection, folder = self.model.collection, self.folder
        if self.predictions is not None or collection is None:
            return
        truths = {c.name: c.annotation for c in collection.crops if c.annotation is not None}
        said = take_over(folder.parent / Path(collection.root).name, folder, truths)
        if said:
            self.said.emit(said, "warning")
