"""Validation on whole crops by the one predictor: one streamed confusion matrix per head, losses, the pinned crops' maps.

Each crop is predicted as `predict` does it and compared at its own pixels, as `evaluate` does it: the score that chooses
a checkpoint is the score that its stored predictions get.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_monusac.core.classes import IGNORE_INDEX
from napari_monusac.core.errors import Cancelled, MonusacError, TrainingError
from napari_monusac.core.events import Scores
from napari_monusac.core.prediction import HEADS, in_255ths
from napari_monusac.core.recipe import SelectBy
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.engines.torch import TorchEngine
from napari_monusac.infer.tiling.plan import Expected, Plan, plan_tiles
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
#: Most crops that wait in memory for others of their shape.
_WAITING_CROPS = 32

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


class _Sums:
    """What a validation adds up over its crops, on the device: both matrices, losses x pixels, pixels; and PQ.

    Parameters
    ----------
    device : str
    """

    def __init__(self, device: str) -> None:
        self.semantic = torch.zeros((SEMANTIC_CHANNELS,) * 2, dtype=torch.int64, device=device)
        self.ternary = torch.zeros((TERNARY_CHANNELS,) * 2, dtype=torch.int64, device=device)
        #: (total, semantic, ternary) loss x pixels, and pixels.
        self.losses = torch.zeros(4, dtype=torch.float64, device=device)
        self.nuclei = PanopticQuality()

    def pool(self, ranks: Ranks) -> None:
        """Add up what each of several processes has found."""
        if ranks.count == 1:
            return
        q, device = self.nuclei, self.losses.device
        nuclei = torch.tensor([q.tp, q.fp, q.fn, q.iou_sum], dtype=torch.float64, device=device)
        parts = [self.semantic, self.ternary, self.losses, nuclei]
        flat = ranks.sum(torch.cat([each.double().flatten() for each in parts]))
        semantic, ternary, self.losses, nuclei = torch.split(flat, [each.numel() for each in parts])
        self.semantic, self.ternary = semantic.long().view_as(self.semantic), ternary.long().view_as(self.ternary)
        tp, fp, fn, iou_sum = nuclei.tolist()
        self.nuclei = PanopticQuality(int(tp), int(fp), int(fn), iou_sum)

    def scores(self) -> Scores:
        """The scores that follow."""
        semantic, ternary = PixelConfusion(SEMANTIC_CHANNELS), PixelConfusion(TERNARY_CHANNELS)
        semantic.counts, ternary.counts = self.semantic.cpu().numpy(), self.ternary.cpu().numpy()
        scores = training_scores(semantic, ternary)
        return scores.model_copy(update={"pq": self.nuclei.pq}) if self.nuclei.defined else scores


@dataclass(frozen=True, slots=True, eq=False)
class _Planned:
    """A crop, and how it is predicted."""

    crop: TrainingCrop
    plan: Plan

    @property
    def is_one_tile(self) -> bool:
        """Whether one pass of the network gives its maps as they are."""
        return len(self.plan.grid) == 1 and self.plan.factor == 1.0

    def within(self, tile: Tensor) -> Tensor:
        """The crop's pixels in the maps of its one tile."""
        height, width = self.crop.shape
        top, left = self.plan.grid.rows.before, self.plan.grid.columns.before
        return tile[:, top : top + height, left : left + width]


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
        #: Crops of one tile, of the same shape, at once; None = as many as suit the device. One where memory is short.
        self.at_once: int | None = None

    @torch.inference_mode()
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
        device = self.stepper.device
        # an Apple GPU has no float64
        sums = _Sums("cpu" if device.startswith("mps") else device)
        pinned: dict[str, ClassMaps] = {}
        engine = TorchEngine(_Judged(network), device, self.stepper.precision)
        for crop, plan, found in self._predictions(self.names[ranks.rank :: ranks.count], engine, should_stop):
            maps = self._count(crop, found, sums)
            if crop.instances is not None and self.stepper.recipe.select_by == "pq":
                sums.nuclei += _nuclei_quality(crop, crop.instances, found.cpu().numpy(), plan.boundary_width)
            if crop.name in self.pinned:
                pinned[crop.name] = (_bytes(maps[0]), _bytes(maps[1]))
        sums.pool(ranks)
        *losses, pixels = sums.losses.tolist()
        if pixels == 0:
            raise TrainingError(
                "none of the validation crops can be read", "check the data folder, then resume the run"
            )
        means = StepLosses(*(each / pixels for each in losses))
        return Validation(sums.scores(), means, time.perf_counter() - start, pinned)

    def judged_maps(self, network: DualHeadUnet, should_stop: Callable[[], bool]) -> Iterator[JudgedMaps]:
        """Predict the crops with a network, with the truth beside it: what thresholds are fitted on.

        Raises
        ------
        Cancelled
            `should_stop` said so, between two tiles.
        """
        engine = TorchEngine(_Judged(network), self.stepper.device, self.stepper.precision)
        for crop, plan, found in self._predictions(self._fitted_on(), engine, should_stop):
            if crop.instances is None:
                continue
            ignored = crop.ternary == IGNORE_INDEX
            maps = in_255ths(found.cpu().numpy())
            yield JudgedMaps(maps, crop.instances, crop.semantic, ignored, plan.boundary_width)

    def _fitted_on(self) -> Iterator[str]:
        """The crops that thresholds are fitted on: as many as have room together."""
        left = MOST_FITTED_PX
        for name in self.names:
            try:
                size = math.prod(self.store.own(name).shape)
            except MonusacError:
                size = 0  # told where it is to be predicted
            if size <= left:
                left -= size
                yield name

    def _predictions(
        self, names: Iterable[str], engine: TorchEngine, should_stop: Callable[[], bool]
    ) -> Iterator[tuple[TrainingCrop, Plan, Tensor]]:
        """Each crop with its probabilities; one that cannot be read is left out and told."""
        for group in self._groups(names, engine):
            try:
                found = self._predicted(group, engine, should_stop)
            except Cancelled:
                raise
            except MonusacError as error:
                for each in group:
                    self.stepper.notes.leave_out(each.crop.name, error)
                continue
            for each, maps in zip(group, found, strict=True):
                yield each.crop, each.plan, maps

    def _groups(self, names: Iterable[str], engine: TorchEngine) -> Iterator[list[_Planned]]:
        """Crops that are predicted at once: those of one tile wait for others of its shape, as far as the device cares."""
        waiting: dict[tuple[int, int], list[_Planned]] = {}
        for name in names:
            try:
                planned = self._planned(self.store.own(name), engine)
            except MonusacError as error:
                self.stepper.notes.leave_out(name, error)
                continue
            if not planned.is_one_tile:
                yield [planned]
                continue
            shape = planned.plan.grid.tile_shape
            waiting.setdefault(shape, []).append(planned)
            if len(waiting[shape]) >= (self.at_once or engine.batch_size):
                yield from self._parts(waiting.pop(shape), engine)
            elif sum(map(len, waiting.values())) >= _WAITING_CROPS:
                yield from self._parts(waiting.pop(max(waiting, key=lambda s: len(waiting[s]))), engine)
        for group in waiting.values():
            yield from self._parts(group, engine)

    def _parts(self, group: list[_Planned], engine: TorchEngine) -> Iterator[list[_Planned]]:
        """A group in parts that suit the device now: memory may have run short since it was gathered."""
        while group:
            most = self.at_once or engine.batch_size
            yield group[:most]
            group = group[most:]

    def _planned(self, crop: TrainingCrop, engine: Engine) -> _Planned:
        source = array_source(crop.image, crop.um_per_px)
        return _Planned(crop, plan_tiles(source, self._expected(), lambda _: engine, tile_px=self.tile_px))

    def _predicted(self, group: list[_Planned], engine: TorchEngine, should_stop: Callable[[], bool]) -> list[Tensor]:
        """Probabilities of both heads at each crop's own pixels, float32 (8, y, x) on the device."""
        try:
            return self._maps(group, engine, should_stop)
        except Exception as error:
            smallest = self.tile_px is not None and self.tile_px <= _SMALLEST_TILE_PX
            if not is_out_of_memory(error) or (smallest and len(group) == 1):
                raise
        # Outside of `except`: the traceback would hold the tensors that must go.
        if len(group) > 1:
            self.at_once = 1
            self.stepper.notes.add("out of memory: validation now predicts one crop at a time")
        else:
            self.tile_px = _FIRST_HALF_PX if self.tile_px is None else self.tile_px // 2
            self.stepper.notes.add(f"out of memory: validation now uses tiles of {self.tile_px} px")
        free_gpu_memory()
        again = [self._planned(each.crop, engine) for each in group]
        return [maps for each in again for maps in self._predicted([each], engine, should_stop)]

    def _maps(self, group: list[_Planned], engine: TorchEngine, should_stop: Callable[[], bool]) -> list[Tensor]:
        if not group[0].is_one_tile:
            maps = whole_maps(group[0].plan, should_stop=should_stop)
            return [torch.from_numpy(maps).to(self.stepper.device)]
        if should_stop():
            raise Cancelled(f"stopped before {group[0].crop.name}")
        tiles = np.stack([each.plan.source.padded(each.plan.grid.box(0)) for each in group])
        return [each.within(tile) for each, tile in zip(group, engine.probabilities(tiles), strict=True)]

    def _expected(self) -> Expected:
        recipe = self.stepper.recipe
        return Expected(
            um_per_px=self.store.um_per_px,
            boundary_width=recipe.boundary_width,
            patch_px=recipe.patch_size,
            multiple=self.stepper.network.stride,
            normalise_stain=recipe.stain == "normalise",
        )

    def _count(self, crop: TrainingCrop, found: Tensor, sums: _Sums) -> tuple[Tensor, Tensor]:
        """Add a crop's pixels to both matrices and its losses x pixels to `sums`; returns its maps. Nobody waits."""
        device = sums.losses.device
        found = found.to(device)
        semantic, ternary = (torch.from_numpy(t).to(device, non_blocking=True) for t in (crop.semantic, crop.ternary))
        maps = found[HEADS[0]].argmax(0), found[HEADS[1]].argmax(0)
        sums.semantic += confusion(maps[0], semantic, SEMANTIC_CHANNELS)
        sums.ternary += confusion(maps[1], ternary, TERNARY_CHANNELS)
        height, width = crop.shape
        for y in range(0, height, LOSS_PART_PX):
            for x in range(0, width, LOSS_PART_PX):
                part = slice(y, y + LOSS_PART_PX), slice(x, x + LOSS_PART_PX)
                sums.losses += self._losses(found[:, *part], semantic[part], ternary[part])
        return maps

    def _losses(self, probabilities: Tensor, semantic: Tensor, ternary: Tensor) -> Tensor:
        """(total, semantic, ternary) loss x pixels, and pixels, float64. The logarithm of probabilities are logits of them."""
        logits = probabilities[None].clamp_min(1e-7).log()
        loss = dual_head_loss(
            logits[:, HEADS[0]], logits[:, HEADS[1]], semantic[None], ternary[None], self.stepper.recipe
        )
        values = torch.stack([loss.total, loss.semantic, loss.ternary, torch.ones_like(loss.total)]).double()
        return values * (ternary != IGNORE_INDEX).sum()


def _bytes(classes: Tensor) -> NDArray[np.uint8]:
    return np.asarray(classes.cpu().numpy(), np.uint8)


def confusion(found: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Confusion matrix, int64 (classes, classes), row = true class; true pixels of 255 are left out.

    Parameters
    ----------
    found : int64 (y, x)
        Predicted classes.
    truth : uint8 (y, x)
        True classes, or 255.
    classes : int
    """
    left_out = classes * classes
    pairs = torch.where(truth == IGNORE_INDEX, left_out, truth.long() * classes + found)
    return torch.bincount(pairs.flatten(), minlength=left_out + 1)[:left_out].view(classes, classes)


def _nuclei_quality(
    crop: TrainingCrop, truth: NDArray[np.int32], probabilities: NDArray[np.float32], boundary_width: int
) -> PanopticQuality:
    nuclei = instances_from_maps(
        *(probabilities[head] for head in HEADS), boundary_width=boundary_width, um_per_px=crop.um_per_px
    )
    return panoptic_quality(truth, nuclei.instances, ignore=crop.ternary == IGNORE_INDEX)
