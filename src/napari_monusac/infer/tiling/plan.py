"""What is decided before the first tile is predicted: scale, stain, frame, tiles, and what to tell the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.tiling.grid import Grid
from napari_monusac.infer.tiling.source import Source, cropped, resample, resampled, scale_factor
from napari_monusac.infer.tiling.stain_sample import GREY_NOTE, is_grey, normalised, sample_pixels, stain_note
from napari_monusac.io.scale import check_enlargement

#: Longest side of a tile and what two tiles share, px.
TILE_PX, OVERLAP_PX = 512, 64
#: Pixels around a region that are predicted too, so that the region's edge sees its surroundings.
CONTEXT_PX = 64


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything decided before the first tile is predicted.

    Attributes
    ----------
    source : Source
        Pixels at the network's scale: the region and some context around it.
    grid : Grid
        Tiles over `source`.
    engine : Engine
        What runs the network.
    region : Region
        The region in px of the image.
    shift : tuple of int
        (y, x) of the region's first pixel in the context around it, px of the image.
    factor : float
        px of `source` per px of the image.
    um_per_px : float or None
        Scale of the image.
    boundary_width : int
        Width of the boundary in px of the image.
    notes : tuple of str
        What the user should be told.
    """

    source: Source
    grid: Grid
    engine: Engine
    region: Region
    shift: tuple[int, int]
    factor: float
    um_per_px: float | None
    boundary_width: int
    notes: tuple[str, ...]

    @property
    def inner(self) -> Region:
        """The region in px of `source`."""
        sides = []
        for shift, size, limit in zip(self.shift, self.region[2:], self.source.shape, strict=True):
            start = round(shift * self.factor)
            sides.append((start, min(limit - start, max(1, round(size * self.factor)))))
        return Region(sides[0][0], sides[1][0], sides[0][1], sides[1][1])

    def cut(self, box: Region, values: NDArray[np.float32]) -> tuple[Region, NDArray[np.float32]]:
        """What of a part of `source` lies in `inner`, with its place there; it may be empty."""
        inner = self.inner
        y0, x0 = max(box.y, inner.y), max(box.x, inner.x)
        y1 = max(y0, min(box.y + box.height, inner.y + inner.height))
        x1 = max(x0, min(box.x + box.width, inner.x + inner.width))
        part = values[:, y0 - box.y : y1 - box.y, x0 - box.x : x1 - box.x]
        return Region(y0 - inner.y, x0 - inner.x, y1 - y0, x1 - x0), part


@dataclass(frozen=True, slots=True)
class Expected:
    """What a network expects of the pixels it is shown: what it was trained on.

    Attributes
    ----------
    um_per_px : float or None
        Scale that it was trained at; None where its crops said none.
    boundary_width : int
        Width of its boundary, px at that scale.
    patch_px : int
        Side of the patches it was trained on: no tile is shorter.
    multiple : int
        Sides of a tile are multiples of this many px.
    normalise_stain : bool
        Whether its crops were brought to the reference stains.
    stain : mapping or None
        ``mean`` and ``std`` of the training crops' haematoxylin and eosin.
    """

    um_per_px: float | None
    boundary_width: int
    patch_px: int
    multiple: int = 32
    normalise_stain: bool = False
    stain: Any = None


