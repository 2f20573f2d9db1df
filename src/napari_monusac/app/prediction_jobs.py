"""The long work of Predict, each a function for a worker: the open image, its nuclei again, and a whole folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.app.work import Report
from napari_monusac.core.boxes import Region
from napari_monusac.core.fitted import with_fitted
from napari_monusac.core.prediction import WHOLE_PX
from napari_monusac.io.predictions.store_info import model_name

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.infer.tiling.source import Source
    from napari_monusac.io.collection.collection import Collection, Crop
    from napari_monusac.io.predictions.lazy import PredictedSlide
    from napari_monusac.network.checkpoint import LoadedModel

#: Longest side of the picture that fills while tiles finish, px.
LIVE_PX = 4096


@dataclass(frozen=True, slots=True, eq=False)
class OpenImage:
    """An image as a window shows it.

    Attributes
    ----------
    name : str
        Of its file, crop or layer.
    pixels : uint8 (y, x, 3)
        Its largest level; dask will do.
    um_per_px : float or None
    file : Path or None
        Where the pixels came from.
    of_crop : bool
        Whether it is the open crop's.
    is_there : callable
        Whether the window still shows these pixels.
    """

    name: str
    pixels: Any
    um_per_px: float | None = None
    file: Path | None = None
    of_crop: bool = True
    is_there: Callable[[], bool] = lambda: True

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    def words(self, part: Region) -> str:
        """What of it was predicted, for people and tables."""
        if part == (0, 0, *self.shape):
            return "whole image"
        y, x, height, width = part
        return f"y {y} to {y + height}, x {x} to {x + width} px"

    def source(self) -> Source:
        """Its pixels, as the network and the stores of predictions read them."""
        from napari_monusac.infer.tiling.source import as_source

        return replace(as_source(self.pixels, self.um_per_px), path=self.file)


@dataclass(frozen=True, slots=True, eq=False)
class PredictedImage:
    """The prediction of an image in memory: its maps, and the nuclei in them."""

    prediction: Prediction
    nuclei: Nuclei

    @property
    def region(self) -> Region:
        """The part of the image that was predicted, px of the image."""
        return Region(*self.prediction.offset_px, *self.prediction.shape)


@dataclass(frozen=True, slots=True, eq=False)
class ImageRequest:
    """The prediction of an image that is asked for.

    Attributes
    ----------
    image : OpenImage
    region : Region
        Which part of it, px.
    checkpoint : str
        Path of the model.
    flips : bool
        Average over flips and turns.
    thresholds : dict
        By the names that `instances_from_maps` has for them.
    """

    image: OpenImage
    region: Region
    checkpoint: str
    flips: bool
    thresholds: dict[str, float]

    def store_name(self) -> str:
        """Name of its store; it says image, part and model: what is found under it may be gone on with."""
        part = "" if self.region == (0, 0, *self.image.shape) else "-" + "_".join(map(str, self.region))
        name = f"{Path(self.image.name).stem}{part}-{model_name(self.checkpoint)}{'-flips' * self.flips}"
        return "".join(c if c.isalnum() or c in "-_." else "_" for c in name) + ".zarr"

    @property
    def options(self) -> dict[str, Any]:
        """How it is predicted."""
        return {"region": self.region, "flips": self.flips}


def needs_store(region: Region) -> bool:
    """Whether a region is predicted to disk: it is too large for the memory."""
    return region.height * region.width > WHOLE_PX


# ------------------------------------------------------------------ the open image


def live_step(shape: tuple[int, int]) -> int:
    """By how much the picture that fills while tiles finish is coarser than the image."""
    return -(-max(shape) // LIVE_PX)


def small_tile(
    box: tuple[int, int, int, int], ternary: NDArray[np.floating], step: int
) -> tuple[int, int, NDArray[np.uint8]]:
    """What of a finished tile is shown, with its place (y, x) in the picture, of which every `step`-th px is seen.

    Parameters
    ----------
    box : (y, x, height, width)
        Place of the tile in the region, px.
    ternary : (3, y, x)
        Its probabilities.
    step : int
        See `live_step`.
    """
    (y, from_y), (x, from_x) = ((-(-n // step), -n % step) for n in box[:2])
    return y, x, ternary[:, from_y::step, from_x::step].argmax(0).astype(np.uint8)


class _Tiles:
    """Reports a tile and how far it brings the work as one: of two reports at a time the second would be left out."""

    def __init__(self, report: Report, region: Region) -> None:
        self._report, self._step = report, live_step(region[2:])
        self._small: Any = None

    def add(self, box: tuple[int, int, int, int], _: Any, ternary: Any) -> None:
        """Take a finished tile."""
        self._small = small_tile(box, ternary, self._step)

    def report(self, fraction: float, message: str) -> None:
        """Tell of it."""
        self._report(fraction, message, self._small)
        self._small = None


def predict_image(report: Report, asked: ImageRequest, loaded: LoadedModel) -> PredictedImage:
    """Predict a region and its nuclei in memory; the payload of each report is what `small_tile` gives."""
    from napari_monusac.infer.predict import predict

    tiles = _Tiles(report, asked.region)
    prediction = predict(
        asked.image.source(), loaded, **asked.options, um_per_px=asked.image.um_per_px,
        progress=lambda done: tiles.report(float(done), "Predicting"), on_tile=tiles.add,
        should_stop=lambda: report.stopping,
    )  # fmt: skip
    report(None, "Outlining nuclei")
    prediction.semantic_map, prediction.ternary_map  # noqa: B018 - found here, not while the window waits
    return PredictedImage(prediction, nuclei_of(prediction, asked.thresholds))


def predict_to_store(report: Report, asked: ImageRequest, loaded: LoadedModel, folder: Path) -> PredictedSlide:
    """Predict into a store in constant memory; what was begun there before is gone on with.

    Raises
    ------
    Cancelled
        The user stopped it; what is done stays.
    StoreError
        There is a prediction of something else or a damaged one, or the disk is full.
    """
    from napari_monusac.infer.slide import predict_slide
    from napari_monusac.io.predictions.lazy import open_lazily

    out, source = folder / asked.store_name(), asked.image.source()
    if out.exists():
        open_lazily(out, source)
    tiles, first = _Tiles(report, asked.region), list[int]()

    def tell(progress: Any) -> None:
        first[:] = first or [progress.done - 1]
        if progress.done == progress.total:
            tiles.report(float(progress), "Separating the nuclei")
            return
        # of this start alone: time left is told from it
        part = (progress.done - first[0]) / max(1, progress.total - first[0])
        tiles.report(part, f"Predicting, tile {progress.done} of {progress.total}")

    predict_slide(
        source, loaded, out, **asked.options, settings=asked.thresholds, progress=tell, on_tile=tiles.add,
        should_stop=lambda: report.stopping,
    )  # fmt: skip
    return _with_nuclei(open_lazily(out, source))


def segment_again(
    report: Report, image: OpenImage, stored: PredictedSlide, thresholds: dict[str, float]
) -> PredictedSlide:
    """Find the nuclei of a stored prediction again, block by block on disk; the network is not asked.

    Raises
    ------
    Cancelled
        The user stopped it; the nuclei of before stay.
    StoreError
        It is damaged, or written by somebody else just now.
    """
    from napari_monusac.infer.blocks import segment_store
    from napari_monusac.io.predictions.lazy import open_lazily

    segment_store(
        stored.path, settings=thresholds, progress=lambda done: report(done, "Separating the nuclei"),
        should_stop=lambda: report.stopping,
    )  # fmt: skip
    return _with_nuclei(open_lazily(stored.path, image.source()))


def _with_nuclei(stored: PredictedSlide) -> PredictedSlide:
    stored.nuclei, stored.levels  # noqa: B018 - refused and made here, not while the window waits
    return stored


def nuclei_of(prediction: Prediction, thresholds: dict[str, float]) -> Nuclei:
    """Find the nuclei of a prediction in memory, by thresholds that `instances_from_maps` names."""
    from napari_monusac.masks.instances import instances_from_maps

    return instances_from_maps(
        prediction.semantic, prediction.ternary, boundary_width=prediction.boundary_width,
        um_per_px=prediction.um_per_px, offset_px=prediction.offset_px, **with_fitted(prediction.fitted, thresholds),
    )  # fmt: skip


# ------------------------------------------------------------------ the whole folder


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """What became of a folder.

    Attributes
    ----------
    out : Path
        Where the predictions are.
    number : int
        Crops that are predicted now, those of an earlier start included.
    lines : tuple of str
        A line for each crop that failed, and for each thing that should be known of some.
    """

    out: Path
    number: int
    lines: tuple[str, ...]


def predict_crops(
    report: Report, collection: Collection, crops: Sequence[Crop], checkpoint: str, out: Path, options: dict[str, Any]
) -> FolderOutcome:
    """Predict crops one after another (in a worker). One that fails is told and the rest go on."""
    from napari_monusac.infer.batch import job_of, predict_one
    from napari_monusac.io.predictions.store import crop_store
    from napari_monusac.network.checkpoint import load_checkpoint
    from napari_monusac.scoring.metrics.density import count_store, density_table, write_density_table

    report(None, "Loading the model")
    loaded = load_checkpoint(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    failed, counts, notes = [], [], Counter[str]()
    try:
        for i, crop in enumerate(crops):
            said = f"{crop.name} ({i + 1} of {len(crops)})"
            report(i / len(crops), said)

            def told(part: float, i: int = i, said: str = said) -> None:
                report((i + float(part)) / len(crops), said)

            target = crop_store(out, crop.name)
            more = {**options, "progress": told, "should_stop": lambda: report.stopping}
            result = predict_one(job_of(collection, crop, target), checkpoint, more, model=loaded)
            if result.status == "failed":
                failed.append(result.message)
                continue
            notes.update(result.notes)
            counts.append(count_store(target, name=crop.name, patient=crop.patient))
    finally:
        if counts:  # of what is done, also where it was stopped
            write_density_table(density_table(counts), out / "counts.csv")
    return FolderOutcome(
        out, len(counts), (*failed, *(f"{n} crop{'s' * (n > 1)}: {note}" for note, n in notes.items()))
    )
