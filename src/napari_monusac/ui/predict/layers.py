"""What of a prediction is on the canvas: classes, ternary map, nuclei, uncertainty; each a button and its opacity."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QGridLayout, QSlider, QWidget

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.predict.uncertainty import STORED, UNCERTAINTY, UncertaintyLayer
from napari_monusac.ui.widgets.basic import calm, toggle_button

#: What a button says, the roles of its layer (in memory, stored), what it shows.
_LAYERS = (
    ("Semantic", ("predicted semantic", "stored classes"), "The class of each pixel"),
    ("Ternary", ("predicted ternary", "stored ternary"), "Background, inside and boundary of each pixel"),
    ("Nuclei", ("predicted nuclei", "stored nuclei"), "The nuclei that were separated, by the thresholds"),
    ("Uncertainty", (UNCERTAINTY, STORED), "Where the model is uncertain: the brighter the more"),
)
_GONE = "There is no such layer: predict, or it was deleted"


class PredictedLayers(QWidget):
    """Four buttons with a slider each. They follow the layers, whoever changes those.

    Parameters
    ----------
    viewer : napari.Viewer
    uncertainty : UncertaintyLayer
        Makes its layer when it is asked for; its button is the fourth.
    """

    def __init__(self, viewer: Any, uncertainty: UncertaintyLayer) -> None:
        super().__init__()
        self._viewer, self._uncertainty = viewer, uncertainty
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        self.buttons: dict[str, Any] = {}
        self.opacities: dict[str, QSlider] = {}
        for at, (name, _, about) in enumerate(_LAYERS):
            made = name == "Uncertainty"
            button = uncertainty.box if made else toggle_button(name, about)
            slider = calm(QSlider(Qt.Orientation.Horizontal))
            slider.setRange(5, 100)
            slider.setValue(90)
            slider.setToolTip(f"Opacity of {name.lower()}")
            slider.setAccessibleName(f"Opacity of {name.lower()}")
            if not made:
                button.toggled.connect(lambda on, n=name: self._show(n, on))
            slider.valueChanged.connect(lambda value, n=name: self._set_opacity(n, value))
            grid.addWidget(button, at, 0)
            grid.addWidget(slider, at, 1)
            self.buttons[name], self.opacities[name] = button, slider
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self.refresh)
        for layer in viewer.layers:
            self._follow(layer)
        self.refresh()

    def layer(self, name: str) -> Any:
        """The layer of a button; None where there is none."""
        roles = next(roles for one, roles, _ in _LAYERS if one == name)
        return next((found for role in roles if (found := canvas.find_layer(self._viewer, role)) is not None), None)

    def refresh(self, _: object = None) -> None:
        """Show what is shown."""
        for name, _roles, about in _LAYERS:
            button, slider, layer = self.buttons[name], self.opacities[name], self.layer(name)
            if name != "Uncertainty":  # that layer is made when it is asked for
                button.setEnabled(layer is not None)
                button.setToolTip(about if layer is not None else _GONE)
                with QSignalBlocker(button):
                    button.setChecked(layer is not None and bool(layer.visible))
            slider.setEnabled(layer is not None)
            if layer is not None:
                with QSignalBlocker(slider):
                    slider.setValue(round(100 * layer.opacity))

    def _inserted(self, event: Any) -> None:
        self._follow(event.value)
        self.refresh()

    def _follow(self, layer: Any) -> None:
        if any(canvas.role(layer) in roles for _, roles, _ in _LAYERS) or canvas.role(layer) == "predicting":
            layer.events.visible.connect(self.refresh)
            layer.events.opacity.connect(self.refresh)

    def _show(self, name: str, on: bool) -> None:
        layer = self.layer(name)
        if layer is not None:
            layer.visible = on

    def _set_opacity(self, name: str, percent: int) -> None:
        layer = self.layer(name)
        if layer is not None:
            layer.opacity = percent / 100
