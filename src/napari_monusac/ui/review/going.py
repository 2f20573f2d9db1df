"""Getting about: from a row, a cell or a picture to its nucleus on the canvas, in this crop or in another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.app.work import error_line
from napari_monusac.core.boxes import Box
from napari_monusac.core.errors import MonusacError
from napari_monusac.scoring.errors.finding import Finding
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.dashed_layer import DARK, LIGHT, LINE_PX, DashedLayer

if TYPE_CHECKING:
    from napari_monusac.ui.review.data import CropReview


FRAMES_ROLE = "frames"
#: Dashes of a side: always as many, so that a moved frame keeps its colours.
_DASHES = 8
#: Room between a nucleus and its frame, px of the image.
_MARGIN_PX = 3

#: Magnification that is left as it is, and the one that is gone to from below.
_ENOUGH, _WANTED = 40.0, 60.0


class Frames(DashedLayer):
    """One Vectors layer with dashed rectangles. If the user deletes it, there are none until the next crop.

    A step through a list of errors moves one frame: nothing but its 32 dashes goes to the canvas, and the layer list
    does not paint a thumbnail that nobody needs.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are drawn.
    like : Layer
        The image whose pixels the boxes are given in.
    """

    def __init__(self, viewer: Any, like: Layer) -> None:
        self._sets: dict[str, list[Box]] = {}
        super().__init__(viewer, like, FRAMES_ROLE, self._zoomed)

    def show(self, what: str, boxes: Iterable[Any], offset_px: tuple[int, int] = (0, 0)) -> None:
        """Show one set of frames ("error", "cell") around boxes (y0, x0, y1, x1); none takes the set away."""
        (y, x), m = offset_px, _MARGIN_PX
        found = [(b[0] + y - m, b[1] + x - m, b[2] + y + m, b[3] + x + m) for b in boxes]
        if found or self._sets.get(what):
            self._sets[what] = found
            self._draw()

    def _draw(self) -> None:
        layer = self._ready()
        if layer is None:
            return
        segments = dashes_of([box for boxes in self._sets.values() for box in boxes])
        others = len(segments) != len(layer.data)
        with layer.events.thumbnail.blocker():
            layer.data = segments
            if others and len(segments):
                layer.edge_color = np.tile([DARK, LIGHT], (len(segments) // 2, 1))
        self._zoomed()

    def _zoomed(self, _: object = None) -> None:
        """Lines stay as wide on the screen as they are."""
        layer = self._layer
        if layer is None or layer not in self.viewer.layers or not any(self._sets.values()):
            return
        width = self._screen_px(LINE_PX)
        if abs(width - layer.edge_width) > 0.02 * width:
            with layer.events.thumbnail.blocker():
                layer.edge_width = width


def dashes_of(boxes: list[Box]) -> NDArray[np.float64]:
    """Cut frames into dashes.

    Parameters
    ----------
    boxes : list of (y0, x0, y1, x1)
        In px.

    Returns
    -------
    float64 (32 n, 2, 2)
        Start and step (y, x) of each dash; dark and light ones take turns.
    """
    if not boxes:
        return np.zeros((0, 2, 2))
    y0, x0, y1, x1 = np.asarray(boxes, np.float64).T
    corners = np.stack([[y0, x0], [y0, x1], [y1, x1], [y1, x0]]).transpose(2, 0, 1)
    sides = (np.roll(corners, -1, axis=1) - corners)[:, :, None] / _DASHES
    starts = corners[:, :, None] + sides * np.arange(_DASHES)[:, None]
    return np.stack([starts, np.broadcast_to(sides, starts.shape)], axis=3).reshape(-1, 2, 2)


def zoom_for(viewer: Any, image: Any, box: Box) -> float:
    """Return the magnification to see a nucleus at.

    That of the reader where it is 40x or more, so that steps from nucleus to nucleus do not jump; else 60x. Less only
    where the nucleus would not fit into the window.
    """
    now = canvas.magnification(viewer) or 0.0
    side_um = max(box[2] - box[0], box[3] - box[1]) * float(image.scale[-1]) * 2
    room_px = float(min(viewer.canvas.size))
    return min(now if now >= _ENOUGH else _WANTED, 10 * room_px / max(side_um, 1e-6))


#: Nuclei of a table's cell that are framed on the slide, at most.
_MOST_FRAMES = 400


class Going(QObject):
    """Moves the camera to nuclei and frames them.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose camera.
    model : StudioModel
        For the open crop.
    review : callable
        Returns the comparison of the open crop, or None.

    Signals
    -------
    shown(Finding or None) : a nucleus is on the screen; the error that it is.
    """

    shown = Signal(object)

    def __init__(self, viewer: Any, model: Any, review: Callable[[], CropReview | None], parent: Any = None) -> None:
        super().__init__(parent)
        self.viewer, self.model, self._review = viewer, model, review
        self.awaited: Any = None  # a nucleus of another crop, to be shown when that one is open
        self._frames: Frames | None = None

    def go_to(self, place: Any) -> None:
        """Show a nucleus: the camera centres and zooms, a frame marks it; another crop is opened first."""
        if self._is_elsewhere(place):
            return
        image = canvas.image_layer(self.viewer)
        if image is None:
            return
        y, x = (c + o for c, o in zip(place.centre, self._offset, strict=True))
        canvas.center_on(self.viewer, image, y, x, times=zoom_for(self.viewer, image, place.box))
        self._frame(image, "error", [place.box])
        self.shown.emit(self._finding_of(place))

    def show_cell(self, nuclei: Any) -> None:
        """Frame the nuclei of a cell that lie in the open crop."""
        image, crop = canvas.image_layer(self.viewer), self.model.crop
        if image is None or crop is None or self._review() is None:
            return
        mine = nuclei[nuclei["crop"] == crop.name].head(_MOST_FRAMES)
        self._frame(image, "cell", mine[["y0", "x0", "y1", "x1"]].to_numpy().tolist())

    def arrived(self) -> bool:
        """Show the nucleus that was waited for, if its crop is the open one."""
        place, here = self.awaited, self.model.crop
        if place is None or here is None or place.crop != here.name:
            return False
        self.awaited = None
        QTimer.singleShot(0, lambda: self.go_to(place))
        return True

    def forget(self) -> None:
        """Take the frames away."""
        if self._frames is not None:
            self._frames.close()
            self._frames = None

    @property
    def _offset(self) -> tuple[int, int]:
        review = self._review()
        return review.offset_px if review is not None else (0, 0)

    def _is_elsewhere(self, place: Any) -> bool:
        """Whether a nucleus lies in another crop; that one is opened then, and the nucleus shown after."""
        here, collection = self.model.crop, self.model.collection
        if not place.crop or here is None or place.crop == here.name or collection is None:
            return False
        try:
            crop = collection.crop(place.crop)
        except MonusacError as error:
            self.model.tell(error_line(error), "warning")
            return True

        def go() -> None:
            self.awaited = place
            self.model.open_crop(crop)

        self.awaited = None
        self.model.leave_crop(go)
        return True

    def _finding_of(self, place: Any) -> Finding | None:
        """The error that a picture or a change shows; None for what is right."""
        if isinstance(place, Finding):
            return place
        review = self._review()
        if review is None:
            return None
        # numbers of another prediction say nothing about this one
        predicted = place.prediction_id if place.counted_in == review.pair.nuclei else None
        for f in review.findings:
            if place.truth_id in f.truth_ids or (place.truth_id is None and predicted in f.prediction_ids):
                return f
        return None

    def _frame(self, image: Any, what: str, boxes: Any) -> None:
        if self._frames is None:
            self._frames = Frames(self.viewer, image)
        self._frames.show(what, boxes, self._offset)
