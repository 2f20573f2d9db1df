"""Validation on whole crops by the one predictor: one streamed confusion matrix per head, losses, the pinned crops' maps.

Each crop is predicted as `predict` does it and compared at its own pixels, as `evaluate` does it: the score that chooses
a checkpoint is the score that its stored predictions get.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from napari_monusac.core.classes import IGNORE_INDEX
from napari_monusac.core.errors import Cancelled, MonusacError, TrainingError
from napari_monusac.core.events import Scores
from napari_monusac.core.prediction import HEADS, in_255ths
from napari_monusac.core.recipe import SelectBy
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.engines.torch import TorchEngine
from napari_monusac.infer.tiling.plan import Expected, plan_tiles
from napari_monusac.infer.tiling.source import array_source
from napari_monusac.infer.tiling.tiled import whole_maps
from napari_monusac.learn.data.crops import CropStore, TrainingCrop
from napari_monusac.learn.distributed import Ranks
from napari_monusac.learn.fit import JudgedMaps
from napari_monusac.learn.step import StepLosses, Stepper, is_out_of_memory
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.network.device import free_gpu_memory
from napari_monusac.network.losses import dual_head_loss
from napari_monusac.network.unet import SEMANTIC_CHANNELS, TERNARY_CHANNELS, DualHeadUnet
from napari_monusac.scoring.metrics.confusion import PixelConfusion, training_scores
from napari_monusac.scoring.metrics.panoptic import PanopticQuality, panoptic_quality

#: Losses are computed over parts of this many px a side, so that the largest crop needs no more memory.
LOSS_PART_PX = 1024
#: Thresholds are fitted on crops of so many px together: their maps are kept in memory, 8 bytes a pixel.
MOST_FITTED_PX = 1 << 26
_SMALLEST_TILE_PX = 128
_FIRST_HALF_PX = 256

#: The scores that may choose the best checkpoint, in words.
SCORE_NAMES: dict[SelectBy, str] = {"combo": "combo", "combo-and-miou": "the mean of combo and mIoU", "pq": "PQ"}

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
    seconds: float
    pinned: dict[str, ClassMaps]


def selected_score(scores: Scores, by: SelectBy) -> float:
    """The score that chooses the best checkpoint; one that is undefined counts as 0."""
    if by == "pq":
        return scores.pq or 0.0
    return scores.combo if by == "combo" else (scores.combo + (scores.miou_macro or 0.0)) / 2


@dataclass(slots=True)
class _Sums:
    """What a validation adds up over its crops: both matrices, (total, semantic, ternary) loss x pixels and pixels, PQ."""

    semantic: PixelConfusion = field(default_factory=lambda: PixelConfusion(SEMANTIC_CHANNELS))
    ternary: PixelConfusion = field(default_factory=lambda: PixelConfusion(TERNARY_CHANNELS))
    losses: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    nuclei: PanopticQuality = field(default_factory=PanopticQuality)

    def pool(self, ranks: Ranks, device: str) -> None:
        """Add up what each of several processes has found."""
        if ranks.count == 1:
            return
        counts = [self.semantic.counts, self.ternary.counts]
        q = self.nuclei
        parts = [*(c.ravel().astype(np.float64) for c in counts), self.losses, np.array([q.tp, q.fp, q.fn, q.iou_sum])]
        flat = ranks.sum(torch.from_numpy(np.concatenate(parts)).to(device)).cpu().numpy()
        *pooled, self.losses, nuclei = np.split(flat, np.cumsum([len(p) for p in parts])[:-1])
        for own, found in zip(counts, pooled, strict=True):
            own[:] = found.reshape(own.shape).astype(np.int64)
        self.nuclei = PanopticQuality(int(nuclei[0]), int(nuclei[1]), int(nuclei[2]), float(nuclei[3]))


@dataclass(frozen=True, slots=True)
class _Judged:
    """The network that is judged, as an engine takes it."""

    network: DualHeadUnet


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
        ranks, network = self.stepper.ranks, self.stepper.judged
        ranks.share_buffers(self.stepper.network)
        if network is not self.stepper.network:
            ranks.share_buffers(network)
        sums, pinned = _Sums(), {}
        engine = TorchEngine(_Judged(network), self.stepper.device, self.stepper.precision)
        for name in self.names[ranks.rank :: ranks.count]:
            try:
                crop = self.store.own(name)
                probabilities, boundary_width = self._predicted(crop, engine, should_stop)
            except Cancelled:
                raise
            except MonusacError as error:
                self.stepper.notes.leave_out(name, error)
                continue
            maps = self._count(crop, probabilities, sums)
            if crop.instances is not None and self.stepper.recipe.select_by == "pq":
                sums.nuclei += _nuclei_quality(crop, crop.instances, probabilities, boundary_width)
            if name in self.pinned:
                pinned[name] = maps
        sums.pool(ranks, self.stepper.device)
        if sums.losses[3] == 0:
            raise TrainingError(
                "none of the validation crops can be read", "check the data folder, then resume the run"
            )
        scores = training_scores(sums.semantic, sums.ternary)
        if sums.nuclei.defined:
            scores = scores.model_copy(update={"pq": sums.nuclei.pq})
        losses = StepLosses(*(sums.losses[:3] / sums.losses[3]).tolist())
        return Validation(scores, losses, time.perf_counter() - start, pinned)

    def judged_maps(self, network: DualHeadUnet, should_stop: Callable[[], bool]) -> Iterator[JudgedMaps]:
        """Predict the crops with a network, with the truth beside it: what thresholds are fitted on.

        Raises
        ------
        Cancelled
            `should_stop` said so, between two tiles.
        """
        engine = TorchEngine(_Judged(network), self.stepper.device, self.stepper.precision)
        left = MOST_FITTED_PX
        for name in self.names:
            try:
                crop = self.store.own(name)
                if crop.instances is None or math.prod(crop.shape) > left:
                    continue
                probabilities, boundary_width = self._predicted(crop, engine, should_stop)
            except Cancelled:
                raise
            except MonusacError as error:
                self.stepper.notes.leave_out(name, error)
                continue
            left -= math.prod(crop.shape)
            ignored = crop.ternary == IGNORE_INDEX
            yield JudgedMaps(in_255ths(probabilities), crop.instances, crop.semantic, ignored, boundary_width)

    def _predicted(
        self, crop: TrainingCrop, engine: Engine, should_stop: Callable[[], bool]
    ) -> tuple[NDArray[np.float32], int]:
        """Probabilities of both heads at the crop's own pixels, float32 (8, y, x), and the width of its boundary."""
        source = array_source(crop.image, crop.um_per_px)
        while True:
            plan = plan_tiles(source, self._expected(), lambda _: engine, tile_px=self.tile_px)
            try:
                return whole_maps(plan, should_stop=should_stop), plan.boundary_width
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

    def _count(self, crop: TrainingCrop, probabilities: NDArray[np.float32], sums: _Sums) -> ClassMaps:
        """Add a crop's pixels to both matrices and its losses x pixels to `sums`; returns its maps."""
        semantic, ternary = (probabilities[head].argmax(0).astype(np.uint8) for head in HEADS)
        sums.semantic.update(semantic, crop.semantic)
        sums.ternary.update(ternary, crop.ternary)
        height, width = crop.shape
        for y in range(0, height, LOSS_PART_PX):
            for x in range(0, width, LOSS_PART_PX):
                part = slice(y, y + LOSS_PART_PX), slice(x, x + LOSS_PART_PX)
                sums.losses += self._losses(probabilities[:, *part], crop.semantic[part], crop.ternary[part])
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


def _nuclei_quality(
    crop: TrainingCrop, truth: NDArray[np.int32], probabilities: NDArray[np.float32], boundary_width: int
) -> PanopticQuality:
    nuclei = instances_from_maps(
        *(probabilities[head] for head in HEADS), boundary_width=boundary_width, um_per_px=crop.um_per_px
    )
    return panoptic_quality(truth, nuclei.instances, ignore=crop.ternary == IGNORE_INDEX)
