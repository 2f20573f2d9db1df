"""Getting about: from a row, a cell or a picture to its nucleus on the canvas, in this crop or in another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.core.errors import MonusacError
from napari_monusac.scoring.finding import Finding
from napari_monusac.ui import canvas
from napari_monusac.ui.review_frames import Frames, zoom_for
from napari_monusac.ui.work import error_line

if TYPE_CHECKING:
    from napari_monusac.ui.review_data import CropReview

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
