"""Masks of a whole folder: where to, write, and look at what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_monusac.app.actions import SHOW_MASKS, WRITE_MASKS, MaskWriting
from napari_monusac.app.work import Report, Task
from napari_monusac.core.errors import CollectionError
from napari_monusac.io.outputs import refuse_inside
from napari_monusac.masks.left_out import LeftOut
from napari_monusac.ui.model import StudioModel, hear
from napari_monusac.ui.widgets.basic import form_button, offer
from napari_monusac.ui.widgets.note import say_error, short_path
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.task_row import TaskRow


class MaskFolder(QWidget):
    """Writes the masks of every labelled crop of the open folder.

    Parameters
    ----------
    model : StudioModel
        Whose collection is meant.
    writing : MaskWriting
        Has the width of the boundary.
    """

    def __init__(self, model: StudioModel, writing: MaskWriting) -> None:
        super().__init__()
        self.model = model
        self._written: Path | None = None
        self.folder = PathPicker(
            "masks",
            "folder",
            tooltip="Where the folder's masks go: instances, semantic and ternary as .tif, one folder a patient",
            placeholder="Write masks to…",
        )
        self.button = form_button(WRITE_MASKS, writing)
        self.progress = TaskRow()
        self.show_folder = form_button(SHOW_MASKS, self)
        self.show_folder.hide()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.folder, self.button, self.progress, self.show_folder):
            box.addWidget(widget)
        self.folder.changed.connect(lambda _: self._forget_written())
        hear(self, self.model.collection_changed, self._collection_changed)
        self._collection_changed(self.model.collection)

    def _collection_changed(self, collection: Any) -> None:
        self._forget_written()
        offer(self.button, WRITE_MASKS, "" if collection is not None else "Open a folder first (Slides)")

    def write(self, width: int) -> Task | None:
        """Write masks with a boundary of `width` px."""
        collection, out = self.model.collection, self.folder.path
        if collection is None:
            return None
        self._forget_written()
        if out is None:
            self.progress.label.say("Choose where the masks go first.", "warning")
            return None
        try:
            refuse_inside(out, collection.root, "masks")
        except CollectionError as error:
            say_error(self.progress.label, error, "warning")
            return None

        def work(report: Report) -> tuple[int, LeftOut]:
            from napari_monusac.jobs.maskfiles import write_crop_masks

            todo = [c for c in collection.crops if c.image is not None and c.annotation is not None]
            left_out = []
            for i, crop in enumerate(todo):
                report(i / max(1, len(todo)), f"{crop.name} ({i + 1} of {len(todo)})")
                written = write_crop_masks(collection, crop, Path(out), boundary_width=width)
                left_out.append(LeftOut(**written["left_out"]))
            return len(todo), LeftOut.sum(left_out)

        task = self.model.work.task(work, self)
        task.done.connect(lambda told: self._all_written(told[0], told[1], width, Path(out)))
        return self.progress.follow(task, "Writing masks…")

    def _all_written(self, number: int, left_out: LeftOut, width: int, out: Path) -> None:
        crops = "1 crop is" if number == 1 else f"{number} crops are"
        said = f"Masks ({width} px boundary) of {crops} in {short_path(out)}."
        if left_out.total:
            said += f" {str(left_out).capitalize()}."
        self.progress.label.say(said, "good", str(out))
        self._written = out
        self.show_folder.show()

    def _forget_written(self) -> None:
        """Another folder is meant: what was said of the former one goes."""
        self._written = None
        self.show_folder.hide()
        if self.progress.task is None:
            self.progress.label.say("")

    def show_written(self) -> None:
        """Show the masks that were written, in the file manager."""
        if self._written is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._written)))
