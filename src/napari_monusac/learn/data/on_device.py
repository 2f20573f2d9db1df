"""Batches that are made on the device: crops lie there as bytes, cutting and augmentation run there for a whole batch.

What is random is drawn on the host from (seed, epoch, index), with the recipe's strengths and the chances of
`napari_monusac.learn.data.augment`, which stays the reference: its tests hold each step here against albumentations.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_monusac.core.classes import IGNORE_INDEX
from napari_monusac.core.errors import TrainingError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.infer.tiling.frame import mirrored
from napari_monusac.infer.tiling.stain import BRIGHTEST, StainVariation, optical_density, stain_variation
from napari_monusac.learn.data.augment import (
    AFFINE_SHEAR_DEGREES,
    AFFINE_SHIFT,
    BLUR_CHANCE,
    BLUR_PX,
    BLUR_SIGMA,
    CHANCE,
    HUE_SHARE,
    STAIN_STREAM,
)
from napari_monusac.learn.data.crops import CropStore, TrainingCrop
from napari_monusac.learn.data.loader import Batch, readable, share_of
from napari_monusac.learn.data.patches import PatchRef, PatchSampler
from napari_monusac.network.device import has_room

_DEVICE_STREAM = 3
_BATCHES_AHEAD = 2
_Drawn = TypeVar("_Drawn")
#: Of a crop's pixel: R, G, B, semantic, ternary.
_CHANNELS = 5
#: Weights of R, G and B in grey (ITU-R BT.601), as OpenCV has them.
_GREY = (0.299, 0.587, 0.114)


# ------------------------------------------------------------------------------------------------- what is random


class ColourChange(NamedTuple):
    """How colours change.

    Attributes
    ----------
    amounts : float (4,)
        Factors of brightness, contrast and saturation; a turn of the hue, 1 = all the way round.
    order : int (4,)
        Which of them comes first, second ...
    """

    amounts: tuple[float, ...]
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What happens to one patch.

    Attributes
    ----------
    flip_x, flip_y : bool
    turns : int
        By 90 degrees, against the clock.
    colour : ColourChange or None
    blur : float64 (5,) or None
        Kernel along either axis.
    affine : float64 (3, 3) or None
        Where each (x, y, 1) goes, px.
    stain : StainVariation or None
    """

    flip_x: bool = False
    flip_y: bool = False
    turns: int = 0
    colour: ColourChange | None = None
    blur: NDArray[np.float64] | None = None
    affine: NDArray[np.float64] | None = None
    stain: StainVariation | None = None


def draw(recipe: TrainingRecipe, epoch: int, index: int) -> Draw:
    """Draw what happens to a patch, from the recipe's seed, the epoch and the patch's number in it."""
    stain = None
    if recipe.stain == "augment":
        stain = stain_variation(np.random.default_rng((recipe.seed, epoch, index, STAIN_STREAM)), recipe.stain_strength)
    if not recipe.augment:
        return Draw(stain=stain)
    rng = np.random.default_rng((recipe.seed, epoch, index, _DEVICE_STREAM))
    chances = rng.random(6)
    return Draw(
        flip_x=bool(chances[0] < CHANCE),
        flip_y=bool(chances[1] < CHANCE),
        turns=int(rng.integers(4)) if chances[2] < CHANCE else 0,
        colour=_colour(rng, recipe.augment_colour) if chances[3] < CHANCE else None,
        blur=_blur(rng) if chances[4] < BLUR_CHANCE else None,
        affine=_affine(rng, recipe) if chances[5] < CHANCE else None,
        stain=stain,
    )


def _colour(rng: np.random.Generator, most: float) -> ColourChange:
    amounts = (*rng.uniform(1 - most, 1 + most, 3).tolist(), HUE_SHARE * rng.uniform(-most, most))
    return ColourChange(amounts, tuple(rng.permutation(4).tolist()))


