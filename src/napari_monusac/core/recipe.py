"""A training recipe: every value that decides what a training run does. Frozen, TOML in and out.

The nine historical runs are TOML files in `napari_monusac.recipes`; they differ in values only.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_monusac.core.errors import RecipeError

Schedule = Literal["plateau", "cosine", "warmup-cosine", "constant"]
Precision = Literal["auto", "bfloat16", "float32"]
AugmentOn = Literal["auto", "cpu", "device"]
Attention = Literal["none", "scse"]
Stain = Literal["none", "normalise", "augment"]
Sampling = Literal["uniform", "class-balanced"]
#: What class-balanced sampling was called; it still is in fingerprints, so that they stay what they were.
_ONCE_BALANCED = "rare-classes"
Decoder = Literal["unet", "unetplusplus", "manet"]
SelectBy = Literal["combo", "combo-and-miou", "pq"]
BoundaryWidth = Literal[1, 3, 5, 7]
#: The widths of boundary that recipes and widgets offer, in px.
BOUNDARY_WIDTHS: tuple[int, ...] = get_args(BoundaryWidth)

#: What stands for a scale that is left to the training crops, in files and on the command line.
MEDIAN_SCALE = "median"
#: Most pixels of a step, and most patches of an epoch: far above what trains, far below what fills a machine's memory.
MAX_BATCH_PX = 1 << 28
MAX_EPOCH_PATCHES = 10_000_000
#: Scales that a network can be trained at: from a tenth of the sharpest scanner's to a thumbnail's.
MIN_UM_PER_PX, MAX_UM_PER_PX = 0.01, 100.0

_DESCRIPTIVE = {"name", "title", "note", "reported"}
#: Fields that came after checkpoints were in use: at this value they stay out of the fingerprint, so those still load.
_ADDED_LATER: dict[str, Any] = {
    "start_from": "",
    "deterministic": False,
    "augment_on": "auto",
    "within_regions": False,
    "semantic_class_weights": (),
    "encoder_lr_scale": 1.0,
    "decay_norms": True,
    "clip_norm": 0.0,
    "ema_decay": 0.0,
    "validate_every": 1,
    "select_by": "combo",
    "centred_share": 0.5,
    "class_shares": (),
    "decoder": "unet",
    "semantic_focal_gamma": 0.0,
    "augment_scale": 0.1,
    "augment_rotation": 15.0,
    "augment_colour": 0.15,
    "stain_strength": 0.15,
}
#: Names that say what a recipe is, beside its own: both load the same.
SPEAKING_NAMES = {
    "resnet34-semantic-heavy": "run-1",
    "resnet34-focal": "run-2",
    "resnet34-focal-dice": "run-3",
    "resnet34-wide-boundary": "run-4",
    "resnet34-plain-ce": "run-5",
    "resnet34-mild-focal": "run-6",
    "resnet34-augmented": "run-7",
    "resnet34-cosine": "run-8",
    "resnet34-warmup": "run-9",
}

_Weight = Annotated[float, Field(ge=0, le=1000)]


class Reported(BaseModel):
    """What the source document reports for a historical run. Shown beside our values as "source (other split)".

    Attributes
    ----------
    combo, boundary_dice, inside_dice, miou_macro, miou_micro : float or None
        Scores in 0 to 1; None where the source gives none.
    approximate : tuple of str
        Names of the fields that the source marks with "~".
    remark : str
        The source's own words on the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    combo: float | None = Field(None, ge=0, le=1)
    boundary_dice: float | None = Field(None, ge=0, le=1)
    inside_dice: float | None = Field(None, ge=0, le=1)
    miou_macro: float | None = Field(None, ge=0, le=1)
    miou_micro: float | None = Field(None, ge=0, le=1)
    approximate: tuple[str, ...] = ()
    remark: str = ""


class RecipeClash(ValueError):
    """Values of a recipe that do not go together.

    Parameters
    ----------
    fields : tuple of str
        Whose values they are.
    problem : str
        What is wrong, with the fields' names.
    """

    def __init__(self, fields: tuple[str, ...], problem: str) -> None:
        self.fields = fields
        super().__init__(problem)


