"""Predictions to disk and back, whole: OME-Zarr 0.5 with probabilities, nuclei, classes and table."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import ShapeError, StoreError
from napari_monusac.core.files import replace_file
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.prediction_store import PredictionIdentity, PredictionStore, StoreInfo
from napari_monusac.io.predictions.rescale import ImageFrame, maps_on_image, nuclei_on_image

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ImageFrame",
    "PredictionIdentity",
    "PredictionStore",
    "StoreInfo",
    "crop_store",
    "move_into_place",
    "read_prediction",
    "read_stored_nuclei",
    "write_prediction",
]


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
    if instances is not None and instances.shape != prediction.shape:
        raise ShapeError(f"instances {instances.shape}, maps {prediction.shape}", "pass nuclei of this prediction")
    info = StoreInfo(
        um_per_px=prediction.um_per_px, offset_px=prediction.offset_px, boundary_width=prediction.boundary_width,
        fingerprint=prediction.fingerprint, checkpoint=prediction.checkpoint, notes=prediction.notes, image=image,
        engine=prediction.engine, identity=identity, trained_on=prediction.trained_on,
    )  # fmt: skip
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
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


def crop_store(folder: str | Path, name: str) -> Path:
    """Where the prediction of a crop lies in a folder of predictions."""
    return Path(folder) / f"{name.replace('/', '_')}.zarr"


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a finished folder its name; one that stands there already goes once the new one has its place."""
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.old")
    if path.exists():
        replace_file(path, old)
    try:
        replace_file(temporary, path)
    except OSError:
        if old.exists():  # the new one cannot take the place: the old one keeps it
            replace_file(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def read_prediction(path: str | Path, *, as_stored: bool = False) -> Prediction:
    """Read a stored prediction into memory, at the pixels of its image.

    Maps of a slide are stored at the network's scale. Where that is not the image's they are interpolated, so that
    they fit the image and its truth.

    Parameters
    ----------
    path : str or Path
        The ``.zarr`` folder.
    as_stored : bool
        Leave them at the scale that they are stored at.

    Raises
    ------
    StoreError
        It is missing, foreign, damaged, or too large for the memory.
    """
    store = PredictionStore.open(path)
    info = store.info
    frame = None if as_stored else info.frame
    _check_memory(store, 40 * _pixels(store, None) + (0 if frame is None else 40 * _pixels(store, frame)))
    coded = store.read_maps()
    maps = coded.astype(np.float32)
    if coded.dtype == np.uint8:
        maps /= np.float32(255)
    if frame is not None:
        maps = maps_on_image(maps, frame)
    return Prediction(
        semantic=maps[:5], ternary=maps[5:],
        um_per_px=info.um_per_px if frame is None else frame.um_per_px,
        offset_px=info.offset_px if frame is None else frame.offset_px,
        boundary_width=info.boundary_width if frame is None else frame.boundary_width(info.boundary_width),
        fingerprint=info.fingerprint, checkpoint=info.checkpoint, notes=info.notes, engine=info.engine,
        trained_on=info.trained_on,
    )  # fmt: skip


def read_stored_nuclei(path: str | Path, *, as_stored: bool = False) -> tuple[NDArray[np.int32], pd.DataFrame] | None:
    """Instance map and table of a stored prediction, at the pixels of its image.

    Parameters
    ----------
    path : str or Path
        The ``.zarr`` folder.
    as_stored : bool
        Leave them at the scale that they are stored at.

    Returns
    -------
    int32 (y, x), pandas.DataFrame
        None where the nuclei are not segmented yet.

    Raises
    ------
    StoreError
        The store is missing, foreign or damaged, or too large for the memory.
    """
    store = PredictionStore.open(path)
    table = store.read_table()
    if table is None:
        return None
    frame = None if as_stored else store.info.frame
    _check_memory(store, 4 * _pixels(store, None) + (0 if frame is None else 8 * _pixels(store, frame)))
    values = store.read_instances()
    if values is None:
        return None
    return (values, table) if frame is None else nuclei_on_image(values, table, frame)


def _pixels(store: PredictionStore, frame: ImageFrame | None) -> int:
    height, width = store.shape if frame is None else frame.shape
    return height * width


def _check_memory(store: PredictionStore, needed: int) -> None:
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        raise StoreError(
            store.path,
            f"needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free",
            "read parts: PredictionStore.open",
        )
