"""Where the prediction of a region that is too large for the memory goes, and its nuclei by other thresholds."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_monusac.app.actions import SEGMENT_AGAIN
from napari_monusac.app.prediction import PredictionModel, Thresholds
from napari_monusac.app.prediction_jobs import needs_store
from napari_monusac.app.work import Task
from napari_monusac.core.boxes import Region
from napari_monusac.ui.widgets.basic import form_button
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.task_row import TaskRow


class SlideStore(QWidget):
    """Where the prediction of a large region is kept. Shown once such a region is asked for.

    Parameters
    ----------
    predicting : PredictionModel
    thresholds : callable
        Gives those that the panel shows, which the model may not have heard of yet.
    """

    def __init__(self, predicting: PredictionModel, thresholds: Callable[[], Thresholds]) -> None:
        super().__init__()
        self.predicting, self._thresholds = predicting, thresholds
        self.words = Note()
        self.folder = PathPicker(
            "predictions", "folder", tooltip="One OME-Zarr store a slide", placeholder="Keep the prediction in…"
        )
        self.again = form_button(SEGMENT_AGAIN, self)
        self.progress = TaskRow()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.folder):
            box.addWidget(widget)
        self.hide()

    def ask(self, region: Region) -> None:
        """Ask for a folder, where a region needs one."""
        large = needs_store(region)
        self.setVisible(large)
        if large:
            self.words.say(
                f"{region.height * region.width / 1e6:.0f} megapixels: predicted piece by piece to disk, in constant "
                "memory. A stopped prediction goes on where it was."
            )

    def segment(self) -> Task | None:
        """Segment the nuclei of the store again, in the background."""
        self.predicting.thresholds = self._thresholds()
        answer = self.predicting.segment_again()
        return self.progress.follow(answer, "Separating nuclei…") if isinstance(answer, Task) else None
