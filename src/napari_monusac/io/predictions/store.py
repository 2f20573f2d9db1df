"""Predictions to disk, whole: OME-Zarr 0.5 with probabilities, nuclei, classes and table; `open` reads them back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import ShapeError, StoreError
from napari_monusac.core.files import draft_beside, replace_file
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store_info import PredictionIdentity, StoreInfo
from napari_monusac.io.slides.ome_zarr import is_image_store

if TYPE_CHECKING:
    import pandas as pd


def write_prediction(
    prediction: Prediction,
    path: str | Path,
    *,
    instances: NDArray[np.integer] | None = None,
    table: pd.DataFrame | None = None,
    image: str = "",
    settings: dict[str, float] | None = None,
    identity: PredictionIdentity | None = None,
    quantise: bool = True,
) -> Path:
    """Write a prediction as OME-Zarr, whole or not at all.

    Parameters
    ----------
    prediction : Prediction
        Probabilities of both heads.
    path : str or Path
        The ``.zarr`` folder; an existing one is replaced.
    instances : int (y, x), optional
        The nuclei, with `table` (``nuclei.instances, nuclei.table``).
    table : pandas.DataFrame, optional
        One row a nucleus, with ``label`` and ``class_id``.
    image : str
        Where the pixels came from.
    settings : dict, optional
        Thresholds that gave the nuclei.
    identity : PredictionIdentity, optional
        Of which pixels and weights it is.
    quantise : bool
        Probabilities as uint8 in 255ths, else as float16.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    StoreError
        The folder cannot be written.
    ShapeError
        Nuclei and maps do not fit.
    """
    path = Path(path)
    refuse_image(path)
    if instances is not None and instances.shape != prediction.shape:
        raise ShapeError(f"instances {instances.shape}, maps {prediction.shape}", "pass nuclei of this prediction")
    info = StoreInfo(
        um_per_px=prediction.um_per_px, offset_px=prediction.offset_px, boundary_width=prediction.boundary_width,
        fingerprint=prediction.fingerprint, checkpoint=prediction.checkpoint, notes=prediction.notes, image=image,
        engine=prediction.engine, identity=identity, trained_on=prediction.trained_on, fitted=prediction.fitted,
    )  # fmt: skip
    temporary = draft_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        store = PredictionStore.create(temporary, prediction.shape, info, quantise=quantise)
        store.write_maps((0, 0, *prediction.shape), np.concatenate([prediction.semantic, prediction.ternary]))
        if instances is not None and table is not None:
            labels, classes = store.create_labels()
            labels[:] = np.asarray(instances, np.int32)
            lut = np.zeros(int(instances.max(initial=0)) + 1, np.uint8)
            lut[table["label"].to_numpy(np.intp)] = table["class_id"].to_numpy(np.uint8)
            classes[:] = lut[instances]
            store.take_labels(table, settings)
        store.add_pyramid()
        move_into_place(temporary, path)
    except OSError as error:
        raise StoreError(path, f"cannot be written ({error.strerror or error})", "choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def refuse_image(path: Path) -> None:
    """Refuse to write a prediction where an image lies, which has the same suffix.

    Raises
    ------
    StoreError
        `path` is an OME-Zarr image.
    """
    if is_image_store(path):
        raise StoreError(path, "is an image, and no prediction", "choose another folder for the predictions")


def crop_store(folder: str | Path, name: str) -> Path:
    """Where the prediction of a crop lies in a folder of predictions."""
    return Path(folder) / f"{name.replace('/', '_')}.zarr"


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a finished folder its name; one that stands there already goes once the new one has its place."""
    refuse_image(path)
    old = draft_beside(path, kind="old")
    if path.exists():
        replace_file(path, old)
    try:
        replace_file(temporary, path)
    except OSError:
        if old.exists():  # the new one cannot take the place: the old one keeps it
            replace_file(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
