"""The dry run: everything that a long run will need, tried once before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from napari_monusac.core.errors import Cancelled, MonusacError, TrainingError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.learn.distributed import Ranks
from napari_monusac.learn.notes import Notes, left_out_note
from napari_monusac.learn.setup import Options, TrainingParts, set_up
from napari_monusac.learn.validate import Validator
from napari_monusac.masks.left_out import LeftOut
from napari_monusac.network.device import free_gpu_memory, memory_in_use, torch_kept

_STEPS = 2
#: Notes on annotations that are told one by one.
_SAID = 5

Told = Callable[[float, str], object]


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What the dry run found.

    Attributes
    ----------
    crops_opened : int
        Of `crops`.
    problems : tuple of str
        Steps that failed; empty = the run can start.
    device, precision : str
    steps_per_epoch, epochs, steps, validations : int
        Of an epoch, and of the whole run (0 where they were not counted: all epochs in full, each validated).
    seconds_per_step, seconds_per_validation : float or None
    memory_mib : float
        Of this process at its highest reading, the crops in it.
    gpu_memory_mib : float or None
    crops_mib : float
        Of all crops with their targets, in memory.
    accumulate : int
        Micro-batches a step needs to fit into memory.
    notes : tuple of str
        What happened on the way.
    left_out : tuple of str
        Crops that cannot be read, and why: a run goes on without them.
    """

    crops: int
    crops_opened: int
    problems: tuple[str, ...] = ()
    device: str = ""
    precision: str = ""
    steps_per_epoch: int = 0
    epochs: int = 0
    steps: int = 0
    validations: int = 0
    seconds_per_step: float | None = None
    seconds_per_validation: float | None = None
    memory_mib: float = 0.0
    gpu_memory_mib: float | None = None
    crops_mib: float = 0.0
    accumulate: int = 1
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def seconds_per_epoch(self) -> float | None:
        """Steps and validation."""
        if self.seconds_per_step is None or self.seconds_per_validation is None:
            return None
        return self.seconds_per_step * self.steps_per_epoch + self.seconds_per_validation

    @property
    def seconds_total(self) -> float | None:
        """Of the whole run."""
        if self.seconds_per_step is None or self.seconds_per_validation is None:
            return None
        steps = self.steps or self.epochs * self.steps_per_epoch
        return self.seconds_per_step * steps + self.seconds_per_validation * (self.validations or self.epochs)

    def summary(self) -> str:
        """A few lines for people."""
        lines = []
        if self.device:  # else nothing was opened: the run could not even be put together
            lines = [f"{self.crops_opened} of {self.crops} crops can be read ({self.crops_mib:.0f} MiB in memory)."]
        if self.seconds_per_epoch is not None and self.seconds_total is not None:
            lines.append(
                f"{self.device}, {self.precision}: {self.seconds_per_step:.2f} s a step; {self.steps_per_epoch} steps "
                f"and a validation of {self.seconds_per_validation:.0f} s make an epoch of "
                f"{_spoken(self.seconds_per_epoch)}, {self.epochs} epochs take about {_spoken(self.seconds_total)}."
            )
            gpu = "" if self.gpu_memory_mib is None else f", GPU memory {self.gpu_memory_mib:.0f} MiB"
            lines.append(f"Memory {self.memory_mib:.0f} MiB{gpu}.")
        lines += [f"Note: {n}" for n in self.notes]
        lines += [f"Left out: {c}" for c in self.left_out]
        lines += [f"Problem: {p}" for p in self.problems]
        return "\n".join(lines)


