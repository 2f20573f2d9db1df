"""The recipe editor: pydantic fields to widgets, grouped, with units and help; changed and wrong values stand out."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit, SpinBox
from pydantic.fields import FieldInfo
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_monusac.app.recipe_draft import ENCODERS, RecipeDraft, field_title
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import Section
from napari_monusac.ui.widgets.note import Note, in_micrometres
from napari_monusac.ui.widgets.path_picker import complete_below

_HIDDEN = {"name", "title", "note", "reported"}
_GROUPS = ("Network", "Loss", "Optimiser", "Data", "Machine")
#: The largest number of a Qt spin box.
_LARGEST_QT = 2**31 - 1


class EncoderField(QComboBox):
    """A list of encoders in which another name can be typed; it has what a line of text has."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.addItems(ENCODERS)
        complete_below(self)
        self.native, self.changed = self, self.currentTextChanged

    @property
    def value(self) -> str:
        """The name."""
        return str(self.currentText())

    @value.setter
    def value(self, name: str) -> None:
        self.setCurrentText(name)


class RecipeEditor(QWidget):
    """A view of every value of a recipe, to change.

    Parameters
    ----------
    draft : RecipeDraft
    """

    def __init__(self, draft: RecipeDraft) -> None:
        super().__init__()
        self.draft = draft
        self._showing = False
        self._widgets: dict[str, Any] = {}
        self._labels: dict[str, QLabel] = {}
        self._faults: dict[str, Note] = {}
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        self.sections: dict[str, Section] = {}
        for group in _GROUPS:
            holder = QWidget()
            form = QFormLayout(holder)
            form.setContentsMargins(8, 0, 0, 4)
            form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
            form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
            section = Section(group, holder, opened=group in ("Loss", "Optimiser"))
            for name, field in TrainingRecipe.model_fields.items():
                extra = field.json_schema_extra
                if name not in _HIDDEN and isinstance(extra, dict) and extra.get("group") == group:
                    self._add(form, name, field, str(extra.get("unit", "")))
                    self.sections[name] = section
            box.addWidget(section)
        hear(self, draft.base_changed, lambda _: self._show_values())
        hear(self, draft.changed, self._mark)
        self._show_values()
        self._mark()

    def _add(self, form: QFormLayout, name: str, field: FieldInfo, unit: str) -> None:
        widget = EncoderField() if name == "encoder" else _widget_for(field)
        words = _explained(name)
        widget.native.setToolTip(words)
        widget.native.setMinimumWidth(60)
        unit = "" if unit in name else in_micrometres(unit)
        label = QLabel(field_title(name) + (f" ({unit})" if unit else ""))
        label.setToolTip(words)
        fault = Note(kind="error")
        form.addRow(label, widget.native)
        form.addRow(fault)
        self._widgets[name], self._labels[name], self._faults[name] = widget, label, fault
        widget.changed.connect(lambda _: self._edited(name))

    def _show_values(self) -> None:
        self._showing = True
        for name, widget in self._widgets.items():
            textual = isinstance(widget, LineEdit | EncoderField)
            widget.value = self.draft.text(name) if textual else self.draft.value(name)
        self._showing = False

    def set_values(self, **values: Any) -> None:
        """Change some values as if they had been typed."""
        for name, value in values.items():
            widget = self._widgets[name]
            widget.value = str(value) if isinstance(widget, LineEdit | EncoderField) else value

    def _edited(self, name: str) -> None:
        if not self._showing:
            self.draft.set(**{name: self._widgets[name].value})

    def _mark(self) -> None:
        """Mark what is changed and what is wrong, each at its field; fields that follow others follow here."""
        changed = self.draft.changes()
        for name, label in self._labels.items():
            self._follow(name)
            wrong = self.draft.faults.get(name, "")
            mark = "\u25b2 " if wrong else "\u25cf " if name in changed else ""
            label.setText(mark + label.text().removeprefix("\u25cf ").removeprefix("\u25b2 "))
            own = f"\nThe recipe's own value: {changed[name][1]}" if name in changed else ""
            label.setToolTip(f"{_explained(name)}{own}")
            if wrong != self._faults[name].text():
                self._faults[name].say(wrong, "error")
                if wrong:
                    self.sections[name].toggle.setChecked(True)

    def _follow(self, name: str) -> None:
        """Show a value that was changed elsewhere (the short form, a start from a checkpoint)."""
        widget = self._widgets[name]
        textual = isinstance(widget, LineEdit | EncoderField)
        value = self.draft.text(name) if textual else self.draft.value(name)
        if (textual or name not in self.draft.faults) and not widget.native.hasFocus() and widget.value != value:
            self._showing = True
            widget.value = value
            self._showing = False


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
