"""Masks as files, of the open crop or of a whole folder: where to, write, and look at what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_monusac.app.actions import SHOW_MASKS, WRITE_CROP_MASKS, WRITE_MASKS, MaskWriting
from napari_monusac.app.work import Report, Task
from napari_monusac.core.errors import CollectionError
from napari_monusac.io.outputs import refuse_inside
from napari_monusac.jobs.maskfiles import FolderMasks, write_folder_masks
from napari_monusac.ui.model import StudioModel, hear
from napari_monusac.ui.widgets.basic import form_button, offer
from napari_monusac.ui.widgets.note import say_error, short_path
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Crop


class MaskFolder(QWidget):
    """Writes the masks of the open crop, or of every labelled crop of the open folder.

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
        self.one = form_button(WRITE_CROP_MASKS, writing)
        self.button = form_button(WRITE_MASKS, writing)
        self.progress = TaskRow()
        self.show_folder = form_button(SHOW_MASKS, self)
        self.show_folder.hide()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.folder, self.one, self.button, self.progress, self.show_folder):
            box.addWidget(widget)
        self.folder.changed.connect(lambda _: self._forget_written())
        hear(self, self.model.collection_changed, self._collection_changed)
        hear(self, self.model.crop_changed, self._crop_changed)
        self._collection_changed(self.model.collection)
        self._crop_changed(self.model.crop)

    def _collection_changed(self, collection: Any) -> None:
        self._forget_written()
        offer(self.button, WRITE_MASKS, "" if collection is not None else "Open a folder first (Slides)")

    def _crop_changed(self, crop: Crop | None) -> None:
        why = (
            "Open a crop of a folder first (Slides)"
            if crop is None
            else "This crop has no labels yet: outline nuclei and save (Annotate)"
            if crop.annotation is None
            else ""
        )
        offer(self.one, WRITE_CROP_MASKS, why)

    def write_one(self, width: int) -> Task | None:
        """Write the masks of the open crop; edits are saved first, as files are made of what is saved."""
        crop, saver = self.model.crop, self.model.saver
        if crop is None or crop.annotation is None:
            return None
        if saver is not None and saver.unsaved():
            saver.save(lambda: self._write([crop], width))
            return None
        return self._write([crop], width)

    def write(self, width: int) -> Task | None:
        """Write masks of all labelled crops with a boundary of `width` px."""
        collection = self.model.collection
        if collection is None:
            return None
        return self._write(list(collection.labelled), width)

    def _write(self, todo: list[Crop], width: int) -> Task | None:
        collection, out = self.model.collection, self.folder.path
        if collection is None or self.progress.task is not None:
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
                collection, out, crops=todo, boundary_width=width, should_stop=lambda: report.stopping,
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
