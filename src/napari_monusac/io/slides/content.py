"""What every reader of slides gives to `open_slide`: levels of pixels, the scale, and what to tell of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_monusac.io.scale import Scale
from napari_monusac.io.slides.tags import SlideTags

#: Our own readers of TIFF and of PNG and JPEG; OpenSlide; wsidicom; zarr.
SlideReader = Literal["tiff", "whole image", "openslide", "wsidicom", "ome-zarr"]


class SlideLevel(Protocol):
    """One level of a pyramid, read in parts from any thread."""

    shape: tuple[int, int]
    #: Height and width of what is decoded at once.
    segment_shape: tuple[int, int]

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a region that lies inside: uint8 (height, width, 3), channels in the order of the file."""
        ...


def nothing() -> None:
    """Close nothing."""


@dataclass(frozen=True, slots=True)
class SlideContent:
    """An open image file.

    Attributes
    ----------
    reader : SlideReader
        Who reads it.
    levels : tuple of SlideLevel
        Largest first. Thumbnail, label and macro images are never among them.
    tags : SlideTags
        Magnification, and the place in the scan.
    scale : Scale
        What the file says of its scale.
    colours_sure : bool
        Whether red and blue are known to stand in their order.
    notes : tuple of str
        What the user should be told of pages and pixels.
    close : callable
        Closes the file.
    release : callable
        Lets go of pixels that were decoded; they are decoded again where they are asked for.
    """

    reader: SlideReader
    levels: tuple[SlideLevel, ...]
    tags: SlideTags
    scale: Scale
    colours_sure: bool = False
    notes: tuple[str, ...] = ()
    close: Callable[[], None] = nothing
    release: Callable[[], None] = nothing
