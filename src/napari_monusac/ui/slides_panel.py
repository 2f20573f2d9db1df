"""Slides: choose a folder, see its patients and crops, open one, hear what the data doctor says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QImage, QPainter, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui import canvas
from napari_monusac.ui.chips import COUNTS_ROLE, ChipsDelegate
from napari_monusac.ui.crop_facts import CropFacts
from napari_monusac.ui.doctor_view import DoctorView
from napari_monusac.ui.model import StudioModel, studio_model
from napari_monusac.ui.opening import opening_task, replace_crop
from napari_monusac.ui.widgets import Note, PathPicker, TaskRow, settings
from napari_monusac.ui.work import Progress, Report, Task

if TYPE_CHECKING:
    from napari_monusac.io.collection import Collection, Crop

_CROP = int(Qt.ItemDataRole.UserRole)
_FILTERS = (
    "All crops",
    "With labels",
    "Without labels",
    "Not reviewed yet",
    *(f"With {c.label.lower()}s" for c in CLASSES),
)
_THUMBNAIL = 40
_STATUS_COLORS = {"labelled": "#56b4e9", "predicted": "#e69f00", "reviewed": "#009e73"}


def crop_status(collection: Collection, predictions: Path | None = None) -> dict[str, str]:
    """What is done with each crop: unlabelled, labelled, predicted, reviewed (reads files: not for the Qt thread).

    Parameters
    ----------
    collection : Collection
    predictions : Path, optional
        Folder of stored predictions, one ``.zarr`` a crop.
    """
    from napari_monusac.session.progress import Progress
    from napari_monusac.ui.editing_opening import work_folder, writable

    root = Path(collection.root)
    marks = Progress(root) if writable(root) else Progress(work_folder(root), work=True)
    stored = {p.stem for p in predictions.glob("*.zarr")} if predictions is not None and predictions.is_dir() else set()
    return {
        c.name: marks.status(c.name, annotated=c.annotation is not None, predicted=c.image.stem in stored)
        for c in collection.crops
    }


def predictions_folder() -> Path | None:
    """Where predictions of a folder were written last, or None."""
    value = settings().value("paths/predictions", [])
    folders = [value] if isinstance(value, str) else list(value or [])
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
        self._counts: dict[str, dict[int, int]] = {}
        self._items: dict[str, QTreeWidgetItem] = {}
        self._status: dict[str, str] = {}
        self._opening: Task | None = None
        self._counting: Task | None = None
        # the open crop comes first, then the counts
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(300)
        self._soon.timeout.connect(self._count)
        self._build()
        self.model.collection_changed.connect(self._show_collection)
        self.model.crop_asked.connect(self.open_crop)
        self.model.crop_changed.connect(self._mark_open)
        self.model.crop_changed.connect(lambda _: self.show_status())
        if self.model.collection is not None:
            self._show_collection(self.model.collection)

    def _build(self) -> None:
        self.folder = PathPicker(
            "collection",
            "folder",
            tooltip="A MoNuSAC folder, one patient's folder, or a folder of images with their .xml",
            placeholder="Choose a folder of slides…",
        )
        self.hint = Note(
            "Choose a folder: MoNuSAC's training or testing root, the folder that holds both, one patient, "
            "or any folder of .svs or .tif images "
            "with ImageScope .xml files. Dropping it on the window works too."
        )
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search patient or crop")
        self.search.setClearButtonEnabled(True)
        self.filter = QComboBox()
        self.filter.addItems(_FILTERS)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(["Crop", "Nuclei", ""])
        self.tree.setIconSize(QSize(_THUMBNAIL, _THUMBNAIL))
        self.tree.setUniformRowHeights(False)
        self.tree.setItemDelegateForColumn(1, ChipsDelegate(self.tree))
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(2, 22)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(1, 138)
        self.tree.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.tree.setMinimumHeight(260)
        self.progress = TaskRow()
        self.opening = TaskRow()
        self.doctor = DoctorView(self)
        self.facts = CropFacts(self.viewer, self.model)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        box.addWidget(self.folder)
        box.addWidget(self.hint)
        line = QHBoxLayout()
        line.addWidget(self.search, 1)
        line.addWidget(self.filter)
        box.addLayout(line)
        box.addWidget(self.tree, 1)
        box.addWidget(self.opening)
        box.addWidget(self.facts)
        box.addWidget(self.progress)
        box.addWidget(self.doctor)
        self.folder.changed.connect(self.open_folder)
        self.search.textChanged.connect(self._filter)
        self.filter.currentIndexChanged.connect(self._filter)
        self.tree.itemActivated.connect(self._activated)
        self.tree.itemClicked.connect(self._activated)

    # -- the folder

    def open_folder(self, folder: str | Path, *, then_first: bool = True) -> Task:
        """List a folder's crops in the background, then open the first."""

        def read(report: Report) -> Collection:
            from napari_monusac.io.collection import open_collection

            report(None, "Looking through the folder")
            return open_collection(folder)

        task = Task(read)

        def done(collection: Collection) -> None:
            self.model.set_collection(collection)
            first = next((c for c in collection.crops if c.image is not None), None)
            if then_first and first is not None:
                self.model.ask_for_crop(first)

        task.done.connect(done)
        return self.opening.follow(task, "Looking through the folder…")

    def _show_collection(self, collection: Collection | None) -> None:
        if self._counting is not None:
            self._counting.stop()
        self.tree.clear()
        self._items.clear()
        self._counts.clear()
        self.doctor.reset()
        if collection is None:
            return
        self.folder.set_path(collection.root, remember=True)
        crops = collection.crops
        patients: dict[str, QTreeWidgetItem] = {}
        for crop in crops:
            if crop.patient not in patients:
                parent = QTreeWidgetItem(self.tree, [crop.patient, ""])
                parent.setFirstColumnSpanned(True)
                parent.setExpanded(True)
                parent.setFlags(Qt.ItemFlag.ItemIsEnabled)
                patients[crop.patient] = parent
            item = QTreeWidgetItem(patients[crop.patient], [_short(crop), ""])
            item.setData(0, _CROP, crop)
            item.setToolTip(0, f"{crop.name}\n{crop.image or 'no image'}\n{crop.annotation or 'no labels'}")
            if crop.image is None:
                item.setText(1, "no image")
                item.setDisabled(True)
            elif crop.annotation is None:
                item.setText(1, "no labels")
            self._items[crop.name] = item
        for parent in patients.values():
            parent.setText(0, f"{parent.text(0)}   ({parent.childCount()})")
        labelled = sum(c.annotation is not None for c in crops)
        problems = f" {len(collection.problems)} files left out: see Check." if collection.problems else ""
        self.hint.say(
            f"{len(patients)} patients, {len(crops)} crops, {labelled} with labels.{problems} Click a crop to open it."
        )
        self._mark_open(self.model.crop)
        self.show_status()
        self._soon.start()

    def _count(self) -> None:
        """Count nuclei and make thumbnails in the background, crop by crop."""

        collection = self.model.collection
        if collection is None:
            return

        def work(report: Report) -> None:
            from napari_monusac.io.thumbnails import thumbnail

            todo = [c for c in collection.crops if c.image is not None]
            for i, crop in enumerate(todo):
                counts = None
                if crop.annotation is not None:
                    annotation = collection.annotation(crop)
                    counts = {int(k): v for k, v in annotation.counts().items()}
                picture = thumbnail(collection.open(crop), _THUMBNAIL * 2)
                report((i + 1) / len(todo), f"Counting nuclei: {i + 1} of {len(todo)}", (crop.name, counts, picture))

        task = Task(work)
        task.progressed.connect(self._counted)
        self._counting = task
        self.progress.follow(task, "Counting nuclei…")

    def _counted(self, progress: Progress) -> None:
        if progress.payload is None:
            return
        name, counts, picture = progress.payload
        item = self._items.get(name)
        if item is None:
            return
        if counts is not None:
            self._counts[name] = counts
            item.setData(1, COUNTS_ROLE, counts)
            item.setToolTip(1, ", ".join(f"{c.label}: {counts.get(int(c), 0)}" for c in CLASSES))
        item.setIcon(0, _icon(picture))

    def show_status(self) -> None:
        """Show which crops are unlabelled, labelled or reviewed (read in the background)."""
        collection = self.model.collection
        if collection is None:
            return
        predictions = predictions_folder()
        task = Task(lambda _: crop_status(collection, predictions))
        task.done.connect(self._show_status)
        task.start()

    def _show_status(self, status: dict[str, str]) -> None:
        self._status = status
        for name, word in status.items():
            item = self._items.get(name)
            if item is not None:
                item.setText(2, "\u25cf" if word in _STATUS_COLORS else "\u25cb")
                item.setForeground(2, QColor(_STATUS_COLORS.get(word, "#7f8c9b")))
                item.setToolTip(2, word)
        self._filter()

    def _filter(self) -> None:
        words = self.search.text().casefold().split()
        kind = self.filter.currentText()
        for name, item in self._items.items():
            crop = item.data(0, _CROP)
            counts = self._counts.get(name, {})
            fits = all(w in f"{crop.patient} {crop.name}".casefold() for w in words)
            if kind == _FILTERS[1]:
                fits &= crop.annotation is not None
            elif kind == _FILTERS[2]:
                fits &= crop.annotation is None
            elif kind == _FILTERS[3]:
                fits &= self._status.get(name) != "reviewed"
            elif kind != _FILTERS[0]:
                fits &= counts.get(int(CLASSES[_FILTERS.index(kind) - 4]), 0) > 0
            item.setHidden(not fits)
        for i in range(self.tree.topLevelItemCount()):
            parent = self.tree.topLevelItem(i)
            parent.setHidden(all(parent.child(k).isHidden() for k in range(parent.childCount())))

    # -- a crop

    def _activated(self, item: QTreeWidgetItem) -> None:
        crop = item.data(0, _CROP)
        if (
            crop is not None
            and crop.image is not None
            and (self.model.crop is None or crop.name != self.model.crop.name or not canvas.our_layers(self.viewer))
        ):
            self.model.ask_for_crop(crop)

    def open_crop(self, crop: Crop) -> Task | None:
        """Read a crop in the background and show it; an opening still under way is given up."""
        collection = self.model.collection
        if collection is None:
            return None
        if self._opening is not None:
            self._opening.stop()
        task = opening_task(collection, crop)
        self._opening = task

        def show(layer_data: list[Any]) -> None:
            if self._opening is task:
                self._opening = None
                replace_crop(self.viewer, self.model, crop, layer_data)

        task.done.connect(show)
        return self.opening.follow(task, f"Opening {crop.name}…")

    def _mark_open(self, crop: Crop | None) -> None:
        for name, item in self._items.items():
            font = item.font(0)
            font.setBold(crop is not None and name == crop.name)
            item.setFont(0, font)
            if font.bold():
                self.tree.setCurrentItem(item)
                self.tree.scrollToItem(item)


def _icon(picture: Any) -> QIcon:
    """A thumbnail on a square, so that names stand in one column."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = QPixmap(side, side)
    square.fill(Qt.GlobalColor.transparent)
    painter = QPainter(square)
    image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    painter.drawImage((side - width) // 2, (side - height) // 2, image)
    painter.end()
    icon = QIcon(square)
    # Qt would tint the picture of the selected row, and colour is what it is looked at for
    icon.addPixmap(square, QIcon.Mode.Selected)
    return icon


def _short(crop: Crop) -> str:
    """The part of a crop's name that its patient does not say already."""
    name = str(crop.name)
    return name.removeprefix(crop.patient).lstrip("_-") or name if name.startswith(crop.patient) else name
