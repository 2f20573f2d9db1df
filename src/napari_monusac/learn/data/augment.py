"""The six augmentations of runs 7 to 9, and stain: the only file that knows albumentations, and the reference of them.

One `Compose` per thread, reseeded for each sample from (seed, epoch, index): a sample comes out the same in any thread.
"""

from __future__ import annotations

import os
import random
import threading
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.infer.tiling.stain import augment_stain

STAIN_STREAM = 1
#: Of each of the six but the blur.
CHANCE = 0.5
#: The hue turns by this share of what the other colours change by (1 = all the way round).
HUE_SHARE = 0.2
BLUR_CHANCE, BLUR_PX, BLUR_SIGMA = 0.2, (3, 5), (0.5, 3.0)
AFFINE_SHIFT, AFFINE_SHEAR_DEGREES = (-0.05, 0.05), (-5, 5)


def build_transforms(recipe: TrainingRecipe) -> A.Compose:
    """The six: horizontal flip, vertical flip, 90-degree rotation, colour jitter, Gaussian blur, affine.

    Strengths are the recipe's; its defaults are our choice (the source gives none). The affine mirrors at the edges, in
    image and masks alike.
    """
    scale, turn, colour = recipe.augment_scale, recipe.augment_rotation, recipe.augment_colour
    return A.Compose(
        [
            A.HorizontalFlip(p=CHANCE),
            A.VerticalFlip(p=CHANCE),
            A.RandomRotate90(p=CHANCE),
            A.ColorJitter(brightness=colour, contrast=colour, saturation=colour, hue=HUE_SHARE * colour, p=CHANCE),
            A.GaussianBlur(blur_limit=BLUR_PX, sigma_limit=BLUR_SIGMA, p=BLUR_CHANCE),
            A.Affine(
                scale=(1 - scale, 1 + scale),
                translate_percent=AFFINE_SHIFT,
                rotate=(-turn, turn),
                shear=AFFINE_SHEAR_DEGREES,
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                border_mode=cv2.BORDER_REFLECT_101,
                p=CHANCE,
            ),
        ]
    )


class Augmenter:
    """Applies a recipe's augmentation to patches; each thread gets its own transforms.

    Parameters
    ----------
    recipe : TrainingRecipe
        `augment` and its strengths, `stain` and its strength, and `seed` are used.
    """

    def __init__(self, recipe: TrainingRecipe) -> None:
        self._six = recipe.augment
        self._recipe = recipe
        self._stain = recipe.stain == "augment"
        self._seed = recipe.seed
        self._local = threading.local()

    def __call__(
        self, image: NDArray[np.uint8], semantic: NDArray[np.uint8], ternary: NDArray[np.uint8], epoch: int, index: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment one patch.

        Parameters
        ----------
        image : uint8 (y, x, 3)
        semantic, ternary : uint8 (y, x)
        epoch, index : int
            With the recipe's seed they decide everything that is random.
        """
        if self._stain:
            image = augment_stain(
                image, np.random.default_rng((self._seed, epoch, index, STAIN_STREAM)), self._recipe.stain_strength
            )
        if not self._six:
            return image, semantic, ternary
        transforms = self._transforms()
        # Not set_random_seed: it gives every transform a generator of the same seed, so that those of one probability
        # act all together or not at all.
        seed = sample_seed(self._seed, epoch, index)
        transforms.set_random_state(np.random.default_rng(seed), random.Random(seed))
        out = transforms(image=image, masks=[semantic, ternary])
        return out["image"], out["masks"][0], out["masks"][1]

    def _transforms(self) -> Any:
        if not hasattr(self._local, "transforms"):
            self._local.transforms = build_transforms(self._recipe)
        return self._local.transforms


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """One number of 32 bits from (seed, epoch, index)."""
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1)[0])
