"""Training as the window knows it: what will be trained, the run that is trained or was last, all runs. No Qt, no torch.

Setting a field is its event; what can be refused is a method that answers.
"""

from __future__ import annotations

import operator
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from psygnal import Signal

from napari_monusac.app.answers import Refused, Said
from napari_monusac.app.facts import Fact, never
from napari_monusac.app.recipe_draft import RecipeDraft
from napari_monusac.app.work import Latest, Report, Task, Work
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.events import BatchEnded, CheckpointSaved, EpochEnded, RunEnded, RunStarted, TrainEvent
from napari_monusac.core.recipe import TrainingRecipe, load_recipe

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection
    from napari_monusac.io.collection.patients import Grouping
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import SplitKind
    from napari_monusac.jobs.job import Where

DEFAULT_RECIPE = "run-8"


#: idle: nothing is trained; opening: a run is being made or read; stopping: it was asked to save and end.
State: TypeAlias = Literal["idle", "opening", "running", "stopping"]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is to run, taken from the model at once and used in a worker.

    Attributes
    ----------
    recipe : TrainingRecipe
    data, runs_folder : Path
    split : {"patient", "official"}
    where : {"thread", "child"}
    device : str
    """

    recipe: TrainingRecipe
    data: Path
    runs_folder: Path
    split: SplitKind
    where: Where
    device: str

    def make_run(self, folder: Path | None = None, ready: Callable[[], object] = lambda: None) -> RunFolder:
        """Make the run folder: recipe, data, split.

        Parameters
        ----------
        folder : Path, optional
            Where; by default a new folder named after the time and the recipe.
        ready : callable, optional
            Called before there is a folder: what it raises leaves none.

        Raises
        ------
        MonusacError
            The data cannot be split, or the folder cannot be made.
        """
        from napari_monusac.io.runs.run_folder import make_run, new_run_name

        return make_run(
            self.data, self.recipe, folder or self.runs_folder / new_run_name(self.recipe.name), kind=self.split,
            ready=ready,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the table of runs.

    Attributes
    ----------
    run : RunFolder
    status : str
    epochs : int
        That are done.
    combo : float or None
        The best.
    """

    run: RunFolder
    status: str
    epochs: int
    combo: float | None

    @property
    def alive(self) -> bool:
        """Whether somebody trains it."""
        return self.status in ("starting", "running", "paused")


class RunProgress:
    """Where a run is, from its events: for the progress bar and the time left."""

    def __init__(self) -> None:
        self.epoch = self.epochs = self.step = self.steps_per_epoch = self.step_in_epoch = self.total_steps = 0
        self.first_step: int | None = None
        self.started_at = time.monotonic()
        self.best_combo: float | None = None
        self.device = ""
        self._paused_at: float | None = None

    def take(self, event: TrainEvent) -> None:
        """Take in one event."""
        if isinstance(event, RunStarted):
            self.epochs, self.steps_per_epoch = event.epochs, event.steps_per_epoch
            self.total_steps = event.total_steps or event.epochs * event.steps_per_epoch
            self.epoch = event.first_epoch
            self.device = f"{event.device}, {event.precision}" if event.precision else event.device
        elif isinstance(event, BatchEnded):
            self.epoch, self.step, self.step_in_epoch = event.epoch, event.step, event.step_in_epoch
            if self.first_step is None:
                # the first step carries compilation and the loader's start: timing begins after it
                self.first_step, self.started_at = event.step, time.monotonic()
        elif isinstance(event, CheckpointSaved) and event.which == "best":
            self.best_combo = event.combo

    def pause(self, paused: bool) -> None:
        """The run waits, or goes on: time spent waiting says nothing of its pace."""
        if paused and self._paused_at is None:
            self._paused_at = time.monotonic()
        elif not paused and self._paused_at is not None:
            self.started_at += time.monotonic() - max(self._paused_at, self.started_at)
            self._paused_at = None

    @property
    def paused(self) -> bool:
        """Whether the run waits."""
        return self._paused_at is not None

    @property
    def fraction(self) -> float:
        """Share of all steps that are done, 0 to 1."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left, in seconds, at the pace so far (validation included); None at the start."""
        done = self.step - (self.first_step or 0)
        if done < 3 or not self.total_steps:
            return None
        return (time.monotonic() - self.started_at) / done * (self.total_steps - self.step)


