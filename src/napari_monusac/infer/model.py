"""A trained model as inference takes it: loaded from a file or handed through."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.fitted import FittedThresholds
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.core.training_crops import TrainingCrops


class ModelLike(Protocol):
    """What `learn.checkpoint.load_checkpoint` gives: a network, its recipe, and what the checkpoint says of itself."""

    @property
    def network(self) -> Any:
        """A `torch.nn.Module` that gives the logits of both heads."""

    @property
    def recipe(self) -> TrainingRecipe:
        """What it was trained with."""
        ...

    @property
    def metadata(self) -> Any:
        """What the checkpoint says about itself."""


def as_model(checkpoint: Any) -> ModelLike:
    """Load a checkpoint file or a run folder; a loaded model is handed through.

    Raises
    ------
    CheckpointError
        The file is missing, foreign or damaged.
    """
    if isinstance(checkpoint, str | Path):
        from napari_monusac.network.checkpoint import load_checkpoint

        model: ModelLike = load_checkpoint(checkpoint)
        return model
    if not hasattr(checkpoint, "network") or not hasattr(checkpoint, "recipe"):
        raise MonusacError(
            f"{type(checkpoint).__name__} is no checkpoint", "pass a file, a run folder or what load_checkpoint gives"
        )
    loaded: ModelLike = checkpoint
    return loaded


def checkpoint_name(checkpoint: Any, model: ModelLike) -> str:
    """Where the weights came from, for a prediction's record; empty where it is unknown."""
    if isinstance(checkpoint, str | Path):
        return str(checkpoint)
    metadata = model.metadata if hasattr(model, "metadata") else {}
    return str(getattr(model, "path", None) or (metadata or {}).get("path", ""))


def crops_seen_by_model(model: ModelLike) -> TrainingCrops | None:
    """The crops that a loaded model was trained on; None where it does not say."""
    found = getattr(getattr(model, "metadata", None), "trained_on", None)
    return found if isinstance(found, TrainingCrops) else None


def fitted_of(model: ModelLike) -> FittedThresholds | None:
    """The thresholds that were fitted for a loaded model; None where there are none."""
    found = getattr(getattr(model, "metadata", None), "fitted", None)
    return found if isinstance(found, FittedThresholds) else None
