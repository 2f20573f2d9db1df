"""Class counts as coloured chips, and what is done with a crop as a dot, in a list."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QStyledItemDelegate

from napari_monusac.core.classes import CLASSES, PALETTES, NucleusClass

COUNTS_ROLE = int(Qt.ItemDataRole.UserRole) + 1
STATUS_ROLE = int(Qt.ItemDataRole.UserRole) + 2
_STATUS_COLORS = {"labelled": "#56b4e9", "predicted": "#e69f00", "reviewed": "#009e73"}
#: What the dots mean, in words.
STATUS_LEGEND = "Blue: labelled, orange: predicted, green: reviewed, ring: nothing yet"
_ORDER = (*CLASSES, NucleusClass.UNCLASSIFIED)


class ChipsDelegate(QStyledItemDelegate):
    """Paints the counts of a crop (``{class number: nuclei}`` under `COUNTS_ROLE`) as one chip a class."""

    def paint(self, painter: QPainter, option: Any, index: Any) -> None:
        """Draw the chips, or the item's text where there are no counts."""
        counts = index.data(COUNTS_ROLE)
        if not counts:
            super().paint(painter, option, index)
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = painter.fontMetrics()
        height = metrics.height() + 2
        x = option.rect.left() + 2
        y = option.rect.center().y() - height // 2
        for member in _ORDER:
            number = counts.get(int(member), counts.get(str(int(member)), 0))
            if not number:
                continue
            text = str(number)
            width = metrics.horizontalAdvance(text) + 8
            r, g, b = PALETTES["imagescope"][member]
            painter.setBrush(QColor(r, g, b))
            painter.setPen(QColor(60, 60, 60))
            painter.drawRoundedRect(x, y, width, height, 4, 4)
            # dark letters on light chips: yellow and green; white on red and blue
            painter.setPen(QColor("black") if 0.3 * r + 0.6 * g + 0.1 * b > 110 else QColor("white"))
            painter.drawText(QRect(x, y, width, height), int(Qt.AlignmentFlag.AlignCenter), text)
            x += width + 3
        painter.restore()


class StatusDelegate(QStyledItemDelegate):
    """Paints the status of a crop (a word under `STATUS_ROLE`) as a dot; in the selected row too, where Qt would tint text."""

    def paint(self, painter: QPainter, option: Any, index: Any) -> None:
        """Draw a disc in the colour of the status, or a ring where nothing is done yet."""
        super().paint(painter, option, index)
        word = index.data(STATUS_ROLE)
        if not word:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = _STATUS_COLORS.get(word)
        painter.setPen(QColor(color or "#7f8c9b"))
        if color:
            painter.setBrush(QColor(color))
        painter.drawEllipse(option.rect.center(), 4, 4)
        painter.restore()
