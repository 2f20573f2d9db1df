"""The events of a training run, one JSON line each: one vocabulary for dock, terminal and ``events.jsonl``."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from napari_monusac.core.fitted import FittedThresholds

EndReason = Literal["completed", "stopped", "failed"]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    time: float = Field(default_factory=time.time, description="Unix time, seconds")

    def to_json_line(self) -> str:
        """Return the event as one line of JSON, without a line end."""
        return self.model_dump_json()


class Scores(BaseModel):
    """Training scores in 0 to 1, micro: pixels of the whole validation set pooled in one confusion matrix.

    A value that is undefined (a class absent from truth and prediction) is None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dice_inside: float | None = None
    dice_boundary: float | None = None
    combo: float = Field(0.0, description="0.7 x Dice inside + 0.3 x Dice boundary")
    iou: dict[str, float | None] = Field(
        default_factory=dict, description="Semantic IoU by class name, background included"
    )
    miou_macro: float | None = Field(None, description="Mean IoU over the five classes")
    miou_micro: float | None = Field(None, description="Pooled IoU over the five classes")
    miou_macro_nuclei: float | None = Field(None, description="Mean IoU over the four nucleus classes")
    miou_micro_nuclei: float | None = Field(None, description="Pooled IoU over the four nucleus classes")
    pq: float | None = Field(None, description="Panoptic quality of all nuclei, where the recipe selects by it")


class RunStarted(_Event):
    """A run begins, or goes on after an interruption (`resumed_epoch` > 0)."""

    kind: Literal["run-started"] = "run-started"
    recipe: str
    fingerprint: str
    epochs: int
    steps_per_epoch: int
    total_steps: int = Field(0, description="Of the whole run, `max_steps` heeded; 0 in runs of before")
    first_epoch: int = Field(1, description="The first epoch that this process will run; above 1 after a resume")
    first_step: int = Field(
        0, description="Steps already done; events of later steps recorded before this one are void"
    )
    device: str
    device_reason: str = ""
    precision: str = ""
    threads: int = 0
    training_crops: int = 0
    validation_crops: int = 0
    um_per_px: float | None = Field(None, description="Scale that crops are brought to; None where it is not known")
    scale: str = Field("", description="What was done to bring them there, for people")


class BatchEnded(_Event):
    """One optimiser step is done."""

    kind: Literal["batch-ended"] = "batch-ended"
    epoch: int
    step: int = Field(description="Steps of the whole run so far")
    step_in_epoch: int
    loss: float
    semantic_loss: float
    ternary_loss: float
    lr: float
    seconds: float = Field(0.0, description="Duration of this step")


class EpochEnded(_Event):
    """An epoch is trained and validated."""

    kind: Literal["epoch-ended"] = "epoch-ended"
    epoch: int
    step: int
    train_loss: float
    train_semantic_loss: float
    train_ternary_loss: float
    val_loss: float
    val_semantic_loss: float
    val_ternary_loss: float
    scores: Scores
    lr: float = Field(description="Of the epoch's first step")
    seconds: float = 0.0


class CheckpointSaved(_Event):
    """A checkpoint is whole on disk."""

    kind: Literal["checkpoint-saved"] = "checkpoint-saved"
    path: str
    which: Literal["best", "last"]
    epoch: int
    combo: float


class ThresholdsFitted(_Event):
    """The training is over, and the best checkpoint has thresholds that were fitted on the validation crops."""

    kind: Literal["thresholds-fitted"] = "thresholds-fitted"
    path: str
    fitted: FittedThresholds


class Warned(_Event):
    """Something the user should know; training goes on. Warnings of a worker must never reach napari's own handler."""

    kind: Literal["warned"] = "warned"
    message: str


class RunEnded(_Event):
    """The run is over: exactly one, always last."""

    kind: Literal["run-ended"] = "run-ended"
    reason: EndReason
    message: str = ""
    epoch: int = 0
    step: int = 0
    best_combo: float | None = None
    best_epoch: int | None = None


TrainEvent = Annotated[
    RunStarted | BatchEnded | EpochEnded | CheckpointSaved | ThresholdsFitted | Warned | RunEnded,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[TrainEvent] = TypeAdapter(TrainEvent)


def parse_event(line: str | bytes) -> TrainEvent:
    """Read one line of ``events.jsonl``.

    Raises
    ------
    pydantic.ValidationError
        The line is not an event (a torn last line after a crash, for example).
    """
    return _ADAPTER.validate_json(line)
