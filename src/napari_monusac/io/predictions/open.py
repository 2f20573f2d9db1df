"""The one door to a stored prediction: whatever its form, its nuclei and maps in px of its crop, and of which image it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.class_mapping import ClassMapping
from napari_monusac.core.classes import CLASSES
from napari_monusac.core.errors import FileProblem, StoreError
from napari_monusac.core.fitted import with_fitted
from napari_monusac.core.prediction import Nuclei, Prediction
from napari_monusac.io.predictions.class_mapping import mapping_beside
from napari_monusac.io.predictions.foreign import read_foreign
from napari_monusac.io.predictions.identity import ImageMatch, Pixels, check_image, nuclei_digest
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.rescale import ImageFrame, maps_on_image, nuclei_on_image
from napari_monusac.io.predictions.store_info import StoreInfo
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.lookup import measure, paint
from napari_monusac.masks.ternary import ternary_map

if TYPE_CHECKING:
    import pandas as pd

    from napari_monusac.core.training_crops import TrainingCrops

#: Scales this close are the same: files round them.
_SAME_SCALE = 0.01
_CENTROID = ("centroid_y", "centroid_x")
_MEND = "choose the prediction of this crop, or predict it again"
#: (y, x, height, width), px.
_Part = tuple[int, int, int, int]
_Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class PredictedCrop:
    """What is predicted of a crop, in px of the crop.

    Attributes
    ----------
    path : Path
        Where it was read.
    nuclei : Nuclei
        Instance map and table, with their scale and place in the crop. The numbers are those of the file.
    maps : Prediction or None
        The network's probabilities, with the nuclei; None where the form holds nuclei alone.
    info : StoreInfo or None
        What a store of ours says of itself: of which pixels, by which weights and thresholds; None of other forms.
    same_image : bool or None
        Whether it is of the crop's image, by its pixels; None where the file does not say of which it is, or nobody
        asked. One of another image is never opened.
    notes : tuple of str
        What the file leaves open.
    """

    path: Path
    nuclei: Nuclei
    maps: Prediction | None = None
    info: StoreInfo | None = None
    same_image: bool | None = None
    notes: tuple[str, ...] = ()
    _certain: list[Prediction] = field(default_factory=list, init=False, repr=False)

    @property
    def instances(self) -> NDArray[np.int32]:
        """The instance map, int32 (y, x)."""
        return self.nuclei.instances

    @property
    def region(self) -> Region:
        """The part of the crop that the maps cover, px."""
        return Region(*self.nuclei.offset_px, *self.instances.shape)

    @property
    def classes(self) -> dict[int, int]:
        """Class number by nucleus."""
        table = self.nuclei.table
        return dict(zip(table["label"].tolist(), table["class_id"].tolist(), strict=True))

    @property
    def confidence(self) -> dict[int, float]:
        """Confidence (0 to 1) by nucleus, where it is known."""
        table = self.nuclei.table
        if "confidence" not in table:
            return {}
        known = table[table["confidence"].notna()]
        return dict(zip(known["label"].tolist(), known["confidence"].tolist(), strict=True))

    @property
    def semantic(self) -> NDArray[np.uint8] | None:
        """The network's most probable class of each pixel; None where the form has no maps."""
        return None if self.maps is None else self.maps.semantic_map

    @property
    def ternary(self) -> NDArray[np.uint8] | None:
        """The network's most probable ternary class of each pixel; None where the form has no maps."""
        return None if self.maps is None else self.maps.ternary_map

    @property
    def boundary_width(self) -> int | None:
        """Width of the boundary in `ternary`, px; None where the form has no maps."""
        return None if self.maps is None else self.maps.boundary_width

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the recipe; empty where the form does not say."""
        return "" if self.info is None else self.info.fingerprint

    @property
    def checkpoint(self) -> str:
        """Where the weights came from; empty where the form does not say."""
        return "" if self.info is None else self.info.checkpoint

    @property
    def trained_on(self) -> TrainingCrops | None:
        """The crops that the model was trained on; None where the form does not say."""
        return None if self.info is None else self.info.trained_on

    @property
    def image_unknown(self) -> bool:
        """Whether it is a store that should say of which image it is, and does not: an earlier version wrote it."""
        return self.info is not None and self.same_image is None

    def counted_in(self) -> str:
        """Hash of the instance map, which pixels, weights and thresholds give: the ids of the nuclei count in it alone."""
        return nuclei_digest(self.instances)

    def moved(self, y: int, x: int) -> PredictedCrop:
        """The same prediction in a crop whose first pixel lies (y, x) further up and left."""
        at = self.nuclei.offset_px[0] + y, self.nuclei.offset_px[1] + x
        nuclei = replace(self.nuclei, offset_px=at)
        maps = None if self.maps is None else replace(self.maps, offset_px=at, nuclei=nuclei)
        return replace(self, nuclei=nuclei, maps=maps)

    def prediction(self) -> Prediction:
        """The maps with the nuclei; of a form without maps, probabilities of 1 for what it says. Made once."""
        if self.maps is not None:
            return self.maps
        if not self._certain:
            self._certain.append(certain_prediction(self.nuclei))
        return self._certain[0]

    def check_numbers(self) -> None:
        """Refuse numbers so large that tables by number, as a window needs them, would fill the memory.

        Raises
        ------
        FileProblem
            They are.
        """
        highest, size = int(self.instances.max(initial=0)), self.instances.size
        if highest > 4 * size + 1024:
            problem = f"numbers a nucleus {highest} in a map of {size} px"
            raise FileProblem(self.path, problem, "number its nuclei 1, 2, 3 ... without large gaps")


def read_prediction(
    path: str | Path, shape: tuple[int, int] | None = None, mapping: ClassMapping | None = None
) -> Prediction:
    """Read a stored prediction with its nuclei, in any form that `evaluate` takes.

    Parameters
    ----------
    path : str or Path
        A store of ours (``.zarr``), a label map (``NAME.tif``, ``.png``, ``.npy`` or ``NAME_instances.tif``, its classes in
        ``NAME.csv`` or ``NAME_semantic.tif``; Cellpose's ``NAME_seg.npy``), an annotation file (``.xml``, ``.geojson``), the
        JSON of HoVer-Net, CellViT, HistomicsUI or COCO results, HoVer-Net's ``.mat``, or a folder of the challenge's n-ary
        masks.
    shape : (height, width), optional
        Of its image, px: outlines are drawn into it. By default as much as the file needs.
    mapping : ClassMapping, optional
        What the classes of another program's file mean (`core.class_mapping.PRESETS`); by default what
        ``class_mapping.csv`` beside it says.

    Returns
    -------
    Prediction
        At the pixels of its image. ``.nuclei`` holds the instance map and the table, with the numbers of the file. Forms
        that hold nuclei alone have probabilities of 1 for what they say.

    Raises
    ------
    MonusacError
        It is missing, foreign, damaged, too large for the memory, or does not fit `shape`.
    """
    return open_prediction(path, shape=shape, mapping=mapping).prediction()


def open_prediction(
    path: str | Path,
    *images: Pixels,
    shape: tuple[int, int] | None = None,
    um_per_px: float | None = None,
    part: _Part | None = None,
    unknown: bool = True,
    mapping: ClassMapping | None = None,
) -> PredictedCrop:
    """Open the stored prediction of a crop.

    Parameters
    ----------
    path : str or Path
        See `read_prediction`.
    *images : Pixels
        The crop's image, several where it can be had in several ways (what a window shows of it, its file): a store of
        another image is refused. Without any, nothing but the name says that the prediction is of this crop.
    shape : (height, width), optional
        Of the crop, px; that of the first image by default. Without both the prediction is taken as its image was.
    um_per_px : float, optional
        Scale of the crop.
    part : (y, x, height, width), optional
        Read no more than this part of the crop, px.
    unknown : bool
        Whether a store that does not say of which image it is may be used.
    mapping : ClassMapping, optional
        What the classes of another program's file mean; by default what ``class_mapping.csv`` beside it says.

    Returns
    -------
    PredictedCrop
        In px of the crop.

    Raises
    ------
    MonusacError
        It is missing, foreign, damaged, too large for the memory, does not fit the crop, or is of another image.
    """
    path = Path(path)
    if shape is None and images:
        shape = images[0].shape
    if path.suffix == ".zarr":
        return _open_store(path, images, shape, um_per_px, part, unknown)
    if not path.exists():
        raise FileProblem(path, "does not exist", "check the path")
    found = read_foreign(path, shape, mapping_beside(path) if mapping is None else mapping, um_per_px)
    return PredictedCrop(path, found.nuclei(um_per_px, part), notes=found.notes)


def info_of(path: str | Path) -> StoreInfo | None:
    """What a prediction says of itself, without reading it; None of forms that say nothing.

    Raises
    ------
    StoreError
        It is a damaged store.
    """
    return PredictionStore.open(path).info if Path(path).suffix == ".zarr" else None


# ------------------------------------------------------------------ nuclei alone


def certain_prediction(nuclei: Nuclei) -> Prediction:
    """Make probabilities of nuclei that have none: 1 for what they are.

    Parameters
    ----------
    nuclei : Nuclei
        They go along.
    """
    table = nuclei.table.sort_values("label")
    classes = table["class_id"].to_numpy(np.uint8)
    known = np.where(classes > max(CLASSES), 0, classes).astype(np.uint8)
    semantic = paint(nuclei.instances, table["label"].to_numpy(np.int64), known)
    ternary = ternary_map(nuclei.instances)
    return Prediction(_one_hot(semantic, 5), _one_hot(ternary, 3), nuclei.um_per_px, nuclei.offset_px, nuclei=nuclei)


def _one_hot(values: NDArray[np.uint8], n: int) -> NDArray[np.float32]:
    planes: NDArray[np.float32] = (np.arange(n)[:, None, None] == values[None]).astype(np.float32)
    return planes


# ------------------------------------------------------------------ stores of ours


def _open_store(
    path: Path,
    images: Sequence[Pixels],
    shape: _Shape | None,
    um_per_px: float | None,
    part: _Part | None,
    unknown: bool,
) -> PredictedCrop:
    store = PredictionStore.open(path)
    info = store.info
    match = check_image(path, info, *images, unknown=unknown) if images else ImageMatch(None)
    whole = _frame(store, shape, um_per_px)
    place = _covered(store, whole, shape, part)
    frame, box = whole.cut(place, store.shape)
    _check_memory(store, box, frame)
    maps = _probabilities(store, box)
    if frame.factor != 1:
        maps = maps_on_image(maps, frame)
    prediction = Prediction(
        semantic=maps[:5], ternary=maps[5:], um_per_px=um_per_px or frame.um_per_px, offset_px=frame.offset_px,
        boundary_width=frame.boundary_width(info.boundary_width), fingerprint=info.fingerprint,
        checkpoint=info.checkpoint, notes=info.notes, engine=info.engine, trained_on=info.trained_on,
        fitted=info.fitted,
    )  # fmt: skip
    nuclei = _stored_nuclei(store, box, frame, prediction.um_per_px, cut=place != (*whole.offset_px, *whole.shape))
    if nuclei is None:
        nuclei = instances_from_maps(
            prediction.semantic, prediction.ternary, boundary_width=prediction.boundary_width,
            um_per_px=prediction.um_per_px, offset_px=prediction.offset_px, **with_fitted(info.fitted, None),
        )  # fmt: skip
    return PredictedCrop(path, nuclei, replace(prediction, nuclei=nuclei), info, match.same)


def _frame(store: PredictionStore, shape: _Shape | None, um_per_px: float | None) -> ImageFrame:
    """How the maps lie on the crop: as the store says, else at its place and as large as the two scales ask for."""
    info = store.info
    if info.frame is not None:
        return info.frame
    times = info.um_per_px / um_per_px if info.um_per_px and um_per_px else 1.0
    known = info.identity
    own = known is not None and known.region[2:] == store.shape and known.um_per_px == info.um_per_px
    if shape is None or own or abs(times - 1) < _SAME_SCALE:  # the pixels of its image, whatever scale that states now
        return ImageFrame(shape=store.shape, offset_px=info.offset_px, um_per_px=info.um_per_px)
    # resampled maps of a whole crop may end a pixel early or late: their last pixel then stands for it
    slack = int(np.ceil(times)) + 1
    height, width = (
        n if o == 0 and abs(round(m * times) - n) <= slack else round(m * times)
        for o, m, n in zip(info.offset_px, store.shape, shape, strict=True)
    )
    return ImageFrame(shape=(height, width), offset_px=info.offset_px, um_per_px=um_per_px, factor=1 / times)


def _covered(store: PredictionStore, frame: ImageFrame, shape: _Shape | None, part: _Part | None) -> Region:
    """Return the part of the crop that the maps cover, within `part`; refuse maps that are not of this crop."""
    low = frame.offset_px
    high = [o + n for o, n in zip(low, frame.shape, strict=True)]
    if shape is not None and not _fits(store.info, frame, shape):
        at = f" at ({low[0]}, {low[1]})" if any(low) else ""
        scaled = f" ({store.shape[0]} x {store.shape[1]} px, each {1 / frame.factor:.2f} px of the crop)"
        raise StoreError(
            store.path,
            f"does not fit this crop: it covers {frame.shape[0]} x {frame.shape[1]} px{at}"
            f"{scaled if frame.factor != 1 else ''}, the crop has {shape[0]} x {shape[1]}",
            _MEND,
        )
    wanted = part or (*low, *frame.shape)
    y, x = max(low[0], wanted[0]), max(low[1], wanted[1])
    height, width = min(high[0], wanted[0] + wanted[2]) - y, min(high[1], wanted[1] + wanted[3]) - x
    if height < 1 or width < 1:
        raise StoreError(store.path, "covers another part of this slide", "predict this region, or edit that one")
    return Region(y, x, height, width)


def _fits(info: StoreInfo, frame: ImageFrame, shape: _Shape) -> bool:
    """Whether maps lie within the crop; smaller ones in its corner only where the store says that it is of a region."""
    inside = min(frame.offset_px) >= 0 and all(
        o + n <= size for o, n, size in zip(frame.offset_px, frame.shape, shape, strict=True)
    )
    place = (*frame.offset_px, *frame.shape)
    region = any(place[:2]) or info.frame is not None or (info.identity is not None and info.identity.region == place)
    return inside and (region or frame.shape == tuple(shape))


def _probabilities(store: PredictionStore, box: Region) -> NDArray[np.float32]:
    coded = store.read_maps(box)
    maps = coded.astype(np.float32)
    if coded.dtype == np.uint8:
        maps /= np.float32(255)
    return maps


def _check_memory(store: PredictionStore, box: Region, frame: ImageFrame) -> None:
    import psutil

    height, width = frame.shape
    needed = 44 * box.height * box.width + (0 if frame.factor == 1 else 48 * height * width)
    free = psutil.virtual_memory().available
    if needed > free:
        raise StoreError(
            store.path, f"needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free", "open a smaller region"
        )


def _stored_nuclei(
    store: PredictionStore, box: Region, frame: ImageFrame, um_per_px: float | None, *, cut: bool
) -> Nuclei | None:
    """The nuclei of a box at the crop's pixels; None where they are not separated yet."""
    labels, table = store.read_instances(box), store.read_table()
    if labels is None or table is None:
        return None
    if frame.factor != 1:
        inside = table["label"].isin(np.unique(labels))
        table = table[inside].assign(**{n: table[n] - o for n, o in zip(_CENTROID, box[:2], strict=True) if n in table})
        labels, table = nuclei_on_image(labels, table, frame)
    if frame.factor != 1 or cut:
        table = _as_drawn(labels, table, cut=cut)
    if "area_px" in table and (cut or um_per_px != frame.um_per_px):
        table = table.assign(area_um2=table["area_px"] * (np.nan if um_per_px is None else um_per_px**2))
    return Nuclei(labels, table, um_per_px, frame.offset_px)


def _as_drawn(labels: NDArray[np.int32], table: pd.DataFrame, *, cut: bool) -> pd.DataFrame:
    """Rows of the nuclei that have pixels here; of nuclei that the part cuts, area and centroid of what is in it."""
    ids, areas, centroids = measure(labels)
    table = table[table["label"].isin(ids)].reset_index(drop=True)
    if not cut:
        return table
    at = np.searchsorted(ids, table["label"].to_numpy(np.int64))
    table = table.assign(area_px=areas[at])
    for axis, name in enumerate(_CENTROID):
        if name in table:
            table[name] = centroids[at, axis]
    return table
