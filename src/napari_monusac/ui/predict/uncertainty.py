"""Where the model is uncertain, as a layer: the two heads disagree, the class is undecided, or either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QWidget

from napari_monusac.app.work import Latest, error_line
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.comparing import uncertainty_colormap
from napari_monusac.ui.canvas.predicted_layers import stored_placing
from napari_monusac.ui.model import StudioModel

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.io.predictions.lazy import PredictedSlide
    from napari_monusac.masks.uncertainty import UncertaintyKind

#: Role and name of the layer of a prediction in memory; Review has one of its own.
UNCERTAINTY = "predicted uncertainty"
STORED = "stored uncertainty"
#: Name, level of a stored prediction, explanation.
UNCERTAINTY_KINDS = (
    ("Both kinds", "uncertainty", "Bright where the heads disagree or the class is undecided, whichever is worse"),
    (
        "Heads disagree",
        "disagreement",
        "Bright where one head of the network sees a nucleus and the other does not: often an uncertain edge or nucleus",
    ),
    (
        "Class undecided",
        "entropy",
        "Bright where several classes, or a class and no nucleus, are about as likely (entropy of the probabilities)",
    ),
)


class UncertaintyLayer(QWidget):
    """A box that shows the layer, and which kind of uncertainty it shows.

    Parameters
    ----------
    viewer : napari.Viewer
    model : StudioModel
    """

    def __init__(self, viewer: Any, model: StudioModel) -> None:
        super().__init__()
        self.viewer, self.model = viewer, model
        self._prediction: Prediction | None = None
        self._stored: PredictedSlide | None = None
        self._image: Any = None
        self._removing = False
        self.box = QCheckBox("Where the model is uncertain")
        self.box.setToolTip("A layer over the image, the brighter the more uncertain")
        self.kind = QComboBox()
        self.kind.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for name, level, about in UNCERTAINTY_KINDS:
            self.kind.addItem(name, level)
            self.kind.setItemData(self.kind.count() - 1, about, Qt.ItemDataRole.ToolTipRole)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box)
        row.addWidget(self.kind, 1)
        self._latest = Latest(self.model.work, self)
        self._latest.done.connect(self._found)
        self._latest.failed.connect(lambda error: self.model.tell(error_line(error), "error"))
        self.box.toggled.connect(lambda _: self._update())
        self.kind.currentIndexChanged.connect(lambda _: self._kind_changed())
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self.model.crop_leaving.connect(self.forget)  # before its layers go: the box stays as it is
        self._kind_changed()

    def take(self, prediction: Prediction, image: Image) -> None:
        """Show the uncertainty of this prediction from now on."""
        if prediction is self._prediction:
            return
        self._prediction, self._stored, self._image = prediction, None, image
        self._update()

    def take_stored(self, stored: PredictedSlide, image: Image) -> None:
        """Show the uncertainty of a prediction on disk from now on."""
        self._prediction, self._stored, self._image = None, stored, image
        self._update()

    def forget(self) -> None:
        """Another crop is open."""
        self._latest.forget()
        self._prediction = self._stored = self._image = None

    def _kind_changed(self) -> None:
        self.kind.setToolTip(UNCERTAINTY_KINDS[self.kind.currentIndex()][2])
        self._update()

    def _update(self) -> None:
        wanted, kind, prediction = self.box.isChecked(), self.kind.currentData(), self._prediction
        if prediction is None or not wanted:
            self._remove()
        if self._stored is not None:
            self._update_stored(self._stored.levels[kind], wanted=wanted)
        elif prediction is not None and wanted:
            self._latest.ask(lambda: (prediction, kind, _map(prediction, kind)))

    def _found(self, found: tuple[Prediction, str, Any]) -> None:
        prediction, kind, values = found
        if prediction is self._prediction and kind == self.kind.currentData() and self.box.isChecked():
            old: Any = canvas.find_layer(self.viewer, UNCERTAINTY)
            same_place = old is not None and old.metadata["monusac"]["of"] == (id(self._image), prediction.offset_px)
            if same_place and old.data.shape == values.shape:
                old.data = values
            else:
                self._remove()
                self._add(values, UNCERTAINTY, canvas.placing(self._image, prediction.offset_px), prediction.offset_px)

    def _update_stored(self, levels: list[Any], *, wanted: bool) -> None:
        layer = canvas.find_layer(self.viewer, STORED)
        if layer is None and wanted and self._stored is not None:
            placed = stored_placing(self._image, self._stored)
            layer = self._add(levels if len(levels) > 1 else levels[0], STORED, placed, None)
        elif layer is not None:
            layer.data = levels if layer.multiscale else levels[0]
        if layer is not None:
            layer.visible = wanted

    def _add(self, data: Any, role: str, placed: dict[str, Any], offset_px: Any) -> Any:
        if self._image not in self.viewer.layers:
            return None
        active = self.viewer.layers.selection.active
        about = {**self._image.metadata.get("monusac", {}), "role": role, "of": (id(self._image), offset_px)}
        layer = self.viewer.add_image(
            data, multiscale=isinstance(data, list), name=role, colormap=uncertainty_colormap(), contrast_limits=(0, 1),
            opacity=0.9, blending="translucent", metadata={"monusac": about}, **placed,
        )  # fmt: skip
        nuclei = canvas.find_layer(self.viewer, "predicted nuclei" if role == UNCERTAINTY else "stored classes")
        if nuclei is not None:  # whose outlines are seen over it
            self.viewer.layers.move(len(self.viewer.layers) - 1, self.viewer.layers.index(nuclei))
        if active in self.viewer.layers:
            self.viewer.layers.selection.active = active
        return layer

    def _remove(self) -> None:
        layer = canvas.find_layer(self.viewer, UNCERTAINTY)
        if layer is not None:
            self._removing = True
            self.viewer.layers.remove(layer)
            self._removing = False

    def _layer_removed(self, event: Any) -> None:
        """What the user deletes stays deleted, until the box is ticked again; another crop's uncertainty is shown again."""
        if (
            not self._removing
            and canvas.role(event.value) in (UNCERTAINTY, STORED)
            and self._image in self.viewer.layers
        ):
            self.box.setChecked(False)


def _map(prediction: Prediction, kind: UncertaintyKind) -> Any:
    from napari_monusac.masks.uncertainty import uncertainty_map

    return uncertainty_map(prediction.semantic, prediction.ternary, prediction.boundary_width, kind)
