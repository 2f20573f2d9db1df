"""The recipe editor: pydantic fields to magicgui widgets, grouped, with units and help; changed values stand out."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit, SpinBox
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_monusac.core.errors import RecipeError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.ui.widgets.basic import Note, Section
from napari_monusac.ui.widgets.note import in_micrometres

_HIDDEN = {"name", "title", "note", "reported"}
#: Names of fields that would be cut up wrongly.
_TITLES = {"um_per_px": "resolution", "lr": "learning rate (lr)"}
_GROUPS = ("Network", "Loss", "Optimiser", "Data", "Machine")

#: The largest number of a Qt spin box.
_LARGEST_QT = 2**31 - 1


class RecipeEditor(QWidget):
    """Every value of a recipe, to change.

    Signals
    -------
    changed : the values are another recipe now, or are wrong (then `recipe` is None and the fault is shown).
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._base: TrainingRecipe | None = None
        self._filling = False
        self.recipe: TrainingRecipe | None = None
        self.fault = Note(kind="error")
        self._widgets: dict[str, Any] = {}
        self._labels: dict[str, QLabel] = {}
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.fault)
        for group in _GROUPS:
            holder = QWidget()
            form = QFormLayout(holder)
            form.setContentsMargins(8, 0, 0, 4)
            form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
            form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
            for name, field in TrainingRecipe.model_fields.items():
                extra = field.json_schema_extra
                if name not in _HIDDEN and isinstance(extra, dict) and extra.get("group") == group:
                    self._add(form, name, field, str(extra.get("unit", "")))
            box.addWidget(Section(group, holder, opened=group in ("Loss", "Optimiser")))

    def _add(self, form: QFormLayout, name: str, field: FieldInfo, unit: str) -> None:
        widget = _widget_for(field)
        words = _explained(name)
        widget.native.setToolTip(words)
        widget.native.setMinimumWidth(60)
        unit = "" if unit in name else in_micrometres(unit)
        label = QLabel(_TITLES.get(name, name.replace("_", " ")) + (f" ({unit})" if unit else ""))
        label.setToolTip(words)
        form.addRow(label, widget.native)
        self._widgets[name], self._labels[name] = widget, label
        widget.changed.connect(lambda _: self._edited())

    def show_recipe(self, recipe: TrainingRecipe) -> None:
        """Start from this recipe."""
        self._base = recipe
        self._filling = True
        for name, widget in self._widgets.items():
            value = getattr(recipe, name)
            if isinstance(widget, LineEdit):
                value = (
                    ""
                    if value is None
                    else ", ".join(map(str, value))
                    if isinstance(value, tuple)
                    else f"{value:g}"
                    if isinstance(value, float)
                    else str(value)
                )
            widget.value = value
        self._filling = False
        self._edited()

    def set_values(self, **values: Any) -> None:
        """Change some values as if they had been typed."""
        for name, value in values.items():
            self._widgets[name].value = str(value) if isinstance(self._widgets[name], LineEdit) else value

    def _edited(self) -> None:
        if self._filling or self._base is None:
            return
        values: dict[str, Any] = {}
        for name, widget in self._widgets.items():
            value = widget.value
            if isinstance(widget, LineEdit):
                value = _read(value, TrainingRecipe.model_fields[name])
            values[name] = value
        try:
            self.recipe = self._base.with_values(**values)
            self.fault.say("")
        except RecipeError as error:
            self.recipe = None
            self.fault.say(str(error), "error")
        changed = self.recipe.changes(self._base) if self.recipe is not None else {}
        for name, label in self._labels.items():
            label.setText(label.text().removeprefix("\u25cf "))
            if name in changed:
                label.setText(f"\u25cf {label.text()}")
                label.setToolTip(f"{_explained(name)}\nThe recipe's own value: {changed[name][1]}")
            else:
                label.setToolTip(_explained(name))
        self.changed.emit()


def _explained(name: str) -> str:
    """What a field is, with its unit."""
    field = TrainingRecipe.model_fields[name]
    unit = str(field.json_schema_extra.get("unit", "")) if isinstance(field.json_schema_extra, dict) else ""
    return in_micrometres((field.description or "") + (f", in {unit}" if unit else ""))


def _widget_for(field: FieldInfo) -> Any:
    """Choose the magicgui widget for a field of the recipe."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ComboBox(choices=list(get_args(kind)))
    if kind is bool:
        return CheckBox()
    if kind is int:
        low, high, step = _bounds(field)
        return SpinBox(min=int(low), max=min(int(high), _LARGEST_QT), step=int(step))
    if (
        kind is float
        and field.default is not None
        and 0 <= float(field.default) <= 10
        and field.default not in (1e-4, 3e-4)
    ):
        low, high, _ = _bounds(field)
        return FloatSpinBox(min=low, max=min(high, 1000.0), step=0.05)
    # learning rates want their own notation (1e-4), optional numbers an empty field
    return LineEdit()


def _bounds(field: FieldInfo) -> tuple[float, float, float]:
    low, high, step = 0.0, 1e6, 1.0
    for rule in field.metadata:
        low = float(getattr(rule, "ge", low))
        high = float(getattr(rule, "le", getattr(rule, "lt", high)))
        step = float(getattr(rule, "multiple_of", step))
    return low, high, step


def _read(text: str, field: FieldInfo) -> Any:
    """Read a text field as its annotation means it; what cannot be read goes to pydantic, which says why."""
    kind, text = field.annotation, text.strip()
    optional = get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
    if optional and text == "":
        return None
    if get_origin(kind) is tuple:
        return tuple(
            int(p) if p.strip().isdigit() else p.strip()
            for p in text.replace("(", "").replace(")", "").split(",")
            if p.strip()
        )
    return text
