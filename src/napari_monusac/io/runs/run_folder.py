"""Run folders: everything about one training run in one folder. Its status is derived from the folder alone.

::

    recipe.toml  split.json  run.json  environment.json      what was asked for, where, with what
    events.jsonl  metrics.csv                                what happened
    best.safetensors  last.safetensors  last-<step>.state    checkpoints
    timelapse/epoch-0001.npz                                 the pinned crops, as predicted after each epoch
    lock                                                     pid and start time of the process that writes here
    stop  pause                                              control files, polled before each batch
    child.json  child.log  error.txt                         a child process, what it printed, the last fault
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_monusac.core.errors import RecipeError, RunError
from napari_monusac.core.events import CheckpointSaved, EpochEnded, RunEnded, TrainEvent
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.recipe import TrainingRecipe, load_recipe
from napari_monusac.io.locks import ProcessLock, is_of_this_machine, process_is_alive, process_record, read_holder
from napari_monusac.io.runs.environment import describe_environment
from napari_monusac.io.runs.history import Recorder, event_recorder, last_event, read_events
from napari_monusac.io.splits import Split, SplitKind, make_split

RunStatus = Literal["new", "starting", "running", "paused", "stopped", "completed", "failed", "interrupted"]


class ScaleRecord(BaseModel):
    """At which scale a run sees its training crops, and what that meant for each.

    Attributes
    ----------
    um_per_px : float or None
        Micrometres per pixel; None where neither the recipe nor a crop says one.
    source : str
        Whose word that is: the recipe's, the median of the training crops (by area), or nobody's.
    resampled : dict
        Crops that were brought to it, with their own um/px.
    unknown : tuple of str
        Crops that say no scale: taken as they are.
    crops : int
        Training crops in all.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    um_per_px: float | None = None
    source: Literal["recipe", "median", "none"] = "none"
    resampled: dict[str, float] = {}
    unknown: tuple[str, ...] = ()
    crops: int = 0

    def sentence(self) -> str:
        """What was done, for people, on one line."""
        if self.um_per_px is None and len(self.unknown) < self.crops:
            return (
                "no crop said its scale when this run began, and the recipe names none: all are still taken as they are; "
                f"{self.crops - len(self.unknown)} of {self.crops} say one now: start a new run to train at it"
            )
        if self.um_per_px is None:
            return "no crop says its scale and the recipe names none: all are taken as they are"
        whose = "the recipe's" if self.source == "recipe" else "the median of the training crops by area"
        parts = [f"trained at {self.um_per_px:.4g} um/px ({whose})"]
        if self.resampled:
            scales = sorted({f"{um:.4g}" for um in self.resampled.values()})
            parts.append(
                f"{len(self.resampled)} of {self.crops} crops are resampled to it from {_listed(scales)} um/px"
            )
        if self.unknown:
            parts.append(f"{len(self.unknown)} without a scale are taken as they are: {_listed(self.unknown)}")
        return "; ".join(parts)


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class RunInfo(BaseModel):
    """What ``run.json`` holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data: str = Field(description="Folder of the collection")
    created: float = Field(default_factory=time.time, description="Unix time, seconds")
    name: str = ""
    data_fingerprint: str = Field("", description="Of the crops of the split, when the run first started")
    pinned: tuple[str, ...] = Field((), description="Crops of the learning time-lapse; empty = chosen at the start")
    class_names: dict[str, str] = Field({}, description="The user's own names of classes, and what they were taken for")
    scale: ScaleRecord | None = Field(None, description="The scale that it trains at; None before the first start")


class RunFolder:
    """One training run on disk.

    Use `create` for a new one and `open` for an existing one.

    Attributes
    ----------
    path : Path
    recipe : TrainingRecipe
    split : Split
    info : RunInfo
    """

    def __init__(self, path: Path, recipe: TrainingRecipe, split: Split, info: RunInfo) -> None:
        self.path, self.recipe, self.split, self.info = path, recipe, split, info

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r}, {self.recipe.name}, {self.status})"

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        data: str | Path,
        split: Split,
        recipe: TrainingRecipe,
        name: str = "",
        pinned: tuple[str, ...] = (),
    ) -> RunFolder:
        """Make a new run folder.

        Parameters
        ----------
        path : str or Path
            Must not exist, or be empty.
        data : str or Path
            The folder of the collection.
        split : Split
            Which crops train and which validate.
        recipe : TrainingRecipe
        name : str
            For people; the folder's name when empty.
        pinned : tuple of str
            Crops of the learning time-lapse; the first validation crops when empty.

        Raises
        ------
        RunError
            The folder is not empty, or cannot be made.
        """
        path = Path(path).expanduser().absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise RunError(path, "is not empty", "choose a new folder, or resume the run in it")
            info = RunInfo(data=str(Path(data).expanduser().absolute()), name=name or path.name, pinned=pinned)
            run = cls(path, recipe, split, info)
            atomic_write_text(path / "recipe.toml", recipe.to_toml())
            atomic_write_text(path / "split.json", split.model_dump_json(indent=1))
            run.record_environment()
            # run.json is written last: a folder that has it is whole.
            atomic_write_text(path / "run.json", info.model_dump_json(indent=1))
        except OSError as error:
            raise RunError(path, f"cannot be made ({error.strerror})", "choose another folder") from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run folder.

        Raises
        ------
        RunError
            It is no run folder, or one of its files is damaged.
        """
        path = Path(path).expanduser().absolute()
        if not (path / "run.json").is_file():
            raise RunError(path, "is no run folder (there is no run.json)", "choose the folder of a training run")
        try:
            info = RunInfo.model_validate_json((path / "run.json").read_bytes())
            split = Split.model_validate_json((path / "split.json").read_bytes())
            recipe = load_recipe(path / "recipe.toml")
        except (ValidationError, RecipeError, OSError) as error:
            problem = str(error).splitlines()[0]
            raise RunError(path, f"a file of this run is damaged ({problem})", "start a new run") from error
        return cls(path, recipe, split, info)

    # ------------------------------------------------------------------ files

    @property
    def name(self) -> str:
        """The run's name for people."""
        return self.info.name or self.path.name

    @property
    def data(self) -> Path:
        """Folder of the collection."""
        return Path(self.info.data)

    @property
    def best(self) -> Path:
        """Weights with the highest score, of that which the recipe selects by (may not exist yet)."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """Weights of the last saved moment, to resume from (may not exist yet)."""
        return self.path / "last.safetensors"

    @property
    def events_file(self) -> Path:
        """The log of events: one JSON line each."""
        return self.path / "events.jsonl"

    @property
    def metrics_file(self) -> Path:
        """The table of epochs: one row each."""
        return self.path / "metrics.csv"

    @property
    def timelapse(self) -> Path:
        """Folder of the learning time-lapse (`napari_monusac.io.runs.timelapse` reads it)."""
        return self.path / "timelapse"

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, machine, device, threads, commit of the last process that wrote here."""
        with suppress(OSError, ValueError):
            return dict(json.loads((self.path / "environment.json").read_text("utf-8")))
        return {}

    def update_info(self, **values: Any) -> None:
        """Change values of ``run.json``."""
        self.info = RunInfo.model_validate({**self.info.model_dump(), **values})
        atomic_write_text(self.path / "run.json", self.info.model_dump_json(indent=1))

    def update_recipe(self, recipe: TrainingRecipe) -> None:
        """Write the recipe that is really trained, where it is not the one the folder was made with."""
        if recipe != load_recipe(self.path / "recipe.toml"):
            atomic_write_text(self.path / "recipe.toml", recipe.to_toml())
        self.recipe = recipe

    def record_environment(self, **more: Any) -> None:
        """Write versions, machine and commit, with `more` (device, threads, precision) beside them."""
        values = {**self.environment, **describe_environment(), **more}
        atomic_write_text(self.path / "environment.json", json.dumps(values, indent=1, default=str))

    # ------------------------------------------------------------------ events

    def recorder(self) -> AbstractContextManager[Recorder]:
        """Return a context manager; it gives a function that appends to ``events.jsonl`` and keeps ``metrics.csv``.

        The function returns what must be told besides: that ``metrics.csv`` cannot be written, for example.
        """
        return event_recorder(self.events_file, self.metrics_file)

    def read_events(self, *, superseded: bool = False) -> list[TrainEvent]:
        """Read all events.

        Parameters
        ----------
        superseded : bool
            Keep batches and epochs that a resumed process ran again (after a crash). Torn lines are left out.
        """
        return read_events(self.events_file, superseded=superseded)

    def epochs(self) -> list[EpochEnded]:
        """Every finished epoch once, in order."""
        return self.epochs_and_best()[0]

    def epochs_and_best(self) -> tuple[list[EpochEnded], EpochEnded | None]:
        """Every finished epoch once, in order; and the one whose weights are the best checkpoint.

        That is the one that the loop chose, by whatever score the recipe selects. None before the first.
        """
        events = read_events(self.events_file, batches=False)
        epochs = {e.epoch: e for e in events if isinstance(e, EpochEnded)}
        chosen = [e.epoch for e in events if isinstance(e, CheckpointSaved) and e.which == "best" and e.epoch in epochs]
        best = epochs[chosen[-1]] if chosen else max(epochs.values(), key=lambda e: e.scores.combo, default=None)
        return list(epochs.values()), best

    # ------------------------------------------------------------------ status and control

    @property
    def status(self) -> RunStatus:
        """What the folder says: new, starting, running, paused, stopped, completed, failed or interrupted."""
        if self.is_alive:
            return "paused" if self.is_paused() else "running"
        event = last_event(self.events_file)
        child = read_holder(self.path / "child.json")
        if child is not None and process_is_alive(child):
            # a child that has said its end needs a moment to go: what it said is the status
            ended = isinstance(event, RunEnded) and event.time > float(child.get("started", 0))
            if not ended:
                return "starting"
        if isinstance(event, RunEnded):
            return event.reason
        return "new" if event is None and not (self.path / "lock").exists() else "interrupted"

    @property
    def is_alive(self) -> bool:
        """Whether a live process holds the lock."""
        return _is_held(self.path / "lock")

    def lock(self) -> ProcessLock:
        """Return a context manager that holds the lock; entering it raises `RunLockedError` if another process does."""
        return ProcessLock(self.path / "lock")

    def record_child(self, pid: int) -> None:
        """Note a child process that was started to train here; it counts as starting until it holds the lock."""
        atomic_write_text(self.path / "child.json", json.dumps(process_record(pid)))

    def writer_pid(self) -> int | None:
        """Pid of the live process of this machine that trains here or is about to; None when there is none."""
        for name in ("lock", "child.json"):
            holder = read_holder(self.path / name)
            if holder is not None and process_is_alive(holder) and is_of_this_machine(holder):
                return int(holder["pid"])
        return None

    def request_stop(self) -> None:
        """Ask the process that trains here to save and stop; it looks before each batch."""
        self._touch("stop")

    def request_pause(self) -> None:
        """Ask the process that trains here to save and wait."""
        self._touch("pause")

    def request_resume(self) -> None:
        """Let a paused process go on."""
        self._remove("pause")

    def should_stop(self) -> bool:
        """Whether somebody asked to stop."""
        return (self.path / "stop").exists()

    def is_paused(self) -> bool:
        """Whether somebody asked to pause."""
        return (self.path / "pause").exists()

    def clear_requests(self) -> None:
        """Forget requests to stop or pause (done when a run starts)."""
        self._remove("stop")
        self._remove("pause")

    def _touch(self, name: str) -> None:
        try:
            (self.path / name).touch()
        except OSError as error:
            raise RunError(
                self.path, f"cannot be written ({error.strerror})", "check the disk and its rights"
            ) from error

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            (self.path / name).unlink(missing_ok=True)


