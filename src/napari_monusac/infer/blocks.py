"""Nuclei of a stored prediction of any size: block by block, in constant memory, without seams or duplicates.

A block is segmented with a halo around it. A nucleus belongs to the block that holds its centroid, so every nucleus is
found whole and once; the result equals that on the map whole as long as nuclei are shorter than the halo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import Cancelled
from napari_monusac.core.fitted import with_fitted
from napari_monusac.io.locks import store_lock
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store_info import StoreInfo
from napari_monusac.masks.instances import instances_from_maps

if TYPE_CHECKING:
    import pandas as pd

#: Side of a block and of the halo around it, px.
BLOCK_PX, HALO_PX = 1536, 256


def segment_store(
    path: str | Path,
    *,
    block_px: int = BLOCK_PX,
    halo_px: int = HALO_PX,
    progress: Callable[[float], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Segment the nuclei of a stored prediction and write them into it.

    Parameters
    ----------
    path : str or Path
        A store of `io.store`.
    block_px, halo_px : int
        Side of a block, and what is looked at around it, px. Nuclei longer than the halo may be cut.
    progress : callable, optional
        Called with a fraction after each block.
    should_stop : callable, optional
        Asked before each block.
    settings : mapping, optional
        Thresholds, by the names that `instances_from_maps` has for them, over those that were fitted for the model.

    Returns
    -------
    pandas.DataFrame
        The table, as `Nuclei.table`; centroids in px of the whole map.

    Raises
    ------
    Cancelled
        `should_stop` said so; the store then holds the nuclei that it held before.
    StoreError
        The store cannot be read or written, or is being written by another process.
    ShapeError
        A threshold is out of its range.
    """
    import pandas as pd

    with store_lock(Path(path)):
        store = PredictionStore.open(path, "r+")
        settings = with_fitted(store.info.fitted, settings)
        instances, classes = store.create_labels()
        height, width = store.shape
        corners = [(y, x) for y in range(0, height, block_px) for x in range(0, width, block_px)]
        tables: list[pd.DataFrame] = []
        count = 0
        for number, corner in enumerate(corners):
            if should_stop is not None and should_stop():
                raise Cancelled(f"stopped after {number} of {len(corners)} blocks")
            table = _block(store, instances, classes, corner, block_px, halo_px, count, settings)
            tables.append(table)
            count += len(table)
            if progress is not None:
                progress((number + 1) / len(corners))
        whole = pd.concat(tables, ignore_index=True)
        store.take_labels(whole, settings)
    return whole


def segmented_otherwise(info: StoreInfo, settings: Mapping[str, Any] | None) -> bool:
    """Whether a store's nuclei were segmented with other thresholds than those that somebody asks for."""
    if not settings:
        return False
    defaults = instances_from_maps.__kwdefaults__ or {}
    return {**defaults, **info.settings} != {**defaults, **with_fitted(info.fitted, settings)}


def _block(
    store: PredictionStore,
    instances: Any,
    classes: Any,
    corner: tuple[int, int],
    block: int,
    halo: int,
    count: int,
    settings: dict[str, Any],
) -> pd.DataFrame:
    """Segment one block, write the nuclei that belong to it, and give their rows."""
    top, left, bottom, right = _halo_of(store.shape, corner, block, halo)
    maps = store.read_maps((top, left, bottom - top, right - left))
    maps = maps.astype(np.float32) if maps.dtype != np.uint8 else maps
    nuclei = instances_from_maps(
        maps[:5],
        maps[5:],
        boundary_width=store.info.boundary_width,
        um_per_px=store.info.um_per_px,
        **settings,
    )
    table = nuclei.table
    table["centroid_y"] += top
    table["centroid_x"] += left
    y, x = table["centroid_y"].to_numpy(), table["centroid_x"].to_numpy()
    mine = (y >= corner[0]) & (y < corner[0] + block) & (x >= corner[1]) & (x < corner[1] + block)
    window = (slice(top, bottom), slice(left, right))
    written = np.asarray(instances[window])
    mine &= ~_taken(nuclei.instances, written, len(table))
    number = np.zeros(len(table) + 1, np.int32)
    number[1:][mine] = np.arange(count + 1, count + 1 + int(mine.sum()), dtype=np.int32)
    kinds = np.zeros(len(table) + 1, np.uint8)
    kinds[1:][mine] = table["class_id"].to_numpy(np.uint8)[mine]
    fresh = (number[nuclei.instances] > 0) & (written == 0)
    if fresh.any():
        class_window = np.asarray(classes[window])
        np.copyto(written, number[nuclei.instances], where=fresh)
        np.copyto(class_window, kinds[nuclei.instances], where=fresh)
        instances[window], classes[window] = written, class_window
    kept = table[mine].copy()
    kept["label"] = number[1:][mine]
    return kept


def _halo_of(shape: tuple[int, int], corner: tuple[int, int], block: int, halo: int) -> tuple[int, int, int, int]:
    (top, bottom), (left, right) = (
        (max(0, c - halo), min(n, c + block + halo)) for c, n in zip(corner, shape, strict=True)
    )
    return top, left, bottom, right


def _taken(labels: NDArray[np.int32], written: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """Nuclei of which more than half stands in the store already: longer than the halo, found from both sides."""
    area = np.bincount(labels.ravel(), minlength=count + 1)
    double = np.bincount(labels[written > 0], minlength=count + 1)
    return np.asarray(2 * double[1:] > area[1:])
