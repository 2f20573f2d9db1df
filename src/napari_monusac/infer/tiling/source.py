"""One way to read pixels from an array, a dask array, a file or a slide; resampled where the scale asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import ShapeError
from napari_monusac.infer.tiling.frame import mirrored
from napari_monusac.io.scale import PLAUSIBLE_UM_PER_PX, plausible

#: Smallest side of an image that can be predicted, px.
SMALLEST_PX = 16
#: A slide whose um/px differs from the network's by more than this part is resampled.
SCALE_TOLERANCE = 0.10

Reader = Callable[[int, int, int, int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Pixels to predict on.

    Attributes
    ----------
    shape : tuple of int
        Height and width, px.
    read : callable
        ``read(y, x, height, width)`` gives uint8 (height, width, 3), RGB; only asked for what lies within `shape`.
    um_per_px : float or None
        Scale.
    path : Path or None
        The file it comes from.
    notes : tuple of str
        What the user should be told of its scale.
    """

    shape: tuple[int, int]
    read: Reader
    um_per_px: float | None = None
    path: Path | None = None
    notes: tuple[str, ...] = ()

    def padded(self, box: Region) -> NDArray[np.uint8]:
        """Read a box that may reach past the image; what lies outside is the image mirrored at its edge."""
        rows, columns = (mirrored(*where) for where in zip(box[:2], box[2:], self.shape, strict=True))
        y, x = int(rows.min()), int(columns.min())
        pixels = self.read(y, x, int(rows.max()) + 1 - y, int(columns.max()) + 1 - x)
        if pixels.shape[:2] == box[2:] and box[:2] == (y, x):
            return pixels
        return np.ascontiguousarray(pixels[rows - y][:, columns - x])


def as_source(image: Any, um_per_px: float | None = None) -> Source:
    """Make a source of whatever can be predicted on.

    Parameters
    ----------
    image : array uint8 (y, x, 3), dask array, list of them (a pyramid, largest first), str, Path or Slide
        A fourth channel (alpha) is left out.
    um_per_px : float, optional
        Overrides the file's scale.

    Raises
    ------
    ShapeError
        It is no RGB image of 8 bits, or smaller than 16 px; or no microscope has this scale.
    SlideError
        The file cannot be opened.
    """
    if um_per_px is not None and plausible(um_per_px) is None:
        low, high = PLAUSIBLE_UM_PER_PX
        raise ShapeError(f"um_per_px = {um_per_px}", f"give micrometres per pixel, {low} to {high}")
    if isinstance(image, Source):
        return image if um_per_px is None else replace(image, um_per_px=um_per_px)
    if isinstance(image, str | Path):
        from napari_monusac.io.slides.slide import open_slide

        image = open_slide(image)
    if hasattr(image, "read") and hasattr(image, "levels"):
        notes = () if um_per_px or not hasattr(image, "scale") else image.scale.notes
        source = Source(image.shape, image.read, um_per_px or image.um_per_px, Path(image.path), notes)
    else:
        source = array_source(image[0] if isinstance(image, list | tuple) else image, um_per_px)
    if min(source.shape) < SMALLEST_PX:
        raise ShapeError(
            f"an image of {source.shape[1]} x {source.shape[0]} px",
            f"predict on images of {SMALLEST_PX} x {SMALLEST_PX} px or more",
        )
    return source


def array_source(array: Any, um_per_px: float | None = None) -> Source:
    """Make a source of pixels in memory (or of a dask array), uint8 RGB (y, x, 3); a fourth channel is left out.

    Raises
    ------
    ShapeError
        It is no RGB image of 8 bits.
    """
    shape = tuple(getattr(array, "shape", ()))
    if len(shape) != 3 or shape[2] not in (3, 4):
        raise ShapeError(f"an image of shape {shape}", "pass uint8 RGB as (y, x, 3)")
    if array.dtype != np.uint8:
        raise ShapeError(f"an image of {array.dtype}", "pass uint8 (0 to 255) RGB")

    def read(y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.asarray(array[y : y + height, x : x + width, :3]), np.uint8)

    return Source((shape[0], shape[1]), read, um_per_px)


def cropped(source: Source, box: Region) -> Source:
    """A part of a source as a source of its own.

    Raises
    ------
    ShapeError
        The box does not lie within the image or is too small.
    """
    height, width = source.shape
    if box.y < 0 or box.x < 0 or box.y + box.height > height or box.x + box.width > width:
        raise ShapeError(
            f"region {tuple(box)} of an image of {width} x {height} px", "pass (y, x, height, width) within it"
        )
    if min(box.height, box.width) < SMALLEST_PX:
        raise ShapeError(f"region {tuple(box)}", f"choose {SMALLEST_PX} x {SMALLEST_PX} px or more")

    def read(y: int, x: int, rows: int, columns: int) -> NDArray[np.uint8]:
        return source.read(box.y + y, box.x + x, rows, columns)

    return Source((box.height, box.width), read, source.um_per_px, source.path)


def resampled(source: Source, factor: float) -> Source:
    """The source at `factor` times its pixels a side, sampled so that parts read apart fit each other exactly.

    Pixel centres map as (u + 0.5) / factor - 0.5. Shrinking is preceded by a Gaussian against aliasing.
    """
    height, width = (max(1, round(n * factor)) for n in source.shape)
    sigma = max(0.0, 0.5 * (1 / factor - 1))
    halo = 3 + int(np.ceil(3 * sigma))

    def read(y: int, x: int, rows: int, columns: int) -> NDArray[np.uint8]:
        top, left = int(np.floor((y + 0.5) / factor - 0.5)) - halo, int(np.floor((x + 0.5) / factor - 0.5)) - halo
        bottom, right = int(np.ceil((y + rows) / factor)) + halo, int(np.ceil((x + columns) / factor)) + halo
        pixels = source.padded(Region(top, left, bottom - top, right - left))
        if sigma:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)
        return resample(pixels, factor, (top, left), Region(y, x, rows, columns))

    return Source((height, width), read, source.um_per_px / factor if source.um_per_px else None, source.path)


def resample(pixels: NDArray[Any], factor: float, origin: tuple[int, int], box: Region) -> NDArray[Any]:
    """Sample `pixels` (whose first pixel is `origin` in the source) at the pixel centres of `box` in the new frame."""
    matrix = np.array(
        [
            [1 / factor, 0, (box.x + 0.5) / factor - 0.5 - origin[1]],
            [0, 1 / factor, (box.y + 0.5) / factor - 0.5 - origin[0]],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (box.width, box.height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    )


def scale_factor(um_per_px: float | None, wanted: float | None) -> float:
    """How much to enlarge an image for the network: 1.0 where scales are unknown or differ by no more than a tenth."""
    if not um_per_px or not wanted:
        return 1.0
    factor = um_per_px / wanted
    return factor if abs(factor - 1) > SCALE_TOLERANCE else 1.0
