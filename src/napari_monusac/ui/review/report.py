"""The report: one HTML file and a CSV, opened in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Task
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import Heading
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from pathlib import Path

    from napari_monusac.app.review import ReviewModel


class ReportButton(QWidget):
    """Writes a report of the folder's scores, or of the open crop while there are none, and opens it."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
        self.button = QPushButton()
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
        hear(self, model.folder_scored, lambda _: self._say())
        self._say()

    def _say(self) -> None:
        what = "the folder" if self.model.scored is not None else "this crop"
        self.button.setText(f"Write the report of {what} and open it")

    def write(self) -> Task | None:
        """Write the report in the background and open it in the browser."""
        job = self.model.writing_report()
        if job is None:
            self.where.say("Predict a crop, or score the folder: then there is something to report.")
            return None
        task = self.model.studio.work.task(job, self)
        task.done.connect(self._open)
        return self.progress.follow(task, "Writing the report…")

    def _open(self, path: Path) -> None:
        self.where.say(f"{path} and .csv", "good")
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
