"""Compares the open crop in the background, one comparison at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_monusac.ui.review_data import CropReview, compare, pair_of_layers, predicted_layer
from napari_monusac.ui.widgets import TaskRow
from napari_monusac.ui.work import Report, Task

if TYPE_CHECKING:
    from napari_monusac.ui.review_reading import Reading


class Comparing(QObject):
    """Compares truth and prediction of the open crop.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    model : StudioModel
        Is told of errors.
    reading : Reading
        The reader's judgements.
    progress : TaskRow
        Shows the first comparison of a crop; later ones (an edit, a threshold) run unseen.
    review : callable
        Returns the last comparison of the open crop, or None.

    Signals
    -------
    compared(CropReview) : what came out.
    """

    compared = Signal(object)

    def __init__(
        self, viewer: Any, model: Any, reading: Reading, progress: TaskRow, review: Callable[[], CropReview | None]
    ) -> None:
        super().__init__(progress)
        self.viewer, self.model, self.reading, self.progress, self._review = viewer, model, reading, progress, review
        self.stale = False
        self._task: Task | None = None

    def give_up(self) -> None:
        """Another crop: what is under way is of no use."""
        self.stale = False
        if self._task is not None:
            self._task.stop()
            self._task = None

    def start(self) -> Task | None:
        """Compare; while a comparison is under way, once more after it. None where there is nothing to start."""
        make, predicted = pair_of_layers(self.viewer), predicted_layer(self.viewer)
        if make is None or predicted is None:
            return None
        if self._task is not None:
            self.stale = True
            return None
        self.stale = False
        about = predicted.metadata["monusac"]
        width, judgements = int(about.get("boundary_width", 3)), self.reading.of_crop(str(about.get("crop") or ""))

        def work(_: Report) -> CropReview:
            return compare(make(), judgements, width)

        task = Task(work)
        self._task = task
        task.done.connect(lambda review: self.compared.emit(review) if self._task is task else None)
        task.finished.connect(lambda: self._finished(task))
        if self._review() is None:
            return self.progress.follow(task, "Comparing…")
        task.failed.connect(lambda error: self.model.tell(str(error), "error"))
        return task.start()

    def _finished(self, task: Task) -> None:
        if self._task is task:
            self._task = None
            if self.stale:
                self.start()
