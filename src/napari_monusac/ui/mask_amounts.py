"""A ternary map in numbers and colours: background, inside, boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_monusac.core.classes import TERNARY_COLORS, TERNARY_NAMES, TernaryClass
from napari_monusac.ui.widgets import ClassSwatch, row


def amounts_of(ternary: Any) -> dict[TernaryClass, int]:
    """Count the pixels of each class of a ternary map (uint8, (y, x))."""
    return {member: int(np.count_nonzero(ternary == int(member))) for member in TernaryClass}


class MaskAmounts(QWidget):
    """A line a class: colour, name, pixels and their share."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = {c: QLabel("–") for c in TernaryClass}
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        for c in TernaryClass:
            swatch = ClassSwatch(TERNARY_COLORS.get(c, (60, 60, 60)))
            box.addWidget(row(swatch, QLabel(TERNARY_NAMES[c]), self.labels[c]))

    def show_amounts(self, amounts: dict[TernaryClass, int] | None) -> None:
        """Show counts, or dashes where there are none."""
        total = max(1, sum(amounts.values())) if amounts else 1
        for member, label in self.labels.items():
            number = amounts[member] if amounts else 0
            words = f"{number:,} px   {100 * number / total:.1f} %".replace(",", "\u202f")
            label.setText(words if amounts else "–")


def ternary_colormap() -> DirectLabelColormap:
    """Colours of the ternary map: inside calm, boundary bright."""
    colors: dict[int | None, Any] = {int(k): (*(v / 255 for v in rgb), 1.0) for k, rgb in TERNARY_COLORS.items()}
    return DirectLabelColormap(color_dict={0: "transparent", None: "transparent", **colors})
