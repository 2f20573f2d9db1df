"""The pixels of the slide under the nuclei that are edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_monusac.core.boxes import Box
from napari_monusac.ui.canvas import canvas

if TYPE_CHECKING:
    from napari_monusac.ui.editing.controller import EditingController


class SlidePixels:
    """The colour image under the nuclei of a session.

    Attributes
    ----------
    level : array uint8 (y, x, 3)
        Of the image layer, its largest level; it may be read from disk where it is cut.
    first_px : tuple of int
        Where the frame that is edited begins in it, (y, x) px.
    image : str
        Its path: tells images apart.
    """

    def __init__(self, level: Any, first_px: tuple[int, int], image: str = "") -> None:
        self.level, self.first_px, self.image = level, first_px, image

    @classmethod
    def under(cls, controller: EditingController) -> SlidePixels | None:
        """Return those of the open crop; None where its image is not there, or is grey."""
        image = canvas.find_layer(controller.viewer, "image")
        nuclei = controller.layers.get("nuclei") if controller.layers is not None else None
        if not isinstance(image, Image) or not image.rgb or nuclei is None:
            return None
        level = image.data[0] if image.multiscale else image.data
        y, x = np.rint(image.world_to_data(nuclei.data_to_world((0, 0)))[-2:]).astype(int)
        return cls(level, (int(y), int(x)), str(image.metadata.get("monusac", {}).get("image") or id(level)))

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return a part of the frame, uint8 (y, x, 3)."""
        y, x = self.first_px
        return np.asarray(self.level[y + box[0] : y + box[2], x + box[1] : x + box[3], :3], np.uint8)
