"""Crops with their targets, read when first needed and kept within a memory budget."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES, IGNORE_INDEX
from napari_monusac.core.errors import MonusacError, ShapeError, TrainingError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.io.collection import Collection
from napari_monusac.io.interest import nuclei_within_regions
from napari_monusac.learn.stain import normalise_stain, stain_strength
from napari_monusac.masks.left_out import LeftOut, left_out
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map

_SHARE_OF_FREE_MEMORY = 0.4
_MAX_BUDGET_BYTES = 8 << 30
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
    left_out : LeftOut
        What its annotation holds that the targets do not.
    """

    name: str
    image: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    ternary: NDArray[np.uint8]
    stain: NDArray[np.float64] | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return int(self.image.shape[0]), int(self.image.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.image.nbytes + self.semantic.nbytes + self.ternary.nbytes


def load_crop(collection: Collection, name: str, recipe: TrainingRecipe) -> TrainingCrop:
    """Read one crop and draw its targets.

    Raises
    ------
    MonusacError
        The image or the annotation is missing or damaged.
    """
    crop = collection.crop(name)
    with collection.open(crop) as slide:
        height, width = slide.shape
        image = np.ascontiguousarray(slide.read(0, 0, height, width))
    if image.shape != (height, width, 3):
        raise ShapeError(f"{crop.image}: pixels of shape {image.shape}, not {(height, width, 3)}", "replace the file")
    annotation = collection.annotation(crop)
    maps = label_maps(annotation, (height, width), within_regions=recipe.within_regions)
    ternary = ternary_map(maps.instances, boundary_width=recipe.boundary_width).copy()
    semantic = maps.semantic.copy()
    ternary[maps.ignore] = IGNORE_INDEX
    semantic[maps.ignore] = IGNORE_INDEX
    strength = stain_strength(image)
    if recipe.stain == "normalise":
        image = normalise_stain(image)
    return TrainingCrop(name, image, semantic, ternary, strength, left_out(annotation, maps))


class CropStore:
    """Crops by name, the least recently used given up when the budget is full. Safe to use from several threads.

    Parameters
    ----------
    collection : Collection
    recipe : TrainingRecipe
        `boundary_width`, `within_regions` and `stain` decide the arrays.
    budget_bytes : int, optional
        Memory that may be filled; by default four tenths of what is free, 8 GiB at most.

    Attributes
    ----------
    failures : dict
        Crops that could not be read, with the reason.
    """

    def __init__(self, collection: Collection, recipe: TrainingRecipe, budget_bytes: int | None = None) -> None:
        self.collection = collection
        self.recipe = recipe
        free = int(psutil.virtual_memory().available * _SHARE_OF_FREE_MEMORY)
        self.budget_bytes = min(free, _MAX_BUDGET_BYTES) if budget_bytes is None else budget_bytes
        self.failures: dict[str, str] = {}
        #: Seconds between tries while the data folder is gone.
        self.wait_s = _WAIT_S
        self._kept: OrderedDict[str, TrainingCrop] = OrderedDict()
        self._stains: dict[str, NDArray[np.float64]] = {}
        self._bytes = 0
        self._guard = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the crops that are kept now."""
        return self._bytes

    def get(self, name: str) -> TrainingCrop:
        """Return a crop, reading it if need be.

        Raises
        ------
        MonusacError
            It cannot be read; `failures` then holds the reason, and further calls fail at once.
        """
        with self._guard:
            if name in self.failures:
                raise TrainingError(self.failures[name])
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
            own = self._loading.setdefault(name, threading.Lock())
        with own:  # one thread reads, the others wait for it
            with self._guard:
                if name in self._kept:
                    return self._kept[name]
            return self._read(name)

    def _read(self, name: str) -> TrainingCrop:
        try:
            crop = self._read_patiently(name)
        except (MonusacError, OSError) as error:
            with self._guard:
                self.failures[name] = str(error)
            if isinstance(error, MonusacError):
                raise
            raise TrainingError(f"{name}: {error}", "check the data folder") from error
        with self._guard:
            self._kept[name] = crop
            if crop.stain is not None:
                self._stains[name] = crop.stain
            self._bytes += crop.nbytes
            while self._bytes > self.budget_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return crop

    def _read_patiently(self, name: str) -> TrainingCrop:
        """Read a crop; while the whole folder is gone (a laptop wakes, a share comes back) wait and try again."""
        for _ in range(_TRIES):
            try:
                return load_crop(self.collection, name, self.recipe)
            except (MonusacError, OSError):
                if not self.vanished():
                    raise
                time.sleep(self.wait_s)
        return load_crop(self.collection, name, self.recipe)

    def shape(self, name: str) -> tuple[int, int]:
        """Height and width of a crop in px, from its header.

        Raises
        ------
        MonusacError
            The image is missing or damaged.
        """
        with self._guard:
            if name in self._kept:
                return self._kept[name].shape
        with self.collection.open(self.collection.crop(name)) as slide:
            return int(slide.shape[0]), int(slide.shape[1])

    def centres(self, name: str) -> dict[int, NDArray[np.float64]]:
        """Centres of a crop's nuclei by class number, each float64 (n, 2), (y, x) px.

        Raises
        ------
        MonusacError
            The annotation is damaged.
        """
        found: dict[int, list[NDArray[np.float64]]] = {int(c): [] for c in CLASSES}
        annotation = self.collection.annotation(self.collection.crop(name))
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
