"""Predict: the newest model on the open image; then thresholds as sliders that act at once."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_monusac.app.actions import PREDICT, TAKE_FITTED
from napari_monusac.app.prediction import PredictionModel, Shown, Thresholds
from napari_monusac.app.prediction_jobs import OpenImage, PredictedImage, needs_store
from napari_monusac.app.work import Task, error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.io.predictions.store_info import model_name
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.predicted_layers import (
    LivePrediction,
    add_prediction_layers,
    add_stored_layers,
    update_nuclei_layer,
)
from napari_monusac.ui.canvas.regions import chosen_region
from napari_monusac.ui.model import Placed, hear, review_model, studio_model
from napari_monusac.ui.predict.counts import Counted, CountsTable, count_words
from napari_monusac.ui.predict.folder import FolderPrediction
from napari_monusac.ui.predict.image import ImageChoice, RegionChoice
from napari_monusac.ui.predict.layers import PredictedLayers
from napari_monusac.ui.predict.models import ModelChoice
from napari_monusac.ui.predict.slide import SlideStore
from napari_monusac.ui.predict.uncertainty import UncertaintyLayer
from napari_monusac.ui.widgets.basic import Heading, Section, column, form_button
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_monusac.io.predictions.lazy import PredictedSlide


_SMALLEST = "Smaller nuclei are left out; 0 keeps all"


class ThresholdsView(QWidget):
    """Controls of the thresholds; the model hears of them once they rest for a moment.

    Parameters
    ----------
    prediction : PredictionModel
    """

    def __init__(self, prediction: PredictionModel) -> None:
        super().__init__()
        now = prediction.thresholds
        self.inside = _slider(now.inside, "How sure the network must be that a pixel is inside a nucleus", 0.05)
        self.nucleus = _slider(
            now.nucleus, "How sure the network must be that a pixel belongs to a nucleus at all", 0.05
        )
        self.part = _slider(now.part, "How readily touching nuclei are parted; 0 parts none")
        self.agreement = _slider(
            now.agreement,
            "Nuclei of which the class head sees less than this are left out, stroma above all; 0 keeps all",
        )
        self.confidence = _slider(now.confidence, "Nuclei that the network is less sure of are left out; 0 keeps all")
        self.classified = _slider(
            now.classified,
            "Nuclei of which the class head sees less than this are unclassified; 0 gives each a class",
        )
        self.smallest = QDoubleSpinBox()
        self.smallest.setRange(0, 100)
        self.smallest.setSuffix(" µm²")
        self.smallest.setValue(now.smallest_um2)
        self.smallest.setToolTip(_SMALLEST)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Inside", self.inside)
        form.addRow("Nucleus", self.nucleus)
        form.addRow("Touching", self.part)
        form.addRow("Agreement", self.agreement)
        form.addRow("Confidence", self.confidence)
        form.addRow("Class", self.classified)
        form.addRow("Smallest", self.smallest)
        self.fitted = Note()
        self.again = form_button(TAKE_FITTED, prediction)
        form.addRow(self.fitted)
        form.addRow(self.again)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(30)
        self._rest.timeout.connect(lambda: setattr(prediction, "thresholds", self.shown()))
        self._controls = (
            self.inside, self.nucleus, self.confidence, self.classified, self.smallest, self.part, self.agreement,
        )  # fmt: skip
        for control in self._controls:
            control.valueChanged.connect(lambda _: self._rest.start())
        hear(self, prediction.thresholds_changed, lambda _: self._show(prediction))
        hear(self, prediction.fitted_changed, lambda _: self._show(prediction))
        self._show(prediction)

    def _show(self, prediction: PredictionModel) -> None:
        for control, value in zip(self._controls, astuple(prediction.thresholds), strict=True):
            if abs(control.value() - value) > 1e-6:
                with signals_blocked(control):
                    control.setValue(value)
        found = prediction.fitted
        self.fitted.setVisible(found is not None)
        self.again.setVisible(found is not None and prediction.thresholds != prediction.thresholds.fitted(found))
        if found is not None:
            self.fitted.say(
                f"Fitted: inside {found.inside:.2f}, nucleus {found.nucleus:.2f}, touching {found.part:.2f}, "
                f"agreement {found.agreement:.2f}."
            )
            self.fitted.setToolTip(found.sentence())

    def shown(self) -> Thresholds:
        """What the controls say."""
        return Thresholds(*(control.value() for control in self._controls))

    def know_scale(self, um_per_px: float | None) -> None:
        """An area in µm² means something only where the scale of the prediction is known."""
        self.smallest.setEnabled(bool(um_per_px))
        self.smallest.setToolTip(_SMALLEST if um_per_px else "The scale of this image is not known: no area in µm²")


def _slider(value: float, tooltip: str, lowest: float = 0.0) -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider()
    slider.setOrientation(Qt.Orientation.Horizontal)
    slider.setRange(lowest, 0.95)
    slider.setSingleStep(0.05)
    slider.setDecimals(2)
    slider.setValue(value)
    slider.setToolTip(tooltip)
    return slider


_NO_MODEL = "No trained model yet: train one (Train), or choose a checkpoint file."
_FIRST_MODEL = "Training is going on: its first model can be used once an epoch is done."


class PredictPanel(QWidget):
    """Run a model over the open image.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that holds the image and gets the predicted layers.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.model = studio_model(napari_viewer)
        Placed(self, self.model)
        self.predicting = self.model.prediction
        #: what is predicted, and the layer that shows it; what is drawn, and on which layer
        self._asked: tuple[OpenImage, Image] | None = None
        self._drawn: Shown | None = None
        self._image: Any = None
        self._live: LivePrediction | None = None
        self._build()
        hear(self, self.model.crop_changed, self._crop_changed)
        self.predicting.list_models()
        self._say_what_next()

    def _build(self) -> None:
        self.choice = ModelChoice(self.model)
        self.models = self.choice.models
        self.image = ImageChoice(self.viewer)
        self.part = RegionChoice(self.viewer, self.image)
        self.region = self.part.region
        self.flips = QCheckBox("Average over flips and turns (8x the time)")
        self.start = form_button(PREDICT, self)
        self.progress = TaskRow()
        self.hint = Note()
        self.engine = Note()
        self.engine.setToolTip("What ran the network, where and how precisely: the faster one on this computer")
        self.notes = Note(kind="warning")
        self.thresholds = ThresholdsView(self.predicting)
        self.slide = SlideStore(self.predicting, self.thresholds.shown)
        self.count = Note()
        self.uncertainty = UncertaintyLayer(self.viewer, self.model)
        self.layers = PredictedLayers(self.viewer, self.uncertainty)
        self.counts = CountsTable(self.viewer, self.model)
        self.after = column(
            Heading("On the canvas"),
            self.layers,
            self.uncertainty,
            Heading("Thresholds (no new prediction needed)"),
            self.thresholds,
            self.slide.again,
            self.slide.progress,
            self.count,
            self.counts,
        )
        self.folder = FolderPrediction(self.model, review_model(self.viewer))
        self.after.hide()
        top = QWidget()
        self._fields = QFormLayout(top)
        self._fields.setContentsMargins(0, 0, 0, 0)
        self._fields.addRow("Model", self.choice)
        self._fields.addRow("Image", self.image)
        self._fields.addRow("Region", self.part)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        for widget in (
            self.hint,
            top,
            self.flips,
            self.slide,
            self.start,
            self.progress,
            self.engine,
            self.notes,
            self.after,
        ):
            box.addWidget(widget)
        box.addWidget(Section("Whole folder", self.folder, opened=False))
        box.addStretch(1)
        self.part.drawing.connect(lambda: self.hint.say("Drag a rectangle over the image, then press Predict."))
        predicting = self.predicting
        self.flips.setChecked(predicting.flips)
        self.flips.toggled.connect(lambda on: setattr(predicting, "flips", on))
        self.region.setCurrentText(predicting.region)
        self.region.currentTextChanged.connect(lambda text: setattr(predicting, "region", text))
        hear(self, predicting.shown_changed, self._shown)
        hear(self, predicting.task_changed, lambda _: self._say_what_next())
        hear(self, predicting.failed, lambda error: self.notes.say(error_line(error), "error"))
        hear(self, predicting.models_changed, lambda _: self._say_what_next())
        hear(self, predicting.checkpoint_changed, lambda _: self._say_what_next())
        self.image.changed.connect(self._say_what_next)

    def _say_what_next(self) -> None:
        running = self.model.training.running
        self.hint.say(self.image.trouble if self.models.count() else _FIRST_MODEL if running else _NO_MODEL)
        self._fields.labelForField(self.image).setVisible(self.image.several)
        self.image.setVisible(self.image.several)
        free = self.predicting.task is None
        self.start.setEnabled(self.hint.text() == "" and free)
        if self.start.isEnabled():
            self.hint.say(self.image.warning, "warning")
        self.choice.setEnabled(free)  # the model that is named is the one at work
        self.slide.again.setEnabled(free)

    def _crop_changed(self, _: object) -> None:
        self._image = self._drawn = None
        self.after.hide()
        self.slide.hide()
        self.counts.forget()
        self.uncertainty.forget()
        self.image.forget()
        self.engine.say("")
        self.notes.say("")

    # -- predicting

    def predict(self) -> Task | None:
        """Predict the chosen region in the background; layers fill as tiles finish."""
        self._say_what_next()
        layer = self.image.image
        if layer is None or not self.start.isEnabled():
            return None
        try:
            region = chosen_region(self.viewer, layer, self.predicting.region)
        except MonusacError as error:
            self.hint.say(error_line(error), "error")
            return None
        self.part.drawn()
        self.slide.ask(region)
        self.predicting.thresholds = self.thresholds.shown()
        image = self.open_image(layer)
        task = self.predicting.predict(image, region, self.slide.folder.path)
        if not isinstance(task, Task):
            (self.slide.words if needs_store(region) else self.hint).say(task.why, "warning")
            return None
        live = self._live = LivePrediction(self.viewer, layer, region[2:], region[:2])
        task.progressed.connect(lambda p: live.show(*p.payload) if p.payload is not None else None)
        task.finished.connect(live.remove)
        self._asked = image, layer
        self.notes.say("")
        self.engine.say("")
        return self.progress.follow(task, "Starting…")

    def open_image(self, layer: Image) -> OpenImage:
        """What is predicted of a layer."""
        about, shown = layer.metadata.get("monusac", {}), layer.data
        file = about.get("image")
        return OpenImage(
            name=str(file or about.get("crop") or layer.name),
            pixels=shown[0] if layer.multiscale else shown,
            um_per_px=canvas.um_per_px(layer),
            file=Path(file) if file and Path(file).exists() else None,
            of_crop=canvas.find_layer(self.viewer, "image") in (None, layer),
            is_there=lambda: canvas.still_shows(self.viewer, layer, shown),
        )

    def show(self, layer: Image, found: PredictedImage | PredictedSlide) -> None:
        """Show a prediction that was made of a layer."""
        image = self.open_image(layer)
        self._asked = image, layer
        self.predicting.show(image, found)

    # -- what was predicted

    def _shown(self, shown: Shown | None) -> None:
        if shown is None or self._asked is None or shown.image is not self._asked[0]:
            return
        before, self._drawn, self._image = self._drawn, shown, self._asked[1]
        if isinstance(shown.found, PredictedImage):
            if (
                before is not None
                and isinstance(before.found, PredictedImage)
                and shown.found.prediction is before.found.prediction
            ):
                update_nuclei_layer(self.viewer, shown.found.nuclei)
            else:
                self._show_in_memory(shown.image, shown.found)
            table, role = shown.found.nuclei.table, "predicted nuclei"
            shape, um_per_px = shown.found.prediction.shape, shown.found.prediction.um_per_px
        else:
            self._show_store(shown.image, shown.found)
            table, role = shown.found.nuclei, "stored classes"
            shape, um_per_px = shown.found.shape, shown.found.info.um_per_px
        self.count.say(count_words(table))
        # the crop's name, or that of an image that is not the crop's
        name = "" if self.model.crop is not None and canvas.role(self._image) == "image" else str(self._image.name)
        self.counts.take(Counted(table, shape, um_per_px, role, name, shown.image.words(shown.found.region)))

    def _show_in_memory(self, image: OpenImage, found: PredictedImage) -> None:
        prediction = found.prediction
        if self._live is not None:
            self._live.hand_over()
        self.slide.hide()
        self.slide.again.hide()
        add_prediction_layers(self.viewer, self._image, prediction, found.nuclei)
        part = image.words(found.region)
        self._say_how(prediction.checkpoint, part, prediction.engine, prediction.notes, prediction.um_per_px)
        self.uncertainty.take(prediction, self._image)

    def _show_store(self, image: OpenImage, stored: PredictedSlide) -> None:
        info = stored.info
        if self._live is not None:
            self._live.remove()
        add_stored_layers(self.viewer, self._image, stored)
        self.slide.words.say(f"The prediction is in {stored.path}.", "good")
        self.slide.again.show()
        self.uncertainty.take_stored(stored, self._image)
        self._say_how(info.checkpoint, image.words(stored.region), info.engine, info.notes, info.um_per_px)

    def _say_how(
        self, checkpoint: str, part: str, engine: str, notes: tuple[str, ...], um_per_px: float | None
    ) -> None:
        by = f" by {model_name(checkpoint)}" if checkpoint else ""
        self.engine.say(f"Predicted{by}: {part}. Ran on {engine or 'an unknown engine'}.")
        self.engine.setToolTip(f"{checkpoint}\nWhat ran the network, where and how precisely")
        self.notes.say("\n".join(notes), "warning")
        self.thresholds.know_scale(um_per_px)
        self.after.show()
