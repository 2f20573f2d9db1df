"""Prediction of an image of any size, tile by tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import ShapeError
from napari_monusac.core.prediction import Prediction
from napari_monusac.core.recipe import Precision
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.model import as_model, checkpoint_name, crops_seen_by_model, fitted_of
from napari_monusac.infer.plan import plan_prediction
from napari_monusac.infer.tiling.plan import OVERLAP_PX, Plan, in_region
from napari_monusac.infer.tiling.tiled import whole_maps


class TileProgress(float):
    """How much is done, 0 to 1, with what a progress line wants to say.

    Attributes
    ----------
    done, total : int
        Tiles.
    seconds, eta_s : float
        Since the first tile began, and still to go (an estimate).
    """

    done: int
    total: int
    seconds: float
    eta_s: float

    @classmethod
    def of(cls, done: int, total: int, seconds: float) -> TileProgress:
        """Make one of counts and time."""
        progress = cls(done / total if total else 1.0)
        progress.done, progress.total, progress.seconds = done, total, seconds
        progress.eta_s = seconds / done * (total - done) if done else float("inf")
        return progress


def predict(
    image: Any,
    checkpoint: Any,
    *,
    um_per_px: float | None = None,
    region: Sequence[int] | None = None,
    offset_px: tuple[int, int] = (0, 0),
    flips: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine | None = None,
    tile_px: int | None = None,
    overlap_px: int = OVERLAP_PX,
    batch_size: int | None = None,
    skip_glass: bool | None = None,
    progress: Callable[[TileProgress], object] | None = None,
    on_tile: Callable[[Region, NDArray[np.float32], NDArray[np.float32]], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Prediction:
    """Predict both maps over an image or a region of it.

    Overlapping tiles are blended; the result has the pixels of the image, whatever scale the network was trained at.

    Parameters
    ----------
    image : array uint8 (y, x, 3), dask array, pyramid (list of arrays), path or Slide
        RGB, 16 x 16 px or more.
    checkpoint : path or LoadedModel
        A checkpoint file, a run folder, or what `load_checkpoint` gives.
    um_per_px : float, optional
        Scale of the image in micrometres per pixel; overrides the file's.
    region : (y, x, height, width), optional
        Predict only this part. Its edge sees what lies around it.
    offset_px : (y, x)
        Added to the result's `offset_px`, for an array that was cut out of a larger image.
    flips : bool
        Average over eight flips and turns: a little better, eight times as slow.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    precision : {"auto", "bfloat16", "float32"}
        ``"auto"`` takes the faster on this device.
    engine : Engine, optional
        Overrules `device` and `precision`.
    tile_px : int, optional
        Longest side of a tile, px; by default 512, or the patches of training where those are longer.
    overlap_px : int
        What two tiles share, px.
    batch_size : int, optional
        Tiles at once.
    skip_glass : bool, optional
        Do not ask the network about tiles without tissue; by default for images over 4096 px.
    progress : callable, optional
        Called with a `TileProgress` (a fraction, with ETA) after each tile.
    on_tile : callable, optional
        Called with ``(box, semantic, ternary)`` for each finished part; box = (y, x, height, width) in the region.
    should_stop : callable, optional
        Asked before each batch.

    Returns
    -------
    Prediction
        Probabilities of both heads over the region.

    Raises
    ------
    Cancelled
        `should_stop` said so.
    ShapeError
        The image or the region cannot be predicted, or does not fit into memory.
    CheckpointError, SlideError
        A file cannot be read.

    Notes
    -----
    Tolerances, held by tests or measured:

    - Tiles against the image whole, in float32, 64 px and more from its border: equal to 2e-6 for a network that sees
      no further than the 8 outermost px of a tile, which are never used. A deep network sees further: with EfficientNet
      Lite0 over a real crop of 1000 x 1000 px the mean difference of a probability is 0.0032, 0.11 at most for 99.9 %
      of the pixels, and the most probable class the same at 99.5 % or more.
    - bfloat16 and OpenVINO against torch in float32: mean difference of a probability over real crops 0.0026 at most,
      and the same most probable class at 99.6 % of the pixels or more.
    - ONNX against torch in float32: 1.3e-6 (`export` says it for each model).
    """
    model = as_model(checkpoint)
    plan = plan_prediction(
        image, model, um_per_px=um_per_px, region=region, device=device, precision=precision, engine=engine,
        tile_px=tile_px, overlap_px=overlap_px,
    )  # fmt: skip
    _check_memory(plan)
    start, total = time.perf_counter(), len(plan.grid)

    def told(index: int, box: Region, values: NDArray[np.float32]) -> None:
        if on_tile is not None:
            place, part = in_region(plan, box, values)
            if part.size:
                on_tile(place, part[:5], part[5:])
        if progress is not None:
            progress(TileProgress.of(index + 1, total, time.perf_counter() - start))

    maps = whole_maps(
        plan, flips=flips, batch_size=batch_size, skip_glass=skip_glass, told=told, should_stop=should_stop
    )
    return Prediction(
        semantic=maps[:5],
        ternary=maps[5:],
        um_per_px=plan.um_per_px,
        offset_px=(offset_px[0] + plan.region.y, offset_px[1] + plan.region.x),
        boundary_width=plan.boundary_width,
        fingerprint=model.recipe.fingerprint(),
        checkpoint=checkpoint_name(checkpoint, model),
        notes=plan.notes,
        engine=plan.engine.name,
        trained_on=crops_seen_by_model(model),
        fitted=fitted_of(model),
    )


def bytes_needed(plan: Plan) -> int:
    """What the maps of a plan take in memory at the most: the network's, twice, or theirs and those of the region."""
    height, width = plan.source.shape
    inside = 0 if plan.factor == 1.0 else 32 * plan.region.height * plan.region.width
    return 32 * height * width * (2 if plan.factor == 1.0 else 1) + 2 * inside


def _check_memory(plan: Plan) -> None:
    """Refuse what does not fit before hours are spent on it."""
    needed, free = bytes_needed(plan), psutil.virtual_memory().available
    if needed > free:
        height, width = plan.source.shape
        raise ShapeError(
            f"the maps of {width} x {height} px need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free",
            "predict it to disk with predict_slide (napari-monusac predict), or choose a region",
        )
