"""Crops with their targets, read when first needed and kept within a memory budget."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES, IGNORE_INDEX
from napari_monusac.core.errors import MonusacError, ShapeError, TrainingError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.infer.tiling.plan import width_on_image
from napari_monusac.infer.tiling.source import Source, resampled, scale_factor
from napari_monusac.infer.tiling.stain import stain_strength
from napari_monusac.infer.tiling.stain_sample import normalised, sample_pixels
from napari_monusac.io.annotations.interest import nuclei_within_regions
from napari_monusac.io.collection.collection import Collection, Crop
from napari_monusac.io.scale import check_enlargement
from napari_monusac.learn.data.scale import CropHeader, scaled_annotation, scaled_shape, training_factor
from napari_monusac.learn.notes import Notes
from napari_monusac.masks.left_out import LeftOut, left_out
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map

_SHARE_OF_FREE_MEMORY = 0.4
_MAX_BUDGET_BYTES = 8 << 30
#: A crop by its name, and whether it is meant as its file has it.
_Key = tuple[str, bool]
_TRIES = 5
_WAIT_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCrop:
    """One crop with both targets.

    Attributes
    ----------
    name : str
    image : uint8 (y, x, 3)
        RGB.
    semantic, ternary : uint8 (y, x)
        Class numbers; 255 inside Ambiguous regions (and outside regions of interest, where the recipe says so), and in `semantic` on nuclei of unknown class.
    stain : float64 (2,) or None
        Mean concentrations of haematoxylin and eosin, before any normalisation.
    um_per_px : float or None
        Scale of these pixels, where the crop is as its file has it.
    left_out : LeftOut
        What its annotation holds that the targets do not.
    notes : tuple of str
        What the reader of its annotation says of the file.
    instances : int32 (y, x) or None
        The nuclei by number, where the crop is as its file has it.
    """

    name: str
    image: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    ternary: NDArray[np.uint8]
    stain: NDArray[np.float64] | None = None
    um_per_px: float | None = None
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: tuple[str, ...] = ()
    instances: NDArray[np.int32] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return int(self.image.shape[0]), int(self.image.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        instances = 0 if self.instances is None else self.instances.nbytes
        return self.image.nbytes + self.semantic.nbytes + self.ternary.nbytes + instances


def load_crop(
    collection: Collection, name: str, recipe: TrainingRecipe, um_per_px: float | None = None
) -> TrainingCrop:
    """Read one crop as training sees it: at the scale of the run, in the stain of the recipe.

    The image is resampled and its outlines are scaled before they are drawn; a crop without a scale, or within
    `TRAINING_TOLERANCE` of the run's, is left as it is. The stain is measured on the crop's own pixels, as in prediction.

    Parameters
    ----------
    collection : Collection
    name : str
    recipe : TrainingRecipe
        `boundary_width` and `stain` decide the arrays.
    um_per_px : float, optional
        The scale of the run.

    Raises
    ------
    MonusacError
        The image or the annotation is missing or damaged.
    """
    crop = collection.crop(name)
    annotation = collection.annotation(crop)
    source = _whole(collection, crop, annotation)
    sample = sample_pixels(source)
    if recipe.stain == "normalise":
        source = normalised(source, sample)
    factor = training_factor(source.um_per_px, um_per_px)
    if factor != 1.0:
        source, annotation = resampled(source, factor), scaled_annotation(annotation, factor)
    image = source.read(0, 0, *source.shape)
    targets = _targets(annotation, source.shape, recipe.boundary_width, recipe.within_regions)
    return TrainingCrop(
        name, image, targets.semantic, targets.ternary, stain_strength(sample),
        left_out=targets.left_out, notes=annotation.notes,
    )  # fmt: skip


def load_own(collection: Collection, name: str, recipe: TrainingRecipe, um_per_px: float | None = None) -> TrainingCrop:
    """Read one crop as it is, to hold a prediction against: its own pixels, with the truth drawn on them.

    The boundary is as wide as a network trained at `um_per_px` draws it on this image (see `Plan.boundary_width`).

    Raises
    ------
    MonusacError
        The image or the annotation is missing or damaged.
    """
    crop = collection.crop(name)
    annotation = collection.annotation(crop)
    source = _whole(collection, crop, annotation)
    width = width_on_image(recipe.boundary_width, scale_factor(source.um_per_px, um_per_px))
    image = source.read(0, 0, *source.shape)
    targets = _targets(annotation, source.shape, width, recipe.within_regions)
    return TrainingCrop(
        name, image, targets.semantic, targets.ternary, um_per_px=source.um_per_px, left_out=targets.left_out,
        notes=annotation.notes, instances=targets.instances,
    )  # fmt: skip


def _whole(collection: Collection, crop: Crop, annotation: Annotation) -> Source:
    """All pixels of a crop, in memory, with the scale that image or annotation says."""
    with collection.open(crop) as slide:
        shape, um_per_px = slide.shape, slide.um_per_px or annotation.um_per_px
        image = np.ascontiguousarray(slide.read(0, 0, *shape))
    if image.shape != (*shape, 3):
        raise ShapeError(f"{crop.image}: pixels of shape {image.shape}, not {shape}", "replace the file")

    def read(y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(image[y : y + height, x : x + width])

    return Source(shape, read, um_per_px, crop.image)


class _Targets(NamedTuple):
    """Semantic and ternary target, uint8 (y, x), 255 where nothing is to be learnt; the nuclei; and what is in none."""

    semantic: NDArray[np.uint8]
    ternary: NDArray[np.uint8]
    instances: NDArray[np.int32]
    left_out: LeftOut


def _targets(annotation: Annotation, shape: tuple[int, int], boundary_width: int, within_regions: bool) -> _Targets:
    maps = label_maps(annotation, shape, within_regions=within_regions)
    semantic, ternary = maps.semantic.copy(), ternary_map(maps.instances, boundary_width=boundary_width).copy()
    semantic[maps.ignore] = ternary[maps.ignore] = IGNORE_INDEX
    return _Targets(semantic, ternary, maps.instances, left_out(annotation, maps))


class CropStore:
    """Crops by name, the least recently used given up when the budget is full. Safe to use from several threads.

    A crop has two forms: `get` gives what training sees, `own` what its file holds, for validation.

    Parameters
    ----------
    collection : Collection
    recipe : TrainingRecipe
        `boundary_width`, `within_regions` and `stain` decide the arrays.
    budget_bytes : int, optional
        Memory that may be filled; by default four tenths of what is free, 8 GiB at most.
    notes : Notes, optional
        Where to say that a crop cannot be read.

    Attributes
    ----------
    um_per_px : float or None
        Scale that training crops are brought to. Set before the first is read.
    failures : dict
        Crops that could not be read, with the reason.
    """

    def __init__(
        self,
        collection: Collection,
        recipe: TrainingRecipe,
        budget_bytes: int | None = None,
        notes: Notes | None = None,
    ) -> None:
        self.collection = collection
        self._notes = notes or Notes()
        self.recipe = recipe
        self.um_per_px: float | None = None
        free = int(psutil.virtual_memory().available * _SHARE_OF_FREE_MEMORY)
        self.budget_bytes = min(free, _MAX_BUDGET_BYTES) if budget_bytes is None else budget_bytes
        self.failures: dict[str, str] = {}
        #: Seconds between tries while the data folder is gone.
        self.wait_s = _WAIT_S
        self._kept: OrderedDict[_Key, TrainingCrop] = OrderedDict()
        self._stains: dict[str, NDArray[np.float64]] = {}
        self._bytes = 0
        self._guard = threading.Lock()
        self._loading: dict[_Key, threading.Lock] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the crops that are kept now."""
        return self._bytes

    def get(self, name: str) -> TrainingCrop:
        """Return a crop as training sees it, reading it if need be; see `load_crop`.

        Raises
        ------
        MonusacError
            It cannot be read; `failures` then holds the reason, and further calls fail at once.
        """
        return self._found((name, False))

    def own(self, name: str) -> TrainingCrop:
        """Return a crop as its file has it, reading it if need be; see `load_own`.

        Raises
        ------
        MonusacError
            As in `get`.
        """
        return self._found((name, True))

    def _found(self, key: _Key) -> TrainingCrop:
        with self._guard:
            if key[0] in self.failures:
                raise TrainingError(self.failures[key[0]])
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            own = self._loading.setdefault(key, threading.Lock())
        with own:  # one thread reads, the others wait for it
            with self._guard:
                if key in self._kept:
                    return self._kept[key]
            return self._read(key)

    def _read(self, key: _Key) -> TrainingCrop:
        name = key[0]
        try:
            crop = self._read_patiently(key)
        except (MonusacError, OSError) as error:
            with self._guard:
                self.failures[name] = str(error)
            self._notes.leave_out(name, error)
            if isinstance(error, MonusacError):
                raise
            raise TrainingError(f"{name}: {error}", "check the data folder") from error
        with self._guard:
            self._kept[key] = crop
            if crop.stain is not None:
                self._stains[name] = crop.stain
            self._bytes += crop.nbytes
            while self._bytes > self.budget_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return crop

    def _read_patiently(self, key: _Key) -> TrainingCrop:
        """Read a crop; while the whole folder is gone (a laptop wakes, a share comes back) wait and try again."""
        name, own = key
        load = load_own if own else load_crop
        for _ in range(_TRIES):
            try:
                return load(self.collection, name, self.recipe, self.um_per_px)
            except (MonusacError, OSError):
                if not self.vanished():
                    raise
                time.sleep(self.wait_s)
        return load(self.collection, name, self.recipe, self.um_per_px)

    def header(self, name: str) -> CropHeader:
        """Size and scale of a crop as its file has it, without its pixels.

        Raises
        ------
        MonusacError
            The image or the annotation is missing or damaged.
        """
        crop = self.collection.crop(name)
        with self.collection.open(crop) as slide:
            shape, um_per_px = (int(slide.shape[0]), int(slide.shape[1])), slide.um_per_px
        return CropHeader(shape, um_per_px or self.collection.annotation(crop).um_per_px)

    def shape(self, name: str) -> tuple[int, int]:
        """Height and width of a crop as training sees it, px, from its header.

        Raises
        ------
        MonusacError
            The image or the annotation is missing or damaged, or the image is far too coarse for the run's scale.
        """
        header = self.header(name)
        check_enlargement(self.collection.crop(name).image, header.um_per_px, self.um_per_px)
        return scaled_shape(header.shape, training_factor(header.um_per_px, self.um_per_px))

    def centres(self, name: str) -> dict[int, NDArray[np.float64]]:
        """Centres of a crop's nuclei by class number, each float64 (n, 2), (y, x) px as training sees it.

        Raises
        ------
        MonusacError
            The image or the annotation is missing or damaged.
        """
        factor = training_factor(self.header(name).um_per_px, self.um_per_px)
        annotation = scaled_annotation(self.collection.annotation(self.collection.crop(name)), factor)
        found: dict[int, list[NDArray[np.float64]]] = {int(c): [] for c in CLASSES}
        nuclei = nuclei_within_regions(annotation) if self.recipe.within_regions else annotation.nuclei
        for nucleus in nuclei:
            if int(nucleus.nucleus_class) in found:
                found[int(nucleus.nucleus_class)].append(nucleus.vertices.mean(0))
        return {k: np.array(v).reshape(-1, 2) for k, v in found.items()}

    def stain_statistics(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """``mean`` and ``std`` of haematoxylin and eosin over those of `names` that have been read, if any."""
        with self._guard:
            found = np.array([self._stains[n] for n in names if n in self._stains])
        if not len(found):
            return {}
        mean, std = found.mean(0), found.std(0)
        return {"mean": (float(mean[0]), float(mean[1])), "std": (float(std[0]), float(std[1]))}

    def vanished(self) -> bool:
        """Whether the folder of the collection is gone (a drive was unplugged, a share unmounted)."""
        return not self.collection.root.exists()

    def clear(self) -> None:
        """Give all memory back."""
        with self._guard:
            self._kept.clear()
            self._bytes = 0
