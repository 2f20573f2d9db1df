"""Predictions on disk for the crop that is corrected: found by its name, read at its scale and place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import MonusacError, StoreError
from napari_monusac.core.prediction import Nuclei, Prediction
from napari_monusac.io.predictions.identity import Pixels, check_image, match_image
from napari_monusac.io.predictions.rescale import ImageFrame, maps_on_image, nuclei_on_image
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.lookup import paint

if TYPE_CHECKING:
    import pandas as pd

    from napari_monusac.io.predictions.store import PredictionStore

#: Folders in a folder of predictions that are looked into, at most: it may be somebody's home.
_MOST_FOLDERS = 200
#: Scales this close are the same: files round them.
_SAME_SCALE = 0.01
_MEND = "choose the prediction of this crop, or predict it again"
_Part = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """A stored prediction that bears the name of a crop.

    Attributes
    ----------
    path : Path
        The ``.zarr`` folder.
    model : str
        The checkpoint's name, for people; empty where the store does not say.
    modified : float
        When it was written, seconds since 1970.
    same_image : bool or None
        Whether it is of the crop's image, by its pixels; None where the store does not say of which it is, or nobody
        asked.
    """

    path: Path
    model: str
    modified: float
    same_image: bool | None = None


def find_stored(
    folders: Iterable[Path], names: Iterable[str], images: Sequence[Pixels] = ()
) -> tuple[StoredPrediction, ...]:
    """Find the stored predictions of a crop, newest first.

    Parameters
    ----------
    folders : iterable of Path
        Where to look: in each of them, and in the folders that lie in it.
    names : iterable of str
        What the crop's store may be called (without ``.zarr``).
    images : sequence of Pixels
        The crop's image, to tell predictions of another image of this name; see `match_image`.
    """
    wanted, found = list(dict.fromkeys(names)), {}
    for folder in dict.fromkeys(Path(f) for f in folders):
        for place in _and_inside(folder):
            for name in wanted:
                path = place / f"{name}.zarr"
                if path.is_dir() and path.resolve() not in found:
                    one = _stored(path, images)
                    if one is not None:
                        found[path.resolve()] = one
    return tuple(sorted(found.values(), key=lambda one: -one.modified))


def _and_inside(folder: Path) -> Iterator[Path]:
    yield folder
    try:
        inside = [p for p in folder.iterdir() if p.suffix != ".zarr" and not p.name.startswith(".") and p.is_dir()]
    except OSError:  # no such folder, or not ours to look into
        return
    yield from sorted(inside)[:_MOST_FOLDERS]


def _stored(path: Path, images: Sequence[Pixels]) -> StoredPrediction | None:
    from napari_monusac.io.predictions.store import PredictionStore

    try:
        info = PredictionStore.open(path).info
    except MonusacError:  # a .zarr folder of somebody else
        return None
    same = match_image(info, *images).same if images else None
    return StoredPrediction(path, model_name(info.checkpoint), path.stat().st_mtime, same)


def model_name(checkpoint: str) -> str:
    """What people call a model: its run's name, or its file's where it lies in no run; empty where nothing is known."""
    path = Path(checkpoint)
    return path.parent.name if path.stem in ("best", "last") else path.stem


def read_stored(
    path: Path,
    shape: tuple[int, int],
    um_per_px: float | None = None,
    part: _Part | None = None,
    images: Sequence[Pixels] = (),
    *,
    unknown: bool = True,
) -> tuple[Prediction, Nuclei]:
    """Read a stored prediction at the scale and place of a crop.

    Parameters
    ----------
    path : Path
        The ``.zarr`` folder. Its maps may have another scale than the crop, and cover a part of it.
    shape : tuple of int
        Height and width of the crop, px.
    um_per_px : float, optional
        Scale of the crop.
    part : (y, x, height, width), optional
        Read no more than this part of the crop, px.
    images : sequence of Pixels
        The crop's image; without it nothing but size and name says that the prediction is of this crop.
    unknown : bool
        Whether a store that does not say of which image it is may be used.

    Returns
    -------
    Prediction, Nuclei
        In px of the crop, with `offset_px` there; nuclei are numbered 1..n.

    Raises
    ------
    StoreError
        The store is missing, foreign or damaged, does not fit the crop, or is of another image.
    """
    from napari_monusac.io.predictions.store import PredictionStore

    store = PredictionStore.open(path)
    if images:
        check_image(path, store.info, *images, unknown=unknown)
    frame = store.info.frame or _frame(store, shape, um_per_px)
    y, x, height, width = _covered(store, frame, shape, part)
    frame = frame.part((y, x), (height, width))
    box = frame.box(store.shape)
    frame = frame.within(box)
    maps = _probabilities(store, box)
    if frame.factor != 1:
        maps = maps_on_image(maps, frame)
    info = store.info
    prediction = Prediction(
        semantic=maps[:5], ternary=maps[5:], um_per_px=um_per_px or frame.um_per_px, offset_px=(y, x),
        boundary_width=frame.boundary_width(info.boundary_width), fingerprint=info.fingerprint,
        checkpoint=info.checkpoint, notes=info.notes, engine=info.engine, trained_on=info.trained_on,
    )  # fmt: skip
    labels, table = store.read_instances(box), store.read_table()
    if labels is None or table is None:
        return prediction, instances_from_maps(
            prediction.semantic, prediction.ternary, boundary_width=prediction.boundary_width,
            um_per_px=prediction.um_per_px, offset_px=(y, x),
        )  # fmt: skip
    if frame.factor != 1:
        inside = table["label"].isin(np.unique(labels))
        table = table[inside].assign(centroid_y=table["centroid_y"] - box[0], centroid_x=table["centroid_x"] - box[1])
        labels, table = nuclei_on_image(labels, table, frame)
    return prediction, _nuclei(labels, table, prediction.um_per_px, (y, x))


def _frame(store: PredictionStore, shape: tuple[int, int], um_per_px: float | None) -> ImageFrame:
    """How maps lie on the crop whose store does not say: at its place, and as large as the two scales ask for."""
    info = store.info
    times = info.um_per_px / um_per_px if info.um_per_px and um_per_px else 1.0
    if abs(times - 1) < _SAME_SCALE:
        return ImageFrame(shape=store.shape, offset_px=info.offset_px, um_per_px=info.um_per_px)
    # resampled maps of a whole crop may end a pixel early or late: their last pixel then stands for it
    slack = int(np.ceil(times)) + 1
    height, width = (
        n if o == 0 and abs(round(m * times) - n) <= slack else round(m * times)
        for o, m, n in zip(info.offset_px, store.shape, shape, strict=True)
    )
    return ImageFrame(shape=(height, width), offset_px=info.offset_px, um_per_px=um_per_px, factor=1 / times)


def _covered(store: PredictionStore, frame: ImageFrame, shape: tuple[int, int], part: _Part | None) -> _Part:
    """Return the part of the crop that the maps cover, within `part`."""
    low = frame.offset_px
    high = [o + n for o, n in zip(low, frame.shape, strict=True)]
    if min(low) < 0 or any(h > n for h, n in zip(high, shape, strict=True)):
        at = f" at ({low[0]}, {low[1]})" if any(low) else ""
        scaled = f" ({store.shape[0]} x {store.shape[1]} px, each {1 / frame.factor:.2f} px of the crop)"
        raise StoreError(
            store.path,
            f"does not fit this crop: it covers {frame.shape[0]} x {frame.shape[1]} px{at}"
            f"{scaled if frame.factor != 1 else ''}, the crop has {shape[0]} x {shape[1]}",
            _MEND,
        )
    wanted = part or (0, 0, *shape)
    y, x = max(low[0], wanted[0]), max(low[1], wanted[1])
    height, width = min(high[0], wanted[0] + wanted[2]) - y, min(high[1], wanted[1] + wanted[3]) - x
    if height < 1 or width < 1:
        raise StoreError(store.path, "covers another part of this slide", "predict this region, or edit that one")
    return y, x, height, width


def _probabilities(store: PredictionStore, box: _Part) -> NDArray[np.float32]:
    import psutil

    needed, free = 60 * box[2] * box[3], psutil.virtual_memory().available
    if needed > free:
        raise StoreError(
            store.path, f"needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free", "edit a smaller region"
        )
    coded = store.read_maps(box)
    maps = coded.astype(np.float32)
    return maps / np.float32(255) if coded.dtype == np.uint8 else maps


def _nuclei(
    labels: NDArray[np.int32], table: pd.DataFrame, um_per_px: float | None, offset_px: tuple[int, int]
) -> Nuclei:
    """Number the nuclei that are there 1..n, and bring places and sizes of the table to the crop's px."""
    ids, sizes = np.unique(labels[labels > 0], return_counts=True)
    table = table[np.isin(table["label"], ids)].reset_index(drop=True)
    old = table["label"].to_numpy(np.int64)
    order = np.argsort(old)
    numbers = np.arange(1, len(old) + 1, dtype=np.int32)
    instances = paint(labels, old[order], numbers[order])
    areas = sizes[np.searchsorted(ids, old)]
    table = table.assign(label=numbers, area_px=areas)
    if "area_um2" in table:
        table["area_um2"] = areas * um_per_px**2 if um_per_px else np.nan
    for axis, name in enumerate(("centroid_y", "centroid_x")):
        if name in table and len(old):
            places = np.broadcast_to(
                np.arange(labels.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1)), labels.shape
            )
            sums = np.bincount(instances.ravel(), places.ravel(), len(old) + 1)
            table[name] = sums[1:] / areas
    return Nuclei(instances, table, um_per_px, offset_px)
