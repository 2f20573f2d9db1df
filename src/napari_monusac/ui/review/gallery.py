"""A gallery: small pictures of nuclei, each a click away from its place on the slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QListView, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from napari_monusac.app.work import Report, Task
from napari_monusac.core.classes import PALETTES, NucleusClass
from napari_monusac.ui.widgets.basic import Heading, Note, TaskRow
from napari_monusac.ui.widgets.tables import SHORT, CalmList

if TYPE_CHECKING:
    from napari_monusac.ui.review.data import CropReview
    from napari_monusac.ui.review.reading import Reading

#: Pictures shown of a cell.
MOST = 60
_ICON_PX, _HEIGHT_PX = 80, 330
_LEAST_PX, _MOST_PX = 48, 200
_PLACE = int(Qt.ItemDataRole.UserRole)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a nucleus lies, right or wrong.

    Attributes
    ----------
    crop : str
        Name of the crop.
    centre : (float, float)
        (y, x) px of the compared maps.
    box : (int, int, int, int)
        (y0, x0, y1, x1) px.
    truth_id, prediction_id : int or None
        Its numbers in the two maps.
    words : str
        Its classes.
    counted_in : str
        Hash of the instance map that `prediction_id` counts in; empty where that is not known.
    """

    crop: str
    centre: tuple[float, float]
    box: tuple[int, int, int, int]
    truth_id: int | None
    prediction_id: int | None
    words: str
    counted_in: str = ""


def places_of(nuclei: Any, most: int = MOST) -> list[Place]:
    """The first rows of a nuclei table as places."""
    places = []
    for r in nuclei.head(most).to_dict("records"):
        true, predicted = str(r["class"]), str(r["predicted_class"])
        names = SHORT.get(true, true), SHORT.get(predicted, predicted)
        words = names[0] if true == predicted else f"{names[0]} →\n{names[1]}"
        ids = [None if r[k] is None or r[k] != r[k] else int(r[k]) for k in ("truth_id", "prediction_id")]
        box = (int(r["y0"]), int(r["x0"]), int(r["y1"]), int(r["x1"]))
        at = float(r["y"]), float(r["x"])
        places.append(Place(str(r["crop"]), at, box, ids[0], ids[1], words, str(r.get("counted_in") or "")))
    return places


class Gallery(QWidget):
    """Pictures of the nuclei of a cell.

    Signals
    -------
    chosen(Place) : a picture was clicked.
    """

    chosen = Signal(object)

    def __init__(self, model: Any, reading: Reading) -> None:
        super().__init__()
        self.model, self.reading = model, reading
        self.review: CropReview | None = None
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
        self.list.itemClicked.connect(lambda item: self.chosen.emit(item.data(_PLACE)))
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.title, self.note, self.progress, self.list):
            box.addWidget(widget)
        self.hide()

    def show_nuclei(self, nuclei: Any, title: str) -> Task | None:
        """Show pictures of the first nuclei of a table, made in the background."""
        if self._task is not None:
            self._task.stop()
        places = places_of(nuclei)
        self.title.setText(f"{title}: {len(nuclei)} nuclei" if len(nuclei) != 1 else f"{title}: 1 nucleus")
        self.note.say(f"The first {len(places)} are shown." if len(nuclei) > len(places) else "")
        self.list.clear()
        for place in places:
            item = QListWidgetItem(place.words)
            item.setData(_PLACE, place)
            item.setToolTip(f"{place.words.replace(chr(10), ' ')}, {place.crop}")
            item.setTextAlignment(Qt.AlignmentFlag.AlignHCenter)
            self.list.addItem(item)
        self.list.setVisible(bool(places))
        self.show()
        if not places:
            return None
        review, collection, predictions = self.review, self.model.collection, self.reading.predictions
        palette = PALETTES[self.model.palette]

        def work(report: Report) -> None:
            for at, image in pictures_of(places, review, collection, predictions, palette):
                report((at + 1) / len(places), "", (at, image))

        task = self.model.work.task(work, self)
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


def pictures_of(places: list[Place], review: CropReview | None, collection: Any, predictions: Any, palette: Any) -> Any:
    """Yield (place's number, uint8 (y, x, 3)) crop by crop (in a worker)."""
    from napari_monusac.scoring.report.folders import FolderPairs
    from napari_monusac.scoring.report.predictions import PredictionFolder

    crops: dict[str, list[int]] = {}
    for at, place in enumerate(places):
        crops.setdefault(place.crop, []).append(at)
    pairs = None
    for name, numbers in crops.items():
        counted_in = {places[at].counted_in for at in numbers}
        pair = review.pair if review is not None and review.pair.crop == name else None
        if pair is not None and counted_in != {pair.nuclei}:
            pair = None  # another prediction is open than the one that was scored
        if pair is None and collection is not None and predictions is not None:
            pairs = pairs or FolderPairs(collection, PredictionFolder(predictions))
            crop = collection.crop(name)
            path = pairs.prediction_of(crop)
            pair = pairs.pair(crop, path) if path is not None else None
        if pair is None or pair.pixels is None:
            continue
        pixels = pair.pixels()
        for at in numbers:
            yield at, picture_of(places[at], pixels, pair, palette)


def picture_of(place: Place, pixels: Any, pair: Any, palette: Any) -> Any:
    """The tissue around a nucleus, truth outlined with a solid, prediction with a dashed line; uint8 (y, x, 3)."""
    from napari_monusac.masks.outlines import HALO, outline_map

    y0, x0, y1, x1 = place.box
    side = int(np.clip(1.6 * max(y1 - y0, x1 - x0), _LEAST_PX, _MOST_PX))
    height, width = pixels.shape[:2]
    top = int(np.clip((y0 + y1 - side) // 2, 0, max(0, height - side)))
    left = int(np.clip((x0 + x1 - side) // 2, 0, max(0, width - side)))
    part = slice(top, top + side), slice(left, left + side)
    picture = np.ascontiguousarray(pixels[part][..., :3])
    for label, instances, classes, style in (
        (place.truth_id, pair.truth, pair.truth_classes, "solid"),
        (place.prediction_id, pair.prediction, pair.prediction_classes, "dashed"),
    ):
        if label is None or (style == "dashed" and place.counted_in != pair.nuclei):
            continue
        mask = (np.asarray(instances[part]) == label).astype(np.int32)
        number = int(classes.get(label, NucleusClass.UNCLASSIFIED))
        lines = outline_map(mask, {1: number}, style=style, width_px=1 if side < 80 else 2, halo_px=1)  # type: ignore[arg-type]
        picture[lines == HALO] = picture[lines == HALO] // 2
        picture[lines == number] = palette[NucleusClass(number)]
    return picture
