"""The door to a stored prediction of any size: what it says, its table, and its maps as they are looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import StoreError
from napari_monusac.io.predictions.identity import ImageMatch, Pixels, check_image
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store_info import StoreInfo
from napari_monusac.masks.uncertainty import UncertaintyKind, uncertainty_map

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class PredictedSlide:
    """A stored prediction of which nothing but the table of its nuclei is read yet.

    Attributes
    ----------
    path : Path
        The store.
    info : StoreInfo
        What it says about itself.
    shape : (y, x)
        Of the maps, px of the maps.
    table : pandas.DataFrame or None
        One row a nucleus, places in px of the maps; None while its nuclei are not segmented.
    same_image : bool or None
        Whether it is of the image that was asked about; None where the store does not say of which it is, or nobody
        asked. One of another image is never opened.
    """

    path: Path
    info: StoreInfo
    shape: tuple[int, int]
    table: pd.DataFrame | None
    same_image: bool | None
    _store: PredictionStore = field(repr=False)
    _levels: dict[str, list[Any]] = field(default_factory=dict, init=False, repr=False)

    @property
    def levels(self) -> dict[str, list[Any]]:
        """Its maps as pyramids of dask arrays (y, x), largest first; made once, of a large slide in a worker.

        *classes* uint8, *nuclei* int32 (both empty while the nuclei are not segmented), *ternary* uint8, and float32
        (0 to 1) *uncertainty*, *disagreement* of the heads and *entropy* of the classes; uncertainty is the larger of
        the two.

        Raises
        ------
        StoreError
            They are damaged.
        """
        if not self._levels:
            self._levels.update(_levels_of(self._store))
        return self._levels

    @property
    def nuclei(self) -> pd.DataFrame:
        """The table of its nuclei.

        Raises
        ------
        StoreError
            They are not segmented yet.
        """
        if self.table is None:
            raise StoreError(self.path, "its nuclei are not segmented yet", "predict again: it goes on from there")
        return self.table

    @property
    def region(self) -> Region:
        """The part of the image that the maps cover, px of the image."""
        frame = self.info.frame
        return Region(*self.info.offset_px, *self.shape) if frame is None else Region(*frame.offset_px, *frame.shape)

    @property
    def step(self) -> float:
        """Side of a pixel of the maps, px of the image."""
        return 1.0 if self.info.frame is None else 1 / self.info.frame.factor

    @property
    def first_px(self) -> tuple[float, float]:
        """Centre of the maps' first pixel from that of the image's first one, px of the image."""
        y, x = self.info.first_px
        return y * self.step, x * self.step


def open_lazily(path: str | Path, *images: Pixels) -> PredictedSlide:
    """Open a stored prediction of any size, to be looked at.

    Parameters
    ----------
    path : str or Path
        The ``.zarr`` folder.
    *images : Pixels
        The image that it is shown on, as `open_prediction` has it: a prediction of another image is refused.

    Raises
    ------
    StoreError
        It is missing, foreign, damaged, or of another image.
    """
    store = PredictionStore.open(path)
    match = check_image(store.path, store.info, *images) if images else ImageMatch(None)
    return PredictedSlide(store.path, store.info, store.shape, store.read_table(), match.same, store)


def _levels_of(store: PredictionStore) -> dict[str, list[Any]]:
    import dask.array as da

    width = store.info.boundary_width
    with store.damage_told("smaller levels are"):
        maps = [da.from_zarr(level) for level in store.levels("data")]
        return {
            "classes": [da.from_zarr(level) for level in store.levels("labels/classes")],
            "nuclei": [da.from_zarr(level) for level in store.levels("labels/instances")],
            "ternary": [m[5:].rechunk({0: 3}).argmax(0).astype("uint8") for m in maps],
            **{kind: [_derived(m, kind, width) for m in maps] for kind in get_args(UncertaintyKind)},
        }


def _derived(level: Any, kind: UncertaintyKind, width: int) -> Any:
    """A map of all eight channels; the ternary map is cut back to the nucleus, which looks over the edge of a piece."""
    import dask.array as da

    def derived(piece: NDArray[Any]) -> NDArray[np.float32]:
        return uncertainty_map(piece[:5], piece[5:], width, kind)

    depth = min(width, *level.shape[1:])
    none = {0: "none", 1: "none", 2: "none"}
    wide = da.overlap.overlap(level.rechunk({0: 8}), {0: 0, 1: depth, 2: depth}, none)
    found = wide.map_blocks(derived, drop_axis=0, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    return da.overlap.trim_internal(found, {0: depth, 1: depth}, {0: "none", 1: "none"})
