"""Validation on whole crops: one streamed confusion matrix per head, losses, and the maps of the pinned crops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_monusac.core.classes import IGNORE_INDEX
from napari_monusac.core.errors import Cancelled, MonusacError, TrainingError
from napari_monusac.core.events import Scores
from napari_monusac.learn.crops import CropStore, TrainingCrop
from napari_monusac.learn.device import autocast, free_gpu_memory
from napari_monusac.learn.losses import dual_head_loss
from napari_monusac.learn.network import SEMANTIC_CHANNELS, TERNARY_CHANNELS
from napari_monusac.learn.step import StepLosses, Stepper, is_out_of_memory
from napari_monusac.scoring.confusion import PixelConfusion, training_scores

#: Crops larger than this are cut into tiles; each tile sees `MARGIN_PX` beyond the part that counts.
TILE_PX = 1024
MARGIN_PX = 64
_SMALLEST_TILE_PX = 128

Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


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
    left_out : dict
        Crops that could not be read, with the reason.
    seconds : float
        How long it took.
    """

    scores: Scores
    losses: StepLosses
    seconds: float = 0.0
    pinned: dict[str, Maps] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Tile:
    """A rectangle that counts (y0, y1, x0, x1), and the larger one that the network sees."""

    core: tuple[int, int, int, int]
    seen: tuple[int, int, int, int]


def tiles(shape: tuple[int, int], tile: int = TILE_PX, margin: int = MARGIN_PX) -> Iterator[_Tile]:
    """Cut a crop into parts that cover it once; a crop that fits is one tile without margin."""
    h, w = shape
    if h <= tile and w <= tile:
        yield _Tile((0, h, 0, w), (0, h, 0, w))
        return
    core = tile - 2 * margin
    for y in range(0, h, core):
        for x in range(0, w, core):
            y1, x1 = min(h, y + core), min(w, x + core)
            seen = (max(0, y - margin), min(h, y1 + margin), max(0, x - margin), min(w, x1 + margin))
            yield _Tile((y, y1, x, x1), seen)


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
        self.tile_px = TILE_PX

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
        self.stepper.network.eval()
        for name in self.names[ranks.rank :: ranks.count]:
            try:
                crop = self.store.get(name)
            except MonusacError as error:
                found.left_out[name] = str(error)
                continue
            maps = self._crop(crop, sums, confusion, should_stop)
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

    def _crop(
        self,
        crop: TrainingCrop,
        sums: NDArray[np.float64],
        confusion: tuple[PixelConfusion, PixelConfusion],
        should_stop: Callable[[], bool],
    ) -> Maps:
        semantic, ternary = np.zeros(crop.shape, np.uint8), np.zeros(crop.shape, np.uint8)
        while True:
            try:
                losses = np.zeros(4)
                for tile in tiles(crop.shape, self.tile_px, min(MARGIN_PX, self.tile_px // 4)):
                    if should_stop():
                        raise Cancelled("stopped during validation")
                    losses += self._tile(crop, tile, semantic, ternary)
                break
            except Exception as error:
                if not is_out_of_memory(error) or self.tile_px <= _SMALLEST_TILE_PX:
                    raise
            self.tile_px //= 2
            self.stepper.warnings.append(f"out of memory: validation now uses tiles of {self.tile_px} px")
            free_gpu_memory()
        sums += losses
        confusion[0].update(semantic, crop.semantic)
        confusion[1].update(ternary, crop.ternary)
        return semantic, ternary

    @torch.no_grad()
    def _tile(
        self, crop: TrainingCrop, tile: _Tile, semantic: NDArray[np.uint8], ternary: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """Predict a tile into both maps; returns (total, semantic, ternary) loss x pixels, and pixels."""
        y0, y1, x0, x1 = tile.core
        sy, ey, sx, ex = tile.seen
        logits = self._logits(crop.image[sy:ey, sx:ex])
        core = tuple(part[:, :, y0 - sy : y1 - sy, x0 - sx : x1 - sx] for part in logits)
        semantic[y0:y1, x0:x1], ternary[y0:y1, x0:x1] = (part[0].argmax(0).byte().cpu().numpy() for part in core)
        targets = crop.semantic[y0:y1, x0:x1], crop.ternary[y0:y1, x0:x1]
        valid = int((targets[1] != IGNORE_INDEX).sum())
        on_device = [torch.from_numpy(np.ascontiguousarray(t)[None]).to(self.stepper.device) for t in targets]
        loss = dual_head_loss(core[0], core[1], on_device[0], on_device[1], self.stepper.recipe)
        values = [float(loss.total), float(loss.semantic), float(loss.ternary), 1.0]
        return np.array(values) * valid

    def _logits(self, image: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        network = self.stepper.network
        h, w = image.shape[:2]
        pad = [(0, -n % network.stride) for n in (h, w)]
        padded = np.pad(image, (*pad, (0, 0)), mode="symmetric") if any(p for _, p in pad) else image
        batch = network.prepare(np.ascontiguousarray(padded)[None])
        with autocast(self.stepper.device, self.stepper.precision):
            semantic, ternary = network(batch)
        return semantic[:, :, :h, :w], ternary[:, :, :h, :w]