def _blur(rng: np.random.Generator) -> NDArray[np.float64]:
    sigma = rng.uniform(*BLUR_SIGMA)
    low, high = BLUR_PX
    size = int(rng.integers(low, high + 1)) | 1  # as albumentations: an even size becomes the next odd one
    where = np.arange(high) - high // 2
    kernel = np.exp(-0.5 * (where / sigma) ** 2) * (np.abs(where) <= size // 2)
    return np.asarray(kernel / kernel.sum())


def _affine(rng: np.random.Generator, recipe: TrainingRecipe) -> NDArray[np.float64]:
    """Scaled, turned, sheared and shifted about the middle, in this order."""
    size, scale, turn = recipe.patch_size, recipe.augment_scale, recipe.augment_rotation
    shift_x, shift_y = (int(u * size) for u in rng.uniform(*AFFINE_SHIFT, 2))
    shear_x, shear_y = np.tan(np.deg2rad(-rng.uniform(*AFFINE_SHEAR_DEGREES, 2)))
    scale_x, scale_y = rng.uniform(1 - scale, 1 + scale, 2)
    angle = math.radians(rng.uniform(-turn, turn))
    middle = size / 2 - 0.5
    cos, sin = math.cos(angle), math.sin(angle)
    to_middle = np.array([[1, 0, -middle], [0, 1, -middle], [0, 0, 1]])
    back = np.array([[1, 0, middle + shift_x], [0, 1, middle + shift_y], [0, 0, 1]])
    turned = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    shear = np.array([[1, shear_x, 0], [shear_y, 1, 0], [0, 0, 1]])
    return np.asarray(back @ shear @ turned @ np.diag([scale_x, scale_y, 1.0]) @ to_middle)


# --------------------------------------------------------------------------------------------- cut, flipped, turned


class _Axis(NamedTuple):
    """What each row or column of a patch adds to the number of a pixel, and whether it lies in the crop."""

    pixels: NDArray[np.int64]
    inside: NDArray[np.bool_]

    @classmethod
    def along(cls, start: int, size: int, length: int) -> _Axis:
        where = np.arange(start, start + size)
        return cls(mirrored(start, size, length).astype(np.int64), (where >= 0) & (where < length))

    def backwards(self) -> _Axis:
        return _Axis(self.pixels[::-1], self.inside[::-1])


class DeviceCrops:
    """Crops on the device, one after another, as bytes; each is brought there when a patch of it is first cut.

    Parameters
    ----------
    shapes : mapping
        (height, width) of each crop.
    device : str
    """

    def __init__(self, shapes: Mapping[str, tuple[int, int]], device: str) -> None:
        self.device, self.shapes = device, shapes
        areas = np.array([h * w for h, w in shapes.values()])
        self._first = dict(zip(shapes, (np.cumsum(areas) - areas).tolist(), strict=True))
        self._pixels = torch.empty((int(areas.sum()), _CHANNELS), dtype=torch.uint8, device=device)
        self._there: set[str] = set()

    @staticmethod
    def nbytes(shapes: Mapping[str, tuple[int, int]]) -> int:
        """Memory of crops of these shapes."""
        return _CHANNELS * sum(h * w for h, w in shapes.values())

    def __contains__(self, name: str) -> bool:
        return name in self._there

    def bring(self, crop: TrainingCrop) -> None:
        """Bring a crop to the device.

        Raises
        ------
        TrainingError
            It has another shape than it was announced with.
        """
        if crop.shape != self.shapes[crop.name]:
            raise TrainingError(f"{crop.name}: is {crop.shape} px, not {self.shapes[crop.name]}", "resume the run")
        whole = np.dstack([crop.image, crop.semantic, crop.ternary]).reshape(-1, _CHANNELS)
        first = self._first[crop.name]
        self._pixels[first : first + len(whole)] = torch.from_numpy(whole).to(self.device)
        self._there.add(crop.name)

    def cut(self, refs: Sequence[PatchRef], draws: Sequence[Draw], size: int) -> Batch:
        """Cut patches, flip and turn them; beyond a crop's edge the image is mirrored and the targets are 255."""
        axes = [self._axes(ref, d, size) for ref, d in zip(refs, draws, strict=True)]
        down, across = (self._stacked([pair[k].pixels for pair in axes]) for k in (0, 1))
        rows, columns = (self._stacked([pair[k].inside for pair in axes]) for k in (0, 1))
        found = self._pixels[down[:, :, None] + across[:, None, :]]
        outside = ~(rows[:, :, None] & columns[:, None, :])
        targets = found[..., 3:].masked_fill_(outside[..., None], IGNORE_INDEX)
        return Batch(found[..., :3], targets[..., 0], targets[..., 1])

    def _stacked(self, vectors: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(vectors)).to(self.device, non_blocking=True)

    def _axes(self, ref: PatchRef, d: Draw, size: int) -> tuple[_Axis, _Axis]:
        """Down and across a patch."""
        height, width = self.shapes[ref.crop]
        rows, across = _Axis.along(ref.y, size, height), _Axis.along(ref.x, size, width)
        down = _Axis(self._first[ref.crop] + rows.pixels * width, rows.inside)
        down, across = down.backwards() if d.flip_y else down, across.backwards() if d.flip_x else across
        for _ in range(d.turns):  # against the clock, as numpy.rot90: out[i, j] = in[j, last - i]
            down, across = across.backwards(), down
        return down, across


# ------------------------------------------------------------------------------------------------ colour, blur, affine


def augmented(batch: Batch, draws: Sequence[Draw]) -> Batch:
    """Apply what was drawn to patches that are cut, flipped and turned: stain, colour, blur, affine, in this order.

    Images keep to whole levels between two steps, as bytes would.
    """
    device = batch.images.device
    image = batch.images.permute(0, 3, 1, 2).contiguous().float()
    image = _where(image, [d.stain for d in draws], _stained)
    image = _where(image, [d.colour for d in draws], _coloured)
    image = _where(image, [d.blur for d in draws], _blurred)
    semantic, ternary = batch.semantic, batch.ternary
    moved = {k: d.affine for k, d in enumerate(draws) if d.affine is not None}
    if moved:
        grid = _grid(list(moved.values()), image.shape[-1], device)
        index = torch.tensor(list(moved), device=device)
        image[index] = _sampled(image[index], grid, "bilinear").round_()
        targets = torch.stack([semantic, ternary], 1)
        targets[index] = _sampled(targets[index].float(), grid, "nearest").to(torch.uint8)
        semantic, ternary = targets[:, 0], targets[:, 1]
    return Batch(image.to(torch.uint8).permute(0, 2, 3, 1), semantic, ternary)


def _where(image: Tensor, chosen: Sequence[_Drawn | None], change: Callable[[Tensor, list[_Drawn]], Tensor]) -> Tensor:
    """Change those patches for which something was drawn."""
    found = {k: drawn for k, drawn in enumerate(chosen) if drawn is not None}
    if found:
        index = torch.tensor(list(found), device=image.device)
        image[index] = change(image[index], list(found.values()))
    return image


def _levels(image: Tensor) -> Tensor:
    return image.round_().clamp_(0, 255)


def _whole_levels(image: Tensor) -> Tensor:
    """Cut off after the point, as albumentations does for brightness and contrast."""
    return image.clamp_(0, 255).floor_()


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)


