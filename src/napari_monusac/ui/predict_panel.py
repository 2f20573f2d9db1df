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
from napari_monusac.ui.predicted_layers import LivePrediction, add_prediction_layers, update_nuclei_layer
from napari_monusac.ui.regions import REGIONS, chosen_region
from napari_monusac.ui.runs_table import progress_of
from napari_monusac.ui.widgets import Heading, Note, Section, TaskRow, column, row
from napari_monusac.ui.work import Progress, Report, Task, error_line

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Prediction

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
        self._loaded: tuple[str, float, Any] | None = None
        self._build()
        self.model.run_ended.connect(lambda _: self.list_models())
        self.model.crop_changed.connect(self._crop_changed)
        self.viewer.layers.events.inserted.connect(lambda _: self._say_what_next())
        self.viewer.layers.events.removed.connect(lambda _: self._say_what_next())
        self.list_models()

    def _build(self) -> None:
        self.models = QComboBox()
        self.models.setToolTip("Trained models, newest first, with their best combo on their own validation crops")
        self.browse = QPushButton("Browse…")
        self.browse.clicked.connect(self._browse)
        self.region = QComboBox()
        self.region.addItems(REGIONS)
        self.region.setToolTip(
            "The whole image, what the window shows now, or the rectangle drawn last in a Shapes layer"
        )
        self.flips = QCheckBox("Average over flips and turns (8x the time)")
        self.start = QPushButton("Predict")
        self.progress = TaskRow()
        self.hint = Note()
        self.notes = Note(kind="warning")
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
        self.after = column(Heading("Thresholds (no new prediction needed)"), sliders, self.count, self.counts)
        self.folder = FolderPrediction(self.model, self.models.currentData, lambda: {"flips": self.flips.isChecked()})
        self.after.hide()
        top = QWidget()
        fields = QFormLayout(top)
        fields.setContentsMargins(0, 0, 0, 0)
        fields.addRow("Model", row(self.models, self.browse, stretch_first=True))
        fields.addRow("Region", self.region)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        for widget in (self.hint, top, self.flips, self.start, self.progress, self.notes, self.after):
            box.addWidget(widget)
        box.addWidget(Section("Whole folder", self.folder, opened=False))
        box.addStretch(1)
        self.start.clicked.connect(self.predict)
        self._debounce = QTimer(self)
        self._debounce.setSingleShot(True)
        self._debounce.setInterval(30)
        self._debounce.timeout.connect(self._apply_thresholds)
        for control in (self.inside, self.nucleus, self.confidence, self.smallest):
            control.valueChanged.connect(lambda _: self._debounce.start())
        self.models.currentIndexChanged.connect(lambda _: self._say_what_next())

    # -- models

    def list_models(self) -> Task:
        """Look for runs with a checkpoint, newest first, in the background; the newest is chosen."""
        folder = self.model.runs_folder

        def read(_: Report) -> list[tuple[str, str]]:
            from napari_monusac.io.runs import find_runs

            found = []
            for run in find_runs(folder):
                if run.best.is_file():
                    combo = progress_of(run)[1]
                    score = f", combo {combo:.2f}" if combo is not None else ""
                    found.append((f"{run.path.name} ({run.recipe.name}{score})", str(run.path)))
            return found

        task = Task(read)
        task.done.connect(self._show_models)
        return task.start()

    def _show_models(self, found: list[tuple[str, str]]) -> None:
        files = [(self.models.itemText(i), self.models.itemData(i)) for i in range(self.models.count())]
        chosen = self.models.currentData() if self.models.currentText().startswith("File: ") else None
        self.models.clear()
        for text, path in [*found, *(f for f in files if f[0].startswith("File: "))]:
            self.models.addItem(text, path)
        if chosen is not None:
            self.models.setCurrentIndex(self.models.findData(chosen))
        self._say_what_next()

    def add_checkpoint(self, path: str | Path) -> None:
        """Offer a checkpoint file or a run folder and choose it."""
        self.models.addItem(f"File: {Path(path).name}", str(path))
        self.models.setCurrentIndex(self.models.count() - 1)

    def _browse(self) -> None:
        from qtpy.QtWidgets import QFileDialog

        chosen = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", str(self.model.runs_folder), "Checkpoints (*.safetensors)"
        )[0]
        if chosen:
            self.add_checkpoint(chosen)

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
        scale = canvas.um_per_px(layer)
        flips = self.flips.isChecked()
        live = LivePrediction(self.viewer, layer, (height, width), (y, x))

        def work(report: Report) -> Any:
            from napari_monusac.infer.predict import predict
            from napari_monusac.masks.instances import instances_from_maps

            report(None, "Loading the model")
            loaded = self._load(checkpoint)
            report(None, "Predicting")
            prediction = predict(
                base, loaded, um_per_px=scale, region=region, flips=flips,
                progress=lambda done: report(float(done), "Predicting"),
                on_tile=lambda box, semantic, ternary: report(None, "Predicting", (box, semantic, ternary)),
                should_stop=lambda: report.stopping,
            )  # fmt: skip
            report(None, "Outlining nuclei")
            nuclei = instances_from_maps(
                prediction.semantic, prediction.ternary, boundary_width=prediction.boundary_width, um_per_px=scale
            )
            return prediction, nuclei

        task = Task(work)
        task.progressed.connect(lambda p: self._tile(live, p))
        task.done.connect(lambda result: self._predicted(layer, live, *result))
        task.cancelled.connect(live.remove)
        task.failed.connect(lambda _: live.remove())
        task.finished.connect(self._say_what_next)
        self.start.setEnabled(False)
        self.notes.say("")
        return self.progress.follow(task, "Starting…")

    def _load(self, checkpoint: str) -> Any:
        """Load a checkpoint once; again only when its file has changed. Called in the worker."""
        from napari_monusac.learn.checkpoint import load_checkpoint
        from napari_monusac.learn.device import choose_device

        path = Path(checkpoint)
        stamp = (path / "best.safetensors" if path.is_dir() else path).stat().st_mtime
        if self._loaded is None or self._loaded[:2] != (checkpoint, stamp):
            device, _ = choose_device("auto")
            self._loaded = (checkpoint, stamp, load_checkpoint(path, device=device))
        return self._loaded[2]

    def _tile(self, live: LivePrediction, progress: Progress) -> None:
        if progress.payload is not None:
            live.show(*progress.payload)

    def _predicted(self, image: Any, live: LivePrediction, prediction: Prediction, nuclei: Any) -> None:
        live.remove()
        if image not in self.viewer.layers:
            return
        self.prediction = prediction
        add_prediction_layers(self.viewer, image, prediction, nuclei)
        self.notes.say("\n".join(prediction.notes), "warning")
        self.after.show()
        self._say_count(nuclei)
        self.model.last_prediction = (prediction, nuclei)
        self.model.predicted.emit(prediction)

    # -- thresholds

    def _apply_thresholds(self) -> None:
        if self.prediction is None:
            return
        from napari_monusac.masks.instances import instances_from_maps

        p = self.prediction
        nuclei = instances_from_maps(
            p.semantic, p.ternary, boundary_width=p.boundary_width, um_per_px=p.um_per_px,
            inside_threshold=self.inside.value(), nucleus_threshold=self.nucleus.value(),
            min_confidence=self.confidence.value(), min_area_um2=self.smallest.value() if p.um_per_px else 0.0,
        )  # fmt: skip
        update_nuclei_layer(self.viewer, nuclei)
        self._say_count(nuclei)
        self.model.last_prediction = (p, nuclei)
        self.model.predicted.emit(p)

    def _say_count(self, nuclei: Any) -> None:
        if self.prediction is not None:
            self.counts.take(self.prediction, nuclei)
        by_class = nuclei.table["class"].value_counts()
        words = ", ".join(f"{n} {name.lower()}" for name, n in by_class.items())
        self.count.say(
            f"{len(nuclei.table)} nuclei: {words}. Model output, research use."
            if words
            else "No nuclei at these thresholds."
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