def dry_run(
    recipe: TrainingRecipe,
    run: RunFolder,
    *,
    device: str = "auto",
    progress: Told | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> DryRunReport:
    """Open every crop, take training steps and a validation step at real size, and estimate time and memory.

    The run folder is left as it is.

    Parameters
    ----------
    recipe : TrainingRecipe
    run : RunFolder
        Holds the data's path and the split.
    device : str
    progress : callable, optional
        Called with a fraction (0 to 1) and a line for people.
    should_stop : callable, optional

    Raises
    ------
    Cancelled
        `should_stop` said so.
    """
    tell, stop = progress or (lambda _fraction, _line: None), should_stop or (lambda: False)
    crops = len(run.split.training) + len(run.split.validation)
    tell(0.0, "Building the network")
    with torch_kept():
        return _dry_run(recipe, run, device, crops, tell, stop)


def _dry_run(
    recipe: TrainingRecipe, run: RunFolder, device: str, crops: int, tell: Told, stop: Callable[[], bool]
) -> DryRunReport:
    try:
        training = set_up(recipe, run, Options(device=device), Ranks(), Notes(), writes=False)
    except (MonusacError, OSError) as error:
        return DryRunReport(crops, 0, problems=(str(error),))
    try:
        return _tried(training, run, tell, stop)
    finally:
        training.close()
        del training
        free_gpu_memory()


def _tried(t: TrainingParts, run: RunFolder, tell: Told, stop: Callable[[], bool]) -> DryRunReport:
    names = run.split.training + run.split.validation
    area, opened, size = {}, 0, 0
    left_out: list[LeftOut] = []
    said: list[str] = []
    for k, name in enumerate(names):
        if stop():
            raise Cancelled("dry run stopped")
        tell(0.1 + 0.5 * k / len(names), f"Opening crop {k + 1} of {len(names)}: {name}")
        try:
            crop = t.store.own(name) if name in run.split.validation else t.store.get(name)
        except MonusacError:
            continue  # the store keeps the reason, told below
        opened += 1
        left_out.append(crop.left_out)
        said += [f"annotation of {name}: {note}" for note in crop.notes]
        size += crop.nbytes
        area[name] = crop.shape[0] * crop.shape[1]
    unreadable = tuple(f"crop {name}: {reason}" for name, reason in t.notes.left_out.items())
    problems = []
    tell(0.6, "Training steps")
    step_s = validation_s = None
    try:
        step_s = _step_seconds(t, stop)
        tell(0.8, "Validation step")
        validation_s = _validation_seconds(t, run, area)
    except Cancelled:
        raise
    except (MonusacError, RuntimeError) as error:
        problems.append(str(error).splitlines()[0])
    memory, gpu = memory_in_use(t.progress.device)
    told_already = {t.scale.sentence(), *(left_out_note(*crop) for crop in t.notes.left_out.items())}
    notes = [t.scale.sentence(), *(note for note in t.notes.take() if note not in told_already)]
    if size > t.store.budget_bytes:
        budget = t.store.budget_bytes / 2**20
        notes.append(f"the crops do not all fit into {budget:.0f} MiB of memory: some are read again and again")
    if LeftOut.sum(left_out).total:
        crops_with = sum(bool(each.total) for each in left_out)
        notes.append(f"in the annotations of {crops_with} crops, {LeftOut.sum(left_out)}")
    notes += said[:_SAID] + ([f"and {len(said) - _SAID} notes more like these"] if len(said) > _SAID else [])
    tell(1.0, "Done")
    return DryRunReport(
        crops=len(names),
        crops_opened=opened,
        problems=tuple(dict.fromkeys(problems)),
        left_out=unreadable,
        device=t.progress.device,
        precision=t.progress.precision,
        steps_per_epoch=t.sampler.steps,
        epochs=t.rate.epochs,
        steps=t.rate.steps,
        validations=-(-t.rate.epochs // t.recipe.validate_every),
        seconds_per_step=step_s,
        seconds_per_validation=validation_s,
        memory_mib=memory,
        gpu_memory_mib=gpu,
        crops_mib=size / 2**20,
        accumulate=t.stepper.accumulate,
        notes=tuple(notes),
    )


def _step_seconds(t: TrainingParts, stop: Callable[[], bool]) -> float:
    """Seconds of a step after the first, which warms up."""
    seconds = []
    for k, batch in enumerate(t.loader.batches(1)):
        if stop():
            raise Cancelled("dry run stopped")
        start = time.perf_counter()
        t.stepper.step(batch, t.rate.of(1), k).read()
        seconds.append(time.perf_counter() - start)
        if k + 1 == _STEPS:
            break
    return seconds[-1]


def _validation_seconds(t: TrainingParts, run: RunFolder, area: dict[str, int]) -> float:
    """Seconds of a whole validation, from its largest crop: the one that needs most memory."""
    names = [n for n in run.split.validation if n in area]
    if not names:
        raise TrainingError("none of the validation crops can be read", "check the data folder and the split")
    largest = max(names, key=lambda n: area[n])
    found = Validator(t.stepper, t.store, [largest]).run()
    return found.seconds * sum(area[n] for n in names) / area[largest]


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