def _stained(image: Tensor, drawn: list[StainVariation]) -> Tensor:
    levels = optical_density(np.arange(256, dtype=np.uint8))
    density = torch.from_numpy(levels).to(image.device)[image.long()]
    change = torch.from_numpy(np.stack([d.change for d in drawn])).to(image.device)
    shift = torch.from_numpy(np.stack([d.shift for d in drawn])).to(image.device)
    density = density + torch.einsum("bcyx,bcd->bdyx", density, change) + shift[:, :, None, None]
    return (BRIGHTEST * torch.exp(-density) - 0.5).clamp_(0, 255).floor_()


def _coloured(image: Tensor, drawn: list[ColourChange]) -> Tensor:
    """The four changes of each patch in its own order; patches whose turn it is for the same change go together."""
    for place in range(4):
        for k, change in enumerate((_brighter, _contrasted, _saturated, _hued)):
            which = [i for i, d in enumerate(drawn) if d.order[place] == k]
            if which:
                index = torch.tensor(which, device=image.device)
                part = image[index]
                image[index] = change(part, _column([drawn[i].amounts[k] for i in which], part))
    return image


def _grey(image: Tensor) -> Tensor:
    return (image * torch.tensor(_GREY, device=image.device).view(1, 3, 1, 1)).sum(1, keepdim=True).round_()


def _brighter(image: Tensor, factor: Tensor) -> Tensor:
    return _whole_levels(image * factor)


def _contrasted(image: Tensor, factor: Tensor) -> Tensor:
    return _whole_levels(image * factor + _grey(image).mean((1, 2, 3), keepdim=True) * (1 - factor))


def _saturated(image: Tensor, factor: Tensor) -> Tensor:
    return _levels(image * factor + _grey(image) * (1 - factor))


