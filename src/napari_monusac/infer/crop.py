"""Prediction of one crop into a store, at the crop's own scale where it fits into memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_monusac.core.prediction import WHOLE_PX
from napari_monusac.infer.predict import predict
from napari_monusac.infer.slide import predict_slide
from napari_monusac.io.store import PredictionStore, write_prediction
from napari_monusac.masks.instances import instances_from_maps

if TYPE_CHECKING:
    from napari_monusac.io.slides import Slide


def predict_crop(
    slide: Slide,
    model: Any,
    out: Path,
    *,
    overwrite: bool = False,
    **options: Any,
) -> tuple[str, ...]:
    """Predict a crop and its nuclei, and write both as OME-Zarr.

    Parameters
    ----------
    slide : Slide
        The open image. Up to 4096 x 4096 px the store has the image's own pixels, so that it fits the truth.
    model : LoadedModel or path
    out : Path
        The ``.zarr`` folder to write.
    overwrite : bool
        Predict again a large image whose store is finished; that of a smaller one is always replaced.
    **options
        Further parameters of `napari_monusac.infer.predict.predict`: flips, device, progress, should_stop ...

    Returns
    -------
    tuple of str
        What the user should be told.

    Raises
    ------
    Cancelled
        `should_stop` said so.
    StoreError, SlideError, CheckpointError, ShapeError
        As their names say.
    """
    if slide.shape[0] * slide.shape[1] > WHOLE_PX:
        predict_slide(slide, model, out, overwrite=overwrite, **options)
        return PredictionStore.open(out).info.notes
    prediction = predict(slide, model, **options)
    nuclei = instances_from_maps(
        prediction.semantic,
        prediction.ternary,
        boundary_width=prediction.boundary_width,
        um_per_px=prediction.um_per_px,
    )
    image = str(Path(slide.path).absolute())
    write_prediction(prediction, out, instances=nuclei.instances, table=nuclei.table, image=image)
    return prediction.notes
