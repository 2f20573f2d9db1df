"""The training loop: `train` plays a recipe in a run folder and tells what happens as events."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress

from napari_monusac.core.errors import Cancelled, MonusacError, RunLockedError
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
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.io.runs import RunFolder
from napari_monusac.learn.caught import caught_warnings
from napari_monusac.learn.checkpoint import describe, save_checkpoint, save_last
from napari_monusac.learn.device import free_gpu_memory
from napari_monusac.learn.setup import Training, set_up
from napari_monusac.learn.timelapse import save_frame

_PAUSE_POLL_S = 0.2

Steps = Generator[TrainEvent, None, tuple[EndReason, str]]


def train(
    recipe: TrainingRecipe,
    run: RunFolder,
    should_stop: Callable[[], bool] | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    loader_threads: int = 2,
    memory_budget_bytes: int | None = None,
) -> Iterator[TrainEvent]:
    """Train, and tell what happens.

    Each event is written to the run's ``events.jsonl`` before it is given out. A run folder that holds
    ``last.safetensors`` is resumed: weights, optimiser, schedule, position and random states, bit for bit as if it had
    not stopped (on the same device with the same number of threads).

    Parameters
    ----------
    recipe : TrainingRecipe
        A resumed run must be given the recipe it began with, but for `epochs`, `max_steps` and `early_stopping`.
    run : RunFolder
        Holds the data's path and the split; `RunFolder.create` makes one.
    should_stop : callable, optional
        Asked before each batch, together with the run's control files: at True the state is saved and the run ends.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    threads : int, optional
        Threads of torch (inside napari: one core less than there are); a resumed run keeps those it had.
    loader_threads : int
        Threads that cut and augment patches. They change no result.
    memory_budget_bytes : int, optional
        For crops kept in memory; by default four tenths of what is free, 8 GiB at most.

    Yields
    ------
    TrainEvent
        One `RunStarted`, then `BatchEnded`, `EpochEnded`, `CheckpointSaved`, `Warned` ..., and last exactly one
        `RunEnded` whose reason is completed, stopped or failed. A failure raises no exception: the message says what is
        wrong and how to mend it.
    """
    stop = should_stop or (lambda: False)
    with ExitStack() as stack:
        trainer = _Trainer(recipe, run, lambda: stop() or run.should_stop(), stack)
        options = (device, threads, loader_threads, memory_budget_bytes)
        yield from trainer.play(options)
    # The folder is unlocked and the memory free before the last event goes out.
    yield trainer.end


class _Trainer:
    """One call of `train`."""

    def __init__(self, recipe: TrainingRecipe, run: RunFolder, stop: Callable[[], bool], stack: ExitStack) -> None:
        self.recipe, self.run, self.stop, self.stack = recipe, run, stop, stack
        self.training: Training | None = None
        self.end = RunEnded(reason="failed", message="the run was abandoned")
        self.record: Callable[[TrainEvent], None] = lambda _event: None
        self.heard: list[str] = []

    def play(self, options: tuple[str, int | None, int, int | None]) -> Iterator[TrainEvent]:
        """All events but the last, which is left in `end`."""
        reason: EndReason = "failed"
        message = ""
        try:
            self.stack.enter_context(self.run.lock())
            self.record = self.stack.enter_context(self.run.recorder())
            heard = self.stack.enter_context(caught_warnings())
            steps = self._steps(options)
            while True:
                try:
                    event = next(steps)
                except StopIteration as done:
                    reason, message = done.value
                    break
                self.record(event)
                yield event
                while heard:
                    warned = Warned(message=heard.popleft())
                    self.record(warned)
                    yield warned
        except RunLockedError as error:
            message = str(error)
        except MonusacError as error:
            message = str(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours ends the run as failed, told and kept; it must not kill a napari thread
            message = self._fault(error)
        self._conclude(reason, message)

    def _fault(self, error: Exception) -> str:
        text = "".join(traceback.format_exception(error))
        with suppress(OSError):
            atomic_write_text(self.run.path / "error.txt", text)
        where = self.run.path / "error.txt"
        return f"{type(error).__name__}: {error} — this is a fault in napari-monusac, please report it with {where}"

    def _conclude(self, reason: EndReason, message: str) -> None:
        training = self.training
        p = training.progress if training else None
        self.end = RunEnded(
            reason=reason,
            message=message,
            epoch=p.epoch if p else 0,
            step=p.step if p else 0,
            best_combo=p.best_combo if p else None,
            best_epoch=(p.best_epoch or None) if p else None,
        )
        with suppress(OSError):  # a full disk is what the message is about
            self.record(self.end)
        if training:
            training.close()
        self.training = None
        gc.collect()
        free_gpu_memory()

    # ------------------------------------------------------------------ the run

    def _steps(self, options: tuple[str, int | None, int, int | None]) -> Steps:
        self.run.clear_requests()
        t = self.training = set_up(self.recipe, self.run, *options)
        p = t.progress
        yield self._started(t)
        yield from self._told(t)
        while p.epoch <= self.recipe.epochs:
            if not self._steps_used_up():
                for batch in t.loader.batches(p.epoch, p.step_in_epoch):
                    yield from self._paused(t)
                    if self.stop():
                        return (yield from self._stopped(t))
                    yield self._batch(t, batch)
                    yield from self._told(t)
                    if self._steps_used_up():
                        break
            try:
                yield from self._epoch_end(t)
            except Cancelled:
                return (yield from self._stopped(t))
            if self._steps_used_up():
                return "completed", f"{p.step} steps, as max_steps asks"
            if self.recipe.early_stopping and p.epoch - 1 - p.best_epoch >= self.recipe.early_stopping:
                return "completed", f"combo has not risen for {self.recipe.early_stopping} epochs"
        return "completed", f"{self.recipe.epochs} epochs"

    def _steps_used_up(self) -> bool:
        limit = self.recipe.max_steps
        return limit is not None and self.training is not None and self.training.progress.step >= limit

    def _started(self, t: Training) -> RunStarted:
        p = t.progress
        return RunStarted(
            recipe=self.recipe.name,
            fingerprint=self.recipe.fingerprint(),
            epochs=self.recipe.epochs,
            steps_per_epoch=t.sampler.steps,
            first_epoch=p.epoch,
            first_step=p.step,
            device=p.device,
            device_reason=t.device_reason,
            precision=p.precision,
            threads=p.threads,
            training_crops=len(t.sampler.names),
            validation_crops=len(t.validator.names),
        )

    def _batch(self, t: Training, batch: object) -> BatchEnded:
        p = t.progress
        start = time.perf_counter()
        lr = t.rate.of(p.epoch)
        losses = t.stepper.step(batch, lr, p.step)  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        p.count(losses, seconds)
        p.accumulate = t.stepper.accumulate
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

    def _epoch_end(self, t: Training) -> Iterator[TrainEvent]:
        p = t.progress
        start = time.perf_counter()
        found = t.validator.run(self.stop)
        p.seconds += time.perf_counter() - start
        t.note_left_out(found.left_out)
        yield from self._told(t)
        means, lr = p.mean_losses(), t.rate.of(p.epoch)
        ended = EpochEnded(
            epoch=p.epoch,
            step=p.step,
            train_loss=means.total,
            train_semantic_loss=means.semantic,
            train_ternary_loss=means.ternary,
            val_loss=found.losses.total,
            val_semantic_loss=found.losses.semantic,
            val_ternary_loss=found.losses.ternary,
            scores=found.scores,
            lr=lr,
            seconds=p.seconds,
        )
        t.scores = found.scores
        t.rate.epoch_ended(found.scores.combo)
        improved = p.best_combo is None or found.scores.combo > p.best_combo
        if improved:
            p.best_combo, p.best_epoch = found.scores.combo, p.epoch
            yield self._save_best(t)
        save_frame(self.run, p.epoch, found.pinned)
        finished = p.epoch
        p.next_epoch()
        saved = self._save_last(t, finished)
        # Told after the checkpoint is whole: an epoch that is in the file is never lost.
        yield ended
        yield saved

    # ------------------------------------------------------------------ saving, stopping, pausing

    def _save_best(self, t: Training) -> CheckpointSaved:
        p = t.progress
        save_checkpoint(self.run.best, t.network, describe(self.recipe, p.epoch, p.step, t.scores, t.versions))
        return CheckpointSaved(path=str(self.run.best), which="best", epoch=p.epoch, combo=t.scores.combo)

    def _save_last(self, t: Training, epoch: int) -> CheckpointSaved:
        metadata = describe(self.recipe, epoch, t.progress.step, t.scores, t.versions)
        save_last(self.run, t.network, metadata, t.to_state())
        return CheckpointSaved(path=str(self.run.last), which="last", epoch=epoch, combo=t.scores.combo)

    def _stopped(self, t: Training) -> Steps:
        yield self._save_last(t, t.progress.epoch - 1)
        return "stopped", "stopped by the user; the model is saved and the run can be resumed"

    def _paused(self, t: Training) -> Iterator[TrainEvent]:
        if not self.run.is_paused():
            return
        yield self._save_last(t, t.progress.epoch - 1)
        while self.run.is_paused() and not self.stop():
            time.sleep(_PAUSE_POLL_S)

    def _told(self, t: Training) -> Iterator[TrainEvent]:
        for message in t.take_warnings():
            yield Warned(message=message)
