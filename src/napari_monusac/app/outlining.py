"""The model's outline of the one nucleus at a point: the tile around it is predicted in the background, once. No Qt, no torch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from napari_monusac.app.answers import Refused
from napari_monusac.app.prediction_jobs import nuclei_of
from napari_monusac.app.work import error_line
from napari_monusac.core.boxes import Box, overlap
from napari_monusac.editing.commands import AcceptFound, Point
from napari_monusac.editing.predicted import Found, facts_of
from napari_monusac.masks.edits import nearest_nucleus
from napari_monusac.masks.strokes import Stamp

if TYPE_CHECKING:
    from napari_monusac.app.editing import Editing
    from napari_monusac.app.prediction import PredictionModel, Thresholds
    from napari_monusac.app.work import Task, Work
    from napari_monusac.core.prediction import Nuclei
    from napari_monusac.network.checkpoint import LoadedModel

#: Points in one square of this side share a tile, which reaches so far beyond it: a nucleus there is seen whole (px).
CELL_PX, AROUND_PX = 128, 96
#: Tiles that are kept.
_MOST = 64


class Tiles:
    """Predicted tiles, the latest of one model and one set of thresholds; asked in workers, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], Nuclei] = OrderedDict()
        self._of: tuple[object, ...] = ()

    def nuclei(
        self, image: str, level: Any, at: Point, um_per_px: float | None, loaded: LoadedModel, thresholds: Thresholds
    ) -> tuple[Nuclei, tuple[int, int]]:
        """Return the nuclei of the tile that a point (y, x), px of `level`, lies in, and where it begins.

        Parameters
        ----------
        image : str
            Tells images apart.
        level : array uint8 (y, x, 3)
            The image, or what reads it where it is cut.
        """
        from napari_monusac.infer.predict import predict

        with self._lock:
            if self._of != (loaded, thresholds):  # another model, or the same trained on
                self._kept.clear()
                self._of = (loaded, thresholds)
            region = tile_of(at, level.shape[:2])
            key = (image, *region)
            if key not in self._kept:
                prediction = predict(
                    level, loaded, um_per_px=um_per_px, region=region, precision="float32", skip_glass=False
                )
                self._kept[key] = nuclei_of(prediction, thresholds.values(prediction.um_per_px))
                while len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key], region[:2]


def tile_of(at: Point, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the tile (y, x, height, width) that a point of an image of this shape is predicted in, px."""
    sides = []
    for position, size in zip(at, shape, strict=True):
        cell = int(min(max(position, 0), size - 1)) // CELL_PX * CELL_PX
        low, high = max(0, cell - AROUND_PX), min(size, cell + CELL_PX + AROUND_PX)
        sides.append((max(0, min(low, high - CELL_PX)), high))
    (top, bottom), (left, right) = sides
    return top, left, bottom - top, right - left


class Outliner:
    """Takes the nucleus at a point over as the model outlines it, in a crop that nobody has predicted.

    Parameters
    ----------
    work : Work
        The window's.
    editing : Editing
        What is edited; its `said` tells the reader.
    prediction : PredictionModel
        Which model predicts, by which thresholds.
    """

    def __init__(self, work: Work, editing: Editing, prediction: PredictionModel) -> None:
        self._work, self._editing, self._prediction = work, editing, prediction
        self._tiles = Tiles()

    def outline(
        self, point: Point, level: Any, first_px: tuple[int, int], *, image: str = "", in_place: bool = False,
        tolerance_px: float = 0.71,
    ) -> Task | Refused:  # fmt: skip
        """Outline the nucleus at a point (y, x), px of what is edited.

        Parameters
        ----------
        point : (y, x)
        level : array uint8 (y, x, 3)
            The image.
        first_px : (y, x)
            Where what is edited begins in it.
        image : str
            Tells images apart.
        in_place : bool
            In place of the nuclei that are there.
        tolerance_px : float
            By how much the point may miss.
        """
        session, prediction = self._editing.session, self._prediction
        checkpoint, thresholds = prediction.checkpoint, prediction.thresholds
        if session is None:
            return Refused("Open a crop first (Slides).")
        if not checkpoint:
            return Refused(
                "There is no model yet: train one (Train), or choose one (Predict). Open a stored prediction below to go without."
            )
        scale, shape = session.nuclei.um_per_px, session.shape
        at = point[0] + first_px[0], point[1] + first_px[1]

        def find(_: object) -> Found | None:
            loaded = prediction.load(checkpoint)
            nuclei, tile_px = self._tiles.nuclei(image, level, at, scale, loaded, thresholds)
            return found_at(nuclei, tile_px, at, first_px, shape, tolerance_px)

        def done(found: Found | None) -> None:
            if self._editing.session is not session:
                return  # another crop is open
            if found is None:
                self._editing.said.emit("The model sees no nucleus here.", "hint")
            else:
                self._editing.do(AcceptFound(found, in_place))

        task = self._work.task(find, self)
        task.done.connect(done)
        task.failed.connect(lambda error: self._editing.said.emit(error_line(error), "error"))
        self._editing.said.emit("Looking at this place with the model…", "hint")
        return task.start()


def found_at(
    nuclei: Nuclei, tile_px: tuple[int, int], at: Point, first_px: tuple[int, int], shape: tuple[int, int],
    tolerance_px: float,
) -> Found | None:  # fmt: skip
    """Return the nucleus of a tile at a point of the image, in px of what is edited; None where there is none.

    Parameters
    ----------
    nuclei : Nuclei
        Of the tile.
    tile_px : (y, x)
        Where the tile begins in the image.
    at : (y, x)
        Px of the image.
    first_px : (y, x)
        Where what is edited begins in the image.
    shape : (height, width)
        Of what is edited; what lies outside is cut off.
    tolerance_px : float
        By how much the point may miss.
    """
    y, x = tile_px
    label = nearest_nucleus(nuclei.instances, (at[0] - y, at[1] - x), tolerance_px)
    if not label:
        return None
    mask = nuclei.instances == label
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    top, left, bottom, right = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    dy, dx = y - first_px[0], x - first_px[1]
    box: Box = (top + dy, left + dx, bottom + dy, right + dx)
    shared = overlap(box, (0, 0, *shape))
    if shared is None:
        return None
    here = shared[1]
    clipped = mask[top:bottom, left:right][shared[0]]
    class_id, confidence = facts_of(nuclei.table)[label]
    stamp = Stamp((here[0].start, here[1].start, here[0].stop, here[1].stop), clipped)
    return Found(label, class_id, confidence, stamp)
