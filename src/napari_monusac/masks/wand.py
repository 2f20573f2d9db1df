"""The wand: a nucleus grown from a point over stain that looks like it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2lab

from napari_monusac.core.boxes import Box, window
from napari_monusac.core.errors import SessionError
from napari_monusac.masks.strokes import Stamp

#: Distance of colours (CIELAB) up to which stain is alike, unless the reader chooses another. Of 119 nuclei of MoNuSAC with
#: the wand at their centre and their own reach as radius, half are met with an IoU above 0.78.
WAND_TOLERANCE = 20
#: The image is blurred so much (standard deviation, px) before colours are compared: grain is no edge.
BLUR_PX = 1.0
#: What is thinner than twice this (px) is taken off the edge of what was grown: bridges to a neighbour, spurs.
SMOOTH_PX = 1.5


def wand_box(point: tuple[float, float], radius_px: float, shape: tuple[int, int]) -> Box:
    """Return the part of the image that `wand_stamp` looks at: the disc around the point, and what the blur needs.

    Parameters
    ----------
    point : (y, x)
        Where the wand is set down, px.
    radius_px : float
        How far it may grow.
    shape : tuple of int
        Height and width of the image, px.

    Raises
    ------
    SessionError
        The point lies outside of the image.
    """
    y, x = round(point[0]), round(point[1])
    if not (0 <= y < shape[0] and 0 <= x < shape[1]):
        raise SessionError("the wand is outside of the image", "set it down on a nucleus")
    reach = int(np.ceil(radius_px + 4 * BLUR_PX)) + 1
    return max(0, y - reach), max(0, x - reach), min(shape[0], y + reach + 1), min(shape[1], x + reach + 1)


def stain_distance(rgb: NDArray[np.uint8], seed: tuple[int, int]) -> NDArray[np.float32]:
    """Return how far the colour of each pixel is from that of a seed: CIELAB, Euclidean, of the blurred image.

    Parameters
    ----------
    rgb : uint8 (y, x, 3)
    seed : (y, x)
        Pixel in it.
    """
    lab = rgb2lab(cv2.GaussianBlur(rgb, (0, 0), BLUR_PX).astype(np.float32) / np.float32(255))
    return np.asarray(np.linalg.norm(lab - lab[seed], axis=-1), np.float32)


def wand_stamp(
    rgb: NDArray[np.uint8], box: Box, point: tuple[float, float], radius_px: float, tolerance: float
) -> Stamp:
    """Return the pixels around a point whose stain is like that under it: connected, within a radius, smoothed, filled.

    Parameters
    ----------
    rgb : uint8 (y, x, 3)
        The part `box` of the image, as `wand_box` says.
    box : tuple of int
        (top, left, bottom, right) in px.
    point : (y, x)
        Where the wand was set down, px of the image.
    radius_px : float
        Pixels farther from the point are left out.
    tolerance : float
        Largest distance of colours in CIELAB: 0 takes the same colour alone, 10 to 30 is a nucleus.

    Returns
    -------
    Stamp
        The pixel under the point is always in it.
    """
    seed = round(point[0]) - box[0], round(point[1]) - box[1]
    y, x = np.ogrid[: rgb.shape[0], : rgb.shape[1]]
    disc = (y - seed[0]) ** 2 + (x - seed[1]) ** 2 <= radius_px**2
    like = _piece((stain_distance(rgb, seed) <= tolerance) & disc, seed)
    grown = ndimage.binary_fill_holes(_smoothed(like, seed))
    rows, columns = np.nonzero(grown)
    low, high = (int(rows.min()), int(columns.min())), (int(rows.max()) + 1, int(columns.max()) + 1)
    small = (low[0], low[1], high[0], high[1])
    return Stamp(
        (box[0] + low[0], box[1] + low[1], box[0] + high[0], box[1] + high[1]), np.asarray(grown[window(small)])
    )


def _piece(mask: NDArray[np.bool_], seed: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the piece (4-connected) of a mask that a pixel lies in."""
    labels, _ = ndimage.label(mask)
    return np.asarray(labels == labels[seed]) if mask[seed] else np.zeros_like(mask)


def _smoothed(mask: NDArray[np.bool_], seed: tuple[int, int]) -> NDArray[np.bool_]:
    """Take thin bridges and spurs off; where nothing thick is left around the seed, the mask stays as it is."""
    y, x = np.ogrid[-2:3, -2:3]
    disc = y * y + x * x <= (SMOOTH_PX + 0.5) ** 2
    opened = ndimage.binary_opening(mask, disc)
    if not opened[seed]:
        return mask
    return _piece(opened, seed)
