"""Stored maps, which lie at the network's scale, at the pixels of their image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from napari_monusac.core.boxes import Region

if TYPE_CHECKING:
    import pandas as pd


class ImageFrame(BaseModel):
    """How stored maps lie on the part of the image that was predicted.

    Pixel ``r`` of that part has its centre at ``(r + 0.5) * factor - 0.5 + origin`` in px of the maps.

    Attributes
    ----------
    shape : (height, width)
        Of the part, px of the image.
    offset_px : (y, x)
        Its first pixel in the image.
    um_per_px : float or None
        Scale of the image.
    factor : float
        px of the maps per px of the image.
    origin : (y, x)
        What rounding to whole px has moved, px of the maps.
    """

    model_config = ConfigDict(frozen=True)

    shape: tuple[int, int]
    offset_px: tuple[int, int] = (0, 0)
    um_per_px: float | None = None
    factor: float = 1.0
    origin: tuple[float, float] = (0.0, 0.0)

    def centres(self, axis: int) -> NDArray[np.float64]:
        """Where the centres of the image's pixels lie on the maps along an axis, px of the maps."""
        pixels = np.arange(self.shape[axis], dtype=np.float64)
        return np.asarray((pixels + 0.5) * self.factor - 0.5 + self.origin[axis])

    def cut(self, place: Region, maps_shape: tuple[int, int]) -> tuple[ImageFrame, Region]:
        """Cut out a part of the image, and what of the maps its pixels look at.

        Parameters
        ----------
        place : Region
            The part, px of the image.
        maps_shape : (height, width)
            Of the maps.

        Returns
        -------
        ImageFrame, Region
            How that box of the maps, px of the maps, lies on the part.
        """
        first, shape = place[:2], place[2:]
        room = 0 if self.factor == 1 else 1
        ends, origin = [], []
        for axis, size in enumerate(maps_shape):
            moved = self.origin[axis] + (first[axis] - self.offset_px[axis]) * self.factor
            low, high = ((pixel + 0.5) * self.factor - 0.5 + moved for pixel in (0, shape[axis] - 1))
            start = min(max(int(np.floor(low)) - room, 0), size - 1)
            ends.append((start, min(max(int(np.ceil(high)) + 1 + room, start + 1), size) - start))
            origin.append(moved - start)
        (y, height), (x, width) = ends
        frame = self.model_copy(update={"shape": shape, "offset_px": first, "origin": (origin[0], origin[1])})
        return frame, Region(y, x, height, width)

    def boundary_width(self, width: int) -> int:
        """Width of the boundary in px of the image, odd."""
        return max(1, 2 * round((width / self.factor - 1) / 2) + 1)


def maps_on_image(maps: NDArray[np.float32], frame: ImageFrame) -> NDArray[np.float32]:
    """Interpolate probabilities linearly at the image's pixels.

    Parameters
    ----------
    maps : float32 (channels, y, x)
        As stored.
    frame : ImageFrame
        How they lie.

    Returns
    -------
    float32 (channels, y, x)
        Of ``frame.shape``.
    """
    out = np.empty((len(maps), *frame.shape), np.float32)
    (top, bottom, down), (left, right, across) = (
        _neighbours(frame.centres(axis), size) for axis, size in enumerate(maps.shape[1:])
    )
    for plane, target in zip(maps, out, strict=True):
        rows = plane[top] + (plane[bottom] - plane[top]) * down[:, None]
        np.add(rows[:, left], (rows[:, right] - rows[:, left]) * across, out=target)
    return out


def _neighbours(centres: NDArray[np.float64], size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    inside = np.clip(centres, 0, size - 1)
    low = np.floor(inside).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (inside - low).astype(np.float32)


def nuclei_on_image(
    instances: NDArray[np.int32], table: pd.DataFrame, frame: ImageFrame
) -> tuple[NDArray[np.int32], pd.DataFrame]:
    """Take the nuclei at the image's pixels: each pixel gets the nearest label; centroids and areas follow.

    Where the image is coarser than the maps, a pixel belongs to a nucleus when two of the four px around its centre do:
    at half the scale they are equally near, and taking always the same one would move every nucleus. A nucleus so small
    that no pixel's centre lies in it keeps the pixel of its centroid, so none is lost.

    Parameters
    ----------
    instances : int32 (y, x)
        As stored.
    table : pandas.DataFrame
        One row a nucleus, with ``label`` and, where they are known, centroids and areas.
    frame : ImageFrame
        How they lie.

    Returns
    -------
    int32 (y, x), pandas.DataFrame
        Of ``frame.shape``; in px of the image.
    """
    out = _labels(instances, frame)
    table = table.copy()
    labels = table["label"].to_numpy(np.intp)
    if {"centroid_y", "centroid_x"} <= set(table):
        for axis, name in enumerate(("centroid_y", "centroid_x")):
            table[name] = (table[name] + 0.5 - frame.origin[axis]) / frame.factor - 0.5
        _keep_smallest(out, labels, table[["centroid_y", "centroid_x"]].to_numpy(np.float64))
    if "area_px" in table:
        area = np.bincount(out.ravel(), minlength=int(labels.max(initial=0)) + 1)[labels]
        table["area_px"] = area.astype(table["area_px"].dtype)
        table["area_um2"] = area * (np.nan if frame.um_per_px is None else frame.um_per_px**2)
    return out, table


def _labels(instances: NDArray[np.int32], frame: ImageFrame) -> NDArray[np.int32]:
    def index(axis: int, shift: float) -> NDArray[np.intp]:
        return np.clip(np.floor(frame.centres(axis) + shift), 0, instances.shape[axis] - 1).astype(np.intp)

    out = instances[index(0, 0.5)][:, index(1, 0.5)]
    if frame.factor <= 1:
        return out
    votes, label = np.zeros(out.shape, np.uint8), np.zeros_like(out)
    for y in (0.0, 1.0):
        rows = instances[index(0, y)]
        for x in (0.0, 1.0):
            one = rows[:, index(1, x)]
            votes += one > 0
            np.maximum(label, one, out=label)
    np.copyto(out, label, where=out == 0)
    out[votes < 2] = 0
    return out


def _keep_smallest(instances: NDArray[np.int32], labels: NDArray[np.intp], centroids: NDArray[np.float64]) -> None:
    """Give nuclei without a pixel the one of their centroid, where it is in the map and no other nucleus has it."""
    area = np.bincount(instances.ravel(), minlength=int(labels.max(initial=0)) + 1)
    here = ((centroids >= -0.5) & (centroids <= np.array(instances.shape) - 0.5)).all(1)
    for k in np.flatnonzero((area[labels] == 0) & here):
        y, x = (int(np.clip(round(c), 0, n - 1)) for c, n in zip(centroids[k], instances.shape, strict=True))
        if instances[y, x] == 0:
            instances[y, x] = labels[k]
