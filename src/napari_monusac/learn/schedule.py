"""The learning rate of each step. Every schedule ends where the run ends."""

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


def steps_of_run(recipe: TrainingRecipe, steps_per_epoch: int, lacking: int = 0) -> int:
    """Steps of the whole run: all epochs, or `max_steps` where that ends it sooner.

    Parameters
    ----------
    recipe : TrainingRecipe
    steps_per_epoch : int
    lacking : int
        Steps that earlier epochs lack: `max_steps` cut them short before the run was resumed to a later end.
    """
    steps = recipe.epochs * steps_per_epoch - lacking
    return steps if recipe.max_steps is None else min(steps, recipe.max_steps)


def warmup_steps(recipe: TrainingRecipe, steps_per_epoch: int, lacking: int = 0) -> int:
    """Steps of the warm-up: as many as its epochs hold, but never more than half of the run."""
    if recipe.schedule != "warmup-cosine":
        return 0
    return min(recipe.warmup_epochs * steps_per_epoch, steps_of_run(recipe, steps_per_epoch, lacking) // 2)


def scheduled_lr(recipe: TrainingRecipe, step: int, steps_per_epoch: int = 1, lacking: int = 0) -> float:
    """Learning rate of a step for the schedules that depend on nothing else.

    - cosine: ``1e-6 + (lr - 1e-6) (1 + cos(pi s / S)) / 2`` in step s of S (from 0), S the steps of the whole run;
    - warmup-cosine: linear from 1e-5 to the peak over the steps of the warm-up, then cosine over the rest;
    - constant (and plateau before it first acts): the peak.

    In the first step of each epoch these are the values of torch's ``CosineAnnealingLR`` (T_max = epochs) and
    ``LinearLR``, stepped once an epoch: runs 8 and 9 as the source has them.

    Parameters
    ----------
    recipe : TrainingRecipe
    step : int
        Steps done before, in the whole run.
    steps_per_epoch, lacking : int
        See `steps_of_run`.
    """
    end = steps_of_run(recipe, steps_per_epoch, lacking)
    if recipe.schedule == "cosine":
        return _cosine(recipe.lr, step, end)
    if recipe.schedule == "warmup-cosine":
        warm = warmup_steps(recipe, steps_per_epoch, lacking)
        if step < warm:
            return WARMUP_LR + (recipe.lr - WARMUP_LR) * step / warm
        return _cosine(recipe.lr, step - warm, end - warm)
    return recipe.lr


def _cosine(peak: float, k: int, n: int) -> float:
    return MIN_LR + (peak - MIN_LR) * (1 + math.cos(math.pi * min(k, n) / n)) / 2


class LearningRate:
    """The learning rate of a run, step by step; plateau is torch's `ReduceLROnPlateau` on the combo.

    Parameters
    ----------
    recipe : TrainingRecipe
    steps_per_epoch, lacking : int
        See `steps_of_run`.
    """

    def __init__(self, recipe: TrainingRecipe, steps_per_epoch: int = 1, lacking: int = 0) -> None:
        self.recipe = recipe
        self.steps_per_epoch, self.lacking = steps_per_epoch, lacking
        self._holder = torch.optim.SGD([torch.zeros(1)], lr=recipe.lr)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._holder, mode="max", patience=_PATIENCE, factor=_FACTOR
        )

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return steps_of_run(self.recipe, self.steps_per_epoch, self.lacking)

    @property
    def epochs(self) -> int:
        """Epochs that the run begins: all of them, or as many as `max_steps` leaves room for."""
        return math.ceil((self.steps + self.lacking) / self.steps_per_epoch)

    def of(self, epoch: int, step_in_epoch: int = 0) -> float:
        """Learning rate of a step (from 0) of an epoch (from 1); for plateau that of the running epoch."""
        if self.recipe.schedule == "plateau":
            return float(self._holder.param_groups[0]["lr"])
        step = (epoch - 1) * self.steps_per_epoch + step_in_epoch - self.lacking
        return scheduled_lr(self.recipe, step, self.steps_per_epoch, self.lacking)

    def notes(self) -> list[str]:
        """What the schedule does otherwise than the recipe's numbers say."""
        asked = self.recipe.warmup_epochs * self.steps_per_epoch
        given = warmup_steps(self.recipe, self.steps_per_epoch, self.lacking)
        if self.recipe.schedule != "warmup-cosine" or given == asked:
            return []
        return [f"the warm-up of {asked} steps is cut to {given}: half of this run of {self.steps} steps"]

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