def make_run(
    data: str | Path,
    recipe: TrainingRecipe,
    folder: str | Path,
    *,
    kind: SplitKind = "patient",
    patients: str | Path | None = None,
    ready: Callable[[], object] = lambda: None,
) -> RunFolder:
    """Split the crops of a folder and make a run that trains on them.

    Parameters
    ----------
    data : str or Path
        The folder of labelled crops.
    recipe : TrainingRecipe
        Its seed is that of the split.
    folder : str or Path
        The run folder: new or empty, see `new_run_name`.
    kind : {"patient", "official"}
        See `napari_monusac.io.splits.make_split`.
    patients : str or Path, optional
        A table (crop, patient); see `napari_monusac.io.collection.collection.open_collection`.
    ready : callable, optional
        Called once the data are split, before there is a folder: what it raises leaves none.

    Raises
    ------
    CollectionError
        The data cannot be split.
    RunError
        The folder is not empty, or cannot be made.
    """
    from napari_monusac.io.collection.collection import open_collection

    split = make_split(open_collection(data, patients=patients), kind=kind, seed=recipe.seed)
    ready()
    return RunFolder.create(folder, data=data, split=split, recipe=recipe)


def new_run_name(recipe: str) -> str:
    """Name for the folder of a new run: when it was made, and its recipe."""
    return f"{time.strftime('%Y-%m-%d-%H%M%S')}-{recipe}"


def find_runs(folder: str | Path) -> list[RunFolder]:
    """All run folders in a folder (itself and up to two levels below), newest first. Damaged ones are left out.

    Parameters
    ----------
    folder : str or Path
        A folder that need not exist.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        return []
    runs = []
    for file in {p for pattern in ("run.json", "*/run.json", "*/*/run.json") for p in root.glob(pattern)}:
        with suppress(RunError):
            runs.append(RunFolder.open(file.parent))
    return sorted(runs, key=lambda r: (-r.info.created, str(r.path)))


def _is_held(lock: Path) -> bool:
    holder = read_holder(lock)
    return holder is not None and process_is_alive(holder)


def progress_of(run: RunFolder) -> tuple[int, float | None]:
    """Return the finished epochs of a run and the combo of its best (reads the run's events: not for the Qt thread)."""
    epochs, best = run.epochs_and_best()
    return len(epochs), best.scores.combo if best else None
