"""Validation on whole crops by the one predictor: one streamed confusion matrix per head, losses, the pinned crops' maps.

Each crop is predicted as `predict` does it and compared at its own pixels, as `evaluate` does it: the score that chooses
a checkpoint is the score that its stored predictions get.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from napari_monusac.core.classes import IGNORE_INDEX
from napari_monusac.core.errors import Cancelled, MonusacError, TrainingError
from napari_monusac.core.events import Scores
from napari_monusac.core.prediction import HEADS
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.engines.torch import TorchEngine
from napari_monusac.infer.tiling.plan import Expected, plan_tiles
from napari_monusac.infer.tiling.source import array_source
from napari_monusac.infer.tiling.tiled import whole_maps
from napari_monusac.learn.data.crops import CropStore, TrainingCrop
from napari_monusac.learn.step import StepLosses, Stepper, is_out_of_memory
from napari_monusac.network.device import free_gpu_memory
from napari_monusac.network.losses import dual_head_loss
from napari_monusac.network.unet import SEMANTIC_CHANNELS, TERNARY_CHANNELS
from napari_monusac.scoring.metrics.confusion import PixelConfusion, training_scores

#: Losses are computed over parts of this many px a side, so that the largest crop needs no more memory.
LOSS_PART_PX = 1024
_SMALLEST_TILE_PX = 128
_FIRST_HALF_PX = 256

ClassMaps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(slots=True)
class Validation:
    """What a validation found.

    Attributes
    ----------
    scores : Scores
    losses : StepLosses
        Means over the crops, weighted by their pixels.
    pinned : dict
        Semantic and ternary map, uint8 (y, x), of each pinned crop.
    seconds : float
        How long it took.
    """

    scores: Scores
    losses: StepLosses
    seconds: float = 0.0
    pinned: dict[str, ClassMaps] = field(default_factory=dict)


class Validator:
    """Validates a network on the crops of a store.

    Parameters
    ----------
    stepper : Stepper
        Holds network, recipe, device and precision.
    store : CropStore
    names : sequence of str
        The validation crops.
    pinned : sequence of str
        Crops whose maps are kept for the time-lapse.
    """

    def __init__(self, stepper: Stepper, store: CropStore, names: Sequence[str], pinned: Sequence[str] = ()) -> None:
        self.stepper, self.store = stepper, store
        self.names, self.pinned = tuple(names), frozenset(pinned)
        #: Longest side of a tile, px; None = as `predict` has it. Halved where memory is short.
        self.tile_px: int | None = None

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> Validation:
        """Validate on all crops; each of several processes takes its share of them.

        Raises
        ------
        Cancelled
            `should_stop` said so, between two tiles.
        TrainingError
            No crop can be read, or there is no memory for a small tile.
        """
        start = time.perf_counter()
        ranks = self.stepper.ranks
        ranks.share_buffers(self.stepper.network)
        confusion = PixelConfusion(SEMANTIC_CHANNELS), PixelConfusion(TERNARY_CHANNELS)
        sums = np.zeros(4)
        found = Validation(Scores(), StepLosses(0, 0, 0))
        engine = TorchEngine(self.stepper, self.stepper.device, self.stepper.precision)
        for name in self.names[ranks.rank :: ranks.count]:
            try:
                crop = self.store.own(name)
                probabilities = self._predicted(crop, engine, should_stop)
            except Cancelled:
                raise
            except MonusacError as error:
                self.stepper.notes.leave_out(name, error)
                continue
            maps = self._count(crop, probabilities, sums, confusion)
            if name in self.pinned:
                found.pinned[name] = maps
        self._pool(found, confusion, sums)
        found.seconds = time.perf_counter() - start
        return found

    def _pool(
        self, found: Validation, confusion: tuple[PixelConfusion, PixelConfusion], sums: NDArray[np.float64]
    ) -> None:
        ranks = self.stepper.ranks
        if ranks.count > 1:
            flat = np.concatenate([c.counts.ravel().astype(np.float64) for c in confusion] + [sums])
            pooled = ranks.sum(torch.from_numpy(flat).to(self.stepper.device)).cpu().numpy()
            n = SEMANTIC_CHANNELS**2
            confusion[0].counts[:] = pooled[:n].reshape(confusion[0].counts.shape).astype(np.int64)
            confusion[1].counts[:] = pooled[n:-4].reshape(confusion[1].counts.shape).astype(np.int64)
            sums = pooled[-4:]
        if sums[3] == 0:
            raise TrainingError(
                "none of the validation crops can be read", "check the data folder, then resume the run"
            )
        found.losses = StepLosses(*(sums[:3] / sums[3]).tolist())
        found.scores = training_scores(*confusion)

    def _predicted(self, crop: TrainingCrop, engine: Engine, should_stop: Callable[[], bool]) -> NDArray[np.float32]:
        """Probabilities of both heads at the crop's own pixels, float32 (8, y, x)."""
        source = array_source(crop.image, crop.um_per_px)
        while True:
            plan = plan_tiles(source, self._expected(), lambda _: engine, tile_px=self.tile_px)
            try:
                return whole_maps(plan, should_stop=should_stop)
            except Exception as error:
                smallest = self.tile_px is not None and self.tile_px <= _SMALLEST_TILE_PX
                if not is_out_of_memory(error) or smallest:
                    raise
            self.tile_px = _FIRST_HALF_PX if self.tile_px is None else self.tile_px // 2
            self.stepper.notes.add(f"out of memory: validation now uses tiles of {self.tile_px} px")
            free_gpu_memory()

    def _expected(self) -> Expected:
        recipe = self.stepper.recipe
        return Expected(
            um_per_px=self.store.um_per_px,
            boundary_width=recipe.boundary_width,
            patch_px=recipe.patch_size,
            multiple=self.stepper.network.stride,
            normalise_stain=recipe.stain == "normalise",
        )

    def _count(
        self,
        crop: TrainingCrop,
        probabilities: NDArray[np.float32],
        sums: NDArray[np.float64],
        confusion: tuple[PixelConfusion, PixelConfusion],
    ) -> ClassMaps:
        """Add a crop's pixels to both matrices and its losses x pixels to `sums`; returns its maps."""
        semantic, ternary = (probabilities[head].argmax(0).astype(np.uint8) for head in HEADS)
        confusion[0].update(semantic, crop.semantic)
        confusion[1].update(ternary, crop.ternary)
        height, width = crop.shape
        for y in range(0, height, LOSS_PART_PX):
            for x in range(0, width, LOSS_PART_PX):
                part = slice(y, y + LOSS_PART_PX), slice(x, x + LOSS_PART_PX)
                sums += self._losses(probabilities[:, *part], crop.semantic[part], crop.ternary[part])
        return semantic, ternary

    @torch.no_grad()
    def _losses(
        self, probabilities: NDArray[np.float32], semantic: NDArray[np.uint8], ternary: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """(total, semantic, ternary) loss x pixels, and pixels. The logarithm of probabilities are logits of them."""
        device = self.stepper.device
        logits = torch.from_numpy(np.ascontiguousarray(probabilities)[None]).to(device).clamp_min(1e-7).log()
        true = [torch.from_numpy(np.ascontiguousarray(t)[None]).to(device) for t in (semantic, ternary)]
        loss = dual_head_loss(logits[:, HEADS[0]], logits[:, HEADS[1]], true[0], true[1], self.stepper.recipe)
        values = [float(loss.total), float(loss.semantic), float(loss.ternary), 1.0]
        return np.array(values) * int((ternary != IGNORE_INDEX).sum())
