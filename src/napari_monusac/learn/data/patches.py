"""Which patches an epoch sees, and how they are cut. Everything random follows from (seed, epoch, index)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES, IGNORE_INDEX
from napari_monusac.core.errors import TrainingError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.infer.tiling.frame import margin_before, mirrored
from napari_monusac.learn.data.crops import TrainingCrop

_POSITION_STREAM = 2

Centres = Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class PatchRef:
    """Where a patch is cut: `index` within its epoch, crop, and (y, x) of its first pixel."""

    index: int
    crop: str
    y: int
    x: int


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPatch:
    """A patch: image uint8 (p, p, 3), semantic and ternary uint8 (p, p), 255 where padded."""

    image: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    ternary: NDArray[np.uint8]


def steps_per_epoch(recipe: TrainingRecipe, shapes: Mapping[str, tuple[int, int]]) -> int:
    """The recipe's value, or ceil(area of the training crops / (batch x patch^2))."""
    if recipe.steps_per_epoch is not None:
        return recipe.steps_per_epoch
    area = sum(h * w for h, w in shapes.values())
    return max(1, math.ceil(area / (recipe.batch_size * recipe.patch_size**2)))


def cut_patch(crop: TrainingCrop, y: int, x: int, size: int) -> TrainingPatch:
    """Cut a square patch; beyond the crop's edge the image is mirrored and both targets are 255.

    Parameters
    ----------
    crop : TrainingCrop
    y, x : int
        First pixel; may be negative.
    size : int
        Side in px.
    """
    where = tuple(mirrored(start, size, n) for start, n in zip((y, x), crop.shape, strict=True))
    inside = tuple(slice(max(0, -s), min(size, n - s)) for s, n in zip((y, x), crop.shape, strict=True))
    if all(part == slice(0, size) for part in inside):
        whole = slice(y, y + size), slice(x, x + size)
        return TrainingPatch(crop.image[whole], crop.semantic[whole], crop.ternary[whole])
    targets = []
    for target in (crop.semantic, crop.ternary):
        cut = np.full((size, size), IGNORE_INDEX, np.uint8)
        cut[inside] = target[np.ix_(*(w[part] for w, part in zip(where, inside, strict=True)))]
        targets.append(cut)
    return TrainingPatch(crop.image[np.ix_(*where)], *targets)


class PatchSampler:
    """Draws the patches of each epoch.

    Each crop gets its share by area, evenly within an epoch: with n patches, the n-th parts of the summed area get one
    each. Crops smaller than the patch are centred in it. With ``sampling = "class-balanced"`` the recipe's `centred_share`
    of the patches are centred, with some jitter, on nuclei: the classes that there are take turns as `class_shares` has
    it (equal ones without it), and all nuclei of a class are alike (nnU-Net's way: Isensee et al. 2021). Not only the classes of few nuclei: MoNuSAC's lymphocytes are many, but
    they lie in small crops, and patches by area hardly show them.

    Parameters
    ----------
    recipe : TrainingRecipe
    shapes : mapping
        (height, width) of each training crop in px.
    centres : mapping, optional
        For each crop, centres of its nuclei by class; needed for ``sampling = "class-balanced"``.

    Raises
    ------
    TrainingError
        There is no crop.
    """

    def __init__(
        self,
        recipe: TrainingRecipe,
        shapes: Mapping[str, tuple[int, int]],
        centres: Mapping[str, Centres] | None = None,
    ) -> None:
        if not shapes:
            raise TrainingError("there is no training crop that can be read", "check the data folder and the split")
        self.recipe = recipe
        self.names: Sequence[str] = tuple(shapes)
        self.shapes = dict(shapes)
        self.steps = steps_per_epoch(recipe, shapes)
        area = np.array([h * w for h, w in shapes.values()], np.float64)
        self._shares = np.cumsum(area) / area.sum()
        shares = recipe.class_shares or (1.0,) * len(CLASSES)
        found = _nuclei(centres) if recipe.sampling == "class-balanced" and centres else {}
        #: By class, in turns: its nuclei, and its share of the turns.
        self._nuclei = [(nuclei, shares[k]) for k, nuclei in found.items() if shares[k] > 0]
        if found and not self._nuclei:
            raise TrainingError(
                f"class_shares = {list(shares)} asks for classes that no training crop holds",
                "give a share to a class that there is",
            )

    def epoch(self, epoch: int) -> list[PatchRef]:
        """Patches of an epoch (numbered from 1), steps x batch of them."""
        count = self.steps * self.recipe.batch_size
        rng = np.random.default_rng((self.recipe.seed, epoch, _POSITION_STREAM))
        points = (rng.permutation(count) + rng.random(count)) / count
        crops = np.searchsorted(self._shares, points, side="right").clip(max=len(self.names) - 1)
        where = rng.random((count, 2))
        centred = rng.random(count) < self.recipe.centred_share
        picks, jitter = rng.random(count), rng.uniform(-0.25, 0.25, (count, 2))
        refs = []
        turns = self._turns()
        for i in range(count):
            if self._nuclei and centred[i]:
                refs.append(self._on_nucleus(i, next(turns), picks[i], jitter[i]))
            else:
                refs.append(self._anywhere(i, self.names[crops[i]], where[i]))
        return refs

    def _turns(self) -> Iterator[int]:
        """Whose turn it is, for ever: the class that lags most behind its share (of equal ones, one after another)."""
        shares = np.array([share for _, share in self._nuclei])
        given = np.zeros(len(shares))
        while True:
            k = int(((given + 1) / shares).argmin())
            given[k] += 1
            yield k

    def _anywhere(self, index: int, name: str, where: NDArray[np.float64]) -> PatchRef:
        size = self.recipe.patch_size
        h, w = self.shapes[name]
        y, x = (
            int(u * (n - size + 1)) if n > size else -margin_before(n, size) for u, n in zip(where, (h, w), strict=True)
        )
        return PatchRef(index, name, y, x)

    def _on_nucleus(self, index: int, turn: int, pick: float, jitter: NDArray[np.float64]) -> PatchRef:
        size = self.recipe.patch_size
        nuclei = self._nuclei[turn][0]
        name, centre = nuclei[int(pick * len(nuclei))]
        y, x = (
            min(max(0, round(c + j * size - size / 2)), n - size) if n > size else -margin_before(n, size)
            for c, j, n in zip(centre, jitter, self.shapes[name], strict=True)
        )
        return PatchRef(index, name, y, x)


def _nuclei(centres: Mapping[str, Centres]) -> dict[int, list[tuple[str, NDArray[np.float64]]]]:
    """For each class that there is, by its place among the classes, all its nuclei as (crop, centre)."""
    by_class = ([(name, c) for name, by in centres.items() for c in by.get(int(k), ())] for k in CLASSES)
    return {k: nuclei for k, nuclei in enumerate(by_class) if nuclei}
