"""Names for screen readers: a box without text of its own is called what the label before it says."""

from __future__ import annotations

from itertools import pairwise

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QWidget,
)

from napari_monusac.ui.widgets.basic import Section

_KINDS = (QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)


def name_widgets(panel: QWidget) -> None:
    """Give every unnamed control in `panel` an accessible name: its label's text, its placeholder, or its tooltip."""
    for label, field in _labelled(panel):
        field.setAccessibleName(label.text().strip(" :"))
    for kind in _KINDS:
        for widget in panel.findChildren(kind):
            if widget.focusPolicy() != Qt.FocusPolicy.NoFocus and not spoken_name(widget):
                words = widget.placeholderText() if isinstance(widget, QLineEdit) else ""
                widget.setAccessibleName(words or widget.toolTip().partition("\n")[0] or _part(widget))


def spoken_name(widget: QWidget) -> str:
    """What a screen reader says of a control."""
    text = widget.text() if isinstance(widget, QAbstractButton) else ""
    return str(widget.accessibleName() or text)


def _part(widget: QWidget) -> str:
    """The title of the part of the panel that holds the widget."""
    above = widget.parentWidget()
    while above is not None and not isinstance(above, Section):
        above = above.parentWidget()
    return above.toggle.text() if above is not None else ""


def _labelled(panel: QWidget) -> list[tuple[QLabel, QWidget]]:
    """Pairs of a label and the field that it stands before, in forms and in rows."""
    pairs: list[tuple[QLabel, QWidget]] = []
    for layout in panel.findChildren(QLayout):
        if isinstance(layout, QFormLayout):
            for i in range(layout.rowCount()):
                label, field = (
                    layout.itemAt(i, role) for role in (QFormLayout.ItemRole.LabelRole, QFormLayout.ItemRole.FieldRole)
                )
                if label is not None and field is not None:
                    _pair(label.widget(), field.widget(), pairs)
        else:
            items = [layout.itemAt(i).widget() for i in range(layout.count())]
            for before, after in pairwise(items):
                _pair(before, after, pairs)
    return pairs


def _pair(label: QWidget | None, field: QWidget | None, pairs: list[tuple[QLabel, QWidget]]) -> None:
    if not isinstance(label, QLabel) or label.wordWrap() or not label.text() or field is None:
        return
    if isinstance(field, _KINDS):
        pairs.append((label, field))
    else:
        # a box with its button in a row of their own: the box is what the label means
        inner = next((w for w in field.findChildren(QWidget) if isinstance(w, (QComboBox, QLineEdit))), None)
        if inner is not None:
            pairs.append((label, inner))
