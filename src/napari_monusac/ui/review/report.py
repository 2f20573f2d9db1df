"""The report: one HTML file and a CSV, opened in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Report, Task
from napari_monusac.core.errors import MonusacError
from napari_monusac.ui.widgets.basic import Heading, Note, TaskRow

if TYPE_CHECKING:
    from pathlib import Path

    from napari_monusac.ui.review.data import CropReview
    from napari_monusac.ui.review.folder import FolderScores
    from napari_monusac.ui.review.reading import Reading


class ReportButton(QWidget):
    """Writes a report of the folder's scores, or of the open crop while there are none, and opens it.

    Parameters
    ----------
    model : StudioModel
        For the open crop.
    reading : Reading
        Where the review is kept.
    folder : FolderScores
        Scores of the folder.
    review : callable
        Returns the comparison of the open crop, or None.
    """

    def __init__(
        self, model: Any, reading: Reading, folder: FolderScores, review: Callable[[], CropReview | None]
    ) -> None:
        super().__init__()
        self.model, self.reading, self.folder, self._review = model, reading, folder, review
        self.button = QPushButton("Write the report and open it")
        self.button.setToolTip(
            "One HTML file with scores, figures, the worst nuclei and the review log; a CSV beside it"
        )
        self.button.clicked.connect(self.write)
        self.progress = TaskRow()
        self.where = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (Heading("Report"), self.button, self.progress, self.where):
            box.addWidget(widget)
        folder.scored.connect(self._say)
        self._say()

    def _say(self) -> None:
        what = "the folder" if self.folder.evaluation is not None else "this crop"
        self.button.setText(f"Write the report of {what} and open it")

    def write(self) -> Task | None:
        """Write the report in the background and open it in the browser."""
        evaluation, evidence, review = self.folder.evaluation, self.folder.evidence, self._review()
        where, latest = self.reading.folder, self.model.last_prediction
        if evaluation is None and review is None:
            self.where.say("Predict a crop, or score the folder: then there is something to report.")
            return None
        annotation = str(self.model.crop.annotation or "") if self.model.crop is not None else ""

        def work(_: Report) -> Path:
            from napari_monusac.scoring.report.html import write_report

            scores, found, name = evaluation, evidence, "report.html"
            if review is not None and scores is None:
                scores, found = of_crop(review, annotation, latest)
                name = f"report-{review.pair.crop.replace('/', '_')}.html"
            if scores is None:
                raise MonusacError("there is nothing to report", "compare a crop, or score the folder first")
            lines, agreement = log_of(where)
            return write_report(scores, where / name, evidence=found, review=lines, agreement=agreement)[0]

        task = self.model.work.task(work, self)
        task.done.connect(self._open)
        return self.progress.follow(task, "Writing the report…")

    def _open(self, path: Path) -> None:
        self.where.say(f"{path} and .csv", "good")
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


def of_crop(review: CropReview, annotation: str, latest: Any) -> tuple[Any, Any]:
    """Scores and evidence of the open crop, with what is known of where they came from."""
    from datetime import UTC, datetime
    from pathlib import Path

    from napari_monusac import __version__
    from napari_monusac.scoring.metrics.evaluation import ComparedWith
    from napari_monusac.scoring.report.pictures import Evidence
    from napari_monusac.scoring.report.predictions import sha256_of

    evidence = Evidence()
    evidence.add(review.pair)
    prediction = latest[0] if latest is not None else None
    provenance = ComparedWith(
        truth=annotation,
        truth_sha256=sha256_of(Path(annotation)) if annotation and Path(annotation).is_file() else "",
        prediction="the prediction in the window, with its thresholds",
        recipe=prediction.fingerprint if prediction is not None else "",
        checkpoint=prediction.checkpoint if prediction is not None else "",
        version=f"napari-monusac {__version__}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return review.evaluation.model_copy(update={"provenance": provenance}), evidence


def log_of(folder: Path) -> tuple[Any, str]:
    """The review log of a folder, and how far two readers agree; empty without a review."""
    from napari_monusac.review.judgements import readers_of
    from napari_monusac.review.report import agreement_of, agreement_sentence, review_lines

    readers = readers_of(folder)
    if not readers:
        return (), ""
    return review_lines(folder), agreement_sentence(agreement_of(folder)) if len(readers) > 1 else ""
