"""What is known of the open crop: size, scale, channel order; and the user's own word on them."""

from __future__ import annotations

from typing import Any, Literal

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_monusac.core.errors import MonusacError
from napari_monusac.ui import canvas
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.widgets import Note, row
from napari_monusac.ui.work import error_line

_ORDERS: dict[str, Literal["auto", "rgb", "bgr"]] = {
    "decided by the stain": "auto",
    "right as stored": "rgb",
    "swapped in the file": "bgr",
}


class CropFacts(QWidget):
    """Size and scale of the open crop; red and blue of its patient.

    Parameters
    ----------
    viewer : napari.Viewer
    model : StudioModel
    """

    def __init__(self, viewer: Any, model: StudioModel) -> None:
        super().__init__()
        self.viewer, self.model = viewer, model
        self.text = Note()
        self.orders = QComboBox()
        self.orders.addItems(list(_ORDERS))
        self.orders.setToolTip(
            "Official MoNuSAC .tif files have red and blue swapped. If red cells look blue, say so here."
        )
        self.channels = row(QLabel("Red and blue"), self.orders)
        self.um = QDoubleSpinBox()
        self.um.setRange(0.05, 10)
        self.um.setDecimals(4)
        self.um.setSingleStep(0.01)
        self.um.setValue(0.25)
        self.um.setSuffix(" µm/px")
        self.um.setToolTip("Micrometres a pixel of this crop; 0.25 is a scan at 40x")
        self.apply = QPushButton("Use this scale")
        self.apply.setToolTip("Show this crop at this scale until it is closed; its files stay as they are")
        self.unknown = QLabel("Scale unknown")
        self.scale = row(self.unknown, self.um, self.apply)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.text, self.channels, self.scale):
            box.addWidget(widget)
        self.orders.activated.connect(self._overrule)
        self.apply.clicked.connect(self._use_scale)
        self.model.crop_changed.connect(lambda _: self.refresh())
        self.refresh()

    def refresh(self) -> None:
        """Say what is known of the crop on the canvas."""
        image = canvas.find_layer(self.viewer, "image")
        self.setVisible(image is not None)
        if image is None:
            return
        about = image.metadata["monusac"]
        height, width = (image.data[0] if image.multiscale else image.data).shape[:2]
        um = about.get("um_per_px")
        size = f"{width} x {height} px" + (f", {width * um:.0f} x {height * um:.0f} µm at {um:g} µm/px" if um else "")
        origin = about.get("origin_px")
        place = f"; from ({origin[1]}, {origin[0]}) of its slide" if origin else ""
        notes = "".join(f"\n{note[:1].upper()}{note[1:]}." for note in about.get("notes", ()))
        self.text.say(f"{size}{place}{notes}")
        guessed = bool(about.get("um_per_px_guessed"))
        self.scale.setVisible(not um or guessed)
        self.unknown.setText("Scale guessed" if guessed else "Scale unknown")
        self.channels.setVisible(str(about.get("image", "")).lower().endswith((".tif", ".tiff")))

    def _overrule(self) -> None:
        collection, crop = self.model.collection, self.model.crop
        if collection is None or crop is None:
            return
        try:
            collection.overrule_channels(crop.patient, _ORDERS[self.orders.currentText()])
        except MonusacError as error:
            self.model.tell(error_line(error), "error")
            return
        self.model.tell(f"Red and blue of {crop.patient}: {self.orders.currentText()}.")
        self.model.ask_for_crop(crop)

    def _use_scale(self) -> None:
        um = self.um.value()
        for layer in canvas.our_layers(self.viewer):
            layer.scale = (*layer.scale[:-2], um, um)
            layer.units = (*layer.units[:-2], "um", "um")
            layer.metadata["monusac"].update(um_per_px=um, um_per_px_guessed=False)
        self.viewer.reset_view()
        self.refresh()
        self.model.layers_changed.emit()
        self.model.tell(f"This crop is shown at {um:g} µm/px.", "good")
