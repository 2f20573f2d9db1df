"""The list of a folder's crops: patients, thumbnails, counts as chips, status; searched and filtered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QImage, QPainter, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QHeaderView,
    QLineEdit,
    QStyledItemDelegate,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.core.classes import CLASSES, PALETTES, NucleusClass
from napari_monusac.ui.widgets.basic import row

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop


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


#: The column of patients, seen while they are set.
_PATIENT = 3
_CROP = int(Qt.ItemDataRole.UserRole)
_SPOKEN = int(Qt.ItemDataRole.AccessibleTextRole)
_FILTERS = (
    "All crops",
    "With labels",
    "Without labels",
    "Not reviewed yet",
    *(f"With {c.label.lower()}s" for c in CLASSES),
)
#: Side of a thumbnail in the list, in logical pixels.
THUMBNAIL = 40


class CropList(QWidget):
    """Patients and their crops.

    Notes
    -----
    `chosen` is emitted with a crop that the user clicked, or moved to and pressed Enter.
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, QTreeWidgetItem] = {}
        self._counts: dict[str, dict[int, int]] = {}
        self._status: dict[str, str] = {}
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search patient or crop")
        self.search.setAccessibleName("Search patient or crop")
        self.search.setClearButtonEnabled(True)
        self.search.setToolTip("Show only crops whose patient or name holds these words")
        self.filter = QComboBox()
        self.filter.addItems(_FILTERS)
        self.filter.setToolTip("Which crops are listed")
        self.filter.setAccessibleName("Which crops are listed")
        self.tree = QTreeWidget()
        self._arrange_tree()
        self._setting_patients = False
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(row(self.search, self.filter, stretch_first=True))
        box.addWidget(self.tree, 1)
        self.search.textChanged.connect(self._filter)
        self.filter.currentIndexChanged.connect(self._filter)
        self.tree.itemActivated.connect(self._choose)
        self.tree.itemClicked.connect(self._choose)
        self.tree.itemDoubleClicked.connect(lambda item, _: self._edit_patient(item))
        self.tree.itemChanged.connect(self._patient_edited)

    def _arrange_tree(self) -> None:
        self.tree.setAccessibleName("Patients and crops")
        self.tree.setHeaderLabels(["Crop", "Nuclei", "", "Patient"])
        self.tree.headerItem().setToolTip(_PATIENT, "Whose crop it is: double-click to change it, for all chosen rows")
        self.tree.headerItem().setToolTip(1, ", ".join(c.label for c in CLASSES))
        self.tree.headerItem().setToolTip(2, STATUS_LEGEND)
        self.tree.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        self.tree.setUniformRowHeights(False)
        self.tree.setItemDelegateForColumn(1, ChipsDelegate(self.tree))
        self.tree.setItemDelegateForColumn(2, StatusDelegate(self.tree))
        header = self.tree.header()
        header.setStretchLastSection(False)
        for column, mode in enumerate(("Stretch", "Fixed", "Fixed", "Interactive")):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode[mode])
        header.resizeSection(1, 138)
        header.resizeSection(2, 22)
        header.resizeSection(_PATIENT, 160)
        self.tree.setEditTriggers(QTreeWidget.EditTrigger.NoEditTriggers)
        self.tree.setColumnHidden(_PATIENT, True)
        self.tree.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.tree.setMinimumHeight(260)

    # -- what is listed

    def clear(self) -> None:
        """List nothing."""
        self.tree.clear()
        self.items.clear()
        self._counts.clear()
        self._status.clear()

    def list(self, collection: Collection) -> int:
        """List the crops of a folder by patient; return how many patients there are."""
        self.clear()
        patients: dict[str, QTreeWidgetItem] = {}
        for crop in collection.crops:
            if crop.patient not in patients:
                parent = QTreeWidgetItem(self.tree, [crop.patient, ""])
                parent.setFirstColumnSpanned(True)
                parent.setExpanded(True)
                parent.setFlags(Qt.ItemFlag.ItemIsEnabled)
                patients[crop.patient] = parent
            self.items[crop.name] = _item(patients[crop.patient], crop)
        for parent in patients.values():
            parent.setText(0, f"{parent.text(0)}   ({parent.childCount()})")
        return len(patients)

    def show_crop(self, name: str, counts: dict[int, int] | None, picture: Any) -> None:
        """Show a crop's thumbnail (uint8, (y, x, 3)), and its nuclei by class number where it has labels."""
        item = self.items.get(name)
        if item is not None:
            self.show_counts(name, counts)
            item.setIcon(0, _icon(picture))

    def show_counts(self, name: str, counts: dict[int, int] | None) -> None:
        """Show how many nuclei of each class number a crop has now; None: it has no labels."""
        item = self.items.get(name)
        if item is None or counts is None:
            return
        self._counts[name] = counts
        spoken = ", ".join(f"{c.label}: {counts.get(int(c), 0)}" for c in CLASSES)
        item.setText(1, "" if counts else "no nuclei")
        item.setData(1, COUNTS_ROLE, counts)
        item.setToolTip(1, spoken)
        item.setData(1, _SPOKEN, spoken)
        if self.filter.currentIndex():
            self._filter()

    def show_status(self, status: Mapping[str, str]) -> None:
        """Show what is done with each crop: unlabelled, labelled, predicted or reviewed."""
        self._status = dict(status)
        for name, word in status.items():
            item = self.items.get(name)
            if item is not None:
                item.setData(2, STATUS_ROLE, word)
                item.setToolTip(2, word)
                item.setData(2, _SPOKEN, word)
        self._filter()

    def mark_open(self, name: str | None) -> None:
        """Show which crop is on the canvas."""
        for other, item in self.items.items():
            font = item.font(0)
            font.setBold(other == name)
            item.setFont(0, font)
            if font.bold():
                self.tree.setCurrentItem(item)
                self.tree.scrollToItem(item)

    # -- whose crop is whose

    def set_patients(self, on: bool) -> None:
        """Show the column in which patients are set in place of the counts, or put it away."""
        self._setting_patients = on
        self.tree.setColumnHidden(_PATIENT, not on)
        self.tree.setColumnHidden(1, on)
        if on:  # as wide as the patients need: the room is for the crops' own names
            names = [item.data(0, _CROP).patient for item in self.items.values()]
            longest = max((self.tree.fontMetrics().horizontalAdvance(name) for name in names), default=0)
            self.tree.header().resizeSection(_PATIENT, min(160, max(90, longest + 16)))
        mode = QTreeWidget.SelectionMode
        self.tree.setSelectionMode(mode.ExtendedSelection if on else mode.SingleSelection)
        self.tree.blockSignals(True)
        for item in self.items.values():
            item.setText(_PATIENT, item.data(0, _CROP).patient if on else "")
            flags = item.flags()
            item.setFlags(flags | Qt.ItemFlag.ItemIsEditable if on else flags & ~Qt.ItemFlag.ItemIsEditable)
        self.tree.blockSignals(False)

    def patients(self) -> dict[str, str]:
        """The patient of each crop as the column has it; an emptied cell keeps the former one."""
        return {n: i.text(_PATIENT).strip() or i.data(0, _CROP).patient for n, i in self.items.items()}

    def _edit_patient(self, item: QTreeWidgetItem) -> None:
        if self._setting_patients and item.data(0, _CROP) is not None:
            self.tree.editItem(item, _PATIENT)

    def _patient_edited(self, item: QTreeWidgetItem, column: int) -> None:
        """Give all chosen rows what was typed into one of them."""
        if column != _PATIENT or not self._setting_patients or not item.isSelected():
            return
        self.tree.blockSignals(True)
        for other in self.tree.selectedItems():
            if other.data(0, _CROP) is not None:
                other.setText(_PATIENT, item.text(_PATIENT))
        self.tree.blockSignals(False)

    # -- what the user does

    def _filter(self) -> None:
        words = self.search.text().casefold().split()
        for name, item in self.items.items():
            crop = item.data(0, _CROP)
            found = all(w in f"{crop.patient} {crop.name}".casefold() for w in words)
            item.setHidden(not (found and self._fits(name, crop)))
        for i in range(self.tree.topLevelItemCount()):
            parent = self.tree.topLevelItem(i)
            parent.setHidden(all(parent.child(k).isHidden() for k in range(parent.childCount())))

    def _fits(self, name: str, crop: Crop) -> bool:
        kind = self.filter.currentIndex()
        if kind in (1, 2):
            return bool((crop.annotation is not None or name in self._counts) == (kind == 1))
        if kind == 3:
            return self._status.get(name) != "reviewed"
        return kind == 0 or self._counts.get(name, {}).get(int(CLASSES[kind - 4]), 0) > 0

    def _choose(self, item: QTreeWidgetItem) -> None:
        crop = item.data(0, _CROP)
        if crop is not None and crop.image is not None and not self._setting_patients:
            self.chosen.emit(crop)


def _item(parent: QTreeWidgetItem, crop: Crop) -> QTreeWidgetItem:
    item = QTreeWidgetItem(parent, [_short(crop), ""])
    item.setData(0, _CROP, crop)
    item.setToolTip(0, f"{crop.name}\n{crop.image or 'no image'}\n{crop.annotation or 'no labels'}")
    if crop.image is None:
        item.setText(1, "no image")
        item.setDisabled(True)
    elif crop.annotation is None:
        item.setText(1, "no labels")
    return item


def _icon(picture: Any) -> QIcon:
    """A thumbnail on a square, so that names stand in one column."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = QPixmap(side, side)
    square.fill(Qt.GlobalColor.transparent)
    painter = QPainter(square)
    image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    painter.drawImage((side - width) // 2, (side - height) // 2, image)
    painter.end()
    icon = QIcon(square)
    # Qt would tint the picture of the selected row, and colour is what it is looked at for
    icon.addPixmap(square, QIcon.Mode.Selected)
    return icon


def _short(crop: Crop) -> str:
    """The part of a crop's name that its patient does not say already."""
    name = str(crop.name)
    return name.removeprefix(crop.patient).lstrip("_-") or name if name.startswith(crop.patient) else name
