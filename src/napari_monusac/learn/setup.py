"""Everything a run needs before its first step: data, network, device; and what a resume restores."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
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
from napari_monusac.learn.data.on_device import DeviceLoader, cannot_hold
from napari_monusac.learn.data.patches import PatchSampler
from napari_monusac.learn.data.scale import training_scale
from napari_monusac.learn.distributed import Ranks
from napari_monusac.learn.notes import Notes, left_out_note
from napari_monusac.learn.resume import TrainingCounters, load_state
from napari_monusac.learn.schedule import LearningRate
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
_MAY_CHANGE = {"epochs", "max_steps", "early_stopping", "validate_every", "precision", "deterministic"}
_LAST_DIGITS = (
    "resumed on a GPU: weights and counters go on as they were, but sums on a GPU are not the same each time, so the result "
    "may differ in the last digits from that of a run that was never stopped (deterministic = true in the recipe avoids it)"
)


@dataclass(slots=True)
class TrainingParts:
    """The parts of a run, put together.

    Attributes
    ----------
    notes : Notes
        What must be told.
    scores : Scores
        Of the last validation.
    trained_on : TrainingCrops or None
        The crops that the checkpoints will name.
    clock : float
        When the last step ended (`time.perf_counter`), or 0.
    """

    recipe: TrainingRecipe
    run: RunFolder
    network: DualHeadUnet
    stepper: Stepper
    rate: LearningRate
    sampler: PatchSampler
    loader: PatchLoader | DeviceLoader
    validator: Validator
    store: CropStore
    progress: TrainingCounters
    ranks: Ranks
    notes: Notes
    scale: ScaleRecord
    device_reason: str
    versions: dict[str, str]
    scores: Scores = field(default_factory=Scores)
    trained_on: TrainingCrops | None = None
    clock: float = 0.0

    def steps_left(self) -> int | None:
        """Steps that `max_steps` leaves; None where it does not end the run."""
        most = self.recipe.max_steps
        return None if most is None else max(0, most - self.progress.step)

    def validates(self) -> bool:
        """Whether the epoch that ends is validated: every so many are, and the last."""
        epoch, recipe = self.progress.epoch, self.recipe
        return epoch % recipe.validate_every == 0 or epoch == recipe.epochs or self.steps_left() == 0

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


def set_up(
    recipe: TrainingRecipe, run: RunFolder, options: Options, ranks: Ranks, notes: Notes, *, writes: bool = True
) -> TrainingParts:
    """Put a run together, from its last checkpoint where there is one.

    Parameters
    ----------
    recipe : TrainingRecipe
    run : RunFolder
    options : Options
    ranks : Ranks
        The processes that train together, not connected yet.
    notes : Notes
        Takes what must be told.
    writes : bool
        Note environment and data fingerprint in the run folder.

    Raises
    ------
    MonusacError
        The data, the weights, the device or the checkpoint cannot be used.
    """
    ranks.check_shares(recipe)
    if recipe.deterministic:
        notes.add(*use_deterministic_algorithms())
    began = _begun(recipe, run)
    chosen, reason = choose_device(options.device, recipe)
    if chosen.startswith("mps") and options.device != "auto" and (fault := wrong_gradients(chosen, recipe)):
        notes.add(f"{fault}: what is learnt on it cannot be trusted, use device cpu")
    ranks = ranks.connected(ranks.device(chosen))
    try:
        training = _put_together(recipe, run, options, ranks, notes, began, ranks.device(chosen), reason)
        if writes and ranks.writes:
            _note_in_folder(training, reason, resumed=began is not None)
    except BaseException:
        ranks.leave()  # the others must not wait for this process
        raise
    return training


@dataclass(frozen=True, slots=True)
class _Begun:
    """What an earlier process left of this run."""

    metadata: CheckpointMetadata
    state: dict[str, Any]


def _begun(recipe: TrainingRecipe, run: RunFolder) -> _Begun | None:
    """The last checkpoint of a run that is to go on; None where it begins.

    Raises
    ------
    CheckpointError
        It is damaged, or was made with another recipe.
    """
    if not run.last.is_file():
        return None
    began = _Begun(read_metadata(run.last), load_state(run))
    changed = {k: v for k, v in recipe.changes(began.metadata.recipe).items() if k not in _MAY_CHANGE}
    if changed:
        key, (now, then) = next(iter(changed.items()))
        raise CheckpointError(
            run.last,
            f"was made with {key} = {then!r}, not {now!r}",
            "resume with the run's own recipe, or start a new run",
        )
    return began


def _put_together(
    recipe: TrainingRecipe, run: RunFolder, options: Options, ranks: Ranks, notes: Notes, began: _Begun | None,
    device: str, reason: str,
) -> TrainingParts:  # fmt: skip
    progress = (
        TrainingCounters.from_state(began.state["progress"])
        if began
        else TrainingCounters(accumulate=recipe.accumulate)
    )
    _set_threads(progress, options.threads)
    store = CropStore(open_collection(run.data), recipe, options.memory_budget_bytes, notes)
    scale = _scale(recipe, run, store, began, notes)
    sampler = _sampler(recipe, run, store, notes)
    notes.add(*check_labels(store.collection, run.split, within_regions=recipe.within_regions))
    network = _network(recipe, run, device, began)
    precision, why = _precision(recipe, network, device, progress, ranks)
    stepper = Stepper(network, recipe, device, precision, progress.accumulate, ranks, notes)
    rate = LearningRate(recipe, sampler.steps, progress.lacking(sampler.steps))
    notes.add(*_differences(recipe, run, store, progress, device), *rate.notes())
    if began:
        notes.add(*_other_end(recipe, began, progress, rate))
    progress.device, progress.precision, progress.steps_per_epoch = device, precision, sampler.steps
    progress.total_steps = rate.steps
    training = TrainingParts(
        recipe=recipe,
        run=run,
        network=network,
        stepper=stepper,
        rate=rate,
        sampler=sampler,
        loader=_loader(recipe, store, sampler, device, options, ranks, notes),
        validator=Validator(stepper, store, run.split.validation, choose_pinned(run, run.split.validation)),
        store=store,
        progress=progress,
        ranks=ranks,
        notes=notes,
        scale=scale,
        device_reason=f"{reason}; {precision}: {why}",
        versions=run.environment.get("versions", {}),
    )
    if began:
        _restore(training, began.state)
    return training


def _loader(
    recipe: TrainingRecipe, store: CropStore, sampler: PatchSampler, device: str, options: Options, ranks: Ranks,
    notes: Notes,
) -> PatchLoader | DeviceLoader:  # fmt: skip
    """Where patches are made: on the device where the recipe or a GPU asks for it and the crops fit, else here."""
    threads = options.loader_threads or max(2, min(8, (os.cpu_count() or 2) // 2))
    on_gpu = device.startswith("cuda")
    if recipe.augment_on == "device" or (recipe.augment_on == "auto" and on_gpu):
        why_not = cannot_hold(sampler, device)
        if not why_not:
            return DeviceLoader(store, sampler, device, threads, part=ranks.rank, parts=ranks.count)
        notes.add(f"patches are cut and augmented by the processor: {why_not}")
    return PatchLoader(store, sampler, threads, part=ranks.rank, parts=ranks.count, pinned=on_gpu)


def _note_in_folder(t: TrainingParts, reason: str, *, resumed: bool) -> None:
    """Write down what the run is made with, and tell what is suspicious of it."""
    run, p = t.run, t.progress
    t.trained_on = _trained_on(t.recipe, run, t.store)
    t.notes.add(*_seen_before(t.trained_on))
    run.record_environment(device=p.device, device_reason=reason, precision=p.precision, threads=p.threads)
    fingerprint = data_fingerprint(t.store.collection, run.split.training + run.split.validation)
    names = names_in_words()
    if resumed and names != run.info.class_names:
        t.notes.add("class names have other meanings than when the run began: see --classes")
    run.update_info(data_fingerprint=fingerprint, scale=t.scale, class_names=names)
    run.update_recipe(t.recipe)


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
    recipe: TrainingRecipe, network: DualHeadUnet, device: str, progress: TrainingCounters, ranks: Ranks
) -> tuple[str, str]:
    """What the run began with, or a choice; all processes take that of the first."""
    if progress.precision and recipe.precision == "auto":
        return progress.precision, "as before"
    precision, why = choose_precision(recipe, network, device)
    low = ranks.of_first(int(precision == "bfloat16"), device)
    return ("bfloat16" if low else "float32"), why


def _differences(
    recipe: TrainingRecipe, run: RunFolder, store: CropStore, progress: TrainingCounters, device: str
) -> list[str]:
    """What is not as it was when the run began."""
    found = []
    if progress.device.split(":")[0] not in {"", device.split(":")[0]}:
        found.append(f"resumed on {device}, begun on {progress.device}: results will differ in the last digits")
    elif progress.step and not device.startswith("cpu") and not recipe.deterministic:
        found.append(_LAST_DIGITS)
    before = run.info.data_fingerprint
    if before and before != data_fingerprint(store.collection, run.split.training + run.split.validation):
        found.append("the data have changed since this run began: scores before and after cannot be compared")
    return found


def _other_end(recipe: TrainingRecipe, last: _Begun, progress: TrainingCounters, rate: LearningRate) -> list[str]:
    """Where the run now ends elsewhere than it was to end, its schedule is another from here on: say so."""
    recipe_then, steps = last.metadata.recipe, progress.steps_per_epoch or rate.steps_per_epoch
    if not progress.total_steps:  # begun with an earlier version: max_steps cut its schedule, and did not end it
        recipe_then = recipe_then.with_values(max_steps=None)
    then = LearningRate(recipe_then, steps, progress.lacking(steps))
    before, now = progress.total_steps or then.steps, rate.steps
    if before == now or recipe.schedule not in {"cosine", "warmup-cosine"}:
        return []
    was, lr = (each.of(progress.epoch, progress.step_in_epoch) for each in (then, rate))
    return [
        f"this run was to end after {before} steps and now ends after {now}: from step {progress.step} on the learning "
        f"rate follows the schedule of {now} steps ({lr:.3g}, before {was:.3g})"
    ]


def _set_threads(progress: TrainingCounters, threads: int | None) -> None:
    wanted = progress.threads or threads
    if not wanted and threading.current_thread() is not threading.main_thread():
        # In the background of a window (napari): the window keeps a core.
        wanted = max(1, (os.cpu_count() or 2) - 1)
    if wanted:
        torch.set_num_threads(wanted)  # of the calling thread: OpenMP counts them by thread
    progress.threads = torch.get_num_threads()


def _scale(recipe: TrainingRecipe, run: RunFolder, store: CropStore, began: _Begun | None, notes: Notes) -> ScaleRecord:
    """Decide on the scale of the run (a resumed one keeps its own), and say which crops cannot be read."""
    headers = {}
    for name in run.split.training:
        try:
            headers[name] = store.header(name)
        except (MonusacError, OSError) as error:
            notes.leave_out(name, error)
    _check_any(headers, notes)
    kept = ScaleRecord(um_per_px=began.metadata.um_per_px) if began else None
    scale = training_scale(recipe, headers, kept)
    store.um_per_px = scale.um_per_px
    if scale.unknown or scale.um_per_px is None:
        notes.add(scale.sentence())
    if began and not began.metadata.scale_source and scale.resampled:
        notes.add(
            "this run was begun when crops were trained on at whatever scale they had: from here on they are brought to "
            f"{scale.um_per_px:.4g} um/px; start a new run for a model of one scale"
        )
    return scale


def _sampler(recipe: TrainingRecipe, run: RunFolder, store: CropStore, notes: Notes) -> PatchSampler:
    shapes, centres = {}, {}
    for name in run.split.training:
        try:
            shape = store.shape(name)
            if recipe.sampling == "class-balanced":
                centres[name] = store.centres(name)
            shapes[name] = shape
        except (MonusacError, OSError) as error:
            notes.leave_out(name, error)
    _check_any(shapes, notes)
    return PatchSampler(recipe, shapes, centres)


def _check_any(readable: Mapping[str, object], notes: Notes) -> None:
    if not readable and notes.left_out:
        told = left_out_note(*next(iter(notes.left_out.items())))
        raise TrainingError(f"no training crop can be read ({told})", "check the data folder and the split")


def _network(recipe: TrainingRecipe, run: RunFolder, device: str, began: _Begun | None) -> DualHeadUnet:
    # The weights of a fresh network follow from the seed; torch's generator is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = DualHeadUnet(recipe, encoder_weights="none" if began or recipe.start_from else None)
    if began:
        load_weights(network, run.last, began.metadata.digest)
    elif recipe.start_from:
        weights = resolve_checkpoint(recipe.start_from)
        load_weights(network, weights, read_metadata(weights).digest)
    return network.to(device).to(memory_format=memory_format_of(device))


def _restore(training: TrainingParts, state: dict[str, Any]) -> None:
    try:
        training.stepper.load_state_dict(state)
        training.rate.load_state_dict(state["rate"])
        training.scores = Scores.model_validate(state["scores"])
    except (KeyError, ValueError) as error:
        raise TrainingError(
            f"the resume state does not fit ({error})", "start a new run from last.safetensors"
        ) from error
