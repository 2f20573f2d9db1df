"""The thresholds by which the nuclei of a prediction are separated, as sliders."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QWidget
from superqt import QLabeledDoubleSlider

from napari_monusac.core.classes import CLASS_THRESHOLD

_SMALLEST = "Smaller nuclei are left out; 0 keeps all"


class Thresholds(QWidget):
    """Five controls; `changed` is emitted once they rest for a moment."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.inside = _slider(0.5, "How sure the network must be that a pixel is inside a nucleus")
        self.nucleus = _slider(0.5, "How sure the network must be that a pixel belongs to a nucleus at all")
        self.confidence = _slider(0.0, "Nuclei that the network is less sure of are left out; 0 keeps all")
        self.classified = _slider(
            CLASS_THRESHOLD,
            "Nuclei of which the class head sees less than this are unclassified; 0 gives each a class",
            0.0,
        )
        self.smallest = QDoubleSpinBox()
        self.smallest.setRange(0, 100)
        self.smallest.setSuffix(" µm²")
        self.smallest.setToolTip(_SMALLEST)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Inside", self.inside)
        form.addRow("Nucleus", self.nucleus)
        form.addRow("Confidence", self.confidence)
        form.addRow("Class", self.classified)
        form.addRow("Smallest", self.smallest)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(30)
        self._rest.timeout.connect(self.changed.emit)
        for control in (self.inside, self.nucleus, self.confidence, self.classified, self.smallest):
            control.valueChanged.connect(lambda _: self._rest.start())

    def values(self, um_per_px: float | None) -> dict[str, float]:
        """By the names that `instances_from_maps` has for them; no smallest area where the scale is not known."""
        return {
            "inside_threshold": self.inside.value(),
            "nucleus_threshold": self.nucleus.value(),
            "min_confidence": self.confidence.value(),
            "class_threshold": self.classified.value(),
            "min_area_um2": self.smallest.value() if um_per_px else 0.0,
        }

    def know_scale(self, um_per_px: float | None) -> None:
        """An area in µm² means something only where the scale of the prediction is known."""
        self.smallest.setEnabled(bool(um_per_px))
        self.smallest.setToolTip(_SMALLEST if um_per_px else "The scale of this image is not known: no area in µm²")


def _slider(value: float, tooltip: str, lowest: float = 0.05) -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider()
    slider.setOrientation(Qt.Orientation.Horizontal)
    slider.setRange(lowest if value else 0.0, 0.95)
    slider.setSingleStep(0.05)
    slider.setDecimals(2)
    slider.setValue(value)
    slider.setToolTip(tooltip)
    return slider