class TrainingModel:
    """What is trained in one window. It outlives the panel: a run goes on when its dock is closed.

    Parameters
    ----------
    work : Work
        The window's.

    Attributes
    ----------
    draft : RecipeDraft
        The recipe that is being edited.
    data : Path or None
        The folder to train on (`data_changed`).
    patients : Grouping, Exception or None
        How its crops fall into patients, the unit of the split, or why that is not known (`patients_changed`).
    split, where, device : str
        What validates; where it runs; what computes (each with its event).
    chosen_device : tuple of str, or None
        What "auto" takes, and why, once that was asked (`chosen_device_changed`).
    runs_folder : Path
        Where runs are kept and looked for (`runs_folder_changed`).
    runs : tuple of RunRow
        What is there, the newest first (`runs_changed`).
    run : RunFolder or None
        The run that is trained, or was trained or watched last (`run_changed`).
    state : str
        Whether it is being trained (`state_changed`).
    end : RunEnded, Exception or None
        How it ended (`ended`).
    history : list of TrainEvent
        Its events so far: a panel that is opened later draws them.
    progress : RunProgress
    said : Said
        The last line about starting (`said_changed`).
    checked : DryRunReport or None
        What the last check found; None once anything else would run (`checked_changed`).
    checking : Task or None
        The check that is under way.

    Notes
    -----
    Messages that are no state: `plan_changed` (something else would run now), `events` (a list of new `TrainEvent`),
    `progressed`, `begun` (a run is shown from its beginning), `best_saved` (there is a better checkpoint).
    """

    data_changed = Signal(object)
    patients_changed = Signal(object)
    split_changed = Signal(str)
    where_changed = Signal(str)
    device_changed = Signal(str)
    chosen_device_changed = Signal(object)
    runs_folder_changed = Signal(object)
    runs_changed = Signal(object)
    run_changed = Signal(object)
    state_changed = Signal(str)
    ended = Signal(object)
    said_changed = Signal(object)
    checked_changed = Signal(object)

    plan_changed = Signal()
    events = Signal(object)
    progressed = Signal()
    begun = Signal()

    data: Fact[Path | None] = Fact("data_changed", None, operator.eq)
    patients: Fact[Grouping | BaseException | None] = Fact("patients_changed", None)
    split: Fact[SplitKind] = Fact("split_changed", "patient", operator.eq)
    where: Fact[Where] = Fact("where_changed", "thread", operator.eq)
    device: Fact[str] = Fact("device_changed", "auto", operator.eq)
    chosen_device: Fact[tuple[str, str] | Exception | None] = Fact("chosen_device_changed", None)
    runs_folder: Fact[Path] = Fact("runs_folder_changed", Path.home() / "napari-monusac-runs", operator.eq)
    runs: Fact[tuple[RunRow, ...]] = Fact("runs_changed", (), never)
    run: Fact[RunFolder | None] = Fact("run_changed", None)
    state: Fact[State] = Fact("state_changed", "idle", operator.eq)
    end: Fact[RunEnded | BaseException | None] = Fact("ended", None, never)
    said: Fact[Said] = Fact("said_changed", Said(), operator.eq)
    checked: Fact[Any] = Fact("checked_changed", None)

    def __init__(self, work: Work) -> None:
        self.work = work
        self.draft = RecipeDraft(load_recipe(DEFAULT_RECIPE))
        self.progress = RunProgress()
        self.history: list[TrainEvent] = []
        self.checking: Task | None = None
        self._task: Task | None = None
        self._looking: Task | None = None
        self._listing = Latest(work, self)
        self._listing.done.connect(self._listed)
        self._arrived: deque[TrainEvent] = deque()
        self._told = False
        self._last_end: RunEnded | BaseException | None = None
        for signal in (self.data_changed, self.split_changed, self.where_changed, self.device_changed):
            signal.connect(self._another_plan)
        self.runs_folder_changed.connect(self._another_plan)
        self.runs_folder_changed.connect(self.list_runs)
        self.draft.changed.connect(self._another_plan)

    @property
    def running(self) -> bool:
        """Whether a run is being followed."""
        return self._task is not None

    @property
    def busy(self) -> bool:
        """Whether a run is followed, or being opened: no other can be meanwhile."""
        return self.state != "idle"

    # -- what will run

    def _another_plan(self) -> None:
        """Something else would run now: what was said of the former values holds no longer."""
        if self.checking is not None:
            self.checking.stop()
        self.checked = None
        if not self.busy:
            self.said = Said()
        self.plan_changed.emit()

    def take_collection(self, collection: Collection | None) -> None:
        """Train on the open folder unless another is chosen afterwards."""
        if collection is None:
            return
        self._looking = None
        same = self.data == Path(collection.root)
        self.data = Path(collection.root)
        self.patients = collection.grouping_of(collection.labelled)
        if same:  # its crops or their patients may be others now
            self._another_plan()

    def choose_data(self, folder: Path) -> None:
        """Train on a folder; how its crops fall into patients is found in the background."""
        self.data = folder
        self.patients = None

        def look(_: Report) -> Grouping:
            from napari_monusac.io.collection.collection import open_collection

            collection = open_collection(folder)
            return collection.grouping_of(collection.labelled)

        def known(answer: Grouping | BaseException) -> None:
            if self._looking is task:
                self.patients = answer

        task = self._looking = self.work.task(look, self)
        task.done.connect(known)
        task.failed.connect(known)
        task.start()

    def start_from(self, folder: Path, checkpoint: Path | None) -> None:
        """Train on corrected crops, from the weights of a former run (its recipe is taken, too)."""
        self.choose_data(folder)
        if checkpoint is not None:
            try:
                self.draft.take(load_recipe(checkpoint.parent / "recipe.toml"))
            except MonusacError as error:
                self.said = Said.of(error)
                return
            self.draft.set(start_from=str(checkpoint))

    def ask_device(self) -> Task:
        """Find out what computes: torch is loaded for that, in the background."""
        asked = self.device

        def find(_: Report) -> tuple[str, str]:
            from napari_monusac.network.device import choose_device

            return choose_device(asked)

        def known(answer: tuple[str, str] | Exception) -> None:
            self.chosen_device = answer

        task = self.work.task(find, self)
        task.done.connect(known)
        task.failed.connect(known)
        return task.start()

    def plan(self) -> TrainingPlan | Refused:
        """What would run now, or what is missing."""
        if self.draft.recipe is None:
            return Refused(f"A value of the recipe is wrong: {self.draft.faults_in_words()}.")
        if self.data is None:
            return Refused("Choose a folder of labelled crops to train on.")
        return TrainingPlan(self.draft.recipe, self.data, self.runs_folder, self.split, self.where, self.device)

    # -- the run

    def check(self) -> Task | Refused:
        """Try everything once before the long run."""
        if self.busy or self.checking is not None:
            return Refused()
        plan = self._plan_or_say()
        if isinstance(plan, Refused):
            return plan
        self.checked, self.said = None, Said()

        def work(report: Report) -> Any:
            import tempfile

            from napari_monusac.learn.dryrun import dry_run
            from napari_monusac.network.weights import have_weights

            with tempfile.TemporaryDirectory() as folder:
                run = plan.make_run(Path(folder) / "check")
                found = dry_run(
                    plan.recipe, run, device=plan.device,
                    progress=lambda fraction, message: report(fraction, message), should_stop=lambda: report.stopping,
                )  # fmt: skip
            if found.problems:
                have_weights(plan.recipe)  # where they are what is wrong, there is more to offer than words
            return found

        def done(found: Any) -> None:
            if not task.stopping and not self.busy:  # else it is of values that have changed since
                self.checked = found

        def finished() -> None:
            self.checking = None

        task = self.checking = self.work.task(work, self, title="Checking")
        task.done.connect(done)
        task.failed.connect(self._not_started)
        task.finished.connect(finished)
        return task

    def start(self) -> Task | Refused:
        """Make the run folder and train."""
        if self.busy:
            return Refused()
        plan = self._plan_or_say()
        if isinstance(plan, Refused):
            return plan

        def make(_: Report) -> RunFolder:
            from napari_monusac.network.weights import have_weights

            return plan.make_run(ready=lambda: have_weights(plan.recipe))

        return self._open(make, lambda run: self._go(run, plan.where, plan.device), "Starting…")

    def resume(self, run: RunFolder) -> Task | Refused:
        """Go on with a stopped or interrupted run."""
        where, device = self.where, self.device

        def go(history: list[TrainEvent]) -> None:
            run.request_resume()
            self._go(run, where, device, history)

        # read in a worker: a long run has megabytes of history
        return self._open(lambda _: run.read_events(), go, f"Opening {run.path.name}…")

    def watch(self, run: RunFolder) -> Task | Refused:
        """Follow a run that another process is training; what was before comes with it."""

        def follow(status: str) -> None:
            self._go(run, "child", "auto", attach=True)
            if status == "paused":
                self.progress.pause(True)
                self.progressed.emit()

        return self._open(lambda _: run.status, follow, f"Opening {run.path.name}…")

    def pause(self, paused: bool = True) -> Refused | None:
        """Let the run wait after the current batch, or go on."""
        if self.run is None or self.state != "running":
            return Refused("No run is going on.")
        self.progress.pause(paused)
        if paused:
            self.run.request_pause()
        else:
            self.run.request_resume()
        self.progressed.emit()
        self.list_runs()
        return None

    def stop(self) -> Refused | None:
        """Ask the run to stop: within one batch it saves and ends."""
        if self.run is None or self.state != "running":
            return Refused("No run is going on.")
        self.state = "stopping"
        if self.progress.paused:
            self.progress.pause(False)
            self.run.request_resume()
        self.run.request_stop()
        return None

    def put_away(self) -> None:
        """Look at the run that has ended no longer."""
        if not self.running:
            self.history, self.run = [], None
            self.end = None

    def _plan_or_say(self) -> TrainingPlan | Refused:
        plan = self.plan()
        if isinstance(plan, Refused):
            self.said = Said(plan.why, "warning")
        return plan

    def _open(self, read: Callable[[Report], Any], go: Callable[[Any], object], words: str) -> Task | Refused:
        """Make or read a run in a worker, then go on with it."""
        if self.busy:
            return Refused()
        if self.checking is not None:
            self.checking.stop()
        self.checked = None
        self.state = "opening"
        self.said = Said(words)
        task = self.work.task(read, self)
        task.done.connect(go)
        task.failed.connect(self._not_started)
        return task.start()

    def _not_started(self, error: Exception) -> None:
        self.state = "idle"
        self.said = Said.of(error)

    def _go(
        self, run: RunFolder, where: Where, device: str, history: Sequence[TrainEvent] = (), *, attach: bool = False
    ) -> None:
        self._arrived.clear()
        self._last_end = None
        self.history = list(history)
        self.progress = RunProgress()
        for event in history:
            if isinstance(event, CheckpointSaved):
                self.progress.take(event)
        self.said = Said()
        self.run = run
        self.begun.emit()

        def in_thread(report: Report) -> None:
            from napari_monusac.learn.loop import train

            # a window that closes does not wait for ever: `stopping` is true then, and the run saves and ends
            for event in train(run.recipe, run, should_stop=lambda: report.stopping, device=device):
                self._arrive(event)

        def in_child(report: Report) -> None:
            from napari_monusac.jobs.job import attach_job, start_job

            job = attach_job(run) if attach else start_job(run, where="child", device=device)
            for event in job.events(should_stop=lambda: report.stopping):
                self._arrive(event)

        self._task = self.work.task(in_thread if where == "thread" else in_child, self)
        self._task.failed.connect(self._broke)
        self._task.finished.connect(self._finished)
        self._task.start()
        self.state = "running"
        self.list_runs()

    def _arrive(self, event: TrainEvent) -> None:
        """Take in an event (in the run's thread); the window takes all that have come as soon as it has time."""
        self._arrived.append(event)
        if not self._told:
            self._told = True
            self.work.deliver(self._take)

    def _take(self) -> None:
        self._told = False  # before the looking: what arrives from now on is told of again
        batch = []
        while self._arrived:
            event = self._arrived.popleft()
            self.progress.take(event)
            if isinstance(event, RunEnded):
                self._last_end = event
            batch.append(event)
        if not batch or self._task is None:
            return
        from napari_monusac.io.runs.history import without_superseded

        whole = [*self.history, *batch]
        self.history = without_superseded(whole) if any(isinstance(e, RunStarted) for e in batch) else whole
        if len(self.history) < len(whole):
            self.begun.emit()  # steps that were lost in a crash are run again: they are drawn once
        else:
            self.events.emit(batch)
        self.progressed.emit()
        if any(isinstance(event, RunStarted | EpochEnded) for event in batch):
            self.list_runs()

    def _broke(self, error: Exception) -> None:
        self._last_end = error

    def _finished(self) -> None:
        self._take()
        self._task = None
        self.state = "idle"
        self.end = self._last_end
        self.list_runs()

    # -- runs

    def list_runs(self) -> None:
        """Read the runs folder in the background; of what is asked for meanwhile only the last is done."""
        folder = self.runs_folder

        def read() -> tuple[Path, tuple[RunRow, ...]]:
            from napari_monusac.io.runs.run_folder import find_runs, progress_of

            return folder, tuple(RunRow(r, r.status, *progress_of(r)) for r in find_runs(folder))

        self._listing.ask(read)

    def _listed(self, found: tuple[Path, tuple[RunRow, ...]]) -> None:
        folder, runs = found
        if folder == self.runs_folder:
            self.runs = runs


def devices() -> tuple[tuple[str, str], ...]:
    """What can be asked to compute on this machine: (words, name)."""
    own = ("Apple GPU", "mps") if sys.platform == "darwin" else ("NVIDIA GPU", "cuda")
    return ("Automatic: a GPU if there is one", "auto"), ("Processor (CPU)", "cpu"), own