def plan_tiles(
    whole: Source,
    expected: Expected,
    choose: Callable[[int], Engine],
    *,
    region: Sequence[int] | None = None,
    tile_px: int | None = None,
    overlap_px: int = OVERLAP_PX,
) -> Plan:
    """Decide on scale, stain, frame and tiles.

    Parameters
    ----------
    whole : Source
        The image.
    expected : Expected
        What the network was trained on.
    choose : callable
        Gives the engine for so many px.
    region : (y, x, height, width), optional
        The part that is wanted; by default all.
    tile_px : int, optional
        Longest side of a tile; by default `TILE_PX`, or the training patch where that is longer.
    overlap_px : int
        What two tiles share.

    Raises
    ------
    ShapeError
        The region does not lie within the image, or the tiles are impossible.
    """
    place = Region(0, 0, *whole.shape) if region is None else Region(*(int(v) for v in region))
    cropped(whole, place)  # refuses what lies outside
    check_enlargement(whole.path, whole.um_per_px, expected.um_per_px)
    told = whole.notes
    whole, notes = _stained(whole, expected)
    notes[:0] = told
    factor = scale_factor(whole.um_per_px, expected.um_per_px)
    around = _with_context(place, whole.shape, factor, expected.patch_px)
    part = cropped(whole, around)
    if factor != 1.0:
        part = resampled(part, factor)
    notes += _scale_notes(whole.um_per_px, expected.um_per_px, factor)
    patch = -(-expected.patch_px // expected.multiple) * expected.multiple
    return Plan(
        source=part,
        grid=Grid.over(part.shape, tile_px or max(TILE_PX, patch), overlap_px, expected.multiple, patch),
        engine=choose(part.shape[0] * part.shape[1]),
        region=place,
        shift=(place.y - around.y, place.x - around.x),
        factor=factor,
        um_per_px=whole.um_per_px,
        boundary_width=width_on_image(expected.boundary_width, factor),
        notes=tuple(notes),
    )


def _scale_notes(image: float | None, network: float | None, factor: float) -> list[str]:
    """What the user should be told of the two scales."""
    if factor != 1.0:
        return [f"the image has {image:.4g} um/px, the model wants {network:.4g}: resampled"]
    if network is None:
        return ["the model does not know the scale it was trained at: the image is taken as it is"]
    if image is None:
        return [f"the image's scale is unknown: taken as {network:.4g} um/px, as in training"]
    return []


def _stained(source: Source, expected: Expected) -> tuple[Source, list[str]]:
    """Normalise the stain where training did; else note one that is far from the training crops', or missing."""
    sample = sample_pixels(source)
    if is_grey(sample):
        return source, [GREY_NOTE]
    if expected.normalise_stain:
        return normalised(source, sample), []
    note = stain_note(sample, expected.stain)
    return source, [note] if note else []


def _with_context(place: Region, shape: tuple[int, int], factor: float, patch_px: int) -> Region:
    """The region with its surroundings, as far as the image goes.

    `CONTEXT_PX` of the network's px, and a training patch in all: what can be seen is not mirrored.
    """
    sides = []
    for start, length, size in zip(place[:2], place[2:], shape, strict=True):
        context = int(np.ceil(max(CONTEXT_PX / factor, (patch_px / factor - length) / 2)))
        low = max(0, start - context)
        sides.append((low, min(size, start + length + context) - low))
    (y, height), (x, width) = sides
    return Region(y, x, height, width)


def width_on_image(width: int, factor: float) -> int:
    """Width of the network's boundary in px of an image that is enlarged by `factor` for it, odd."""
    return max(1, 2 * round((width / factor - 1) / 2) + 1)


def in_region(plan: Plan, box: Region, values: NDArray[np.float32]) -> tuple[Region, NDArray[np.float32]]:
    """Bring a part from the network's pixels to those of the region.

    Parameters
    ----------
    plan : Plan
        The plan.
    box : Region
        Place of `values` in px of ``plan.source``.
    values : float32 (channels, y, x)
        Probabilities.

    Returns
    -------
    Region, float32 (channels, y, x)
        Place in px of the region (parts that share no px tile the region without gap; it may be empty), and values.
    """
    f = plan.factor
    sides = []
    for start, length, shift, size in zip(box[:2], box[2:], plan.shift, plan.region[2:], strict=True):
        low, high = (int(np.ceil(edge / f - 0.5)) - shift for edge in (start, start + length))
        low, high = min(max(low, 0), size), min(max(high, 0), size)
        sides.append((low, max(high - low, 0)))
    (y, height), (x, width) = sides
    place = Region(y, x, height, width)
    if f == 1.0 or height == 0 or width == 0:
        top, left = y + plan.shift[0] - box.y, x + plan.shift[1] - box.x
        return place, values[:, max(top, 0) : top + height, max(left, 0) : left + width]
    wanted = Region(y + plan.shift[0], x + plan.shift[1], height, width)
    planes = [resample(plane, 1 / f, (box.y, box.x), wanted) for plane in values]
    return place, np.stack(planes)
