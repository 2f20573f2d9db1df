"""Prediction of one crop into a store, at the crop's own scale where it fits into memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from napari_monusac.core.fitted import with_fitted
from napari_monusac.core.prediction import WHOLE_PX
from napari_monusac.core.recipe import Precision
from napari_monusac.infer.blocks import segment_store, segmented_otherwise
from napari_monusac.infer.identity import finished, identity_of
from napari_monusac.infer.model import as_model
from napari_monusac.infer.plan import plan_prediction
from napari_monusac.infer.predict import bytes_needed, predict
from napari_monusac.infer.slide import predict_slide
from napari_monusac.infer.tiling.source import as_source
from napari_monusac.io.locks import store_lock
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.masks.instances import instances_from_maps


@dataclass(frozen=True, slots=True)
class CropOutcome:
    """What became of one crop.

    Attributes
    ----------
    notes : tuple of str
        What the user should be told.
    skipped : bool
        It was finished already.
    """

    notes: tuple[str, ...]
    skipped: bool = False


def predict_crop(
    image: Any,
    model: Any,
    out: str | Path,
    *,
    um_per_px: float | None = None,
    flips: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> CropOutcome:
    """Predict a crop and its nuclei, and write both as OME-Zarr.

    Parameters
    ----------
    image : Slide, path or array
        The image. Where its maps fit well into memory the store has the image's own pixels, so that it fits the truth:
        up to 4096 x 4096 px, at the image's scale and at the network's.
    model : LoadedModel or path
    out : str or Path
        The ``.zarr`` folder to write. One that holds just this prediction is left as it is.
    um_per_px, flips, device, precision
        See `napari_monusac.infer.predict.predict`.
    settings : mapping, optional
        Thresholds of `instances_from_maps`, over those that were fitted for the model. A finished store with other ones
        is segmented again, the network is not asked.
    overwrite : bool
        Predict again, whatever is in `out`.
    **options
        progress, should_stop, on_tile, tile_px, ... of `napari_monusac.infer.predict.predict`.

    Returns
    -------
    CropOutcome

    Raises
    ------
    Cancelled
        `should_stop` said so.
    StoreError
        `out` holds the prediction of something else, or cannot be written.
    SlideError, CheckpointError, ShapeError
        As their names say.
    """
    out, model, source = Path(out), as_model(model), as_source(image, um_per_px)
    identity = identity_of(source, model, flips=flips)
    done = finished(out, identity, overwrite=overwrite)
    if done is not None and done.read_table() is not None:
        again = segmented_otherwise(done.info, settings)
        if again:
            segment_store(out, settings=settings, should_stop=options.get("should_stop"))
        return CropOutcome(done.info.notes, skipped=not again)
    common = {"um_per_px": um_per_px, "flips": flips, **options}
    plan = plan_prediction(source, model, um_per_px=um_per_px, device=device, precision=precision)
    pixels = max(_pixels(source.shape), _pixels(plan.source.shape))
    if pixels > WHOLE_PX or bytes_needed(plan) > 0.5 * psutil.virtual_memory().available:
        predict_slide(source, model, out, overwrite=overwrite, engine=plan.engine, settings=settings, **common)
        return CropOutcome(PredictionStore.open(out).info.notes)
    with store_lock(out):
        prediction = predict(source, model, engine=plan.engine, **common)
        thresholds = with_fitted(prediction.fitted, settings)
        nuclei = instances_from_maps(
            prediction.semantic, prediction.ternary, boundary_width=prediction.boundary_width,
            um_per_px=prediction.um_per_px, **thresholds,
        )  # fmt: skip
        write_prediction(
            prediction, out, instances=nuclei.instances, table=nuclei.table, settings=thresholds, identity=identity,
            image="" if source.path is None else str(source.path.absolute()),
        )  # fmt: skip
    return CropOutcome(prediction.notes)


def _pixels(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1]
