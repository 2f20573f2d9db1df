"""`train`: plays a recipe in a run folder and tells what happens as events."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.events import EndReason, RunEnded, TrainEvent, Warned
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.io.runs.history import Recorder
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.learn.caught import caught_warnings
from napari_monusac.learn.course import Course
from napari_monusac.learn.distributed import Ranks, is_lost_rank
from napari_monusac.learn.setup import Options
from napari_monusac.learn.step import is_out_of_memory
from napari_monusac.network.device import free_gpu_memory, torch_kept


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
        `precision` and `deterministic`. Where the run then ends elsewhere, its schedule is that of the new end.
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
    stop = should_stop or (lambda: False)
    options = Options(device, threads, loader_threads, memory_budget_bytes)
    with ExitStack() as stack:
        player = _Player(Course(recipe, run, options, lambda: stop() or run.should_stop()), stack)
        yield from player.play()
    # The folder is unlocked and the memory free before the last event goes out.
    del player.course
    gc.collect()
    free_gpu_memory()
    yield player.end


class _Player:
    """Plays a course: locks the folder, records each event, and turns every ending into one `RunEnded`."""

    def __init__(self, course: Course, stack: ExitStack) -> None:
        self.course = course
        self.run = course.run
        self.stack = stack
        self.ranks = Ranks.from_environment()
        self.end = RunEnded(reason="failed", message="the run was abandoned")
        self.record: Recorder = lambda _event: []

    def play(self) -> Iterator[TrainEvent]:
        """All events but the last, which is left in `end`."""
        reason: EndReason = "failed"
        message = ""
        try:
            self._enter()
            steps = self.course.steps(self.ranks)
            while True:
                try:
                    event = next(steps)
                except StopIteration as done:
                    reason, message = done.value
                    break
                for each in (event, *self._heard()):
                    told = self.record(each)
                    if self.ranks.writes:
                        yield each
                    yield from self._told(told)
        except MonusacError as error:
            message = str(error)
            self.ranks.tell_failure(message)
        except Exception as error:  # noqa: BLE001 - a fault ends the run as failed, told and kept; it must not kill a napari thread
            message = self._fault(error)
        self.end = self.course.ended(reason, message)
        with suppress(OSError):  # a full disk is what the message is about
            self.record(self.end)

    def _enter(self) -> None:
        if self.ranks.writes:
            self.stack.enter_context(self.run.lock())
            self.record = self.stack.enter_context(self.run.recorder())
            self.run.clear_requests()
        self.stack.enter_context(torch_kept())
        self._warnings = self.stack.enter_context(caught_warnings())
        self.stack.callback(self.course.close)

    def _told(self, messages: list[str]) -> Iterator[Warned]:
        for message in messages:
            warned = Warned(message=message)
            self.record(warned)
            yield warned

    def _heard(self) -> Iterator[Warned]:
        while self._warnings:
            yield Warned(message=self._warnings.popleft())

    def _fault(self, error: Exception) -> str:
        if self.ranks.count > 1 and is_lost_rank(error):
            why = self.ranks.failure() or str(error).splitlines()[0]
            return f"another process of this run is gone ({why}) — resume from the last checkpoint"
        message = self._described(error)
        self.ranks.tell_failure(message)
        return message

    def _described(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"{error.filename or self.run.path}: {error.strerror or error} — mend this, then resume the run"
        if is_out_of_memory(error):
            return f"memory ran out ({str(error).splitlines()[0]}) — close other programs, then resume the run"
        file = self.run.path / "error.txt"
        with suppress(OSError):
            atomic_write_text(file, "".join(traceback.format_exception(error)))
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"{what} — this is a fault in napari-monusac, please report it with {file}"