class TrainingRecipe(BaseModel):
    """Every value that decides what a training run does; unknown keys are refused.

    The defaults are those of run 8, the source's model for deployment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("custom", description="Short name, for example run-8", json_schema_extra={"group": "About"})
    title: str = Field("", description="One sentence: what this recipe is for", json_schema_extra={"group": "About"})

    encoder: str = Field(
        "resnet34",
        description="Encoder: any name that segmentation-models-pytorch knows",
        json_schema_extra={"group": "Network"},
    )
    encoder_weights: str = Field(
        "imagenet",
        description='"imagenet" (from the hub or its cache), "none" (from scratch) or the path of a local file',
        json_schema_extra={"group": "Network"},
    )
    start_from: str = Field(
        "",
        description="Go on from the weights of this checkpoint or run folder (empty = from the encoder's weights)",
        json_schema_extra={"group": "Network"},
    )
    decoder: Decoder = Field(
        "unet", description="Decoder: U-Net, or one that fuses scales (U-Net++, MA-Net)", json_schema_extra={"group": "Network"}
    )  # fmt: skip
    decoder_channels: tuple[Annotated[int, Field(ge=1, le=2048)], ...] = Field(
        (256, 128, 64, 32, 16), min_length=3, max_length=5, description="Channels of the decoder's blocks, deepest first", json_schema_extra={"group": "Network"}
    )  # fmt: skip
    decoder_attention: Attention = Field(
        "none", description="Attention in the decoder: none or scSE", json_schema_extra={"group": "Network"}
    )
    dropout: float = Field(
        0.2, ge=0, lt=1, description="Spatial dropout on the decoder's output, once, before both heads (0 = none)", json_schema_extra={"group": "Network"}
    )  # fmt: skip

    semantic_weight: float = Field(
        0.3,
        ge=0,
        le=1000,
        description="Weight of the semantic loss (soft Dice) in the total",
        json_schema_extra={"group": "Loss"},
    )
    semantic_ce_weight: float = Field(
        0.0, ge=0, le=1000, description="Weight of cross-entropy added to the semantic soft Dice (ours; the source has none)", json_schema_extra={"group": "Loss"}
    )  # fmt: skip
    semantic_focal_gamma: float = Field(
        0.0, ge=0, le=100, description="Exponent of a focal cross-entropy on the semantic head (0 = plain; needs semantic_ce_weight)", json_schema_extra={"group": "Loss"}
    )  # fmt: skip
    semantic_class_weights: tuple[_Weight, ...] = Field(
        (), description="Weights of background, epithelial, lymphocyte, neutrophil, macrophage in the semantic loss (empty = all alike)", json_schema_extra={"group": "Loss"}
    )  # fmt: skip
    focal_gamma: float = Field(
        2.0, ge=0, le=100, description="Exponent of the focal cross-entropy (0 = plain cross-entropy)", json_schema_extra={"group": "Loss"}
    )  # fmt: skip
    ternary_dice_weight: float = Field(
        0.5, ge=0, le=1000, description="Weight of soft Dice beside the focal cross-entropy of the ternary head", json_schema_extra={"group": "Loss"}
    )  # fmt: skip
    boundary_width: BoundaryWidth = Field(
        3, description="Width of the boundary class", json_schema_extra={"group": "Loss", "unit": "px"}
    )

    lr: float = Field(
        1e-4, gt=0, lt=1, description="Peak learning rate of AdamW", json_schema_extra={"group": "Optimiser"}
    )
    weight_decay: float = Field(
        3e-4, ge=0, le=100, description="Weight decay of AdamW", json_schema_extra={"group": "Optimiser"}
    )
    encoder_lr_scale: float = Field(
        1.0, gt=0, le=100, description="Learning rate of the encoder, as a multiple of lr", json_schema_extra={"group": "Optimiser"}
    )  # fmt: skip
    decay_norms: bool = Field(
        True, description="Weight decay on norms and biases too (off = on the weights of convolutions alone)", json_schema_extra={"group": "Optimiser"}
    )  # fmt: skip
    clip_norm: float = Field(
        0.0, ge=0, le=1e6, description="Largest norm of a step's gradient; a longer one is shortened to it (0 = never)", json_schema_extra={"group": "Optimiser"}
    )  # fmt: skip
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="Decay of an average over the weights of all steps, which is validated and saved (0 = the weights themselves)", json_schema_extra={"group": "Optimiser"}
    )  # fmt: skip
    schedule: Schedule = Field(
        "cosine", description="Learning rate over the run", json_schema_extra={"group": "Optimiser"}
    )
    warmup_epochs: int = Field(
        0, ge=0, le=100_000, description="Epochs of linear warm-up from 1e-5, step by step; half of the run at most (schedule warmup-cosine)", json_schema_extra={"group": "Optimiser", "unit": "epochs"}
    )  # fmt: skip
    epochs: int = Field(
        120,
        ge=1,
        le=100_000,
        description="Length of the run",
        json_schema_extra={"group": "Optimiser", "unit": "epochs"},
    )
    steps_per_epoch: int | None = Field(
        None, ge=1, le=1_000_000, description="Optimiser steps an epoch; empty = area of the training crops / (batch x patch^2), rounded up", json_schema_extra={"group": "Optimiser", "unit": "steps"}
    )  # fmt: skip
    max_steps: int | None = Field(
        None, ge=1, le=1_000_000_000, description="End the run after this many steps; empty = after all epochs", json_schema_extra={"group": "Optimiser", "unit": "steps"}
    )  # fmt: skip
    early_stopping: int = Field(
        0, ge=0, le=100_000, description="End the run when the score that select_by names has not risen for this many epochs (0 = never)", json_schema_extra={"group": "Optimiser", "unit": "epochs"}
    )  # fmt: skip
    validate_every: int = Field(
        1, ge=1, le=100_000, description="Validate after every so many epochs, and after the last", json_schema_extra={"group": "Optimiser", "unit": "epochs"}
    )  # fmt: skip
    select_by: SelectBy = Field(
        "combo", description="Score that chooses the best checkpoint: combo, mean of combo and macro mIoU, or panoptic quality of all nuclei", json_schema_extra={"group": "Optimiser"}
    )  # fmt: skip

    patch_size: int = Field(
        256,
        ge=32,
        le=8192,
        multiple_of=32,
        description="Side of a training patch",
        json_schema_extra={"group": "Data", "unit": "px"},
    )
    batch_size: int = Field(
        8, ge=1, le=4096, description="Patches a step", json_schema_extra={"group": "Data", "unit": "patches"}
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=4096,
        description="Micro-batches a step is split into (less memory, same batch)",
        json_schema_extra={"group": "Data"},
    )
    sampling: Sampling = Field(
        "uniform", description="Where patches are cut: anywhere, or half of them centred on nuclei, rare classes as often as common ones", json_schema_extra={"group": "Data"}
    )  # fmt: skip
    centred_share: float = Field(
        0.5, ge=0, le=1, description="Share of the patches that are centred on nuclei (sampling class-balanced)", json_schema_extra={"group": "Data"}
    )  # fmt: skip
    class_shares: tuple[_Weight, ...] = Field(
        (), description="How often epithelial, lymphocyte, neutrophil, macrophage are centred on, in proportion (empty = all alike; sampling class-balanced)", json_schema_extra={"group": "Data"}
    )  # fmt: skip
    within_regions: bool = Field(
        False, description="Learn and validate inside the regions of interest alone (crops without any: everywhere)", json_schema_extra={"group": "Data"}
    )  # fmt: skip
    augment: bool = Field(
        True,
        description="Flips, 90-degree rotation, colour jitter, Gaussian blur, affine",
        json_schema_extra={"group": "Data"},
    )
    augment_scale: float = Field(
        0.1, ge=0, le=0.9, description="Largest change of size in augmentation, as a share", json_schema_extra={"group": "Data"}
    )  # fmt: skip
    augment_rotation: float = Field(
        15.0, ge=0, le=180, description="Largest turn in augmentation, beside the quarter turns", json_schema_extra={"group": "Data", "unit": "degrees"}
    )  # fmt: skip
    augment_colour: float = Field(
        0.15, ge=0, le=1, description="Largest change of brightness, contrast and saturation in augmentation; of hue a fifth of it", json_schema_extra={"group": "Data"}
    )  # fmt: skip
    stain_strength: float = Field(
        0.15, ge=0, le=1, description="Largest change of haematoxylin and eosin, as a share (stain augment)", json_schema_extra={"group": "Data"}
    )  # fmt: skip
    stain: Stain = Field(
        "none", description="Stain: left alone, normalised (Macenko), or augmented in haematoxylin and eosin", json_schema_extra={"group": "Data"}
    )  # fmt: skip
    imagenet_norm: bool = Field(
        True,
        description="Normalise with ImageNet's mean and deviation (else pixels / 255)",
        json_schema_extra={"group": "Data"},
    )
    um_per_px: float | None = Field(
        0.25, gt=0, description='Scale that crops are brought to for training, and images for prediction; empty or "median" = the median of the training crops, by area', json_schema_extra={"group": "Data", "unit": "um/px"}
    )  # fmt: skip

    precision: Precision = Field(
        "auto",
        description="auto = bfloat16 on a GPU that has it; on the processor the faster of both, timed",
        json_schema_extra={"group": "Machine"},
    )
    augment_on: AugmentOn = Field(
        "auto",
        description="Where patches are cut and augmented; auto = on the device where that is a GPU, else the processor",
        json_schema_extra={"group": "Machine"},
    )
    deterministic: bool = Field(
        False,
        description="On a GPU: algorithms that give the same bits each time, also after a resume (slower)",
        json_schema_extra={"group": "Machine"},
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**63 - 1,
        description="Seed of weights, sampling and augmentation",
        json_schema_extra={"group": "Machine"},
    )

    note: str = Field(
        "", description="What the source leaves open, and what was chosen", json_schema_extra={"group": "About"}
    )
    reported: Reported = Field(
        default_factory=Reported, description="What the source reports", json_schema_extra={"group": "About"}
    )

    @field_validator("decoder_channels", mode="before")
    @classmethod
    def _channels_from_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("sampling", mode="before")
    @classmethod
    def _sampling_from_old_word(cls, value: object) -> object:
        return "class-balanced" if value == _ONCE_BALANCED else value

    @field_validator("um_per_px", mode="before")
    @classmethod
    def _scale_from_word(cls, value: object) -> object:
        return None if value == MEDIAN_SCALE else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.schedule == "warmup-cosine" and not self.warmup_epochs:
            raise RecipeClash(
                ("schedule", "warmup_epochs"),
                "schedule = 'warmup-cosine' needs warmup_epochs = 1 or more, or take schedule = 'cosine'",
            )
        self._check_weights()
        if self.batch_size % self.accumulate:
            raise RecipeClash(
                ("accumulate", "batch_size"),
                f"accumulate = {self.accumulate} must divide batch_size = {self.batch_size}",
            )
        if self.patch_size % 2 ** len(self.decoder_channels):
            raise RecipeClash(
                ("patch_size", "decoder_channels"),
                f"patch_size = {self.patch_size} must be a multiple of {2 ** len(self.decoder_channels)}",
            )
        self._check_sizes()
        if self.decoder_attention == "scse" and min(self.decoder_channels) < 16:
            raise RecipeClash(
                ("decoder_attention", "decoder_channels"),
                f"scSE attention needs 16 decoder channels or more in every block, not {min(self.decoder_channels)}",
            )
        if self.decoder == "manet" and self.decoder_attention != "none":
            raise RecipeClash(
                ("decoder", "decoder_attention"),
                "decoder = 'manet' brings its own attention: set decoder_attention = 'none'",
            )
        if self.patch_size == 2 ** len(self.decoder_channels) and self.batch_size < 2 * self.accumulate:
            raise RecipeClash(
                ("patch_size", "batch_size"),
                f"patch_size = {self.patch_size} with one patch a micro-batch leaves batch norm one pixel: use more of either",
            )
        return self

    def _check_weights(self) -> None:
        """Refuse weights that belong to no class, and shares that nothing would heed."""
        for name, count in (("semantic_class_weights", 5), ("class_shares", 4)):
            values = getattr(self, name)
            if values and (len(values) != count or not sum(values)):
                raise RecipeClash(
                    (name,), f"{name} = {list(values)} must be {count} numbers, one of them above 0, or none"
                )
        if self.semantic_focal_gamma and not self.semantic_ce_weight:
            raise RecipeClash(
                ("semantic_focal_gamma", "semantic_ce_weight"), "semantic_focal_gamma needs semantic_ce_weight above 0"
            )
        for name in ("centred_share", "class_shares"):
            if self.sampling == "uniform" and getattr(self, name) != _ADDED_LATER[name]:
                raise RecipeClash((name, "sampling"), f"{name} needs sampling = 'class-balanced'")

    def _check_sizes(self) -> None:
        """Refuse what no machine can hold, before anything tries to."""
        if self.batch_size * self.patch_size**2 > MAX_BATCH_PX:
            raise RecipeClash(
                ("batch_size", "patch_size"),
                f"batch_size = {self.batch_size} patches of {self.patch_size} px are more than {MAX_BATCH_PX} pixels a step",
            )
        if self.batch_size * (self.steps_per_epoch or 1) > MAX_EPOCH_PATCHES:
            raise RecipeClash(
                ("steps_per_epoch", "batch_size"),
                f"steps_per_epoch = {self.steps_per_epoch} of {self.batch_size} patches are more than "
                f"{MAX_EPOCH_PATCHES} patches an epoch: use more epochs",
            )
        scale = self.um_per_px
        if scale and not MIN_UM_PER_PX <= scale <= MAX_UM_PER_PX:
            raise RecipeClash(
                ("um_per_px",), f"um_per_px = {scale:g} must lie between {MIN_UM_PER_PX:g} and {MAX_UM_PER_PX:g}"
            )

    def fingerprint(self) -> str:
        """SHA-256 (first 16 hex digits) over every value that changes what training does; names and notes do not count."""
        values = self.model_dump(mode="json", exclude=_DESCRIPTIVE)
        values = {k: v for k, v in values.items() if k not in _ADDED_LATER or getattr(self, k) != _ADDED_LATER[k]}
        if self.sampling == "class-balanced":
            values["sampling"] = _ONCE_BALANCED
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def with_values(self, **values: Any) -> TrainingRecipe:
        """Return a copy with some values replaced, checked as if read from a file.

        Raises
        ------
        RecipeError
            A key is unknown or a value is out of its range.
        """
        return _validated({**self.model_dump(), **values}, f"recipe {self.name}")

    def with_settings(self, settings: list[str] | tuple[str, ...]) -> TrainingRecipe:
        """Return a copy with ``key=value`` texts applied, as the command line's ``--set`` takes them.

        Raises
        ------
        RecipeError
            A text has no ``=``, its key is unknown, or its value is out of range.
        """
        values: dict[str, Any] = {}
        for text in settings:
            key, sep, value = text.partition("=")
            if not sep:
                raise RecipeError(f"--set {text!r} has no '='", "write --set key=value, for example --set epochs=5")
            values[key.strip()] = _parsed(value.strip())
        return self.with_values(**values)

    def changes(self, other: TrainingRecipe) -> dict[str, tuple[Any, Any]]:
        """Fields whose values differ: ``{field: (mine, the other's)}``, names and notes left out."""
        return {
            f: (getattr(self, f), getattr(other, f))
            for f in type(self).model_fields
            if f not in _DESCRIPTIVE and getattr(self, f) != getattr(other, f)
        }

    def to_toml(self) -> str:
        """The recipe as TOML; fields without a value are left out, a scale without one is ``"median"``."""
        values = self.model_dump(mode="json", exclude_none=True)
        return tomli_w.dumps(values if self.um_per_px is not None else {**values, "um_per_px": MEDIAN_SCALE})


def _parsed(text: str) -> Any:
    """Read the right-hand side of ``--set``: a TOML value, or else the text itself; nothing or "none" for an optional number."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _validated(values: dict[str, Any], where: str) -> TrainingRecipe:
    for key in ("steps_per_epoch", "max_steps", "um_per_px"):
        if values.get(key) in ("", "none"):
            values[key] = None
    try:
        return TrainingRecipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"]) or "values"
        if first["type"] == "extra_forbidden":
            known = ", ".join(TrainingRecipe.model_fields)
            raise RecipeError(f"{where}: unknown key {key!r}", f"known keys: {known}") from None
        given = f" = {first['input']!r}"
        said = first["msg"].removeprefix("Value error, ")  # pydantic's word for what our own checks say
        if key == "values":
            raise RecipeError(f"{where}: {said}", "correct these values") from None
        raise RecipeError(f"{where}: {key}{given}: {said}", "correct this value") from None


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that ship with the package, the nine runs first."""
    folder = resources.files("napari_monusac") / "recipes"
    names = [p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")]
    return tuple(sorted(names, key=lambda n: (not n.startswith("run-"), n)))


def speaking_names(name: str) -> tuple[str, ...]:
    """Other names of a recipe, which say what it is: ``speaking_names("run-8") == ("resnet34-cosine",)``."""
    return tuple(speaking for speaking, own in SPEAKING_NAMES.items() if own == name)


def load_recipe(name_or_path: str | Path) -> TrainingRecipe:
    """Load a recipe by name (``"run-8"``, ``"resnet34-cosine"``) or from a TOML file.

    Parameters
    ----------
    name_or_path : str or Path
        One of `recipe_names` or of their speaking names, or the path of a ``.toml`` file.

    Raises
    ------
    RecipeError
        The name is unknown, the file cannot be read, a key is unknown or a value is out of range.
    """
    text = SPEAKING_NAMES.get(str(name_or_path), str(name_or_path))
    try:
        if text in recipe_names():
            content = (resources.files("napari_monusac") / "recipes" / f"{text}.toml").read_text("utf-8")
        elif text.endswith(".toml"):
            content = Path(text).read_text("utf-8")
        else:
            raise RecipeError(
                f"unknown recipe {text!r}",
                f"use one of {', '.join((*recipe_names(), *SPEAKING_NAMES))}, or a .toml file",
            )
        values = tomllib.loads(content)
    except OSError as error:
        raise RecipeError(f"{text}: cannot be read ({error.strerror})", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{text}: is not TOML ({error})", "correct the file") from error
    if "name" not in values:
        values["name"] = Path(text).stem
    return _validated(values, text)
