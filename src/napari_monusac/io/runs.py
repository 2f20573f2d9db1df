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

import csv
import io
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_monusac.core.errors import RecipeError, RunError
from napari_monusac.core.events import (
    BatchEnded,
    CheckpointSaved,
    EpochEnded,
    RunEnded,
    RunStarted,
    TrainEvent,
    parse_event,
)
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.recipe import TrainingRecipe, load_recipe
from napari_monusac.io._locks import RunLock, process_is_alive, read_holder
from napari_monusac.io.splits import Split

RunStatus = Literal["new", "starting", "running", "paused", "stopped", "completed", "failed", "interrupted"]
_TAIL_BYTES = 1 << 16
_LIBRARIES = (
    "napari-monusac",
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "numpy",
    "opencv-python-headless",
)


class RunInfo(BaseModel):
    """What ``run.json`` holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data: str = Field(description="Folder of the collection")
    created: float = Field(default_factory=time.time, description="Unix time, seconds")
    name: str = ""
    data_fingerprint: str = Field("", description="Of the crops of the split, when the run first started")
    pinned: tuple[str, ...] = Field((), description="Crops of the learning time-lapse; empty = chosen at the start")


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
        self.path = path
        self.recipe = recipe
        self.split = split
        self.info = info
        self._stop_requested = False

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r}, {self.recipe.name}, {self.status})"

    # ------------------------------------------------------------------ making and opening

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
            atomic_write_text(path / "recipe.toml", recipe.to_toml())
            atomic_write_text(path / "split.json", split.model_dump_json(indent=1))
            run = cls(path, recipe, split, info)
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
            raise RunError(
                path, f"a file of this run is damaged ({str(error).splitlines()[0]})", "start a new run"
            ) from error
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
        """Weights with the highest combo (may not exist yet)."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """Weights of the last saved moment, to resume from (may not exist yet)."""
        return self.path / "last.safetensors"

    @property
    def events_file(self) -> Path:
        """One JSON line an event."""
        return self.path / "events.jsonl"

    @property
    def metrics_file(self) -> Path:
        """One row an epoch."""
        return self.path / "metrics.csv"

    @property
    def timelapse(self) -> Path:
        """Folder of the learning time-lapse."""
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

    def record_environment(self, **more: Any) -> None:
        """Write versions, machine and commit, with `more` (device, threads, precision) beside them."""
        values = {**self.environment, **describe_environment(), **more}
        atomic_write_text(self.path / "environment.json", json.dumps(values, indent=1, default=str))

    # ------------------------------------------------------------------ events

    @contextmanager
    def recorder(self) -> Iterator[Callable[[TrainEvent], None]]:
        """Give a function that appends events to ``events.jsonl`` (flushed each) and rows to ``metrics.csv``."""
        with self.events_file.open("ab") as file:
            if file.tell() and not _ends_with_newline(self.events_file):
                file.write(b"\n")  # a crash tore the last line

            def record(event: TrainEvent) -> None:
                file.write(event.to_json_line().encode() + b"\n")
                file.flush()
                if isinstance(event, EpochEnded):
                    self.write_metrics()

            yield record

    def read_events(self, *, superseded: bool = False) -> list[TrainEvent]:
        """Read all events.

        Parameters
        ----------
        superseded : bool
            Keep batches and epochs that a resumed process ran again (after a crash). Torn lines are left out.
        """
        events = list(_parse_lines(self._raw_events()))
        return events if superseded else without_superseded(events)

    def _raw_events(self) -> bytes:
        with suppress(FileNotFoundError):
            return self.events_file.read_bytes()
        return b""

    def last_event(self) -> TrainEvent | None:
        """The last whole event, read from the end of the file."""
        try:
            with self.events_file.open("rb") as file:
                file.seek(0, io.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return None
        for line in reversed(lines):
            with suppress(ValidationError):
                return parse_event(line)
        return None

    def epochs(self) -> list[EpochEnded]:
        """Every finished epoch once, in order."""
        return [e for e in self.read_events() if isinstance(e, EpochEnded)]

    def write_metrics(self) -> None:
        """Write ``metrics.csv`` from the events: one row an epoch."""
        atomic_write_text(self.metrics_file, metrics_csv(self.epochs()))

    # ------------------------------------------------------------------ status and control

    @property
    def status(self) -> RunStatus:
        """What the folder says: new, starting, running, paused, stopped, completed, failed or interrupted."""
        if self.is_alive:
            return "paused" if self.is_paused() else "running"
        if self._child_is_alive:
            return "starting"
        event = self.last_event()
        if isinstance(event, RunEnded):
            return event.reason
        if event is None and not (self.path / "lock").exists():
            return "new"
        return "interrupted"

    @property
    def is_alive(self) -> bool:
        """Whether a live process holds the lock."""
        holder = read_holder(self.path / "lock")
        return holder is not None and process_is_alive(holder)

    @property
    def _child_is_alive(self) -> bool:
        holder = read_holder(self.path / "child.json")
        return holder is not None and process_is_alive(holder)

    @property
    def can_resume(self) -> bool:
        """Whether there is something to go on from and nobody is at it."""
        return self.last.is_file() and not self.is_alive and self.status != "completed"

    def lock(self) -> RunLock:
        """Return a context manager that holds the lock; entering it raises `RunLockedError` if another process does."""
        return RunLock(self.path / "lock")

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
        """Forget requests to stop or pause (a process does so when it starts)."""
        self._remove("stop")
        self._remove("pause")

    def _touch(self, name: str) -> None:
        try:
            (self.path / name).touch()
        except OSError as error:
            raise RunError(
                self.path, f"cannot be written ({error.strerror})", "check the disk and the permissions"
            ) from error

    def _remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


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


def without_superseded(events: list[TrainEvent]) -> list[TrainEvent]:
    """Leave out batches, epochs and checkpoints that a resumed process ran again after a crash.

    A `RunStarted` says at which step it goes on; what was recorded of later steps before it is void.
    """
    kept: list[TrainEvent] = []
    for event in events:
        if isinstance(event, RunStarted):
            kept = [e for e in kept if not _is_void(e, event)]
        kept.append(event)
    return kept


def _is_void(event: TrainEvent, start: RunStarted) -> bool:
    if isinstance(event, BatchEnded):
        return event.step > start.first_step
    return isinstance(event, EpochEnded | CheckpointSaved) and event.epoch >= start.first_epoch


def metrics_csv(epochs: list[EpochEnded]) -> str:
    """Return the epochs as CSV: losses, scores, learning rate, seconds."""
    classes = list(dict.fromkeys(name for e in epochs for name in e.scores.iou))
    losses = [f"{part}_{kind}" for part in ("train", "val") for kind in ("loss", "semantic_loss", "ternary_loss")]
    scores = [
        "combo",
        "dice_inside",
        "dice_boundary",
        "miou_macro",
        "miou_micro",
        "miou_macro_nuclei",
        "miou_micro_nuclei",
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "step", "lr", "seconds", *losses, *scores, *(f"iou_{c.lower()}" for c in classes)])
    for e in epochs:
        values = (
            [getattr(e, k) for k in losses]
            + [getattr(e.scores, k) for k in scores]
            + [e.scores.iou.get(c) for c in classes]
        )
        writer.writerow(
            [e.epoch, e.step, e.lr, round(e.seconds, 3), *("" if v is None else round(v, 6) for v in values)]
        )
    return text.getvalue()


def describe_environment() -> dict[str, Any]:
    """Versions of the libraries, Python, machine, and the commit of the checkout that this package runs from."""
    import psutil

    versions = {}
    for library in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return {
        "versions": versions,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": platform.node(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the checkout, read from ``.git`` without running git; empty for an installed package."""
    for parent in Path(__file__).resolve().parents[:5]:
        head = parent / ".git" / "HEAD"
        if head.is_file():
            text = head.read_text("utf-8").strip()
            reference = parent / ".git" / text.removeprefix("ref: ")
            with suppress(OSError):
                return reference.read_text("utf-8").strip() if text.startswith("ref: ") else text
    return ""


def _parse_lines(content: bytes) -> Iterator[TrainEvent]:
    for line in content.splitlines():
        with suppress(ValidationError):
            yield parse_event(line)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return file.read(1) == b"\n"
