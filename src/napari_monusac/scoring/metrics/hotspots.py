"""Where nuclei of a class lie densest: the density around each place, and the hot spots of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from napari_monusac.core.errors import MonusacError

#: Places along the radius of the disc that is counted in: its centre moves in such steps.
_STEPS = 8
#: Chords that the area of a disc is summed up of.
_CHORDS = 400
#: No more places than these along a side: of a large region they lie farther apart.
_MOST_PLACES = 512


@dataclass(frozen=True, slots=True)
class HotSpot:
    """A disc in which nuclei lie dense.

    Attributes
    ----------
    y_px, x_px : float
        Its centre, px of the map.
    number : int
        Nuclei in it.
    per_mm2 : float
        The same by the area of the disc that lies in the image.
    """

    y_px: float
    x_px: float
    number: int
    per_mm2: float


@dataclass(frozen=True, slots=True, eq=False)
class DensityMap:
    """Nuclei around each place.

    Attributes
    ----------
    numbers : int (rows, columns)
        Nuclei within the radius of each place.
    per_mm2 : float64 (rows, columns)
        The same per mm2 of the disc that lies in the image.
    step_px : float
        Distance of two places; the first lies half of it inside the image's corner.
    radius_px : float
        Radius of the disc.
    """

    numbers: NDArray[np.int64]
    per_mm2: NDArray[np.float64]
    step_px: float
    radius_px: float

    def hot_spots(self, most: int = 10) -> tuple[HotSpot, ...]:
        """Return the densest discs that do not overlap, the densest first; none without a nucleus."""
        # of places that hold the same nuclei, the one in their middle
        middle = cv2.GaussianBlur(self.per_mm2, (0, 0), self.radius_px / self.step_px / 2)
        left = np.where(self.numbers > 0, self.per_mm2 + 1e-6 * middle, -1.0)
        found: list[HotSpot] = []
        rows, columns = np.indices(left.shape)
        while len(found) < most and left.max(initial=-1.0) > 0:
            at = np.unravel_index(int(left.argmax()), left.shape)
            y, x = ((int(k) + 0.5) * self.step_px - 0.5 for k in at)
            found.append(HotSpot(y, x, int(self.numbers[at]), float(self.per_mm2[at])))
            near = np.hypot(rows - at[0], columns - at[1]) * self.step_px < 2 * self.radius_px
            left[near] = -1.0
        return tuple(found)


def density_map(points: ArrayLike, shape: tuple[int, int], um_per_px: float, radius_um: float) -> DensityMap:
    """Count nuclei in a disc that is moved over the image.

    Parameters
    ----------
    points : (n, 2)
        Centres of nuclei, (y, x) px.
    shape : (height, width)
        Of the image, px.
    um_per_px : float
        Its scale.
    radius_um : float
        Of the disc, µm.

    Raises
    ------
    MonusacError
        The disc or the image has no area.
    """
    if not radius_um > 0 or not um_per_px > 0 or min(shape) < 1:
        raise MonusacError(f"a disc of {radius_um} µm on {shape[1]} x {shape[0]} px", "choose a radius above 0")
    radius_px = radius_um / um_per_px
    step = max(1.0, radius_px / _STEPS, max(shape) / _MOST_PLACES)
    rows, columns = (max(1, int(np.ceil(n / step))) for n in shape)
    y, x = (np.asarray((np.arange(n) + 0.5) * step - 0.5, np.float64) for n in (rows, columns))
    places = np.stack(np.meshgrid(y, x, indexing="ij"), -1)
    known = np.asarray(points, float).reshape(-1, 2)
    numbers = np.zeros((rows, columns), np.int64)
    if len(known):
        numbers[:] = cKDTree(known).query_ball_point(places, radius_px, return_length=True)
    mm2 = np.maximum(_inside(y, x, shape, radius_px), 1.0) * um_per_px**2 / 1e6
    return DensityMap(numbers, numbers / mm2, step, radius_px)


def _inside(
    y: NDArray[np.float64], x: NDArray[np.float64], shape: tuple[int, int], radius_px: float
) -> NDArray[np.float64]:
    """Return the area, px, of the disc around each place (all y with all x) that lies in the image: chord after chord."""
    offsets = (np.arange(_CHORDS) + 0.5) / _CHORDS * 2 * radius_px - radius_px
    half = np.sqrt(radius_px**2 - offsets**2)
    low, high = np.maximum(y[:, None] - half, -0.5), np.minimum(y[:, None] + half, shape[0] - 0.5)
    across = x[:, None] + offsets
    seen = (across >= -0.5) & (across < shape[1] - 0.5)
    return np.asarray(np.maximum(high - low, 0) @ seen.T.astype(float) * (2 * radius_px / _CHORDS), np.float64)
