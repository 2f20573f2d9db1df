"""`train` and its loop, to be read once: a recipe is played in a run folder and tells what happens as events."""

from __future__ import annotations

import gc
import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, islice

from napari_monusac.core.errors import Cancelled, MonusacError, TrainingError
from napari_monusac.core.events import (
    BatchEnded,
    CheckpointSaved,
    EndReason,
    EpochEnded,
    RunEnded,
    RunStarted,
    ThresholdsFitted,
    TrainEvent,
    Warned,
)
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.io.runs.history import Recorder
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.learn.distributed import Ranks, is_lost_rank
from napari_monusac.learn.fit import fit_thresholds
from napari_monusac.learn.notes import Notes
from napari_monusac.learn.resume import save_last
from napari_monusac.learn.setup import Options, TrainingParts, set_up
from napari_monusac.learn.step import PendingLosses, is_out_of_memory
from napari_monusac.learn.timelapse import save_frame
from napari_monusac.learn.validate import SCORE_NAMES, Validation, selected_score
from napari_monusac.network.checkpoint import CheckpointMetadata, load_checkpoint, read_metadata, save_checkpoint
from napari_monusac.network.device import free_gpu_memory, torch_kept
from napari_monusac.network.weights import download_notice

_PAUSE_POLL_S = 0.2
_STOPPED = "stopped by the user; the model is saved and the run can be resumed"


def train(
    recipe: TrainingRecipe,
    run: RunFolder,
    should_stop: Callable[[], bool] | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    loader_threads: int | None = None,
    memory_budget_bytes: int | None = None,
) -> Iterator[TrainEvent]:
    """Train, and tell what happens.

    Each event is written to the run's ``events.jsonl`` before it is given out. A run folder that holds
    ``last.safetensors`` is resumed: weights, optimiser, schedule, position and random states. On a CPU with the same number
    of threads the result is bit for bit that of a run that had not stopped. On a GPU it is so only as far as the GPU's
    own sums are: set ``deterministic = true`` in the recipe; without it the last digits may differ, and the run says so.

    Parameters
    ----------
    recipe : TrainingRecipe
        A resumed run must be given the recipe it began with, but for `epochs`, `max_steps`, `early_stopping`,
        `validate_every`, `precision` and `deterministic`. Where the run then ends elsewhere, its schedule is that of the new end.
    run : RunFolder
        Holds the data's path and the split; `RunFolder.create` makes one.
    should_stop : callable, optional
        Asked before each batch, together with the run's control files: at True the state is saved and the run ends.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    threads : int, optional
        Threads of torch; by default all cores, but in a background thread (inside napari) one less. A resumed run
        keeps those it had.
    loader_threads : int, optional
        Threads that cut and augment patches; by default half the cores, 2 to 8. They change no result.
    memory_budget_bytes : int, optional
        For crops kept in memory; by default four tenths of what is free, 8 GiB at most.

    Yields
    ------
    TrainEvent
        One `RunStarted`, then `BatchEnded`, `EpochEnded`, `CheckpointSaved`, `Warned` ..., and last exactly one
        `RunEnded` whose reason is completed, stopped or failed. A failure raises no exception: the message says what is
        wrong and how to mend it. Under ``torchrun`` only rank 0 yields more than `RunEnded`.
    """
    wanted = should_stop or (lambda: False)
    options = Options(device, threads, loader_threads, memory_budget_bytes)
    try:
        end = yield from _recorded(recipe, run, options, lambda: wanted() or run.should_stop())
    except GeneratorExit as abandoned:
        traceback.clear_frames(abandoned.__traceback__)  # they hold the network
        raise
    finally:
        # The folder is unlocked and the memory free before the last event goes out.
        gc.collect()
        free_gpu_memory()
    yield end


def _loop(t: TrainingParts, stop: Callable[[], bool]) -> Iterator[TrainEvent]:
    """The loop: epochs of steps, validated and saved. Its last event is the `RunEnded`."""
    p = t.progress
    yield _started(t)
    while not (over := _over(t)):
        if (yield from _steps(t, stop)):
            yield _ended(t, "stopped", _STOPPED)
            return
        if not t.validates():
            p.next_epoch(validated=False)
            yield _save_last(t)
            continue
        try:
            found = t.validator.run(stop if t.ranks.count == 1 else lambda: False)
        except Cancelled:
            yield _save_last(t)
            yield _ended(t, "stopped", _STOPPED)
            return
        yield from _epoch_ended(t, found)
    yield from _fitted(t, stop)
    yield _ended(t, "completed", over)


def _fitted(t: TrainingParts, stop: Callable[[], bool]) -> Iterator[TrainEvent]:
    """Fit the thresholds of the best checkpoint, once; a run that cannot is over all the same."""
    best = t.run.best
    if not t.ranks.writes or not best.is_file() or read_metadata(best).fitted is not None:
        return
    model = load_checkpoint(best, t.progress.device)
    try:
        fitted = fit_thresholds(t.validator.judged_maps(model.network, stop), stop)
    except Cancelled as error:
        yield Warned(message=str(error))
        return
    if fitted is not None:
        save_checkpoint(best, model.network, model.metadata.model_copy(update={"fitted": fitted}))
        yield ThresholdsFitted(path=str(best), fitted=fitted)