def _hued(image: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue, in OpenCV's HSV of bytes: hue in 180 steps, saturation and value in 255."""
    value, most = image.max(1, keepdim=True)
    least = image.min(1, keepdim=True).values
    spread = (value - least).clamp_min(1e-6)
    red, green, blue = torch.split(image, 1, 1)
    hue = torch.where(
        most == 0,
        (green - blue) / spread,
        torch.where(most == 1, 2 + (blue - red) / spread, 4 + (red - green) / spread),
    )
    steps = torch.where(value > least, (30 * hue).round() % 180, 0.0)
    saturation = torch.where(value > 0, (255 * (value - least) / value.clamp_min(1)).round(), 0.0) / 255
    steps = ((steps + 180 * turn) % 180).floor()
    sector = steps / 30
    channels = []
    for offset in (5.0, 3.0, 1.0):  # value - value x saturation x max(0, min(k, 4 - k, 1))
        k = (offset + sector) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return _levels(torch.cat(channels, 1))


def _blurred(image: Tensor, kernels: list[NDArray[np.float64]]) -> Tensor:
    """Blur each patch by its own kernel, along rows and columns; mirrored at the edges."""
    count, channels = image.shape[:2]
    kernel = torch.tensor(np.stack(kernels), dtype=image.dtype, device=image.device)
    length = kernel.shape[1]
    each = kernel.repeat_interleave(channels, 0)
    flat = F.pad(image.reshape(1, count * channels, *image.shape[2:]), (length // 2,) * 4, mode="reflect")
    flat = F.conv2d(flat, each.view(-1, 1, length, 1), groups=count * channels)
    flat = F.conv2d(flat, each.view(-1, 1, 1, length), groups=count * channels)
    return _levels(flat.view_as(image))


def _grid(matrices: Sequence[NDArray[np.float64]], size: int, device: torch.device) -> Tensor:
    """Where each pixel of the outcome comes from, for `grid_sample`: -1 and 1 are the middles of the outermost pixels."""
    thetas = []
    for matrix in matrices:
        (a, b, c), (d, e, f) = np.linalg.inv(matrix)[:2]
        reach = 2 / (size - 1)
        thetas.append([[a, b, a + b - 1 + reach * c], [d, e, d + e - 1 + reach * f]])
    theta = torch.tensor(thetas, dtype=torch.float32, device=device)
    return F.affine_grid(theta, [len(thetas), 1, size, size], align_corners=True)


def _sampled(planes: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(planes, grid, mode=mode, padding_mode="reflection", align_corners=True)


# ------------------------------------------------------------------------------------------------------------- loader


class DeviceLoader:
    """Makes the batches of an epoch on the device, in a thread and a stream of its own, some ahead of the step.

    Parameters
    ----------
    store : CropStore
    sampler : PatchSampler
    device : str
    threads : int
        Threads that read crops.
    part, parts : int
        This process takes the `part`-th of `parts` equal shares of each batch.
    """

    def __init__(
        self, store: CropStore, sampler: PatchSampler, device: str, threads: int = 2, *, part: int = 0, parts: int = 1
    ) -> None:
        self.store, self.sampler = store, sampler
        self.part, self.parts = part, parts
        self.crops = DeviceCrops(sampler.shapes, device)
        self._stream: torch.cuda.Stream | None = None
        if device.startswith("cuda"):
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._readers = ThreadPoolExecutor(max(1, threads), thread_name_prefix="monusac-loader")
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="monusac-loader-device")

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from number `first` (0-based) on, on the device.

        Raises
        ------
        TrainingError
            The data folder vanished, or no crop can be read any more.
        """
        size = self.sampler.recipe.batch_size
        refs = self.sampler.epoch(epoch)
        waiting: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
        numbers = iter(range(first, self.sampler.steps))
        try:
            while True:
                while len(waiting) < _BATCHES_AHEAD and (n := next(numbers, None)) is not None:
                    mine = refs[n * size : (n + 1) * size][share_of(size, self.part, self.parts)]
                    waiting.append(self._maker.submit(self._make, mine, epoch))
                if not waiting:
                    return
                yield self._handed_over(*waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()

    @torch.no_grad()
    def _make(self, refs: Sequence[PatchRef], epoch: int) -> tuple[Batch, torch.cuda.Event | None]:
        recipe = self.sampler.recipe
        with self._own_stream():
            there = [self._there(ref) for ref in self._read(refs)]
            draws = [draw(recipe, epoch, ref.index) for ref in there]
            batch = augmented(self.crops.cut(there, draws, recipe.patch_size), draws)
            if self._stream is None:
                return batch, None
            return batch, self._stream.record_event()

    def _read(self, refs: Sequence[PatchRef]) -> Sequence[PatchRef]:
        """Read the crops that are not on the device yet, several at once, into the store."""
        missing = {ref.crop: ref for ref in refs if ref.crop not in self.crops}
        list(self._readers.map(lambda ref: readable(self.store, self.sampler, ref), missing.values()))
        return refs

    def _there(self, ref: PatchRef) -> PatchRef:
        """Bring a patch's crop to the device; where it cannot be read, the next one takes its place."""
        if ref.crop in self.crops:
            return ref
        crop, ref = readable(self.store, self.sampler, ref)
        if crop.name not in self.crops:
            self.crops.bring(crop)
        return ref

    def _own_stream(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _handed_over(self, batch: Batch, ready: torch.cuda.Event | None) -> Batch:
        """Let the step's stream wait for the batch, and keep its memory until that stream has used it."""
        if ready is not None:
            current = torch.cuda.current_stream(batch.images.device)
            current.wait_event(ready)
            for each in (batch.images, batch.semantic, batch.ternary):
                each.record_stream(current)
        return batch

    def close(self) -> None:
        """End the threads, give the crops' memory back."""
        self._maker.shutdown(wait=True, cancel_futures=True)
        self._readers.shutdown(wait=True, cancel_futures=True)
        del self.crops


def cannot_hold(sampler: PatchSampler, device: str) -> str:
    """Why a device cannot hold the crops of a run; empty where it can."""
    wanted = DeviceCrops.nbytes(sampler.shapes)
    return (
        "" if has_room(device, wanted) else f"the crops need {wanted / 2**20:.0f} MiB, more than the device can spare"
    )
