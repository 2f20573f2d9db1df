"""The buttons of the ways of looking, and the choice of the maps that are compared."""

from __future__ import annotations

from qtpy.QtWidgets import QButtonGroup, QComboBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_monusac.ui.annotate_parts import calm
from napari_monusac.ui.looking import Looking
from napari_monusac.ui.looking_maps import MAPS, WAYS
from napari_monusac.ui.review_widgets import narrow


class WaysView(QWidget):
    """Chooses how truth and prediction are shown.

    Parameters
    ----------
    looking : Looking
        What is steered.
    """

    def __init__(self, looking: Looking) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        grid = QGridLayout()
        grid.setSpacing(3)
        for at, (name, words, tip) in enumerate(WAYS):
            button = calm(QPushButton(words))
            button.setCheckable(True)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, n=name: looking.set_way(n))
            group.addButton(button)
            self.buttons[name] = button
            grid.addWidget(button, at // 4, at % 4)
            grid.setColumnStretch(at % 4, 1)
        self.buttons["layers"].setChecked(True)
        self.map = calm(QComboBox())
        narrow(self.map)
        for name, words, tip in MAPS:
            self.map.addItem(words, name)
            self.map.setItemData(self.map.count() - 1, tip, 3)  # Qt.ToolTipRole
        self.map.setToolTip("What Outlines, Swipe, Side by side and the blinking compare")
        self.map.currentIndexChanged.connect(lambda _: looking.set_map(self.map.currentData()))
        looking.way_changed.connect(lambda way: self.buttons[way].setChecked(True))
        looking.map_changed.connect(lambda name: self.map.setCurrentIndex(self.map.findData(name)))
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.map, len(WAYS) // 4, len(WAYS) % 4, 1, 4 - len(WAYS) % 4)
        box.addLayout(grid)

    def enable(self, on: bool) -> None:
        """Without a comparison there are only the layers."""
        for name, button in self.buttons.items():
            button.setEnabled(on or name == "layers")
        self.map.setEnabled(on)
