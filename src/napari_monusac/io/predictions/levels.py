"""A store of any size to look at: its maps as pyramids that are read as they are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_monusac.core.errors import StoreError
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store_info import StoreInfo
from napari_monusac.masks.doubt import disagreement_map, entropy_map

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class StoredLevels:
    """What is shown of a prediction on disk, px of its maps; nothing but the table is read yet.

    Attributes
    ----------
    path : Path
        The store.
    info : StoreInfo
        What it says of itself; a window that knows the image compares it (`match_image`).
    table : pandas.DataFrame or None
        One row a nucleus; None while the nuclei are not separated.
    shape : (height, width)
        Of the maps, px.
    levels : dict
        Pyramids of dask arrays (y, x), largest first: *classes* uint8, *nuclei* int32 (both empty while the nuclei are not
        separated), *ternary* uint8, and float32 (0 to 1) *doubt*, *disagreement* of the heads and *entropy* of the classes;
        doubt is the larger of the two.
    """

    path: Path
    info: StoreInfo
    table: pd.DataFrame | None
    shape: tuple[int, int]
    levels: dict[str, list[Any]]

    @property
    def step(self) -> float:
        """Side of the maps' pixels, px of the image."""
        return 1.0 if self.info.frame is None else 1 / self.info.frame.factor

    @property
    def first_px(self) -> tuple[float, float]:
        """(y, x) of the centre of the maps' first pixel, px of the image."""
        y, x = self.info.first_px
        return y * self.step, x * self.step

    @property
    def separated(self) -> bool:
        """Whether its nuclei are there."""
        return self.table is not None and bool(self.levels["nuclei"]) and bool(self.levels["classes"])


def open_levels(path: str | Path, *, separated: bool = False) -> StoredLevels:
    """Open a store to look at it.

    Parameters
    ----------
    path : str or Path
        The ``.zarr`` folder.
    separated : bool
        Refuse one whose nuclei are not separated.

    Raises
    ------
    StoreError
        It is missing, foreign or damaged.
    """
    store = PredictionStore.open(path)
    try:
        opened = StoredLevels(store.path, store.info, store.read_table(), store.shape, _levels(store))
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        what = f"is damaged ({type(error).__name__}: {error})"
        raise StoreError(path, what, "remove it and predict again") from error
    if separated and not opened.separated:
        raise StoreError(path, "its nuclei are not separated", "predict again: only they are found anew")
    return opened


def _levels(store: PredictionStore) -> dict[str, list[Any]]:
    import dask.array as da

    width = store.info.boundary_width
    maps = [da.from_zarr(level) for level in store.levels("data")]

    def derived(level: Any, function: Any) -> Any:
        # the ternary map is cut back to the nucleus, which looks over the edge of a piece
        depth = min(width, *level.shape[1:])
        none = {0: "none", 1: "none", 2: "none"}
        wide = da.overlap.overlap(level.rechunk({0: 8}), {0: 0, 1: depth, 2: depth}, none)
        found = wide.map_blocks(function, drop_axis=0, dtype=np.float32, meta=np.empty((0, 0), np.float32))
        return da.overlap.trim_internal(found, {0: depth, 1: depth}, {0: "none", 1: "none"})

    def disagreement(piece: Any) -> Any:
        return disagreement_map(piece[:5], piece[5:], width)

    def entropy(piece: Any) -> Any:
        return entropy_map(piece[:5])

    labels = {
        name: [da.from_zarr(level) for level in store.levels(f"labels/{key}")]
        for name, key in (("classes", "classes"), ("nuclei", "instances"))
    }
    return labels | {
        "ternary": [m[5:].rechunk({0: 3}).argmax(0).astype("uint8") for m in maps],
        "disagreement": [derived(m, disagreement) for m in maps],
        "entropy": [derived(m, entropy) for m in maps],
        "doubt": [derived(m, lambda piece: np.maximum(disagreement(piece), entropy(piece))) for m in maps],
    }
