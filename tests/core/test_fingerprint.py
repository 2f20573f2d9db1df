"""A recipe's fingerprint outlives new fields: what a checkpoint said once, it says for ever."""

from __future__ import annotations

import hashlib
import json

import pytest

from napari_monusac.core import recipe as module
from napari_monusac.core.recipe import TrainingRecipe, load_recipe

#: What the release before `start_from` gave for all default values (which are those of run 8).
BEFORE = "2159c77dda889f02"
#: Fields of that release, without those that only describe.
FIELDS = {
    "accumulate", "augment", "batch_size", "boundary_width", "decoder_attention", "decoder_channels", "dropout",
    "early_stopping", "encoder", "encoder_weights", "epochs", "focal_gamma", "imagenet_norm", "lr", "max_steps",
    "patch_size", "precision", "sampling", "schedule", "seed", "semantic_ce_weight", "semantic_weight", "stain",
    "steps_per_epoch", "ternary_dice_weight", "um_per_px", "warmup_epochs", "weight_decay",
}  # fmt: skip


def test_an_old_recipe_keeps_its_fingerprint() -> None:
    assert load_recipe("run-8").fingerprint() == BEFORE
    old = {k: v for k, v in load_recipe("run-8").model_dump(mode="json").items() if k in FIELDS}
    by_hand = hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()[:16]
    assert by_hand == BEFORE
    assert TrainingRecipe.model_validate({**old, "name": "from a checkpoint"}).fingerprint() == BEFORE


def test_class_balanced_sampling_keeps_its_first_word_in_fingerprints() -> None:
    old = {k: v for k, v in load_recipe("ours").model_dump(mode="json").items() if k in FIELDS}
    assert old["sampling"] == "class-balanced"
    by_hand = json.dumps({**old, "sampling": "rare-classes"}, sort_keys=True).encode()
    assert load_recipe("ours").fingerprint() == hashlib.sha256(by_hand).hexdigest()[:16]


def test_a_field_added_later_counts_once_it_is_used() -> None:
    recipe = load_recipe("run-8")
    assert recipe.with_values(start_from="").fingerprint() == BEFORE
    assert recipe.with_values(start_from="runs/first/best.safetensors").fingerprint() != BEFORE
    assert recipe.with_values(deterministic=False).fingerprint() == BEFORE
    assert recipe.with_values(deterministic=True).fingerprint() != BEFORE


@pytest.mark.parametrize("name", sorted(FIELDS & {"lr", "seed", "epochs", "dropout", "augment", "boundary_width"}))
def test_every_value_of_training_counts(name: str) -> None:
    recipe = load_recipe("run-8")
    other = {"lr": 2e-4, "seed": 7, "epochs": 3, "dropout": 0.1, "augment": False, "boundary_width": 5}[name]
    assert recipe.with_values(**{name: other}).fingerprint() != BEFORE


def test_names_and_notes_do_not() -> None:
    assert load_recipe("run-8").with_values(name="mine", title="t", note="n").fingerprint() == BEFORE


def test_every_new_field_is_known_as_new() -> None:
    """Whoever adds a field to the recipe without its entry would make all older checkpoints foreign."""
    described = {"name", "title", "note", "reported"}
    assert set(TrainingRecipe.model_fields) - FIELDS - described == set(module._ADDED_LATER)
    for name, value in module._ADDED_LATER.items():
        assert TrainingRecipe.model_fields[name].default == value
