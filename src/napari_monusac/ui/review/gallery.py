"""A gallery: small pictures of nuclei, each a click away from its place on the slide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QListView, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from napari_monusac.app.work import Report, Task
from napari_monusac.core.classes import PALETTES
from napari_monusac.ui.widgets.basic import Heading
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import SHORT, CalmList
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel

#: Pictures shown of a cell.
MOST = 60
_ICON_PX, _HEIGHT_PX = 80, 330
_PLACE = int(Qt.ItemDataRole.UserRole)


class Gallery(QWidget):
    """Pictures of the nuclei of a cell; a click goes to one."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
        self._task: Task | None = None
        self.title = Heading("")
        self.note = Note()
        self.progress = TaskRow()
        self.list = CalmList()
        self.list.setViewMode(QListView.ViewMode.IconMode)
        self.list.setResizeMode(QListView.ResizeMode.Adjust)
        self.list.setMovement(QListView.Movement.Static)
        self.list.setIconSize(QSize(_ICON_PX, _ICON_PX))
        self.list.setGridSize(QSize(_ICON_PX + 8, _ICON_PX + 2 * self.fontMetrics().height() + 8))
        self.list.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.list.setFixedHeight(_HEIGHT_PX)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        small = self.list.font()
        small.setPointSizeF(small.pointSizeF() * 0.85)
        self.list.setFont(small)
        self.list.itemClicked.connect(lambda item: model.go_to(item.data(_PLACE)))
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.title, self.note, self.progress, self.list):
            box.addWidget(widget)
        self.hide()

    def show_nuclei(self, nuclei: Any, title: str) -> Task | None:
        """Show pictures of the first nuclei of a table, made in the background."""
        if self._task is not None:
            self._task.stop()
        from napari_monusac.review.places import pictures_of, places_of

        shown = nuclei.head(MOST)
        places = places_of(shown)
        self.title.setText(f"{title}: {len(nuclei)} nuclei" if len(nuclei) != 1 else f"{title}: 1 nucleus")
        self.note.say(f"The first {len(places)} are shown." if len(nuclei) > len(places) else "")
        self.list.clear()
        for place, true, predicted in zip(places, shown["class"], shown["predicted_class"], strict=True):
            item = QListWidgetItem(_words(str(true), str(predicted)))
            item.setData(_PLACE, place)
            item.setToolTip(f"{item.text().replace(chr(10), ' ')}, {place.crop}")
            item.setTextAlignment(Qt.AlignmentFlag.AlignHCenter)
            self.list.addItem(item)
        self.list.setVisible(bool(places))
        self.show()
        if not places:
            return None
        model, studio = self.model, self.model.studio
        pair = model.comparison.pair if model.comparison is not None else None
        collection, predictions, palette = studio.collection, model.predictions, PALETTES[studio.palette]

        def work(report: Report) -> None:
            for at, image in pictures_of(places, pair, collection, predictions, palette):
                report((at + 1) / len(places), "", (at, image))

        task = self.model.studio.work.task(work, self)
        self._task = task
        task.progressed.connect(lambda p: self._picture(task, *p.payload) if p.payload is not None else None)
        return self.progress.follow(task, "Cutting pictures…")

    def _picture(self, task: Task, at: int, picture: Any) -> None:
        item = self.list.item(at)
        if self._task is task and item is not None:
            height, width = picture.shape[:2]
            image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            side = self.list.iconSize()
            item.setIcon(QIcon(QPixmap.fromImage(image).scaled(side, Qt.AspectRatioMode.KeepAspectRatio)))


def _words(true: str, predicted: str) -> str:
    """The classes of a nucleus for a narrow line, or two."""
    names = SHORT.get(true, true), SHORT.get(predicted, predicted)
    return names[0] if true == predicted else f"{names[0]} →\n{names[1]}"
