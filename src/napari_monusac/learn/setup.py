"""Everything a run needs before its first step: data, network, device; and what a resume restores."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Any

import torch

from napari_monusac.core.errors import CheckpointError, MonusacError, TrainingError
from napari_monusac.core.events import Scores
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.core.training_crops import TrainingCrops
from napari_monusac.io.annotations.class_names import names_in_words
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.runs.fingerprint import data_fingerprint
from napari_monusac.io.runs.run_folder import RunFolder, ScaleRecord
from napari_monusac.io.training_crops import crops_of_split
from napari_monusac.learn.data.crops import CropStore
from napari_monusac.learn.data.labels import check_labels
from napari_monusac.learn.data.loader import PatchLoader
from napari_monusac.learn.data.patches import PatchSampler
from napari_monusac.learn.data.scale import training_scale
from napari_monusac.learn.distributed import Ranks
from napari_monusac.learn.progress import Progress
from napari_monusac.learn.resume import load_state
from napari_monusac.learn.schedule import LearningRate, scheduled_lr, steps_of_run
from napari_monusac.learn.step import Stepper
from napari_monusac.learn.timelapse import choose_pinned
from napari_monusac.learn.validate import Validator
from napari_monusac.network.checkpoint import (
    CheckpointMetadata,
    crops_seen_by,
    load_weights,
    read_metadata,
    resolve_checkpoint,
)
from napari_monusac.network.device import choose_device, choose_precision, use_deterministic_algorithms, wrong_gradients
from napari_monusac.network.unet import DualHeadUnet, memory_format_of

#: Values that may differ between the recipe a run began with and the one it is resumed with.
_MAY_CHANGE = {"epochs", "max_steps", "early_stopping", "precision", "deterministic"}
_LAST_DIGITS = (
    "resumed on a GPU: weights and counters go on as they were, but sums on a GPU are not the same each time, so the result "
    "may differ in the last digits from that of a run that was never stopped (deterministic = true in the recipe avoids it)"
)


@dataclass(slots=True)
class Training:
    """The parts of a run, put together.

    Attributes
    ----------
    scores : Scores
        Of the last validation.
    warnings : list of str
        What must be told.
    told : set of str
        Crops whose failure has been told.
    trained_on : TrainingCrops or None
        The crops that the checkpoints will name.
    clock : float
        When the last step ended (`time.perf_counter`), or 0.
    """

    recipe: TrainingRecipe
    network: DualHeadUnet
    stepper: Stepper
    rate: LearningRate
    sampler: PatchSampler
    loader: PatchLoader
    validator: Validator
    store: CropStore
    progress: Progress
    ranks: Ranks
    scale: ScaleRecord
    device_reason: str
    versions: dict[str, str]
    scores: Scores = field(default_factory=Scores)
    warnings: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    trained_on: TrainingCrops | None = None
    clock: float = 0.0

    def take_warnings(self) -> list[str]:
        """What must be told, each once."""
        self.note_left_out(dict(self.store.failures))
        found = [*self.warnings, *self.stepper.warnings]
        self.warnings.clear()
        self.stepper.warnings.clear()
        return found

    def note_left_out(self, crops: dict[str, str]) -> None:
        """Remember to say that these crops are left out."""
        for name, reason in crops.items():
            if name not in self.told:
                self.told.add(name)
                self.warnings.append(f"crop {name} is left out: {reason}")

    def to_state(self) -> dict[str, Any]:
        """Optimiser, schedule and counters, as tensors and plain values."""
        return {
            "optimizer": self.stepper.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            "progress": self.progress.to_state(),
            "scores": self.scores.model_dump(),
        }

    def close(self) -> None:
        """End the threads, leave the process group, give memory back."""
        self.loader.close()
        self.store.clear()
        self.ranks.leave()


@dataclass(frozen=True, slots=True)
class Options:
    """What the machine decides, not the recipe; see `napari_monusac.learn.loop.train`."""

    device: str = "auto"
    threads: int | None = None
    loader_threads: int | None = None
    memory_budget_bytes: int | None = None


def set_up(recipe: TrainingRecipe, run: RunFolder, options: Options, ranks: Ranks, *, writes: bool = True) -> Training:
    """Put a run together, from its last checkpoint where there is one.

    Parameters
    ----------
    recipe : TrainingRecipe
    run : RunFolder
    options : Options
    ranks : Ranks
        The processes that train together, not connected yet.
    writes : bool
        Note environment and data fingerprint in the run folder.

    Raises
    ------
    MonusacError
        The data, the weights, the device or the checkpoint cannot be used.
    """
    ranks.check_shares(recipe)
    warned = use_deterministic_algorithms() if recipe.deterministic else []
    state = load_state(run) if run.last.is_file() else None
    if state:
        _check_same_recipe(recipe, run)
    chosen, reason = choose_device(options.device, recipe)
    ranks = ranks.connected(ranks.device(chosen))
    try:
        training = _put_together(recipe, run, options, ranks, state, chosen, reason)
        training.warnings[:0] = warned
        if writes and ranks.writes:
            p = training.progress
            training.trained_on = _trained_on(recipe, run, training.store)
            training.warnings += _seen_before(training.trained_on)
            run.record_environment(device=p.device, device_reason=reason, precision=p.precision, threads=p.threads)
            fingerprint = data_fingerprint(training.store.collection, _names(run))
            names = names_in_words()
            if state and names != run.info.class_names:
                training.warnings.append("class names have other meanings than when the run began: see --classes")
            run.update_info(data_fingerprint=fingerprint, scale=training.scale, class_names=names)
            run.update_recipe(recipe)
    except BaseException:
        ranks.leave()  # the others must not wait for this process
        raise
    return training


def _put_together(
    recipe: TrainingRecipe, run: RunFolder, options: Options, ranks: Ranks,
    state: dict[str, Any] | None, chosen: str, reason: str,
) -> Training:  # fmt: skip
    device = ranks.device(chosen)
    progress = Progress.from_state(state["progress"]) if state else Progress(accumulate=recipe.accumulate)
    _set_threads(progress, options.threads)
    store = CropStore(open_collection(run.data), recipe, options.memory_budget_bytes)
    began = read_metadata(run.last) if state else None
    scale, warned = _scale(recipe, run, store, began)
    sampler = _sampler(recipe, run, store, warned)
    warned += check_labels(store.collection, run.split, within_regions=recipe.within_regions)
    if chosen.startswith("mps") and options.device != "auto" and (fault := wrong_gradients(chosen, recipe)):
        warned.append(f"{fault}: what is learnt on it cannot be trusted, use device cpu")
    network = _network(recipe, run, device, resumed=state is not None)
    precision, why = _precision(recipe, network, device, progress, ranks)
    stepper = Stepper(network, recipe, device, precision, progress.accumulate, ranks)
    rate = LearningRate(recipe, sampler.steps)
    warned += _differences(recipe, run, store, progress, chosen) + rate.notes()
    if state:
        warned += _other_end(recipe, run, progress, rate)
    progress.device, progress.precision, progress.steps_per_epoch = device, precision, sampler.steps
    progress.total_steps = steps_of_run(recipe, sampler.steps)
    training = Training(
        recipe=recipe,
        network=network,
        stepper=stepper,
        rate=rate,
        sampler=sampler,
        loader=PatchLoader(store, sampler, _loader_threads(options), part=ranks.rank, parts=ranks.count),
        validator=Validator(stepper, store, run.split.validation, choose_pinned(run, run.split.validation)),
        store=store,
        progress=progress,
        ranks=ranks,
        scale=scale,
        device_reason=f"{reason}; {precision}: {why}",
        versions=run.environment.get("versions", {}),
        warnings=warned,
    )
    if state:
        _restore(training, state)
    return training


def _loader_threads(options: Options) -> int:
    return options.loader_threads or max(2, min(8, (os.cpu_count() or 2) // 2))


def _names(run: RunFolder) -> tuple[str, ...]:
    return run.split.training + run.split.validation


def _trained_on(recipe: TrainingRecipe, run: RunFolder, store: CropStore) -> TrainingCrops:
    """The crops of the split; and where the run goes on from another model, those of that one."""
    crops = crops_of_split(store.collection, run.split)
    crops = crops.model_copy(update={"class_names": tuple(names_in_words().items())})
    return crops.going_on_from(crops_seen_by(recipe.start_from)) if recipe.start_from else crops


def _seen_before(crops: TrainingCrops) -> list[str]:
    """What must be told of validation crops that the weights have been trained on."""
    seen = [c.name for c in crops.validation if crops.training_crop(c.name, c.pixels, c.patient) is not None]
    if not seen:
        return []
    shown = ", ".join(seen[:5]) + (" ..." if len(seen) > 5 else "")
    return [f"{len(seen)} validation crops have been trained on ({shown}): the scores on them are too good"]


def _precision(
    recipe: TrainingRecipe, network: DualHeadUnet, device: str, progress: Progress, ranks: Ranks
) -> tuple[str, str]:
    """What the run began with, or a choice; all processes take that of the first."""
    if progress.precision and recipe.precision == "auto":
        return progress.precision, "as before"
    precision, why = choose_precision(recipe, network, device)
    low = ranks.of_first(int(precision == "bfloat16"), device)
    return ("bfloat16" if low else "float32"), why


def _differences(
    recipe: TrainingRecipe, run: RunFolder, store: CropStore, progress: Progress, device: str
) -> list[str]:
    """What is not as it was when the run began."""
    found = []
    if progress.device.split(":")[0] not in {"", device.split(":")[0]}:
        found.append(f"resumed on {device}, begun on {progress.device}: results will differ in the last digits")
    elif progress.step and not device.startswith("cpu") and not recipe.deterministic:
        found.append(_LAST_DIGITS)
    before = run.info.data_fingerprint
    if before and before != data_fingerprint(store.collection, _names(run)):
        found.append("the data have changed since this run began: scores before and after cannot be compared")
    return found


def _other_end(recipe: TrainingRecipe, run: RunFolder, progress: Progress, rate: LearningRate) -> list[str]:
    """Where the run now ends elsewhere than it was to end, its schedule is another from here on: say so."""
    began = read_metadata(run.last).recipe
    if not progress.total_steps:  # begun with an earlier version: max_steps cut its schedule, and did not end it
        began = began.with_values(max_steps=None)
    before = steps_of_run(began, progress.steps_per_epoch)
    now = steps_of_run(recipe, rate.steps_per_epoch)
    if before == now or recipe.schedule not in {"cosine", "warmup-cosine"}:
        return []
    was = scheduled_lr(began, progress.step, progress.steps_per_epoch)
    lr = rate.of(progress.epoch, progress.step_in_epoch)
    return [
        f"this run was to end after {before} steps and now ends after {now}: from step {progress.step} on the learning "
        f"rate follows the schedule of {now} steps ({lr:.3g}, before {was:.3g})"
    ]


def _set_threads(progress: Progress, threads: int | None) -> None:
    wanted = progress.threads or threads
    if not wanted and threading.current_thread() is not threading.main_thread():
        # In the background of a window (napari): the window keeps a core.
        wanted = max(1, (os.cpu_count() or 2) - 1)
    if wanted:
        torch.set_num_threads(wanted)  # of the calling thread: OpenMP counts them by thread
    progress.threads = torch.get_num_threads()


def _check_same_recipe(recipe: TrainingRecipe, run: RunFolder) -> None:
    began = read_metadata(run.last).recipe
    changed = {k: v for k, v in recipe.changes(began).items() if k not in _MAY_CHANGE}
    if changed:
        key, (now, then) = next(iter(changed.items()))
        raise CheckpointError(
            run.last,
            f"was made with {key} = {then!r}, not {now!r}",
            "resume with the run's own recipe, or start a new run",
        )


def _scale(
    recipe: TrainingRecipe, run: RunFolder, store: CropStore, began: CheckpointMetadata | None
) -> tuple[ScaleRecord, list[str]]:
    """Decide on the scale of the run (a resumed one keeps its own), and say which crops cannot be read."""
    headers, warned = {}, []
    for name in run.split.training:
        try:
            headers[name] = store.header(name)
        except (MonusacError, OSError) as error:
            warned.append(f"crop {name} is left out: {error}")
    if not headers and warned:
        raise TrainingError(f"no training crop can be read ({warned[0]})", "check the data folder and the split")
    scale = training_scale(recipe, headers, began.um_per_px if began is not None else None)
    store.um_per_px = scale.um_per_px
    if scale.unknown:
        warned.append(scale.sentence())
    if began is not None and not began.scale_source and scale.resampled:
        warned.append(
            "this run was begun when crops were trained on at whatever scale they had: from here on they are brought to "
            f"{scale.um_per_px:.4g} um/px; start a new run for a model of one scale"
        )
    return scale, warned


def _sampler(recipe: TrainingRecipe, run: RunFolder, store: CropStore, warned: list[str]) -> PatchSampler:
    shapes, centres = {}, {}
    for name in run.split.training:
        try:
            shapes[name] = store.shape(name)
            if recipe.sampling == "rare-classes":
                centres[name] = store.centres(name)
        except (MonusacError, OSError) as error:
            shapes.pop(name, None)
            told = f"crop {name} is left out: {error}"
            if told not in warned:
                warned.append(told)
    if not shapes and warned:
        raise TrainingError(f"no training crop can be read ({warned[0]})", "check the data folder and the split")
    return PatchSampler(recipe, shapes, centres)


def _network(recipe: TrainingRecipe, run: RunFolder, device: str, *, resumed: bool) -> DualHeadUnet:
    # The weights of a fresh network follow from the seed; torch's generator is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = DualHeadUnet(recipe, encoder_weights="none" if resumed or recipe.start_from else None)
    if resumed:
        load_weights(network, run.last, read_metadata(run.last).digest)
    elif recipe.start_from:
        weights = resolve_checkpoint(recipe.start_from)
        load_weights(network, weights, read_metadata(weights).digest)
    return network.to(device).to(memory_format=memory_format_of(device))


def _restore(training: Training, state: dict[str, Any]) -> None:
    try:
        training.stepper.optimizer.load_state_dict(state["optimizer"])
        training.rate.load_state_dict(state["rate"])
        training.scores = Scores.model_validate(state["scores"])
    except (KeyError, ValueError) as error:
        raise TrainingError(
            f"the resume state does not fit ({error})", "start a new run from last.safetensors"
        ) from error
