"""Scale, magnification and place in the parent slide: what Aperio's description says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from napari_monusac.io.scale import magnification_of, scale_of


@dataclass(frozen=True, slots=True)
class SlideTags:
    """What a file says about its image.

    Attributes
    ----------
    um_per_px : float or None
        Micrometres per pixel, where it is plausible.
    magnification : float or None
        Magnification of the objective.
    origin_px : tuple of int or None
        (y, x) of the first pixel in the slide that the image was cut from.
    parent_shape : tuple of int or None
        (height, width) of that slide in px.
    is_aperio : bool
        Whether an Aperio library wrote the file.
    """

    um_per_px: float | None = None
    magnification: float | None = None
    origin_px: tuple[int, int] | None = None
    parent_shape: tuple[int, int] | None = None
    is_aperio: bool = False


def aperio_tags(text: str, shape: tuple[int, int]) -> SlideTags:
    """Read Aperio's ImageDescription. Nothing else of it is kept: it may name people.

    ``86272x162560 [73856,47413 1307x1153] ...;Aperio Image Library ...``: 1307 x 1153 px at x = 73856, y = 47413.
    A whole slide has such a bracket too, within its scan; only a second entry, or a much smaller cut, makes it a crop.

    Parameters
    ----------
    text : str
        The description; another program's gives empty tags.
    shape : tuple of int
        Height and width of the image; a cut of another size is not its own.
    """
    if not text.startswith("Aperio"):
        return SlideTags()
    scale = scale_of(text, shape)
    um_per_px, magnification = None if scale.guessed else scale.um_per_px, magnification_of(text)
    cut = re.search(r"(\d+)x(\d+)\s*\[(\d+),(\d+)\s+(\d+)x(\d+)\]", text)
    if cut is not None:
        parent_width, parent_height, x, y, width, height = (int(v) for v in cut.groups())
        is_crop = text.count("Aperio Image Library") > 1 or width * height < parent_width * parent_height / 2
        if is_crop and (height, width) == shape:
            return SlideTags(um_per_px, magnification, (y, x), (parent_height, parent_width), is_aperio=True)
    return SlideTags(um_per_px, magnification, is_aperio=True)
