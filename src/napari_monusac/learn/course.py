"""The course of a run: epochs of steps, validation, checkpoints, stop and pause. The loop to read once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from enum import IntEnum

from napari_monusac.core.errors import Cancelled, TrainingError
from napari_monusac.core.events import (
    BatchEnded,
    CheckpointSaved,
    EndReason,
    EpochEnded,
    RunEnded,
    RunStarted,
    TrainEvent,
    Warned,
)
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.learn.data.loader import Batch
from napari_monusac.learn.distributed import Ranks
from napari_monusac.learn.resume import save_last
from napari_monusac.learn.schedule import epochs_of_run, steps_of_run
from napari_monusac.learn.setup import Options, Training, set_up
from napari_monusac.learn.timelapse import save_frame
from napari_monusac.learn.validate import Validation
from napari_monusac.network.checkpoint import CheckpointMetadata, save_checkpoint
from napari_monusac.network.weights import download_notice

_PAUSE_POLL_S = 0.2

Steps = Generator[TrainEvent, None, tuple[EndReason, str]]


class Command(IntEnum):
    """What the user wants before the next batch; the strongest of all processes counts."""

    GO = 0
    PAUSE = 1
    STOP = 2


class Course:
    """One course of a recipe through a run folder.

    Parameters
    ----------
    recipe : TrainingRecipe
    run : RunFolder
    options : Options
    stop : callable
        Whether to save and end.
    """

    def __init__(self, recipe: TrainingRecipe, run: RunFolder, options: Options, stop: Callable[[], bool]) -> None:
        self.recipe, self.run, self.options, self.stop = recipe, run, options, stop
        self.training: Training | None = None
        self._closed: Training | None = None

    def steps(self, ranks: Ranks) -> Steps:
        """Play; yields every event but the last and returns why and how it ended.

        Raises
        ------
        MonusacError
            Training cannot begin or go on.
        """
        fresh = not self.run.last.is_file() and not self.recipe.start_from
        if fresh and (notice := download_notice(self.recipe)):
            yield Warned(message=notice)
        t = self.training = set_up(self.recipe, self.run, self.options, ranks)
        p = t.progress
        yield self._started(t)
        yield from _told(t)
        while p.epoch <= self.recipe.epochs and not (self._used_up(t) and p.step_in_epoch == 0):
            for batch in t.loader.batches(p.epoch, p.step_in_epoch) if not self._used_up(t) else ():
                command = yield from self._command(t)
                if command is Command.STOP:
                    return (yield from self._stopped(t))
                yield self._batch(t, batch)
                yield from _told(t)
                if self._used_up(t):
                    break
            try:
                found = t.validator.run(self.stop if t.ranks.count == 1 else lambda: False)
            except Cancelled:
                return (yield from self._stopped(t))
            yield from self._epoch_ended(t, found)
            if self.recipe.early_stopping and p.epoch - 1 - p.best_epoch >= self.recipe.early_stopping:
                return "completed", f"combo has not risen for {self.recipe.early_stopping} epochs"
        return "completed", f"{p.step} steps, as max_steps asks" if self._used_up(t) else f"{p.epoch - 1} epochs"

    def ended(self, reason: EndReason, message: str) -> RunEnded:
        """Return the last event."""
        if self.training is None:
            return RunEnded(reason=reason, message=message)
        p = self.training.progress
        return RunEnded(
            reason=reason,
            message=message,
            epoch=p.epoch if p.step_in_epoch else p.epoch - 1,
            step=p.step,
            best_combo=p.best_combo,
            best_epoch=p.best_epoch or None,
        )

    def close(self) -> None:
        """End the loader's threads, leave the process group, give memory back."""
        if self.training is not None:
            self.training.close()

    def _used_up(self, t: Training) -> bool:
        return self.recipe.max_steps is not None and t.progress.step >= self.recipe.max_steps

    def _started(self, t: Training) -> RunStarted:
        p = t.progress
        return RunStarted(
            recipe=self.recipe.name,
            fingerprint=self.recipe.fingerprint(),
            epochs=epochs_of_run(self.recipe, t.sampler.steps),
            steps_per_epoch=t.sampler.steps,
            total_steps=steps_of_run(self.recipe, t.sampler.steps),
            first_epoch=p.epoch,
            first_step=p.step,
            device=p.device,
            device_reason=t.device_reason,
            precision=p.precision,
            threads=p.threads,
            training_crops=len(t.sampler.names),
            validation_crops=len(t.validator.names),
            um_per_px=t.scale.um_per_px,
            scale=t.scale.sentence(),
        )

    def _batch(self, t: Training, batch: Batch) -> BatchEnded:
        p = t.progress
        now = time.perf_counter()
        lr = t.rate.of(p.epoch, p.step_in_epoch)
        losses = t.stepper.step(batch, lr, p.step)
        p.accumulate = t.stepper.accumulate
        # From the end of the step before, so that waiting for the loader shows.
        seconds = time.perf_counter() - (t.clock or now)
        t.clock = time.perf_counter()
        p.count(losses, seconds)
        return BatchEnded(
            epoch=p.epoch,
            step=p.step,
            step_in_epoch=p.step_in_epoch,
            loss=losses.total,
            semantic_loss=losses.semantic,
            ternary_loss=losses.ternary,
            lr=lr,
            seconds=seconds,
        )

    def _epoch_ended(self, t: Training, found: Validation) -> Iterator[TrainEvent]:
        p = t.progress
        if not math.isfinite(found.losses.total):
            # Before anything is saved: the last checkpoint stays the sound one of the epoch before.
            raise TrainingError(
                f"the validation loss became {found.losses.total} in epoch {p.epoch}", "lower lr and start again"
            )
        p.seconds += found.seconds
        t.clock = 0.0
        t.note_left_out(found.left_out)
        yield from _told(t)
        event = _epoch_event(t, found)
        t.scores = found.scores
        t.rate.epoch_ended(found.scores.combo)
        if p.best_combo is None or found.scores.combo > p.best_combo:
            p.best_combo, p.best_epoch = found.scores.combo, p.epoch
            yield self._save_best(t)
        if t.ranks.writes:
            save_frame(self.run, p.epoch, found.pinned)
        p.next_epoch()
        saved = self._save_last(t)
        # Told after the checkpoint is whole: an epoch that stands in the file is never lost.
        yield event
        yield saved

    def _save_best(self, t: Training) -> CheckpointSaved:
        p = t.progress
        if t.ranks.writes:
            save_checkpoint(self.run.best, t.network, self._described(t, p.epoch))
        return CheckpointSaved(path=str(self.run.best), which="best", epoch=p.epoch, combo=t.scores.combo)

    def _described(self, t: Training, epoch: int) -> CheckpointMetadata:
        p = t.progress
        described = CheckpointMetadata.describe(self.recipe, epoch, p.step, t.scores, t.versions)
        return described.model_copy(
            update={
                "stain": t.store.stain_statistics(t.sampler.names),
                "trained_on": t.trained_on,
                "um_per_px": t.scale.um_per_px,
                "scale_source": t.scale.source,
                "device": p.device.split(":")[0],
                "precision": p.precision,
            }
        )

    def _save_last(self, t: Training) -> CheckpointSaved:
        """Save what a resume needs; the epoch is the last one that is finished."""
        epoch = t.progress.epoch - 1
        if t.ranks.writes:
            save_last(self.run, t.network, self._described(t, epoch), t.to_state())
        return CheckpointSaved(path=str(self.run.last), which="last", epoch=epoch, combo=t.scores.combo)

    def _stopped(self, t: Training) -> Steps:
        yield self._save_last(t)
        return "stopped", "stopped by the user; the model is saved and the run can be resumed"

    def _command(self, t: Training) -> Generator[TrainEvent, None, Command]:
        command = self._asked(t)
        if command is Command.PAUSE:
            yield self._save_last(t)
            while command is Command.PAUSE:
                time.sleep(_PAUSE_POLL_S)
                command = self._asked(t)
            t.clock = 0.0
        return command

    def _asked(self, t: Training) -> Command:
        wish = Command.STOP if self.stop() else Command.PAUSE if self.run.is_paused() else Command.GO
        return Command(t.ranks.highest(wish, t.progress.device))


def _epoch_event(t: Training, found: Validation) -> EpochEnded:
    p, means = t.progress, t.progress.mean_losses()
    return EpochEnded(
        epoch=p.epoch,
        step=p.step,
        train_loss=means.total,
        train_semantic_loss=means.semantic,
        train_ternary_loss=means.ternary,
        val_loss=found.losses.total,
        val_semantic_loss=found.losses.semantic,
        val_ternary_loss=found.losses.ternary,
        scores=found.scores,
        lr=t.rate.of(p.epoch),
        seconds=p.seconds,
    )


def _told(t: Training) -> Iterator[Warned]:
    for message in t.take_warnings():
        yield Warned(message=message)
