"""The corrected truth: a button that writes it as a new file; the original stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.core.errors import SessionError
from napari_monusac.ui.annotate_parts import calm
from napari_monusac.ui.widgets import Note, TaskRow
from napari_monusac.ui.work import Task

if TYPE_CHECKING:
    from napari_monusac.ui.review_data import CropReview
    from napari_monusac.ui.review_reading import Reading


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
        task = Task(lambda _: _write(review, collection, crop, judgements, path, reader))
        task.done.connect(lambda p: self.where.say(f"Written: {p}", "good"))
        return self.progress.follow(task, "Writing the corrected truth…")


def _write(review: CropReview, collection: Any, crop: Any, judgements: Any, path: Path, reader: str) -> Path:
    import numpy as np

    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.session.review_annotation import write_corrected
    from napari_monusac.session.review_truth import correct_truth
    from napari_monusac.ui.review_data import applicable

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
