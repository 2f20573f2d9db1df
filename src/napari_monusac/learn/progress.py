"""Where a run stands, besides its weights: what is saved with the last checkpoint and restored by a resume."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from napari_monusac.learn.step import StepLosses


@dataclass(slots=True)
class Progress:
    """Counters of a run.

    Sampling, augmentation and dropout follow from (seed, epoch, index) and (seed, step), so these numbers are also the
    state of every random generator.

    Attributes
    ----------
    epoch : int
        The epoch in progress, from 1.
    step_in_epoch, step : int
        Optimiser steps done in this epoch, and in the run.
    best_combo, best_epoch
        Of the best checkpoint; None and 0 before the first.
    loss_sums : list of float
        Sums of the total, semantic and ternary loss over this epoch's steps.
    seconds : float
        Time spent on this epoch.
    accumulate, threads : int
    device, precision : str
        What the run was computed with; a resume keeps to it.
    steps_per_epoch : int
    total_steps : int
        Of the whole run, as its schedule was laid out; 0 in runs of before.
    """

    epoch: int = 1
    step_in_epoch: int = 0
    step: int = 0
    best_combo: float | None = None
    best_epoch: int = 0
    loss_sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    seconds: float = 0.0
    accumulate: int = 1
    threads: int = 0
    device: str = ""
    precision: str = ""
    steps_per_epoch: int = 0
    total_steps: int = 0

    def count(self, losses: StepLosses, seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.step_in_epoch += 1
        self.seconds += seconds
        for k, value in enumerate((losses.total, losses.semantic, losses.ternary)):
            self.loss_sums[k] += value

    def lacking(self, steps_per_epoch: int) -> int:
        """Steps that epochs of so many steps would have more than were done: `max_steps` cut one short."""
        return (self.epoch - 1) * steps_per_epoch + self.step_in_epoch - self.step

    def mean_losses(self) -> StepLosses:
        """Means over this epoch's steps."""
        return StepLosses(*(s / max(1, self.step_in_epoch) for s in self.loss_sums))

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch += 1
        self.step_in_epoch = 0
        self.seconds = 0.0
        self.loss_sums = [0.0, 0.0, 0.0]

    def to_state(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Progress:
        """Restore what `to_state` gave."""
        known = {k: v for k, v in state.items() if k in cls.__dataclass_fields__}
        return cls(**known)
