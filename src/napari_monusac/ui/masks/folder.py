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
from napari_monusac.jobs.maskfiles import FolderMasks, write_folder_masks
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

        def work(report: Report) -> FolderMasks:
            return write_folder_masks(
                collection, out, boundary_width=width, should_stop=lambda: report.stopping,
                progress=lambda done, total, name: report(done / max(1, total), f"{name} ({done + 1} of {total})"),
            )  # fmt: skip

        task = self.model.work.task(work, self)
        task.done.connect(lambda masks: self._all_written(masks, width, Path(out)))
        return self.progress.follow(task, "Writing masks…")

    def _all_written(self, masks: FolderMasks, width: int, out: Path) -> None:
        number, left_out = len(masks.crops), masks.left_out
        crops = "1 crop is" if number == 1 else f"{number} crops are"
        said = f"Masks ({width} px boundary) of {crops} in {short_path(out)}."
        if left_out.total:
            said += f" {str(left_out).capitalize()}."
        if masks.problems:
            said += f" {len(masks.problems)} not written: {masks.problems[0][1]}"
        self.progress.label.say(said, "warning" if masks.problems else "good", str(out))
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
