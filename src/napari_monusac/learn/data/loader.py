"""Batches made in threads, ahead of the step that needs them; the number of threads changes nothing in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_monusac.core.errors import MonusacError, TrainingError
from napari_monusac.learn.data.augment import Augmenter
from napari_monusac.learn.data.crops import CropStore, TrainingCrop
from napari_monusac.learn.data.patches import PatchRef, PatchSampler, TrainingPatch, cut_patch

_BATCHES_AHEAD = 3


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images uint8 (b, y, x, 3), semantic and ternary uint8 (b, y, x); in memory, pinned memory, or on a device."""

    images: Tensor
    semantic: Tensor
    ternary: Tensor

    def __len__(self) -> int:
        return len(self.images)


class PatchLoader:
    """Makes the batches of an epoch in threads.

    Parameters
    ----------
    store : CropStore
    sampler : PatchSampler
    threads : int
        Threads that cut and augment.
    part, parts : int
        This process takes the `part`-th of `parts` equal shares of each batch (more than one with several processes).
    pinned : bool
        Lay batches into pinned memory, from where a GPU fetches them while it computes.
    """

    def __init__(
        self,
        store: CropStore,
        sampler: PatchSampler,
        threads: int = 2,
        *,
        part: int = 0,
        parts: int = 1,
        pinned: bool = False,
    ) -> None:
        self.store = store
        self.sampler = sampler
        self.part, self.parts, self.pinned = part, parts, pinned
        self._augment = Augmenter(sampler.recipe)
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="monusac-loader")

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from number `first` (0-based) on.

        Raises
        ------
        TrainingError
            The data folder vanished, or no crop can be read any more.
        """
        size = self.sampler.recipe.batch_size
        refs = self.sampler.epoch(epoch)
        waiting: deque[list[Future[TrainingPatch]]] = deque()
        numbers = iter(range(first, self.sampler.steps))
        try:
            while True:
                while len(waiting) < _BATCHES_AHEAD and (n := next(numbers, None)) is not None:
                    mine = refs[n * size : (n + 1) * size][share_of(size, self.part, self.parts)]
                    waiting.append([self._pool.submit(self._make, ref, epoch) for ref in mine])
                if not waiting:
                    return
                yield _stacked([future.result() for future in waiting.popleft()], self.pinned)
        finally:
            for futures in waiting:
                for future in futures:
                    future.cancel()

    def _make(self, ref: PatchRef, epoch: int) -> TrainingPatch:
        crop, ref = readable(self.store, self.sampler, ref)
        patch = cut_patch(crop, ref.y, ref.x, self.sampler.recipe.patch_size)
        return TrainingPatch(*self._augment(patch.image, patch.semantic, patch.ternary, epoch, ref.index))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def readable(store: CropStore, sampler: PatchSampler, ref: PatchRef) -> tuple[TrainingCrop, PatchRef]:
    """The crop of a patch; where it cannot be read, the next one in the list takes its place.

    Raises
    ------
    TrainingError
        The data folder vanished, or no crop can be read any more.
    """
    names = sampler.names
    start = names.index(ref.crop)
    for k in range(len(names)):
        name = names[(start + k) % len(names)]
        try:
            crop = store.get(name)
        except MonusacError as error:
            if store.vanished():
                raise TrainingError(
                    f"{store.collection.root}: the data folder is gone", "bring it back, then resume the run"
                ) from error
            continue
        if k == 0:
            return crop, ref
        size = sampler.recipe.patch_size
        y, x = ((n - size) // 2 for n in crop.shape)  # in the middle, or in the middle of its frame
        return crop, PatchRef(ref.index, name, y, x)
    raise TrainingError("none of the training crops can be read", "check the data folder, then resume the run")


def share_of(size: int, part: int, parts: int) -> slice:
    """The `part`-th of `parts` consecutive shares of `size` things, as equal as can be."""
    return slice(size * part // parts, size * (part + 1) // parts)


def _stacked(patches: list[TrainingPatch], pinned: bool) -> Batch:
    def stacked(parts: list[NDArray[np.uint8]]) -> Tensor:
        out = torch.empty((len(parts), *parts[0].shape), dtype=torch.uint8, pin_memory=pinned)
        np.stack(parts, out=out.numpy())
        return out

    return Batch(
        stacked([p.image for p in patches]),
        stacked([p.semantic for p in patches]),
        stacked([p.ternary for p in patches]),
    )
