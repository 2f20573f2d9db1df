"""Predict: the newest model on the open image; then thresholds as sliders that act at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QPushButton, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider

from napari_monusac.app.prediction import PredictionModel, Thresholds
from napari_monusac.app.work import Progress, Report, Task, error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.io.predictions.store_info import model_name
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.predicted_layers import (
    LivePrediction,
    Stored,
    add_prediction_layers,
    add_stored_layers,
    update_nuclei_layer,
)
from napari_monusac.ui.canvas.regions import chosen_region
from napari_monusac.ui.model import Placed, hear, studio_model
from napari_monusac.ui.predict.counts import Counted, CountsTable, count_words
from napari_monusac.ui.predict.folder import FolderPrediction
from napari_monusac.ui.predict.image import ImageChoice, RegionChoice
from napari_monusac.ui.predict.models import ModelChoice
from napari_monusac.ui.predict.slide import SlideStore
from napari_monusac.ui.predict.uncertainty import UncertaintyLayer
from napari_monusac.ui.predict.work import image_file, needs_store, predict_in_memory, predict_to_store
from napari_monusac.ui.widgets.basic import Heading, Section, column
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Nuclei, Prediction


_SMALLEST = "Smaller nuclei are left out; 0 keeps all"


class ThresholdsView(QWidget):
    """Five controls of the thresholds; the model hears of them once they rest for a moment.

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
        form.addRow("Confidence", self.confidence)
        form.addRow("Class", self.classified)
        form.addRow("Smallest", self.smallest)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(30)
        self._rest.timeout.connect(lambda: setattr(prediction, "thresholds", self.shown()))
        for control in (self.inside, self.nucleus, self.confidence, self.classified, self.smallest):
            control.valueChanged.connect(lambda _: self._rest.start())

    def shown(self) -> Thresholds:
        """What the controls say."""
        return Thresholds(
            self.inside.value(), self.nucleus.value(), self.confidence.value(), self.classified.value(),
            self.smallest.value(),
        )  # fmt: skip

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
        self._image: Any = None
        self._build()
        hear(self, self.model.crop_changed, self._crop_changed)
        self.list_models()
        self._say_what_next()

    def _build(self) -> None:
        self.choice = ModelChoice(self.model)
        self.models = self.choice.models
        self.image = ImageChoice(self.viewer)
        self.part = RegionChoice(self.viewer, self.image)
        self.region = self.part.region
        self.flips = QCheckBox("Average over flips and turns (8x the time)")
        self.start = QPushButton("Predict")
        self.progress = TaskRow()
        self.hint = Note()
        self.engine = Note()
        self.engine.setToolTip("What ran the network, where and how precisely: the faster one on this computer")
        self.notes = Note(kind="warning")
        self.thresholds = ThresholdsView(self.predicting)
        self.slide = SlideStore(self.model.work, lambda um: self.thresholds.shown().values(um), self._show_store)
        self.count = Note()
        self.uncertainty = UncertaintyLayer(self.viewer, self.model)
        self.counts = CountsTable(self.viewer, self.model)
        self.after = column(
            Heading("Thresholds (no new prediction needed)"),
            self.thresholds,
            self.slide.again,
            self.slide.progress,
            self.count,
            self.uncertainty,
            self.counts,
        )
        self.folder = FolderPrediction(self.model)
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
        self.start.clicked.connect(self.predict)
        self.part.drawing.connect(lambda: self.hint.say("Drag a rectangle over the image, then press Predict."))
        predicting = self.predicting
        self.flips.setChecked(predicting.flips)
        self.flips.toggled.connect(lambda on: setattr(predicting, "flips", on))
        self.region.setCurrentText(predicting.region)
        self.region.currentTextChanged.connect(lambda text: setattr(predicting, "region", text))
        hear(self, predicting.segmented, self._segmented)
        hear(self, predicting.failed, lambda error: self.notes.say(error_line(error), "error"))
        hear(self, predicting.models_changed, lambda _: self._say_what_next())
        hear(self, predicting.checkpoint_changed, lambda _: self._say_what_next())
        self.image.changed.connect(self._say_what_next)
        self.slide.busy_changed.connect(self._say_what_next)

    @property
    def prediction(self) -> Prediction | None:
        """The prediction that is shown, where it is in memory."""
        return self.predicting.prediction

    def list_models(self) -> None:
        """Look for trained models in the background; the best is chosen, unless the user has chosen."""
        self.predicting.list_models()

    def add_checkpoint(self, path: str | Path) -> None:
        """Offer a checkpoint file or a run folder and choose it."""
        self.predicting.offer(path)

    @property
    def _busy(self) -> bool:
        """Whether something is predicted or segmented: two at a time could write the same store."""
        return self.progress.task is not None or self.slide.busy

    def _say_what_next(self) -> None:
        running = self.model.training.running
        self.hint.say(self.image.trouble if self.models.count() else _FIRST_MODEL if running else _NO_MODEL)
        self._fields.labelForField(self.image).setVisible(self.image.several)
        self.image.setVisible(self.image.several)
        self.start.setEnabled(self.hint.text() == "" and not self._busy)
        if self.start.isEnabled():
            self.hint.say(self.image.warning, "warning")
        self.choice.setEnabled(not self._busy)  # the model that is named is the one at work
        self.slide.again.setEnabled(not self._busy)

    def _crop_changed(self, _: object) -> None:
        if self.progress.task is not None:
            self.progress.task.stop()
        self.predicting.prediction = self._image = None
        self.after.hide()
        self.slide.forget()
        self.counts.forget()
        self.uncertainty.forget()
        self.image.forget()
        self.engine.say("")
        self.notes.say("")

    # -- predicting

    def predict(self) -> Task | None:
        """Predict the chosen region in the background; layers fill as tiles finish."""
        layer, checkpoint = self.image.image, self.predicting.checkpoint
        if layer is None or not checkpoint or self._busy or self.image.trouble:
            self._say_what_next()
            return None
        try:
            region = chosen_region(self.viewer, layer, self.predicting.region)
        except MonusacError as error:
            self.hint.say(error_line(error), "error")
            return None
        self.part.drawn()
        shown = layer.data
        base = shown[0] if layer.multiscale else shown
        (y, x, height, width), um_per_px = region, canvas.um_per_px(layer)
        options = {"um_per_px": um_per_px, "region": region, "flips": self.predicting.flips}
        out = None
        if needs_store(region):
            out = self.slide.target(layer, region, checkpoint, flips=self.predicting.flips)
            if out is None:
                return None
        else:
            self.slide.hide()
        live = LivePrediction(self.viewer, layer, (height, width), (y, x))
        file, thresholds = image_file(layer), self.thresholds.shown().values(um_per_px)

        def work(report: Report) -> Any:
            report(None, "Loading the model")
            loaded = self.predicting.load(checkpoint)
            report(None, "Preparing the model for this computer")
            if out is not None:
                return predict_to_store(report, base, file, loaded, out, live, options, thresholds)
            return predict_in_memory(report, base, loaded, live, options, thresholds)

        task = self.model.work.task(work, self)
        task.progressed.connect(lambda p: self._tile(live, p))
        task.done.connect(lambda result: self._done(layer, shown, live, result))
        task.cancelled.connect(live.remove)
        task.failed.connect(lambda _: live.remove())
        self.notes.say("")
        self.engine.say("")
        self.progress.follow(task, "Starting…")
        task.finished.connect(self._say_what_next)  # after the row has let go of the task
        self._say_what_next()
        return task

    def _tile(self, live: LivePrediction, progress: Progress) -> None:
        if progress.payload is not None:
            live.show(*progress.payload)

    def _done(self, image: Any, shown: Any, live: LivePrediction, result: Any) -> None:
        if not canvas.still_shows(self.viewer, image, shown):
            live.remove()  # another crop is open: what was found is not in it
            return
        if not isinstance(result, Stored):
            self._predicted(image, live, *result)
            return
        live.remove()
        self._show_store(image, result)
        self.slide.words.say(f"The prediction is in {result.path}.", "good")

    def _predicted(self, image: Any, live: LivePrediction, prediction: Prediction, nuclei: Nuclei) -> None:
        if image not in self.viewer.layers:
            live.remove()
            return
        live.hand_over()
        self.predicting.prediction, self._image = prediction, image
        self.slide.forget()
        self.slide.again.hide()
        add_prediction_layers(self.viewer, image, prediction, nuclei)
        part = _part(image, prediction.offset_px, prediction.shape)
        self._say_how(prediction.checkpoint, part, prediction.engine, prediction.notes, prediction.um_per_px)
        self.uncertainty.take(prediction, image)
        self._found(prediction, nuclei)

    def _found(self, prediction: Prediction, nuclei: Nuclei) -> None:
        """Say what was found in the image, and tell the other panels where it is the open crop's."""
        self.count.say(count_words(nuclei.table))
        part = _part(self._image, prediction.offset_px, prediction.shape)
        self.counts.take(
            Counted(
                nuclei.table, prediction.shape, prediction.um_per_px, "predicted nuclei", self._name(self._image), part
            )
        )
        if canvas.find_layer(self.viewer, "image") in (None, self._image):
            self.model.last_prediction = (prediction, nuclei)
        else:
            self.model.last_prediction = None

    def _show_store(self, image: Any, stored: Stored) -> None:
        """Show what was predicted to disk, unless its image is no longer open."""
        if image not in self.viewer.layers:
            return
        self.predicting.prediction, self._image = None, image
        add_stored_layers(self.viewer, image, stored)
        self.slide.took(image, stored)
        self.uncertainty.take_stored(stored, image)
        self.count.say(count_words(stored.table))
        factor = 1.0 if stored.info.frame is None else stored.info.frame.factor
        first, size = ([round(n / factor) for n in pair] for pair in (stored.info.first_px, stored.shape))
        part, info = _part(image, (first[0], first[1]), (size[0], size[1])), stored.info
        self._say_how(info.checkpoint, part, info.engine, info.notes, info.um_per_px)
        name = self._name(image)
        self.counts.take(Counted(stored.table, stored.shape, stored.info.um_per_px, "stored classes", name, part))

    def _name(self, image: Any) -> str:
        """What is counted under: the crop's name, or that of an image that is not the crop's."""
        return "" if self.model.crop is not None and canvas.role(image) == "image" else str(image.name)

    def _say_how(
        self, checkpoint: str, part: str, engine: str, notes: tuple[str, ...], um_per_px: float | None
    ) -> None:
        by = f" by {model_name(checkpoint)}" if checkpoint else ""
        self.engine.say(f"Predicted{by}: {part}. Ran on {engine or 'an unknown engine'}.")
        self.engine.setToolTip(f"{checkpoint}\nWhat ran the network, where and how precisely")
        self.notes.say("\n".join(notes), "warning")
        self.thresholds.know_scale(um_per_px)
        self.after.show()

    def _segmented(self, prediction: Prediction, nuclei: Nuclei) -> None:
        update_nuclei_layer(self.viewer, nuclei)
        self._found(prediction, nuclei)


def _part(image: Any, first: tuple[int, int], shape: tuple[int, int]) -> str:
    """What of an image was predicted, for people and tables. Px of the image."""
    base = image.data[0] if image.multiscale else image.data
    if shape == tuple(base.shape[:2]):
        return "whole image"
    (y, x), (height, width) = first, shape
    return f"y {y} to {y + height}, x {x} to {x + width} px"
