"""What is decided before the first tile is predicted: scale, tiles, engine, and what to tell the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.infer.engines import Engine, LoadedModel, Precision, choose_engine, tile_multiple
from napari_monusac.infer.source import Source, as_source, cropped, resample, resampled, scale_factor
from napari_monusac.infer.stain import normalised, sample_pixels, stain_note, training_stain
from napari_monusac.infer.tiles import Box, Grid
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
    region : Box
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
    region: Box
    shift: tuple[int, int]
    factor: float
    um_per_px: float | None
    boundary_width: int
    notes: tuple[str, ...]

    @property
    def inner(self) -> Box:
        """The region in px of `source`."""
        sides = []
        for shift, size, limit in zip(self.shift, self.region[2:], self.source.shape, strict=True):
            start = round(shift * self.factor)
            sides.append((start, min(limit - start, max(1, round(size * self.factor)))))
        return Box(sides[0][0], sides[1][0], sides[0][1], sides[1][1])

    def cut(self, box: Box, values: NDArray[np.float32]) -> tuple[Box, NDArray[np.float32]]:
        """What of a part of `source` lies in `inner`, with its place there; it may be empty."""
        inner = self.inner
        y0, x0 = max(box.y, inner.y), max(box.x, inner.x)
        y1 = max(y0, min(box.y + box.height, inner.y + inner.height))
        x1 = max(x0, min(box.x + box.width, inner.x + inner.width))
        part = values[:, y0 - box.y : y1 - box.y, x0 - box.x : x1 - box.x]
        return Box(y0 - inner.y, x0 - inner.x, y1 - y0, x1 - x0), part


def plan_prediction(
    image: Any,
    model: LoadedModel,
    *,
    um_per_px: float | None = None,
    region: Sequence[int] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine | None = None,
    tile_px: int = TILE_PX,
    overlap_px: int = OVERLAP_PX,
) -> Plan:
    """Decide on scale, tiles and engine; see `predict` for the parameters."""
    whole = as_source(image, um_per_px)
    place = Box(0, 0, *whole.shape) if region is None else Box(*(int(v) for v in region))
    cropped(whole, place)  # refuses what lies outside
    notes = list(whole.notes)
    check_enlargement(whole.path, whole.um_per_px, model.recipe.um_per_px)
    whole = _stained(whole, model, notes)
    factor = scale_factor(whole.um_per_px, model.recipe.um_per_px)
    around = _with_context(place, whole.shape, factor)
    part = cropped(whole, around)
    if factor != 1.0:
        part = resampled(part, factor)
        notes.append(
            f"the image has {whole.um_per_px:.4g} um/px, the model wants {model.recipe.um_per_px:.4g}: resampled"
        )
    elif whole.um_per_px is None:
        notes.append(f"the image's scale is unknown: taken as {model.recipe.um_per_px:.4g} um/px, as in training")
    engine = engine or choose_engine(model, device, precision, pixels=part.shape[0] * part.shape[1])
    return Plan(
        source=part,
        grid=Grid.over(part.shape, tile_px, overlap_px, tile_multiple(model.network)),
        engine=engine,
        region=place,
        shift=(place.y - around.y, place.x - around.x),
        factor=factor,
        um_per_px=whole.um_per_px,
        boundary_width=_odd(model.recipe.boundary_width / factor),
        notes=tuple(notes),
    )


def _stained(source: Source, model: LoadedModel, notes: list[str]) -> Source:
    """Note a stain that is far from the training crops'; normalise it where the network was trained on such images."""
    training, normalise = training_stain(getattr(model, "metadata", None)), model.recipe.stain == "normalise"
    if not training and not normalise:
        return source
    sample = sample_pixels(source)
    if normalise:
        return normalised(source, sample)
    note = stain_note(sample, training)
    if note:
        notes.append(note)
    return source


def _with_context(place: Box, shape: tuple[int, int], factor: float) -> Box:
    """The region with `CONTEXT_PX` of the network's px around it, as far as the image goes."""
    context = int(np.ceil(CONTEXT_PX / factor))
    y0, x0 = max(0, place.y - context), max(0, place.x - context)
    y1, x1 = min(shape[0], place.y + place.height + context), min(shape[1], place.x + place.width + context)
    return Box(y0, x0, y1 - y0, x1 - x0)


def _odd(width: float) -> int:
    return max(1, 2 * round((width - 1) / 2) + 1)


def in_region(plan: Plan, box: Box, values: NDArray[np.float32]) -> tuple[Box, NDArray[np.float32]]:
    """Bring a part from the network's pixels to those of the region.

    Parameters
    ----------
    plan : Plan
        The plan.
    box : Box
        Place of `values` in px of ``plan.source``.
    values : float32 (channels, y, x)
        Probabilities.

    Returns
    -------
    Box, float32 (channels, y, x)
        Place in px of the region (parts that share no px tile the region without gap; it may be empty), and values.
    """
    f = plan.factor
    sides = []
    for start, length, shift, size in zip(box[:2], box[2:], plan.shift, plan.region[2:], strict=True):
        low, high = (int(np.ceil(edge / f - 0.5)) - shift for edge in (start, start + length))
        low, high = min(max(low, 0), size), min(max(high, 0), size)
        sides.append((low, max(high - low, 0)))
    (y, height), (x, width) = sides
    place = Box(y, x, height, width)
    if f == 1.0 or height == 0 or width == 0:
        top, left = y + plan.shift[0] - box.y, x + plan.shift[1] - box.x
        return place, values[:, max(top, 0) : top + height, max(left, 0) : left + width]
    wanted = Box(y + plan.shift[0], x + plan.shift[1], height, width)
    planes = [resample(plane, 1 / f, (box.y, box.x), wanted) for plane in values]
    return place, np.stack(planes)
