"""Predict: the newest model on the open image; then thresholds as sliders that act at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QPushButton, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider

from napari_monusac.core.errors import MonusacError
from napari_monusac.ui import canvas
from napari_monusac.ui.model import studio_model
from napari_monusac.ui.predict_counts import CountsAndDoubt
from napari_monusac.ui.predict_folder import FolderPrediction
from napari_monusac.ui.predict_models import ModelChoice
from napari_monusac.ui.predict_slide import SlideStore, stored_facts
from napari_monusac.ui.predict_work import image_file, needs_store, nuclei_of, predict_in_memory, predict_to_store
from napari_monusac.ui.predicted_layers import (
    LivePrediction,
    add_prediction_layers,
    add_stored_layers,
    update_nuclei_layer,
)
from napari_monusac.ui.regions import REGIONS, chosen_region
from napari_monusac.ui.widgets import Heading, Note, Section, TaskRow, column
from napari_monusac.ui.work import Latest, Progress, Report, Task, error_line

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.masks.instances import Nuclei

_NO_MODEL = "No trained model yet: train one (Train), or choose a checkpoint file."


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
        self.prediction: Prediction | None = None
        self._build()
        self.model.run_ended.connect(lambda _: self.list_models())
        self.model.crop_changed.connect(self._crop_changed)
        self.viewer.layers.events.inserted.connect(lambda _: self._say_what_next())
        self.viewer.layers.events.removed.connect(lambda _: self._say_what_next())
        self.list_models()

    def _build(self) -> None:
        self.choice = ModelChoice(self.model)
        self.models = self.choice.models
        self.region = QComboBox()
        self.region.addItems(REGIONS)
        self.region.setToolTip(
            "The whole image, what the window shows now, or the rectangle drawn last in a Shapes layer"
        )
        self.flips = QCheckBox("Average over flips and turns (8x the time)")
        self.start = QPushButton("Predict")
        self.progress = TaskRow()
        self.hint = Note()
        self.engine = Note()
        self.engine.setToolTip("What ran the network, where and how precisely: the faster one on this computer")
        self.notes = Note(kind="warning")
        self.slide = SlideStore(self._thresholds, self._separated_again)
        self.inside = _slider(0.5, "How sure the network must be that a pixel is inside a nucleus")
        self.nucleus = _slider(0.5, "How sure the network must be that a pixel belongs to a nucleus at all")
        self.confidence = _slider(0.0, "Nuclei that the network is less sure of are left out; 0 keeps all")
        self.smallest = QDoubleSpinBox()
        self.smallest.setRange(0, 100)
        self.smallest.setSuffix(" µm²")
        self.smallest.setToolTip("Smaller nuclei are left out; 0 keeps all")
        self.count = Note()
        sliders = QWidget()
        form = QFormLayout(sliders)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Inside", self.inside)
        form.addRow("Nucleus", self.nucleus)
        form.addRow("Confidence", self.confidence)
        form.addRow("Smallest", self.smallest)
        self.counts = CountsAndDoubt(self.viewer, self.model)
        self.after = column(
            Heading("Thresholds (no new prediction needed)"),
            sliders,
            self.slide.again,
            self.slide.progress,
            self.count,
            self.counts,
        )
        self.folder = FolderPrediction(self.model, self.models.currentData, lambda: {"flips": self.flips.isChecked()})
        self.after.hide()
        top = QWidget()
        fields = QFormLayout(top)
        fields.setContentsMargins(0, 0, 0, 0)
        fields.addRow("Model", self.choice)
        fields.addRow("Region", self.region)
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
        self._debounce = QTimer(self)
        self._debounce.setSingleShot(True)
        self._debounce.setInterval(30)
        self._debounce.timeout.connect(self._apply_thresholds)
        self._again = Latest()
        self._again.done.connect(self._separated)
        self._again.failed.connect(lambda error: self.notes.say(error_line(error), "error"))
        for control in (self.inside, self.nucleus, self.confidence, self.smallest):
            control.valueChanged.connect(lambda _: self._debounce.start())
        self.choice.changed.connect(self._say_what_next)

    def list_models(self) -> Task:
        """Look for trained models in the background; the newest is chosen."""
        return self.choice.list_models()

    def add_checkpoint(self, path: str | Path) -> None:
        """Offer a checkpoint file or a run folder and choose it."""
        self.choice.add_checkpoint(path)

    def _say_what_next(self) -> None:
        if self.models.count() == 0:
            self.hint.say(_NO_MODEL)
        elif canvas.image_layer(self.viewer) is None:
            self.hint.say("Open an image first (Slides).")
        else:
            self.hint.say("")
        self.start.setEnabled(self.hint.text() == "" and self.progress.task is None)

    def _crop_changed(self, _: object) -> None:
        if self.progress.task is not None:
            self.progress.task.stop()
        self.prediction = None
        self.after.hide()
        self.slide.hide()
        self.slide.store = None
        self.engine.say("")
        self.notes.say("")

    # -- predicting

    def predict(self) -> Task | None:
        """Predict the chosen region in the background; layers fill as tiles finish."""
        layer, checkpoint = canvas.image_layer(self.viewer), self.models.currentData()
        if layer is None or not checkpoint:
            self._say_what_next()
            return None
        try:
            y, x, height, width = chosen_region(self.viewer, layer, self.region.currentText())
        except MonusacError as error:
            self.hint.say(error_line(error), "error")
            return None
        base = layer.data[0] if layer.multiscale else layer.data
        region = (y, x, height, width)
        options = {"um_per_px": canvas.um_per_px(layer), "region": region, "flips": self.flips.isChecked()}
        out = None
        if needs_store(region):
            out = self.slide.target(layer, region, checkpoint, flips=options["flips"])
            if out is None:
                return None
        else:
            self.slide.hide()
        live = LivePrediction(self.viewer, layer, (height, width), (y, x))
        file, thresholds = image_file(layer), self._thresholds()

        def work(report: Report) -> Any:
            report(None, "Loading the model")
            loaded = self.choice.load(checkpoint)
            report(None, "Preparing the model for this computer")
            if out is not None:
                return predict_to_store(report, base, file, loaded, out, live, options, thresholds)
            return predict_in_memory(report, base, loaded, live, options, thresholds)

        task = Task(work)
        task.progressed.connect(lambda p: self._tile(live, p))
        task.done.connect(lambda result: self._done(layer, live, result))
        task.cancelled.connect(live.remove)
        task.failed.connect(lambda _: live.remove())
        task.finished.connect(self._say_what_next)
        self.start.setEnabled(False)
        self.notes.say("")
        self.engine.say("")
        return self.progress.follow(task, "Starting…")

    def _tile(self, live: LivePrediction, progress: Progress) -> None:
        if progress.payload is not None:
            live.show(*progress.payload)

    def _done(self, image: Any, live: LivePrediction, result: Any) -> None:
        if not isinstance(result, Path):
            self._predicted(image, live, *result)
            return
        live.remove()
        if image in self.viewer.layers:
            self._show_store(image, result)

    def _predicted(self, image: Any, live: LivePrediction, prediction: Prediction, nuclei: Any) -> None:
        if image not in self.viewer.layers:
            live.remove()
            return
        live.hand_over()
        self.prediction = prediction
        self.slide.again.hide()
        add_prediction_layers(self.viewer, image, prediction, nuclei)
        self._say_how(prediction.engine, prediction.notes)
        self.after.show()
        self._say_count(nuclei.table)
        self.counts.take(prediction, nuclei)
        self.model.last_prediction = (prediction, nuclei)
        self.model.predicted.emit(prediction)

    def _show_store(self, image: Any, path: Path) -> None:
        """Show what was predicted to disk."""
        table, shape, um_per_px, info = stored_facts(path)
        self.prediction = None
        add_stored_layers(self.viewer, image, path)
        self._say_how(info.engine, info.notes)
        self.slide.took(path)
        self.slide.again.show()
        self.after.show()
        self._say_count(table)
        self.counts.take_stored(table, shape, um_per_px)
        self.slide.words.say(f"The prediction is in {path}.", "good")

    def _separated_again(self, path: Path) -> None:
        image = canvas.image_layer(self.viewer)
        if image is not None:
            self._show_store(image, path)

    def _say_how(self, engine: str, notes: tuple[str, ...]) -> None:
        self.engine.say(f"Ran on {engine}." if engine else "")
        self.notes.say("\n".join(notes), "warning")

    # -- thresholds

    def _apply_thresholds(self) -> None:
        """Separate the nuclei again, in the background: of a large crop it takes longer than a window may stand still."""
        prediction, thresholds = self.prediction, self._thresholds()
        if prediction is not None:
            self._again.ask(lambda: (prediction, nuclei_of(prediction, thresholds)))

    def _separated(self, found: tuple[Prediction, Nuclei]) -> None:
        prediction, nuclei = found
        if prediction is not self.prediction:  # another crop, or predicted again meanwhile
            return
        update_nuclei_layer(self.viewer, nuclei)
        self._say_count(nuclei.table)
        self.counts.take(prediction, nuclei)
        self.model.last_prediction = (prediction, nuclei)
        self.model.predicted.emit(prediction)

    def _thresholds(self) -> dict[str, Any]:
        scale = canvas.image_layer(self.viewer)
        known = scale is not None and canvas.um_per_px(scale) is not None
        return {
            "inside_threshold": self.inside.value(),
            "nucleus_threshold": self.nucleus.value(),
            "min_confidence": self.confidence.value(),
            "min_area_um2": self.smallest.value() if known else 0.0,
        }

    def _say_count(self, table: Any) -> None:
        by_class = table["class"].value_counts()
        words = ", ".join(f"{n} {name.lower()}" for name, n in by_class.items())
        self.count.say(
            f"{len(table)} nuclei: {words}. Model output, research use." if words else "No nuclei at these thresholds."
        )


def _slider(value: float, tooltip: str) -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider()
    slider.setOrientation(_horizontal())
    slider.setRange(0.05 if value else 0.0, 0.95)
    slider.setSingleStep(0.05)
    slider.setDecimals(2)
    slider.setValue(value)
    slider.setToolTip(tooltip)
    return slider


def _horizontal() -> Any:
    from qtpy.QtCore import Qt

    return Qt.Orientation.Horizontal
