"""Train: recipe, data, device; check, start, pause, stop; progress and live curves."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.events import CheckpointSaved, EpochEnded, RunEnded, RunStarted, TrainEvent, Warned
from napari_monusac.core.recipe import TrainingRecipe, load_recipe, recipe_names
from napari_monusac.ui.curves import CurvesView
from napari_monusac.ui.model import studio_model
from napari_monusac.ui.recipe_editor import RecipeEditor
from napari_monusac.ui.runs_table import RunsTable
from napari_monusac.ui.training import Training
from napari_monusac.ui.widgets import Note, PathPicker, Section, TaskRow, column, row, settings
from napari_monusac.ui.work import Report, Task, error_line, spoken_duration

if TYPE_CHECKING:
    from napari_monusac.io.runs import RunFolder

_WHERE = {"Here, in napari's background": "thread", "In its own process (goes on when napari closes)": "child"}
_WEIGHTS = ("ImageNet (downloaded once)", "From scratch", "From a file…")
_DEFAULT = "run-8"


class TrainPanel(QWidget):
    """The training launcher.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose Studio this panel belongs to.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.model = studio_model(napari_viewer)
        self.training = Training(self)
        self._paused = False
        self._steps_per_epoch = 1
        self._build()
        self._connect()
        self.recipes.setCurrentText(_DEFAULT)
        self._recipe_chosen()
        self._collection_changed(self.model.collection)
        self._idle()

    # -- the form

    def _build(self) -> None:
        self.recipes = QComboBox()
        self.recipes.addItems(recipe_names())
        self.recipes.setToolTip("The nine runs of the source, and ours")
        self.open_recipe = QPushButton("Open…")
        self.open_recipe.setToolTip("A recipe of your own (.toml)")
        self.about = Note()
        self.weights = QComboBox()
        self.weights.addItems(_WEIGHTS)
        self.weights.setToolTip(
            "What the encoder knows before training. ImageNet weights come from a hub; "
            "offline choose a file or from scratch."
        )
        self.epochs = QSpinBox()
        self.epochs.setRange(1, 100_000)
        self.epochs.setToolTip("Length of the run in epochs")
        self.data = PathPicker(
            "training", "folder", tooltip="A folder of labelled crops", placeholder="The folder to train on"
        )
        self.split = QComboBox()
        self.split.addItem("By patient (a quarter validates)", "patient")
        self.split.addItem("Official (testing crops validate)", "official")
        self.where = QComboBox()
        self.where.addItems(list(_WHERE))
        self.device = QComboBox()
        self.device.addItems(["auto", "cpu", "cuda", "mps"])
        self.device_reason = Note()
        self.out = PathPicker(
            "runs", "folder", tooltip="Where runs are kept: one folder a run", placeholder=str(self.model.runs_folder)
        )
        form_widget = QWidget()
        form = QFormLayout(form_widget)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Recipe", row(self.recipes, self.open_recipe, stretch_first=True))
        form.addRow(self.about)
        form.addRow("Data", self.data)
        form.addRow("Split", self.split)
        form.addRow("Epochs", self.epochs)
        form.addRow("Encoder", self.weights)
        form.addRow("Where", self.where)
        form.addRow("Device", self.device)
        form.addRow(self.device_reason)
        form.addRow("Runs in", self.out)
        for combo in (self.recipes, self.weights, self.split, self.where, self.device):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(10)
        self.editor = RecipeEditor()
        self.save_recipe = QPushButton("Save as a new recipe…")
        self.effective = Note()
        self.running = Note()
        self.check = QPushButton("Check")
        self.check.setToolTip("Open every crop, do one training and one validation step, say how long it will take")
        self.start = QPushButton("Start training")
        self.pause = QPushButton("Pause")
        self.stop = QPushButton("Stop")
        self.checking = TaskRow()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.status = Note()
        self.curves = CurvesView()
        self.runs = RunsTable(self.model)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        self.setup = column(
            form_widget, Section("All values", column(self.editor, self.save_recipe), opened=False), self.effective
        )
        box.addWidget(self.setup)
        box.addWidget(self.running)
        box.addWidget(row(self.check, self.start, self.pause, self.stop))
        for widget in (self.checking, self.bar, self.status, self.curves):
            box.addWidget(widget)
        box.addWidget(Section("Runs", self.runs, opened=True))
        box.addStretch(1)

    def _connect(self) -> None:
        self.recipes.currentIndexChanged.connect(lambda _: self._recipe_chosen())
        self.open_recipe.clicked.connect(self._open_recipe)
        self.save_recipe.clicked.connect(self._save_recipe)
        self.weights.activated.connect(self._weights_chosen)
        self.epochs.valueChanged.connect(lambda n: self.editor.set_values(epochs=n))
        self.editor.changed.connect(self._recipe_edited)
        self.device.currentTextChanged.connect(lambda _: self._explain_device())
        self.where.currentIndexChanged.connect(lambda _: self._explain_device())
        self.out.changed.connect(self._runs_folder_chosen)
        self.check.clicked.connect(self.dry_run)
        self.start.clicked.connect(self.start_training)
        self.pause.clicked.connect(self._pause_clicked)
        self.stop.clicked.connect(self._stop_clicked)
        self.training.events.connect(self._took)
        self.training.ended.connect(self._ended)
        self.runs.resume_asked.connect(self.resume)
        self.runs.watch_asked.connect(self.watch)
        self.runs.compare_asked.connect(self._compare)
        self.model.collection_changed.connect(self._collection_changed)

    # -- what will run

    @property
    def recipe(self) -> TrainingRecipe | None:
        """The effective recipe, or None while a value is wrong."""
        return self.editor.recipe

    def _recipe_chosen(self) -> None:
        try:
            recipe = load_recipe(self.recipes.currentData() or self.recipes.currentText())
        except MonusacError as error:
            self.about.say(error_line(error), "error")
            return
        reported = recipe.reported.combo
        source = (
            f" Source (other split): combo {reported:.2f}, boundary Dice {recipe.reported.boundary_dice or 0:.2f}."
            if reported
            else ""
        )
        self.about.say(f"{recipe.title or recipe.note}.{source}")
        self.about.setToolTip(recipe.note)
        self.epochs.blockSignals(True)
        self.epochs.setValue(recipe.epochs)
        self.epochs.blockSignals(False)
        self.editor.show_recipe(recipe)
        self.weights.setCurrentIndex({"imagenet": 0, "none": 1}.get(recipe.encoder_weights, 2))
        if not self.training.running:
            self.curves.clear(reported)

    def _open_recipe(self) -> None:
        path = QFileDialog.getOpenFileName(self, "Open a recipe", "", "Recipes (*.toml)")[0]
        if path:
            self.recipes.addItem(Path(path).stem, path)
            self.recipes.setCurrentIndex(self.recipes.count() - 1)

    def _save_recipe(self) -> None:
        from napari_monusac.core.files import atomic_write_text

        path = QFileDialog.getSaveFileName(self, "Save the recipe", "my-recipe.toml", "Recipes (*.toml)")[0]
        if path and self.recipe is not None:
            atomic_write_text(path, self.recipe.with_values(name=Path(path).stem).to_toml())
            self.model.tell(f"Recipe saved as {Path(path).name}.", "good")

    def _weights_chosen(self, index: int) -> None:
        value = ("imagenet", "none", "")[index]
        if index == 2:
            value = QFileDialog.getOpenFileName(
                self,
                "Choose encoder weights",
                str(settings().value("paths/weights", "")),
                "Weights (*.safetensors *.pth *.pt)",
            )[0]
            if not value:
                self.weights.setCurrentIndex(0)
                value = "imagenet"
            else:
                settings().setValue("paths/weights", value)
        self.editor.set_values(encoder_weights=value)

    def _recipe_edited(self) -> None:
        recipe = self.recipe
        self.start.setEnabled(recipe is not None and not self.training.running)
        if recipe is None:
            self.effective.say("One value is wrong: see All values.", "error")
            return
        self._follow_editor(recipe)
        base = self.editor._base
        changed = recipe.changes(base) if base is not None else {}
        words = "; ".join(f"{k.replace('_', ' ')} {mine} (was {theirs})" for k, (mine, theirs) in changed.items())
        self.effective.say(f"Changed: {words}." if words else "")

    def _follow_editor(self, recipe: TrainingRecipe) -> None:
        """Keep the short form in step with the editor."""
        self.epochs.blockSignals(True)
        self.epochs.setValue(recipe.epochs)
        self.epochs.blockSignals(False)
        at = {"imagenet": 0, "none": 1}.get(recipe.encoder_weights, 2)
        self.weights.setCurrentIndex(at)
        self.weights.setToolTip(recipe.encoder_weights if at == 2 else self.weights.itemText(at))

    def _explain_device(self) -> None:
        asked = self.device.currentText()

        def work(_: Report) -> str:
            from napari_monusac.learn.device import choose_device

            device, reason = choose_device(asked)
            return f"{device}: {reason}"

        task = Task(work)
        task.done.connect(lambda text: self.device_reason.say(text))
        task.failed.connect(lambda error: self.device_reason.say(error_line(error), "error"))
        task.start()

    def _collection_changed(self, collection: Any) -> None:
        if collection is not None:
            self.data.set_path(collection.root)
        if not self.training.running:
            self.status.say(
                "" if collection is not None else "Open a folder of labelled crops (Slides), then press Start training."
            )

    def _runs_folder_chosen(self, text: str) -> None:
        self.model.runs_folder = Path(text).expanduser()
        self.runs.refresh()

    # -- running

    def _make_run(self) -> RunFolder:
        """Make the run folder: recipe, data, split. Called in a worker."""
        from napari_monusac.io.collection import open_collection
        from napari_monusac.io.runs import RunFolder
        from napari_monusac.io.splits import make_split

        recipe, data = self.recipe, self.data.path
        if recipe is None or data is None:
            raise MonusacError("nothing to train on", "choose a folder of labelled crops and correct the recipe")
        split = make_split(open_collection(data), kind=self.split.currentData(), seed=recipe.seed)
        name = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{recipe.name}"
        self.model.runs_folder.mkdir(parents=True, exist_ok=True)
        return RunFolder.create(self.model.runs_folder / name, data=data, split=split, recipe=recipe)

    def dry_run(self) -> Task:
        """Try everything once before the long run."""

        def work(report: Report) -> Any:
            import tempfile

            from napari_monusac.io.collection import open_collection
            from napari_monusac.io.runs import RunFolder
            from napari_monusac.io.splits import make_split
            from napari_monusac.learn.dryrun import dry_run

            recipe, data = self.recipe, self.data.path
            if recipe is None or data is None:
                raise MonusacError("nothing to check", "choose a folder of labelled crops")
            with tempfile.TemporaryDirectory() as folder:
                split = make_split(open_collection(data), kind=self.split.currentData(), seed=recipe.seed)
                run = RunFolder.create(Path(folder) / "check", data=data, split=split, recipe=recipe)
                return dry_run(
                    recipe,
                    run,
                    device=self.device.currentText(),
                    progress=lambda f, m: report(f, m),
                    should_stop=lambda: report.stopping,
                )

        task = Task(work)
        task.done.connect(
            lambda outcome: self.checking.label.say(outcome.summary(), "warning" if outcome.problems else "good")
        )
        self.check.setEnabled(False)
        task.finished.connect(lambda: self.check.setEnabled(not self.training.running))
        return self.checking.follow(task, "Checking…")

    def start_training(self) -> Task | None:
        """Make the run folder and start."""
        if self.training.running or self.recipe is None:
            return None
        if self.data.path is None:
            self.status.say("Choose the folder to train on first.", "warning")
            return None
        self.start.setEnabled(False)
        self.status.say("Starting…")
        task = Task(lambda _: self._make_run())
        task.done.connect(self._go)
        task.failed.connect(self._not_started)
        return task.start()

    def _not_started(self, error: Exception) -> None:
        self.status.say(error_line(error), "error")
        self._idle()

    def _go(self, run: RunFolder) -> None:
        self._begin_view(run)
        self.training.start(run, _WHERE[self.where.currentText()], self.device.currentText())

    def resume(self, run: RunFolder) -> None:
        """Go on with a stopped or interrupted run."""
        if not self.training.running:
            run.request_resume()
            self._begin_view(run)
            self.training.start(run, _WHERE[self.where.currentText()], self.device.currentText())

    def watch(self, run: RunFolder) -> None:
        """Follow a run that another process is training."""
        if not self.training.running:
            self._begin_view(run)
            self.training.attach(run)

    def _begin_view(self, run: RunFolder) -> None:
        self.model.run = run
        self.model.run_changed.emit(run)
        self.curves.clear(run.recipe.reported.combo)
        history = run.read_events()
        started = [e for e in history if isinstance(e, RunStarted)]
        if started:
            self._steps_per_epoch = started[-1].steps_per_epoch
            self.curves.add_many(history, self._steps_per_epoch)
        self._paused = False
        changed = self.effective.text()
        self.running.say(f"{run.recipe.name} on {run.data}, in {run.path}." + (f" {changed}" if changed else ""))
        self._buttons(running=True)
        self.bar.setRange(0, 0)
        self.bar.show()
        self.status.say("Preparing: loading the network and the first crops…")

    def _took(self, events: list[TrainEvent]) -> None:
        for event in events:
            if isinstance(event, RunStarted):
                self._steps_per_epoch = event.steps_per_epoch
                self.device_reason.say(f"{event.device}: {event.device_reason} {event.precision}.")
            elif isinstance(event, Warned):
                self.model.tell(event.message, "warning")
            elif isinstance(event, CheckpointSaved) and event.which == "best":
                self.model.run_progressed.emit(event)
            elif isinstance(event, EpochEnded):
                self.runs.refresh_soon()
            self.curves.add(event, self._steps_per_epoch)
        self.curves.draw()
        progress = self.training.progress
        if progress.epochs and progress.step:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * progress.fraction))
            left = spoken_duration(progress.seconds_left)
            best = f", best combo {progress.best_combo:.2f}" if progress.best_combo is not None else ""
            self.status.say(
                f"{'Paused. ' if self._paused else ''}Epoch {progress.epoch} of {progress.epochs}, "
                f"step {progress.step_in_epoch} of {progress.steps_per_epoch}{best}"
                f"{f', {left} left' if left else ''}. {progress.device}"
            )
            self.model.run_progressed.emit(progress)

    def _pause_clicked(self) -> None:
        self._paused = not self._paused
        self.training.pause(self._paused)
        self.pause.setText("Go on" if self._paused else "Pause")
        self.status.say("Pausing after this batch…" if self._paused else "Going on…")

    def _stop_clicked(self) -> None:
        self.stop.setEnabled(False)
        self.status.say("Stopping after this batch; the model is kept…")
        if self._paused:
            self.training.pause(False)
        self.training.stop()

    def _ended(self, end: Any) -> None:
        if isinstance(end, RunEnded):
            best = f" Best combo {end.best_combo:.2f} (epoch {end.best_epoch})." if end.best_combo is not None else ""
            words = {
                "completed": "Training is done.",
                "stopped": "Stopped; the model is kept and can be resumed.",
                "failed": f"Failed: {end.message}",
            }
            kind = {"completed": "good", "stopped": "hint", "failed": "error"}[end.reason]
            predict = " Next: Predict." if end.best_combo is not None else ""
            self.status.say(f"{words[end.reason]}{best}{predict}", kind)
        elif isinstance(end, Exception):
            self.status.say(error_line(end), "error")
        self._idle()
        self.model.run_ended.emit(end)

    def _idle(self) -> None:
        self._buttons(running=False)
        self.bar.hide()
        self.runs.refresh()

    def _buttons(self, *, running: bool) -> None:
        self.start.setEnabled(not running and self.recipe is not None)
        self.check.setEnabled(not running)
        self.pause.setEnabled(running)
        self.stop.setEnabled(running)
        self.pause.setText("Pause")
        # what runs is said in one line: the room belongs to progress and curves
        self.setup.setVisible(not running)
        self.running.setVisible(running)

    def _compare(self, runs: list[RunFolder]) -> None:
        histories, reported = [], []
        for run in runs:
            epochs = [e for e in run.read_events() if isinstance(e, EpochEnded)]
            histories.append((run.path.name, [e.epoch for e in epochs], [e.scores.combo for e in epochs]))
            if run.recipe.reported.combo is not None:
                reported.append((f"source {run.recipe.name}", run.recipe.reported.combo))
        self.curves.compare(histories, reported)

    def threads_note(self) -> str:
        """How many threads training leaves itself and the window."""
        cores = os.cpu_count() or 1
        return f"{max(1, cores - 1)} of {cores} cores; one is left to the window"
