"""Everything a run needs before its first step: data, network, device; and what a resume restores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from napari_monusac.core.errors import CheckpointError, MonusacError, TrainingError
from napari_monusac.core.events import Scores
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.io.collection import open_collection
from napari_monusac.io.runs import RunFolder
from napari_monusac.learn.checkpoint import load_state, load_weights, read_metadata
from napari_monusac.learn.crops import CropStore
from napari_monusac.learn.device import choose_device, choose_precision
from napari_monusac.learn.distributed import Ranks
from napari_monusac.learn.loader import PatchLoader
from napari_monusac.learn.network import DualHeadUnet
from napari_monusac.learn.patches import PatchSampler
from napari_monusac.learn.progress import Progress
from napari_monusac.learn.schedule import LearningRate
from napari_monusac.learn.step import Stepper
from napari_monusac.learn.timelapse import choose_pinned
from napari_monusac.learn.validate import Validator

#: Values that may differ between the recipe a run began with and the one it is resumed with.
_MAY_CHANGE = {"epochs", "max_steps", "early_stopping", "precision"}


@dataclass(slots=True)
class Training:
    """The parts of a run, put together."""

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
    device_reason: str
    versions: dict[str, str]
    scores: Scores = field(default_factory=Scores)
    warnings: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

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


def set_up(
    recipe: TrainingRecipe,
    run: RunFolder,
    device: str = "auto",
    threads: int | None = None,
    loader_threads: int = 2,
    memory_budget_bytes: int | None = None,
) -> Training:
    """Put a run together, from its last checkpoint where there is one.

    Raises
    ------
    MonusacError
        The data, the weights, the device or the checkpoint cannot be used.
    """
    state = load_state(run) if run.last.is_file() else None
    progress = Progress.from_state(state["progress"]) if state else Progress(accumulate=recipe.accumulate)
    if state:
        _check_same_recipe(recipe, run)
    chosen, reason = choose_device(device)
    ranks = Ranks.connect(chosen)
    _set_threads(progress, threads)
    store = CropStore(open_collection(run.data), recipe, memory_budget_bytes)
    sampler, warned = _sampler(recipe, run, store)
    network = _network(recipe, run, chosen, resumed=state is not None)
    precision, why = (
        (progress.precision, "as before") if progress.precision else choose_precision(recipe, network, chosen)
    )
    stepper = Stepper(network, recipe, chosen, precision, progress.accumulate, ranks)
    rate = LearningRate(recipe)
    if progress.device not in {"", chosen}:
        warned.append(f"resumed on {chosen}, begun on {progress.device}: results will differ in the last digits")
    progress.device, progress.precision = chosen, precision
    progress.steps_per_epoch = sampler.steps
    validator = Validator(stepper, store, run.split.validation, choose_pinned(run, run.split.validation))
    loader = PatchLoader(store, sampler, loader_threads, part=ranks.rank, parts=ranks.count)
    versions = run.environment.get("versions", {})
    training = Training(
        recipe,
        network,
        stepper,
        rate,
        sampler,
        loader,
        validator,
        store,
        progress,
        ranks,
        f"{reason}; {precision}: {why}",
        versions,
    )
    training.warnings += warned
    if state:
        _restore(training, state)
    run.record_environment(device=chosen, device_reason=reason, precision=precision, threads=progress.threads)
    return training


def _set_threads(progress: Progress, threads: int | None) -> None:
    wanted = progress.threads or threads
    if wanted:
        torch.set_num_threads(wanted)
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


def _sampler(recipe: TrainingRecipe, run: RunFolder, store: CropStore) -> tuple[PatchSampler, list[str]]:
    shapes, centres, warned = {}, {}, []
    for name in run.split.training:
        try:
            shapes[name] = store.shape(name)
            if recipe.sampling == "rare-classes":
                centres[name] = store.centres(name)
        except (MonusacError, OSError) as error:
            shapes.pop(name, None)
            warned.append(f"crop {name} is left out: {error}")
    if not shapes and warned:
        raise TrainingError(f"no training crop can be read ({warned[0]})", "check the data folder and the split")
    return PatchSampler(recipe, shapes, centres), warned


def _network(recipe: TrainingRecipe, run: RunFolder, device: str, *, resumed: bool) -> DualHeadUnet:
    # The weights of a fresh network follow from the seed; torch's generator is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = DualHeadUnet(recipe, encoder_weights="none" if resumed else None)
    if resumed:
        load_weights(network, run.last)
    return network.to(device).to(memory_format=torch.channels_last)


def _restore(training: Training, state: dict[str, Any]) -> None:
    try:
        training.stepper.optimizer.load_state_dict(state["optimizer"])
        training.rate.load_state_dict(state["rate"])
        training.scores = Scores.model_validate(state["scores"])
    except (KeyError, ValueError) as error:
        raise TrainingError(
            f"the resume state does not fit ({error})", "start a new run from last.safetensors"
        ) from error
