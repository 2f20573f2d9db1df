"""Crops read for the viewer: the one that is asked for, and its neighbours ahead of time. No Qt, no napari."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_monusac.core.classes import class_names_given
from napari_monusac.core.errors import FileProblem
from napari_monusac.plugin.layers import crop_layers

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop
    from napari_monusac.plugin.layers import LayerData

#: What may be kept in memory for crops that nobody has asked for yet, bytes.
MOST_AHEAD = 256 * 2**20


@dataclass(frozen=True, slots=True)
class _State:
    """All that decides what the layers of a crop are: where it differs, what was read ahead is not this crop's any more."""

    collection: Collection
    crop: Crop
    files: tuple[tuple[int, int] | None, ...]
    swapped: bool
    names: tuple[tuple[str, object], ...]


class CropReader:
    """Reads crops as LayerData, each call of its methods in any thread.

    Parameters
    ----------
    most_ahead : int
        Bytes that may be kept for crops read ahead of time.
    """

    def __init__(self, most_ahead: int = MOST_AHEAD) -> None:
        self._most_ahead = most_ahead
        self._ready: dict[str, tuple[_State, list[LayerData]]] = {}
        self._lock = threading.Lock()

    def read(self, collection: Collection, crop: Crop) -> list[LayerData]:
        """Read a crop, or hand over what was read of it ahead where its files are still the same; that is given once.

        Raises
        ------
        FileProblem
            The image or the annotation is missing, damaged or hostile.
        """
        with self._lock:
            ready = self._ready.pop(crop.name, None)
        if ready is not None and ready[0] == _state(collection, crop):
            return ready[1]
        return _read(collection, crop)

    def read_ahead(self, collection: Collection, crops: Iterable[Crop], stopping: Callable[[], bool]) -> int:
        """Read crops that may be asked for next, in this order; what was kept of others is dropped.

        A damaged crop is left to `read`, which says what is wrong with it once it is asked for. Images that are read
        piece by piece as they are looked at are not read ahead, nor what is beyond the bytes that may be kept.

        Returns
        -------
        int
            Crops that are ready now.
        """
        wanted = {crop.name: crop for crop in crops}
        with self._lock:
            self._ready = {name: kept for name, kept in self._ready.items() if name in wanted}
        for crop in wanted.values():
            if stopping():
                break
            try:
                state = _state(collection, crop)
                with self._lock:
                    known = self._ready.get(crop.name)
                if known is not None and known[0] == state:
                    continue
                layers = _read(collection, crop)
            except FileProblem:
                continue
            with self._lock:
                kept = sum(_bytes(data) for name, (_, data) in self._ready.items() if name != crop.name)
                if kept + _bytes(layers) <= self._most_ahead:
                    self._ready[crop.name] = state, layers
        return len(self._ready)


def _read(collection: Collection, crop: Crop) -> list[LayerData]:
    slide = collection.open(crop)
    annotation = collection.annotation(crop) if crop.annotation is not None else None
    return list(crop_layers(slide, annotation, crop, collection_root=collection.root))


def _bytes(layers: list[LayerData]) -> float:
    """Memory of layers; infinite where one is read as it is looked at, from a file that would have to stay open."""
    if not isinstance(layers[0][0], np.ndarray):
        return np.inf
    return sum(data.nbytes for data, _, _ in layers if isinstance(data, np.ndarray))


def _state(collection: Collection, crop: Crop) -> _State:
    files = tuple(_stat(path) for path in (crop.image, crop.annotation))
    names = tuple(sorted((name, str(meaning)) for name, meaning in class_names_given().items()))
    return _State(collection, crop, files, collection.channels_swapped(crop), names)


def _stat(path: Path | None) -> tuple[int, int] | None:
    """What of a file changes when it is written anew; None where it is not there."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)