@dataclass(frozen=True, slots=True)
class _Running:
    """A step that is on its way: what its event will tell, and where its losses will be."""

    epoch: int
    step: int
    step_in_epoch: int
    lr: float
    begun: float
    losses: PendingLosses


def _steps(t: TrainingParts, stop: Callable[[], bool]) -> Generator[TrainEvent, None, bool]:
    """The steps that are left of an epoch; whether the user stops the run.

    Of a GPU's steps one is always ahead: its losses are read when the next has been handed over, so it never waits.
    """
    p, running = t.progress, deque[_Running]()
    ahead = 1 if t.stepper.runs_ahead else 0
    for batch in islice(t.loader.batches(p.epoch, p.step_in_epoch), t.steps_left()):
        wish = _wish(t, stop)
        if wish is not _Wish.GO:
            yield from _results(t, running, 0)
            if (yield from _held(t, wish, stop)):
                return True
        begun = t.clock or time.perf_counter()  # the end of the step before: waiting for the loader shows
        lr = t.rate.of(p.epoch, p.step_in_epoch)
        losses = t.stepper.step(batch, lr, p.step)
        p.count_step()
        running.append(_Running(p.epoch, p.step, p.step_in_epoch, lr, begun, losses))
        yield from _results(t, running, ahead)
    yield from _results(t, running, 0)
    return False


def _results(t: TrainingParts, running: deque[_Running], ahead: int) -> Iterator[TrainEvent]:
    """What the steps have come to, but for the last `ahead` of them."""
    while len(running) > ahead:
        step = running.popleft()
        losses = step.losses.read()
        begun, t.clock = t.clock or step.begun, time.perf_counter()
        t.progress.count_losses(losses, t.clock - begun)
        yield BatchEnded(
            epoch=step.epoch,
            step=step.step,
            step_in_epoch=step.step_in_epoch,
            loss=losses.total,
            semantic_loss=losses.semantic,
            ternary_loss=losses.ternary,
            lr=step.lr,
            seconds=t.clock - begun,
        )


def _over(t: TrainingParts) -> str:
    """Why the run is over; empty where it goes on: an epoch that was begun is ended and validated."""
    p, patience = t.progress, t.recipe.early_stopping
    if p.step_in_epoch == 0:
        validated = p.epoch > 1 and p.steps_since == 0
        if patience and validated and p.epoch - 1 - p.best_epoch >= patience:
            return f"{SCORE_NAMES[t.recipe.select_by]} has not risen for {patience} epochs"
        if t.steps_left() == 0:
            return f"{p.step} steps, as max_steps asks"
    return f"{p.epoch - 1} epochs" if p.epoch > t.recipe.epochs else ""


class _Wish(IntEnum):
    """What the user wants before the next batch; the strongest of all processes counts."""

    GO = 0
    PAUSE = 1
    STOP = 2


def _held(t: TrainingParts, wish: _Wish, stop: Callable[[], bool]) -> Generator[TrainEvent, None, bool]:
    """Save where the run pauses or stops, wait while it is paused; whether it stops."""
    yield _save_last(t)
    while wish is _Wish.PAUSE:
        time.sleep(_PAUSE_POLL_S)
        wish = _wish(t, stop)
    t.clock = 0.0
    return wish is _Wish.STOP


def _wish(t: TrainingParts, stop: Callable[[], bool]) -> _Wish:
    wish = _Wish.STOP if stop() else _Wish.PAUSE if t.run.is_paused() else _Wish.GO
    return _Wish(t.ranks.highest(wish, t.progress.device))


def _epoch_ended(t: TrainingParts, found: Validation) -> Iterator[TrainEvent]:
    """Save what the epoch has come to, and tell it."""
    p, means = t.progress, t.progress.mean_losses()
    if not math.isfinite(found.losses.total):
        # Before anything is saved: the last checkpoint stays the sound one of the epoch before.
        raise TrainingError(
            f"the validation loss became {found.losses.total} in epoch {p.epoch}", "lower lr and start again"
        )
    event = EpochEnded(
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
        seconds=p.seconds + found.seconds,
    )
    t.clock, t.scores = 0.0, found.scores
    score = selected_score(found.scores, t.recipe.select_by)
    t.rate.epoch_ended(score)
    if p.best_score is None or score > p.best_score:
        p.best_score, p.best_combo, p.best_epoch = score, found.scores.combo, p.epoch
        yield _save_best(t)
    if t.ranks.writes:
        save_frame(t.run, p.epoch, found.pinned)
    p.next_epoch(validated=True)
    saved = _save_last(t)
    # Told after the checkpoint is whole: an epoch that stands in the file is never lost.
    yield event
    yield saved


