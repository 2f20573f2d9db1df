"""Whose crop is whose: what was found, and the user's own word on it, kept as a list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_monusac.app.actions import FORGET_PATIENTS, LEAVE_PATIENTS, SAVE_PATIENTS, SET_PATIENTS, TAKE_PATIENTS
from napari_monusac.app.work import Task
from napari_monusac.io.collection.patient_list import is_ours
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.slides.crop_list import CropList
from napari_monusac.ui.widgets.basic import form_button, grouping_words, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection


_HOW = "Double-click a patient to change it; choose several rows to change all of them at once."


class PatientsSetting(QWidget):
    """Says how the crops fall into patients; sets them in the list's column, from a table, or as they were found.

    Parameters
    ----------
    model : StudioModel
    crops : CropList
        The list whose column is edited.

    Signals
    -------
    kept(Path) : a list was written, or removed: the folder is to be read anew.
    """

    kept = Signal(object)

    def __init__(self, model: StudioModel, crops: CropList) -> None:
        super().__init__()
        self.model, self.crops = model, crops
        self._collection: Collection | None = None
        self.said = Note()
        self.set = form_button(SET_PATIENTS, self)
        self.save, self.table = form_button(SAVE_PATIENTS, self), form_button(TAKE_PATIENTS, self)
        self.found, self.cancel = form_button(FORGET_PATIENTS, self), form_button(LEAVE_PATIENTS, self)
        self.choices = row(self.save, self.table, self.found, self.cancel)
        self.progress = TaskRow()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.said, self.set, self.choices, self.progress):
            box.addWidget(widget)
        self.show_collection(None)

    def show_collection(self, collection: Collection | None) -> None:
        """Say how the crops of a folder fall into patients."""
        self._collection = collection
        self.setVisible(collection is not None)
        self._setting(False)

    def _setting(self, on: bool) -> None:
        self.crops.set_patients(on)
        self.set.setVisible(not on)
        self.choices.setVisible(on)
        self.progress.label.say("")
        if self._collection is None:
            return
        grouping = self._collection.grouping
        self.found.setVisible(grouping.file is not None and is_ours(grouping.file))
        self.said.say(_HOW if on else grouping_words(grouping), "warning" if grouping.notes and not on else "hint")

    def begin(self) -> None:
        """Edit the column of patients."""
        self._setting(True)

    def leave(self) -> None:
        """Leave the patients as they are."""
        self._setting(False)

    def save_column(self) -> Task | None:
        """Keep what stands in the column, as the user's word."""
        collection, patients = self._collection, self.crops.patients()
        if collection is None:
            return None

        def work() -> Path:
            from napari_monusac.io.collection.patient_list import Listed, write_list

            return write_list(collection.root, {name: Listed(patient) for name, patient in patients.items()})

        return self._keep(work)

    def choose_table(self) -> None:
        """Ask for a table of patients, and keep what it says."""
        path = QFileDialog.getOpenFileName(self, "Choose a table of patients", "", "Tables (*.csv *.tsv *.txt)")[0]
        if path:
            self.take_table(Path(path))

    def take_table(self, path: Path) -> Task | None:
        """Keep the patients of a table; crops that it does not name keep theirs."""
        collection = self._collection
        if collection is None:
            return None

        def work() -> Path:
            from napari_monusac.io.collection.patient_list import Listed, read_list, with_given, write_list

            crops, _ = with_given(collection.crops, read_list(path), path, collection.root)
            return write_list(collection.root, {c.name: Listed(c.patient, c.patient_source) for c in crops})

        return self._keep(work)

    def forget(self) -> Task | None:
        """Remove the list: patients are found by barcode, folder or name again."""
        file = self._collection.grouping.file if self._collection is not None else None
        if file is None:
            return None

        def work() -> Path:
            from napari_monusac.io.collection.patient_list import forget_list

            forget_list(file)
            return file

        return self._keep(work)

    def _keep(self, work: Callable[[], Path]) -> Task:
        task = self.model.work.task(lambda _: work(), self)
        task.done.connect(lambda file: self.kept.emit(file))
        return self.progress.follow(task, "Keeping the patients…")
