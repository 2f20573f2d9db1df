"""The learning rate of each epoch."""

from __future__ import annotations

import math
from typing import Any

import torch

from napari_monusac.core.recipe import TrainingRecipe

#: Where the cosine ends and the warm-up begins.
MIN_LR = 1e-6
WARMUP_LR = 1e-5
_PATIENCE = 10
_FACTOR = 0.5


def scheduled_lr(recipe: TrainingRecipe, epoch: int) -> float:
    """Learning rate of an epoch (numbered from 1) for the schedules that depend on nothing else.

    - cosine: ``1e-6 + (lr - 1e-6) (1 + cos(pi k / N)) / 2`` in epoch k + 1 of N (``CosineAnnealingLR``, T_max = N);
    - warmup-cosine: linear from 1e-5 to the peak over the warm-up epochs, then cosine over the rest;
    - constant (and plateau before it first acts): the peak.
    """
    k = epoch - 1
    if recipe.schedule == "cosine":
        return _cosine(recipe.lr, k, recipe.epochs)
    if recipe.schedule == "warmup-cosine":
        warm = recipe.warmup_epochs
        if k < warm:
            return WARMUP_LR + (recipe.lr - WARMUP_LR) * k / warm
        return _cosine(recipe.lr, k - warm, recipe.epochs - warm)
    return recipe.lr


def _cosine(peak: float, k: int, n: int) -> float:
    return MIN_LR + (peak - MIN_LR) * (1 + math.cos(math.pi * min(k, n) / n)) / 2


class LearningRate:
    """The learning rate of a run, epoch by epoch; plateau is torch's `ReduceLROnPlateau` on the combo.

    Parameters
    ----------
    recipe : TrainingRecipe
    """

    def __init__(self, recipe: TrainingRecipe) -> None:
        self.recipe = recipe
        self._holder = torch.optim.SGD([torch.zeros(1)], lr=recipe.lr)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._holder, mode="max", patience=_PATIENCE, factor=_FACTOR
        )

    def of(self, epoch: int) -> float:
        """Learning rate of an epoch, numbered from 1 (of the running one, for plateau)."""
        if self.recipe.schedule == "plateau":
            return float(self._holder.param_groups[0]["lr"])
        return scheduled_lr(self.recipe, epoch)

    def epoch_ended(self, combo: float) -> None:
        """Tell the combo of the epoch that ended."""
        if self.recipe.schedule == "plateau":
            self._plateau.step(combo)

    def state_dict(self) -> dict[str, Any]:
        """Plain values to resume from."""
        return {"lr": self.of(1), "plateau": dict(self._plateau.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._plateau.load_state_dict(state["plateau"])
        self._holder.param_groups[0]["lr"] = state["lr"]
