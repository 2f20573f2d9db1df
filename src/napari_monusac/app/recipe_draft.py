"""A recipe that is being edited: values as they were typed, the recipe that they make, and what is wrong where."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from psygnal import Signal
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from napari_monusac.core.recipe import RecipeClash, TrainingRecipe

#: Encoders that are offered; any other name that segmentation-models-pytorch knows can be typed.
ENCODERS = (
    "resnet18", "resnet34", "resnet50", "se_resnet50", "se_resnext50_32x4d", "efficientnet-b0", "efficientnet-b3",
    "timm-efficientnet-b0", "tu-efficientnet_b0", "tu-tf_efficientnet_lite0", "tu-convnext_tiny", "densenet121",
    "mobilenet_v2", "mit_b0", "mit_b2",
)  # fmt: skip
#: Names of fields that would be cut up wrongly.
_TITLES = {"um_per_px": "resolution", "lr": "learning rate (lr)"}


def field_title(name: str) -> str:
    """Return a field of the recipe as people write it."""
    return _TITLES.get(name, name.replace("_", " "))


class RecipeDraft:
    """What is chosen and changed of a recipe.

    Attributes
    ----------
    base : TrainingRecipe
        What was chosen, before anything was changed.
    recipe : TrainingRecipe or None
        What the values make; None while one of them is wrong.
    faults : mapping of str to str
        Fields that are wrong, and why, in words for the reader.
    """

    base_changed = Signal(object)
    changed = Signal()

    def __init__(self, base: TrainingRecipe) -> None:
        self.base = base
        self.recipe: TrainingRecipe | None = base
        self.faults: Mapping[str, str] = {}
        self._values: dict[str, Any] = {}

    def take(self, base: TrainingRecipe) -> None:
        """Begin with another recipe."""
        self.base, self.recipe, self.faults, self._values = base, base, {}, {}
        self.base_changed.emit(base)
        self.changed.emit()

    def set(self, **values: Any) -> None:
        """Change values; texts are read as the field means them. What is wrong is in `faults` then."""
        self._values |= {name: _read(value, TrainingRecipe.model_fields[name]) for name, value in values.items()}
        try:
            self.recipe = TrainingRecipe.model_validate({**self.base.model_dump(), **self._values})
            self.faults = {}
        except ValidationError as error:
            self.recipe = None
            self.faults = _faults(error)
        self.changed.emit()

    def text(self, name: str) -> str:
        """A value as a field shows it."""
        value = self._values.get(name, getattr(self.base, name))
        if value is None:
            return ""
        if isinstance(value, tuple):
            return ", ".join(map(str, value))
        return f"{value:g}" if isinstance(value, float) else str(value)

    def value(self, name: str) -> Any:
        """A value as it is now."""
        return self._values.get(name, getattr(self.base, name))

    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Fields that differ from what was chosen: ``{field: (mine, the recipe's own)}``; none while one is wrong."""
        return self.recipe.changes(self.base) if self.recipe is not None else {}

    def changes_in_words(self) -> str:
        """The same as a sentence, empty where nothing is changed."""
        words = "; ".join(f"{k.replace('_', ' ')} {mine} (was {own})" for k, (mine, own) in self.changes().items())
        return f"Changed: {words}." if words else ""

    def faults_in_words(self) -> str:
        """What is wrong, as a sentence; empty where nothing is."""
        first = {why: name for name, why in reversed(list(self.faults.items()))}  # values that clash share a sentence
        return "; ".join(f"{field_title(name)}: {why}" if name else why for why, name in reversed(list(first.items())))


def _read(value: Any, field: FieldInfo) -> Any:
    """Read what was typed as the field's type means it; what cannot be read stays as it is, and is told of."""
    if not isinstance(value, str):
        return value
    kind, text = field.annotation, value.strip()
    optional = get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
    if optional and text in ("", "none", "median"):
        return None
    if get_origin(kind) is tuple:
        parts = (p.strip() for p in text.replace("(", "").replace(")", "").split(","))
        return tuple(int(p) if p.isdigit() else p for p in parts if p)
    return text


def _faults(error: ValidationError) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in error.errors():
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, RecipeClash):
            words = str(cause)
            for name in cause.fields:
                words = words.replace(name, field_title(name))
            found |= dict.fromkeys(cause.fields, words)
        elif one["loc"]:
            found.setdefault(str(one["loc"][0]), _plain(one["type"], one.get("ctx", {}), one["input"]))
        else:
            found[""] = str(cause or one["msg"])
    return found


def _plain(kind: str, about: Mapping[str, Any], given: Any) -> str:
    """Say in plain words what pydantic says with a code."""
    bounds = {
        "greater_than": ("gt", "must be more than {:g}"), "greater_than_equal": ("ge", "must be {:g} or more"),
        "less_than": ("lt", "must be less than {:g}"), "less_than_equal": ("le", "must be {:g} or less"),
        "multiple_of": ("multiple_of", "must be a multiple of {:g}"),
        "too_short": ("min_length", "needs {:g} numbers or more"), "too_long": ("max_length", "takes {:g} numbers at most"),
    }  # fmt: skip
    if kind in bounds:
        name, words = bounds[kind]
        return words.format(about[name])
    if kind.startswith("int"):
        return f"must be a whole number, not {given!r}"
    if kind.startswith(("float", "finite")):
        return f"must be a number (such as 0.0001 or 1e-4), not {given!r}"
    if kind == "literal_error":
        return f"must be {about['expected']}"
    return f"cannot be {given!r}"
