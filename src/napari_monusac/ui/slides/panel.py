"""Slides: choose a folder, see its patients and crops, open one, hear what the data doctor says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QLabel, QVBoxLayout, QWidget

from napari_monusac.app.actions import OPEN_LAST, OPEN_SAMPLE, USE_SCALE
from napari_monusac.app.work import Progress, Report, Task, error_line
from napari_monusac.core.errors import FileProblem, MonusacError
from napari_monusac.editing.disk.workplace import work_folder, writable
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.opening import crop_opener
from napari_monusac.ui.model import Placed, StudioModel, hear, studio_model
from napari_monusac.ui.slides.class_names import ClassNames
from napari_monusac.ui.slides.crop_list import THUMBNAIL, CropList
from napari_monusac.ui.slides.doctor import DoctorView
from napari_monusac.ui.slides.patients import PatientsSetting
from napari_monusac.ui.widgets.basic import column, form_button, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.settings import SETTINGS
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop


def annotation_now(collection: Collection, crop: Crop) -> Path | None:
    """The file that Annotate opens and saves for a crop; None where there is none yet."""
    from napari_monusac.editing.corrected import corrected_path

    own = corrected_path(crop)
    if not writable(own.parent):
        own = corrected_path(crop, work_folder(collection.root), collection.root)
    return own if own.exists() else crop.annotation


def counts_now(collection: Collection, crop: Crop) -> tuple[dict[int, int] | None, dict[str, int]]:
    """Nuclei by class number, None without labels; and by class name that nobody knows (not for the Qt thread).

    Raises
    ------
    AnnotationError
        The file is damaged.
    """
    path = annotation_now(collection, crop)
    if path is None:
        return None, {}
    if path == crop.annotation:
        return {int(k): n for k, n in collection.counts(crop).items()}, collection.unknown_names(crop)
    from napari_monusac.io.annotations.files import read_annotation

    annotation = read_annotation(path)
    return {int(k): n for k, n in annotation.counts().items()}, annotation.unknown_labels


_ORDERS: dict[str, Literal["auto", "rgb", "bgr"]] = {
    "decided by the stain": "auto",
    "right as stored": "rgb",
    "swapped in the file": "bgr",
}


class CropFacts(QWidget):
    """Size and scale of the open crop; red and blue of its patient.

    Parameters
    ----------
    viewer : napari.Viewer
    model : StudioModel
    """

    def __init__(self, viewer: Any, model: StudioModel) -> None:
        super().__init__()
        self.viewer, self.model = viewer, model
        self.text = Note()
        self.orders = QComboBox()
        self.orders.addItems(list(_ORDERS))
        self.orders.setToolTip(
            "Official MoNuSAC .tif files have red and blue swapped. If red cells look blue, say so here."
        )
        self.channels = row(QLabel("Red and blue"), self.orders)
        self.um = QDoubleSpinBox()
        self.um.setRange(0.05, 10)
        self.um.setDecimals(4)
        self.um.setSingleStep(0.01)
        self.um.setValue(0.25)
        self.um.setSuffix(" µm/px")
        self.um.setToolTip("Micrometres a pixel of this crop; 0.25 is a scan at 40x")
        self.apply = form_button(USE_SCALE, self)
        self.unknown = QLabel("Scale unknown")
        self.scale = row(self.unknown, self.um, self.apply)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.text, self.channels, self.scale):
            box.addWidget(widget)
        self.orders.activated.connect(self._overrule)
        hear(self, self.model.crop_changed, lambda _: self.refresh())
        self.refresh()

    def refresh(self) -> None:
        """Say what is known of the crop on the canvas."""
        image = canvas.find_layer(self.viewer, "image")
        self.setVisible(image is not None)
        if image is None:
            return
        about = image.metadata["monusac"]
        height, width = (image.data[0] if image.multiscale else image.data).shape[:2]
        um = about.get("um_per_px")
        size = f"{width} x {height} px" + (f", {width * um:.0f} x {height * um:.0f} µm at {um:g} µm/px" if um else "")
        origin = about.get("origin_px")
        place = f"; from ({origin[1]}, {origin[0]}) of its slide" if origin else ""
        notes = "".join(f"\n{note[:1].upper()}{note[1:]}." for note in about.get("notes", ()))
        self.text.say(f"{size}{place}{notes}")
        guessed = bool(about.get("um_per_px_guessed"))
        self.scale.setVisible(not um or guessed)
        self.unknown.setText("Scale guessed" if guessed else "Scale unknown")
        self.channels.setVisible(str(about.get("image", "")).lower().endswith((".tif", ".tiff")))

    def _overrule(self) -> None:
        collection, crop = self.model.collection, self.model.crop
        if collection is None or crop is None:
            return
        try:
            collection.overrule_channels(crop.patient, _ORDERS[self.orders.currentText()])
        except MonusacError as error:
            self.model.tell(error_line(error), "error")
            return
        self.model.tell(f"Red and blue of {crop.patient}: {self.orders.currentText()}.")
        self.model.ask_for_crop(crop)

    def use_scale(self) -> None:
        """Show the open crop at the chosen scale; its files stay as they are."""
        um = self.um.value()
        for layer in canvas.our_layers(self.viewer):
            layer.scale = (*layer.scale[:-2], um, um)
            layer.units = (*layer.units[:-2], "um", "um")
            layer.metadata["monusac"].update(um_per_px=um, um_per_px_guessed=False)
        self.viewer.reset_view()
        self.refresh()
        self.model.layers_changed.emit()
        self.model.tell(f"This crop is shown at {um:g} µm/px.", "good")


_BEGIN = (
    "Choose a folder: MoNuSAC's training or testing root, the folder that holds both, one patient, "
    "or any folder of images with ImageScope .xml or QuPath .geojson files. Dropping it on the window works too."
)


def crop_status(collection: Collection, predictions: Path | None = None) -> dict[str, str]:
    """What is done with each crop: unlabelled, labelled, predicted, reviewed (reads files: not for the Qt thread).

    Parameters
    ----------
    collection : Collection
    predictions : Path, optional
        Folder of stored predictions, one ``.zarr`` a crop.
    """
    from napari_monusac.editing.progress import marks_of

    marks = marks_of(Path(collection.root), [c.name for c in collection.crops])
    stored = {p.stem for p in predictions.glob("*.zarr")} if predictions is not None and predictions.is_dir() else set()
    return {
        c.name: marks.status(c.name, annotated=c.annotation is not None, predicted=c.image.stem in stored)
        for c in collection.crops
    }


def predictions_folder() -> Path | None:
    """Where predictions of a folder were written last, or None."""
    folders = SETTINGS.now.paths.get("predictions", ())
    return Path(folders[0]) if folders else None


class SlidesPanel(QWidget):
    """The collection browser.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that crops are opened in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.model: StudioModel = studio_model(napari_viewer)
        Placed(self, self.model)
        self._counting: Task | None = None
        self._last = ""
        #: the crop that has edits which no file has yet
        self._edited: Crop | None = None
        # the open crop comes first, then the counts
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(300)
        self._soon.timeout.connect(self._count)
        self._build()
        hear(self, self.model.collection_changed, self._show_collection)
        crop_opener(napari_viewer).began.connect(self.opening.follow)
        hear(self, self.model.crop_changed, self._mark_open)
        hear(self, self.model.crop_changed, lambda _: self.show_status())
        hear(self, self.model.editing.unsaved_changed, self._unsaved_changed)
        self._show_collection(self.model.collection)

    def _build(self) -> None:
        self.folder = PathPicker(
            "collection",
            "folder",
            tooltip="A MoNuSAC folder, one patient's folder, or a folder of images with their .xml",
            placeholder="Choose a folder of slides…",
            remember=False,
        )
        self.opening = TaskRow()
        self.hint = Note(_BEGIN)
        self.again, self.sample = form_button(OPEN_LAST, self), form_button(OPEN_SAMPLE, self)
        self.begin = column(self.again, self.sample)
        self.crops = CropList()
        self.patients = PatientsSetting(self.model, self.crops)
        self.names = ClassNames()
        self.facts = CropFacts(self.viewer, self.model)
        self.progress = TaskRow()
        self.doctor = DoctorView(self.viewer)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        for widget in (self.folder, self.opening, self.hint, self.begin, self.patients, self.names):
            box.addWidget(widget)
        box.addWidget(self.crops, 1)
        for widget in (self.facts, self.progress, self.doctor):
            box.addWidget(widget)
        box.addStretch(0)
        self.folder.changed.connect(self.open_folder)
        self.crops.chosen.connect(self._chosen)
        self.names.kept.connect(self._names_kept)
        # once its task has left the row
        self.patients.kept.connect(lambda file: QTimer.singleShot(0, lambda: self._patients_kept(file)))

    # -- the folder

    def open_folder(self, folder: str | Path, *, then_first: bool = True) -> Task:
        """List a folder's crops in the background, then open the first."""

        def read(report: Report) -> Collection:
            from napari_monusac.io.collection.collection import open_collection

            report(None, "Looking through the folder")
            return open_collection(folder)

        task = self.model.work.task(read, self)

        def take(collection: Collection) -> None:
            self.model.collection = collection
            first = next(iter(collection.crops), None)
            if first is not None:
                self.model.open_crop(first)

        def done(collection: Collection) -> None:
            here = self.model.collection
            if then_first and not self.model.leave_crop(lambda: take(collection)) and here is not None:
                self.folder.set_path(here.root)  # still that one, until the reader has decided
            elif not then_first:
                self.model.list_anew(collection)  # its crop is in the viewer already

        task.done.connect(done)
        return self.opening.follow(task, "Looking through the folder…")

    def _patients_kept(self, file: Path) -> None:
        """Read the folder anew with the patients that were set; the open crop stays."""
        if self.model.collection is not None:
            self.open_folder(self.model.collection.root, then_first=False)
            there = f"Patients are kept in {file}." if file.is_file() else "Patients are found anew."
            self.model.tell(there, "good")

    def _names_kept(self, file: Path) -> None:
        """Show the open crop and all counts under the names as they are now."""
        self.model.tell(f"Names of classes are kept in {file}; on the command line: --classes {file}", "good")
        if self.model.crop is not None:
            self.model.ask_for_crop(self.model.crop)
        self._soon.start()

    def open_last(self) -> Task:
        """Open the folder of the last time."""
        return self.open_folder(self._last)

    def open_sample(self) -> Task:
        """Make the sample collection of synthetic tissue (once), then list it."""

        def make(_: Report) -> Path:
            from napari_monusac.plugin.sample_data import sample_collection

            return sample_collection()

        task = self.model.work.task(make, self)
        # once this task has left the row: the row follows one task at a time
        task.done.connect(lambda folder: QTimer.singleShot(0, lambda: self.open_folder(folder)))
        return self.opening.follow(task, "Making synthetic tissue…")

    def _show_collection(self, collection: Collection | None) -> None:
        if self._counting is not None:
            self._counting.stop()
        self.crops.clear()
        self.names.forget()
        self.doctor.reset()
        for widget in (self.crops, self.doctor):
            widget.setVisible(collection is not None)
        self.begin.setVisible(collection is None)
        if collection is None:
            self.patients.show_collection(None)
            self.hint.say(_BEGIN)
            self._offer_last()
            return
        self.folder.set_path(collection.root, remember=True)
        self.crops.list(collection)
        self.patients.show_collection(collection)
        labelled = sum(c.annotation is not None for c in collection.crops)
        left = len(collection.problems)
        problems = f" {left} thing{'' if left == 1 else 's'} left out: see Check." if left else ""
        self.hint.say(
            f"{_many(len(collection.crops), 'crop')}, {labelled} with labels.{problems} Click a crop to open it."
        )
        self._mark_open(self.model.crop)
        self.show_status()
        self._soon.start()

    def _offer_last(self) -> None:
        """Offer the folder of the last time with one click; nothing opens unasked."""
        last = self.folder.remembered()[:1]
        self.again.setVisible(bool(last))
        if last:
            self.again.setText(f"{OPEN_LAST.text}: {_end_of(last[0])}".replace("&", "&&"))
            self._last = last[0]
            self.again.setToolTip(f"{last[0]}\n{OPEN_LAST.tip}")

    def _count(self) -> None:
        """Count nuclei and make thumbnails in the background, crop by crop."""
        collection = self.model.collection
        if collection is None:
            return

        def work(report: Report) -> int:
            from napari_monusac.io.slides.thumbnails import thumbnail

            todo, unread = list(collection.crops), 0
            for i, crop in enumerate(todo):
                words = f"Counting nuclei: {i + 1} of {len(todo)}"
                try:
                    picture = thumbnail(collection.open(crop), THUMBNAIL * 2)
                    counts, unknown = counts_now(collection, crop)
                    report((i + 1) / len(todo), words, (crop.name, counts, picture, unknown))
                except FileProblem:
                    unread += 1
            return unread

        task = self.model.work.task(work, self)
        task.progressed.connect(self._counted)
        task.done.connect(self._all_counted)
        task.finished.connect(lambda: self._no_longer_counting(task))
        self._counting = task
        self.progress.follow(task, "Counting nuclei…")

    def _counted(self, progress: Progress) -> None:
        if progress.payload is not None:
            name, counts, picture, unknown = progress.payload
            self.crops.show_crop(name, counts, picture)
            self.names.show_crop(name, unknown)

    def _no_longer_counting(self, task: Task) -> None:
        if self._counting is task:
            self._counting = None

    def _all_counted(self, unread: int) -> None:
        if unread:
            are = "crop has" if unread == 1 else "crops have"
            self.progress.label.say(
                f"{unread} {are} a file that cannot be read: Check this folder says which.", "warning"
            )

    def _unsaved_changed(self, unsaved: bool) -> None:
        """Count a crop anew once its edits are saved (or gone)."""
        if unsaved:
            self._edited = self.model.crop
        elif self._edited is not None:
            edited, self._edited = self._edited, None
            self.recount(edited)

    def recount(self, crop: Crop) -> Task | None:
        """Show how many nuclei a crop has now."""
        collection = self.model.collection
        if collection is None:
            return None
        task = self.model.work.task(lambda _: counts_now(collection, crop), self)

        def show(counted: tuple[dict[int, int] | None, dict[str, int]]) -> None:
            self.crops.show_counts(crop.name, counted[0])
            self.names.show_crop(crop.name, counted[1])

        task.done.connect(show)
        return task.start()

    def show_status(self) -> None:
        """Show which crops are unlabelled, labelled or reviewed (read in the background)."""
        collection = self.model.collection
        if collection is None:
            return
        predictions = predictions_folder()
        task = self.model.work.task(lambda _: crop_status(collection, predictions), self)
        task.done.connect(self.crops.show_status)
        task.start()

    # -- a crop

    def _chosen(self, crop: Crop) -> None:
        """Open a crop; of the open one, show again what the reader has put away of it."""
        open_one = self.model.crop is not None and crop.name == self.model.crop.name
        if not open_one or not canvas.our_layers(self.viewer):
            self.model.ask_for_crop(crop)
        elif self.model.editing.astray and self.model.editor is not None:
            self.model.editor.bring_back()

    def _mark_open(self, crop: Crop | None) -> None:
        self.crops.mark_open(None if crop is None else str(crop.name))


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _end_of(path: str, length: int = 38) -> str:
    """The end of a path that fits on a button, from a separator on where one is near."""
    if len(path) <= length:
        return path
    end = path[-length + 2 :]
    cut = max(end.find("/"), end.find("\\"))
    return f"… {end[cut + 1 :] if 0 <= cut < length // 2 else end}"
