"""The camera goes to the nucleus that is looked at, and a frame marks it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from qtpy.QtCore import QObject

from napari_monusac.app.review import ReviewModel
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.marks import Marks, eighths, frame_of
from napari_monusac.ui.model import hear

FRAMES_ROLE = "frames"
#: Room between a nucleus and its frame, px of the image.
_MARGIN_PX = 3
#: Magnification that is left as it is, and the one that is gone to from below.
_ENOUGH, _WANTED = 40.0, 60.0
FramedBox = Sequence[float]
#: Nuclei of a table's cell that are framed on the slide, at most.
_MOST_FRAMES = 400


def zoom_for(viewer: Any, image: Any, box: FramedBox) -> float:
    """Return the magnification to see a nucleus at.

    That of the reader where it is 40x or more, so that steps from nucleus to nucleus do not jump; else 60x. Less only
    where the nucleus would not fit into the window.
    """
    now = canvas.magnification(viewer) or 0.0
    side_um = max(box[2] - box[0], box[3] - box[1]) * float(image.scale[-1]) * 2
    room_px = float(min(viewer.canvas.size))
    return min(now if now >= _ENOUGH else _WANTED, 10 * room_px / max(side_um, 1e-6))


class Going(QObject):
    """Moves the camera of a viewer, and frames nuclei.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose camera.
    model : ReviewModel
        Says where to.
    """

    def __init__(self, viewer: Any, model: ReviewModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer, self.model = viewer, model
        self._frames: Marks | None = None
        hear(self, model.went, self._go)
        hear(self, model.cell_chosen, self._show_cell)
        hear(self, model.compared, lambda comparison: self.forget() if comparison is None else None)

    def _go(self, place: Any) -> None:
        image = canvas.image_layer(self.viewer)
        if image is not None:
            y, x = (c + o for c, o in zip(place.centre, self.model.offset_px, strict=True))
            canvas.center_on(self.viewer, image, y, x, times=zoom_for(self.viewer, image, place.box))
            self._frame(image, "error", [place.box])

    def _show_cell(self, nuclei: Any) -> None:
        """Frame the nuclei of a cell that lie in the open crop."""
        image, crop = canvas.image_layer(self.viewer), self.model.studio.crop
        if image is not None and crop is not None and self.model.comparison is not None:
            mine = nuclei[nuclei["crop"] == crop.name].head(_MOST_FRAMES)
            self._frame(image, "cell", mine[["y0", "x0", "y1", "x1"]].to_numpy().tolist())

    def _frame(self, image: Any, what: str, boxes: Iterable[FramedBox]) -> None:
        if self._frames is None:
            self._frames = Marks(self.viewer, image, FRAMES_ROLE, eighths)
        y, x = self.model.offset_px
        self._frames.show(what, [frame_of((b[0] + y, b[1] + x, b[2] + y, b[3] + x), _MARGIN_PX) for b in boxes])

    def forget(self) -> None:
        """Take the frames away."""
        if self._frames is not None:
            self._frames.close()
            self._frames = None
