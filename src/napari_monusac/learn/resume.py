"""Where a run stands, and what a resume needs of it: ``last.safetensors`` and, beside it, optimiser, schedule, counters.

The state is ``last-<step>.state``, named in the metadata of ``last.safetensors``: renaming that one file is the moment
a pair becomes valid, so a crash at any moment leaves one whole pair.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from napari_monusac.core.errors import CheckpointError
from napari_monusac.core.files import atomic_write
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.learn.step import StepLosses
from napari_monusac.network.checkpoint import CheckpointMetadata, read_metadata, save_checkpoint, unwritable
from napari_monusac.network.unet import DualHeadUnet

_MEND = "start a new run with these weights as encoder_weights, or from the beginning"


@dataclass(slots=True)
class TrainingCounters:
    """Counters of a run.

    Sampling, augmentation and dropout follow from (seed, epoch, index) and (seed, step), so these numbers are also the
    state of every random generator.

    Attributes
    ----------
    epoch : int
        The epoch in progress, from 1.
    step_in_epoch, step : int
        Optimiser steps done in this epoch, and in the run.
    best_score, best_combo, best_epoch
        Of the best checkpoint; None, None and 0 before the first. The score is that which `select_by` names.
    loss_sums : list of float
        Sums of the total, semantic and ternary loss over the steps since the last validation.
    steps_since : int
        How many those are.
    seconds : float
        Time spent since the last validation.
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
    best_score: float | None = None
    best_combo: float | None = None
    best_epoch: int = 0
    loss_sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    steps_since: int = 0
    seconds: float = 0.0
    accumulate: int = 1
    threads: int = 0
    device: str = ""
    precision: str = ""
    steps_per_epoch: int = 0
    total_steps: int = 0

    def count_step(self) -> None:
        """Count a step that is on its way."""
        self.step += 1
        self.step_in_epoch += 1

    def count_losses(self, losses: StepLosses, seconds: float) -> None:
        """Count what a step has come to."""
        self.steps_since += 1
        self.seconds += seconds
        for k, value in enumerate((losses.total, losses.semantic, losses.ternary)):
            self.loss_sums[k] += value

    def lacking(self, steps_per_epoch: int) -> int:
        """Steps that epochs of so many steps would have more than were done: `max_steps` cut one short."""
        return (self.epoch - 1) * steps_per_epoch + self.step_in_epoch - self.step

    def mean_losses(self) -> StepLosses:
        """Means over the steps since the last validation."""
        return StepLosses(*(s / max(1, self.steps_since) for s in self.loss_sums))

    def next_epoch(self, *, validated: bool) -> None:
        """Begin the next epoch."""
        self.epoch += 1
        self.step_in_epoch = 0
        if validated:
            self.seconds, self.steps_since = 0.0, 0
            self.loss_sums = [0.0, 0.0, 0.0]

    def to_state(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TrainingCounters:
        """Restore what `to_state` gave, in this version or an earlier one."""
        known = {k: v for k, v in state.items() if k in cls.__dataclass_fields__}
        # once the combo chose, and every epoch was validated
        known.setdefault("best_score", known.get("best_combo"))
        known.setdefault("steps_since", known.get("step_in_epoch", 0))
        return cls(**known)


def save_last(run: RunFolder, network: DualHeadUnet, metadata: CheckpointMetadata, state: dict[str, Any]) -> Path:
    """Write ``last.safetensors`` and its resume state as a pair: after a crash at any moment one whole pair is there.

    Raises
    ------
    TrainingError
        The disk is full, or the folder cannot be written.
    """
    name = f"last-{metadata.step:08d}.state"
    path = run.path / name
    try:
        with atomic_write(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise unwritable(path, error) from error
    save_checkpoint(run.last, network, metadata.model_copy(update={"state": name}))
    for old in run.path.glob("last-*.state"):
        if old.name != name:
            with suppress(OSError):
                old.unlink()
    return run.last


def load_state(run: RunFolder) -> dict[str, Any]:
    """Read the resume state that belongs to ``last.safetensors``.

    Raises
    ------
    CheckpointError
        It is missing, damaged, or holds more than tensors and plain values.
    """
    name = read_metadata(run.last).state
    path = run.path / Path(name).name
    if not name or not path.is_file():
        raise CheckpointError(run.last, f"its resume state {name!r} is missing", _MEND)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = str(error).split("\n")[0][:120]
        raise CheckpointError(path, f"is damaged or foreign ({reason})", _MEND) from error
    if not isinstance(state, dict):
        raise CheckpointError(path, "holds no resume state", _MEND)
    return state