def _save_best(t: TrainingParts) -> CheckpointSaved:
    if t.ranks.writes:
        save_checkpoint(t.run.best, t.stepper.judged, _described(t, t.progress.epoch))
    return CheckpointSaved(path=str(t.run.best), which="best", epoch=t.progress.epoch, combo=t.scores.combo)


def _save_last(t: TrainingParts) -> CheckpointSaved:
    """Save what a resume needs; the epoch is the last one that is finished."""
    epoch = t.progress.epoch - 1
    if t.ranks.writes:
        t.progress.accumulate = t.stepper.accumulate
        state = {
            **t.stepper.state_dict(),
            "rate": t.rate.state_dict(),
            "progress": t.progress.to_state(),
            "scores": t.scores.model_dump(),
        }
        save_last(t.run, t.stepper.judged, _described(t, epoch), state)
    return CheckpointSaved(path=str(t.run.last), which="last", epoch=epoch, combo=t.scores.combo)


def _described(t: TrainingParts, epoch: int) -> CheckpointMetadata:
    p = t.progress
    described = CheckpointMetadata.describe(t.recipe, epoch, p.step, t.scores, t.versions)
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


def _started(t: TrainingParts) -> RunStarted:
    p = t.progress
    return RunStarted(
        recipe=t.recipe.name,
        fingerprint=t.recipe.fingerprint(),
        epochs=t.rate.epochs,
        steps_per_epoch=t.sampler.steps,
        total_steps=t.rate.steps,
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


def _ended(t: TrainingParts | None, reason: EndReason, message: str) -> RunEnded:
    if t is None:
        return RunEnded(reason=reason, message=message)
    p = t.progress
    return RunEnded(
        reason=reason,
        message=message,
        epoch=p.epoch if p.step_in_epoch else p.epoch - 1,
        step=p.step,
        best_combo=p.best_combo,
        best_epoch=p.best_epoch or None,
    )


# ------------------------------------------------------------------ around the loop: the folder, the record, the ending


def _recorded(
    recipe: TrainingRecipe, run: RunFolder, options: Options, stop: Callable[[], bool]
) -> Generator[TrainEvent, None, RunEnded]:
    """Play in a locked folder; each event is written, then given out. Every ending becomes the `RunEnded` it returns."""
    log, ranks, training = _Log(), Ranks.from_environment(), None
    end = _ended(None, "failed", "the run was abandoned")
    with ExitStack() as stack:
        try:
            if ranks.writes:
                stack.enter_context(run.lock())
                log.record = stack.enter_context(run.recorder())
                run.clear_requests()
            stack.enter_context(torch_kept())
            stack.enter_context(log.notes.catching())
            if not run.last.is_file() and not recipe.start_from:
                log.notes.add(*filter(None, [download_notice(recipe)]))
                yield from log.told()  # before it begins
            training = set_up(recipe, run, options, ranks, log.notes)
            stack.callback(training.close)
            for event in _loop(training, stop):
                if isinstance(event, RunEnded):
                    end = event
                else:
                    yield from log.told(event)
        except MonusacError as error:
            ranks.tell_failure(str(error))
            end = _ended(training, "failed", str(error))
        except Exception as error:  # noqa: BLE001 - a fault ends the run as failed, told and kept; it must not kill a napari thread
            end = _ended(training, "failed", _fault(error, run, ranks))
        with suppress(OSError):  # a full disk is what the message is about
            log.write(end)
    return end


class _Log:
    """Writes each event before it is given out, and after it the notes that wait. Rank 0 alone does either."""

    def __init__(self) -> None:
        self.notes = Notes()
        self.record: Recorder | None = None

    def write(self, event: TrainEvent) -> None:
        if self.record is not None:
            self.notes.add(*self.record(event))

    def told(self, *events: TrainEvent) -> Iterator[TrainEvent]:
        for event in chain(events, (Warned(message=note) for note in self.notes.take())):
            self.write(event)
            if self.record is not None:
                yield event


def _fault(error: Exception, run: RunFolder, ranks: Ranks) -> str:
    """What an error that is none of ours means; the other processes are told."""
    if ranks.count > 1 and is_lost_rank(error):
        why = ranks.failure() or str(error).splitlines()[0]
        return f"another process of this run is gone ({why}) — resume from the last checkpoint"
    if isinstance(error, OSError):
        message = f"{error.filename or run.path}: {error.strerror or error} — mend this, then resume the run"
    elif is_out_of_memory(error):
        message = f"memory ran out ({str(error).splitlines()[0]}) — close other programs, then resume the run"
    else:
        file = run.path / "error.txt"
        with suppress(OSError):
            atomic_write_text(file, "".join(traceback.format_exception(error)))
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        message = f"{what} — this is a fault in napari-monusac, please report it with {file}"
    ranks.tell_failure(message)
    return message
