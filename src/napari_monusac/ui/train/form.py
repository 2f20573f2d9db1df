"""The form of the Train panel: recipe, data, split, device; what will run, in plain words."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_monusac.app.work import Report, Task, error_line, spoken_duration
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.recipe import TrainingRecipe, load_recipe, recipe_names
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.train.recipe_editor import RecipeEditor
from napari_monusac.ui.widgets.basic import Note, PathPicker, Section, column, grouping_words, row
from napari_monusac.ui.widgets.settings import SETTINGS

if TYPE_CHECKING:
    from napari_monusac.core.events import RunStarted
    from napari_monusac.io.runs.run_folder import RunFolder


_SLOW = "long runs take hours: Check says how many, and the recipe quick is a first try."
#: Before anything was asked of the machine.
UNKNOWN_DEVICE = f"Without a GPU, {_SLOW}"
#: From here on a start says how long it will take.
LONG_S = 3600.0


def device_words(device: str, reason: str, *, threads: int = 0) -> str:
    """Say on what a run computes, from what `choose_device` answers."""
    if device.startswith("cuda"):
        name = re.match(r"(.+?), ([\d.]+) of ([\d.]+) GiB free", reason)
        about = f" ({name[1]}, {name[2]} of {name[3]} GiB free)" if name else ""
        return f"Training uses the GPU{about}."
    if device.startswith("mps"):
        return "Training uses the Apple GPU."
    found = re.search(r"(\d+) threads", reason)
    number = threads or (int(found[1]) if found else 0)
    how = f" ({number} thread{'s' if number != 1 else ''})" if number else ""
    first = "No GPU found: training" if "no GPU found" in reason else "Training"
    return f"{first} uses the processor{how}."


def device_answer(device: str, reason: str) -> str:
    """The same before a run: with what to expect where there is no GPU."""
    words = device_words(device, reason)
    return f"{words} There {_SLOW}" if device == "cpu" else words


def run_device_words(event: RunStarted) -> str:
    """Say on what a run that has started computes."""
    return device_words(event.device, event.device_reason, threads=event.threads)


def place_of(device: str) -> str:
    """A device in a word or two."""
    return {"cpu": "on the processor", "mps": "on the Apple GPU"}.get(device.split(":")[0], "on the GPU")


def run_place(progress: Any) -> str:
    """Say on what a `RunProgress` computes, as a sentence; empty before it is known."""
    words = place_of(progress.device.partition(",")[0]) if progress.device else ""
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def check_words(report: Any) -> str:
    """Say what a `DryRunReport` found."""
    lines = []
    if report.device:  # else nothing was read: the network could not be built
        number = "All" if report.crops_opened == report.crops else f"{report.crops_opened} of"
        lines.append(f"{number} {report.crops} crops can be read.")
    if report.seconds_per_epoch is not None and report.seconds_total is not None:
        epochs = (
            f"{report.epochs} epochs of {spoken_duration(report.seconds_per_epoch)}"
            if report.epochs != 1
            else "One epoch"
        )
        lines.append(
            f"{epochs} take{'s' if report.epochs == 1 else ''} about {spoken_duration(report.seconds_total)} "
            f"{place_of(report.device)}, with {report.memory_mib / 1024:.1f} GiB of memory."
        )
    lines += [f"Note: {n}." for n in report.notes]
    lines += [f"Left out: {c}." for c in report.left_out]
    lines += [f"Problem: {p}" for p in report.problems]
    return "\n".join(lines)


def long_start(report: Any) -> str:
    """What stands beside Start where the last check found a long run; empty for a short one."""
    seconds = report.seconds_total
    if seconds is None or seconds <= LONG_S:
        return ""
    return f"Will take about {spoken_duration(seconds)}"


def progress_words(progress: Any) -> str:
    """Say where a run is, from a `RunProgress`."""
    left = "" if progress.paused else spoken_duration(progress.seconds_left)
    best = f", best combo {progress.best_combo:.2f}" if progress.best_combo is not None else ""
    return (
        f"{'Paused. ' if progress.paused else ''}Epoch {progress.epoch} of {progress.epochs}, "
        f"step {progress.step_in_epoch} of {progress.steps_per_epoch}{best}{f', {left} left' if left else ''}."
    )


def end_words(end: Any) -> tuple[str, str]:
    """Say how a run ended (a `RunEnded`), and the kind of the note."""
    best = f" Best combo {end.best_combo:.2f} (epoch {end.best_epoch})." if end.best_combo is not None else ""
    words = {
        "completed": "Training is done.",
        "stopped": "Stopped; the model is kept and can be resumed.",
        "failed": f"Failed: {end.message}",
    }
    kind = {"completed": "good", "stopped": "hint", "failed": "error"}[end.reason]
    following = " Next: Predict." if end.best_combo is not None else ""
    return f"{words[end.reason]}{best}{following}", kind


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What the user wants to run, taken from the form on the Qt thread and used in a worker.

    Attributes
    ----------
    recipe : TrainingRecipe
    data, runs_folder : Path
    split : str
        "patient" or "official".
    where : str
        "thread" or "child".
    device : str
    """

    recipe: TrainingRecipe
    data: Path
    runs_folder: Path
    split: Any
    where: str
    device: str

    def make_run(self, folder: Path | None = None) -> RunFolder:
        """Make the run folder: recipe, data, split.

        Parameters
        ----------
        folder : Path, optional
            Where; by default a new folder named after the time and the recipe.

        Raises
        ------
        MonusacError
            The data cannot be split, or the folder cannot be made.
        """
        from napari_monusac.io.runs.run_folder import make_run, new_run_name

        return make_run(
            self.data, self.recipe, folder or self.runs_folder / new_run_name(self.recipe.name), kind=self.split
        )


_WHERE = {"Here, in napari's background": "thread", "In its own process (goes on when napari closes)": "child"}
_DEVICES = {"Automatic: a GPU if there is one": "auto", "Processor (CPU)": "cpu", "NVIDIA GPU": "cuda"}
_APPLE = {"Automatic: a GPU if there is one": "auto", "Processor (CPU)": "cpu", "Apple GPU": "mps"}
_WEIGHTS = ("ImageNet (downloaded once)", "From scratch", "From a file…")
_DEFAULT = "run-8"


class TrainForm(QWidget):
    """What to train, on what, where.

    Signals
    -------
    changed : another recipe, or another value of any field.
    recipe_chosen(TrainingRecipe) : another recipe, before its values are changed.
    runs_folder_chosen : runs are kept elsewhere now.
    """

    changed = Signal()
    recipe_chosen = Signal(object)
    runs_folder_chosen = Signal()

    def __init__(self, model: StudioModel) -> None:
        super().__init__()
        self.model = model
        self._looking: Task | None = None
        self._build()
        self._connect()
        self.recipes.setCurrentText(_DEFAULT)
        self._recipe_chosen()
        self.take_collection(model.collection)

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
        self.epochs.setToolTip(
            "Length of the run in epochs: in each, the network sees as much tissue as all training crops hold"
        )
        self.data = PathPicker(
            "training", "folder", tooltip="A folder of labelled crops", placeholder="The folder to train on"
        )
        self.patients = Note()
        self.split = QComboBox()
        self.split.addItem("By patient (a quarter validates)", "patient")
        self.split.addItem("Official (testing crops validate)", "official")
        self.split.setToolTip(
            "Which crops are kept apart to measure the model: all crops of a quarter of the patients, or the crops of "
            "MoNuSAC's testing folder. The model never learns from them."
        )
        self.where = QComboBox()
        self.where.addItems(list(_WHERE))
        self.where.setToolTip(
            "In napari's background: closing napari saves the run and ends it. In its own process: it goes on when "
            "napari is closed, and Watch in the table of runs finds it again."
        )
        self.device = QComboBox()
        for words, name in (_APPLE if sys.platform == "darwin" else _DEVICES).items():
            self.device.addItem(words, name)
        self.device.setToolTip("What computes. A GPU trains many times as fast as the processor.")
        # what "auto" will take is known once torch is loaded, which takes seconds: not before it is asked for
        self.device_reason = Note(UNKNOWN_DEVICE)
        self.out = PathPicker("runs", "folder", tooltip="Where runs are kept: one folder a run", placeholder="Runs in")
        self.out.show_default(self.model.runs_folder)
        form_widget = QWidget()
        # no QFormLayout: it shares out the heights of paragraphs as they were at another width, and cuts their last line
        form = QGridLayout(form_widget)
        form.setContentsMargins(0, 0, 0, 0)
        form.setColumnStretch(1, 1)
        rows: tuple[Note | tuple[str, QWidget], ...] = (
            ("Recipe", row(self.recipes, self.open_recipe, stretch_first=True)), self.about, ("Data", self.data),
            self.patients, ("Validation", self.split), ("Epochs", self.epochs), ("Encoder", self.weights),
            ("Where it runs", self.where), ("Computes on", self.device), self.device_reason, ("Keep runs in", self.out),
        )  # fmt: skip
        for at, one in enumerate(rows):
            if isinstance(one, Note):
                form.addWidget(one, at, 0, 1, 2)
                continue
            label = QLabel(one[0])
            label.setToolTip((one[1].box if isinstance(one[1], PathPicker) else one[1]).toolTip())
            form.addWidget(label, at, 0)
            form.addWidget(one[1], at, 1)
        for combo in (self.recipes, self.weights, self.split, self.where, self.device):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(10)
        self.editor = RecipeEditor()
        self.save_recipe = QPushButton("Save as a new recipe…")
        self.save_recipe.setToolTip("Write these values into a file (.toml) that Open… takes")
        self.effective = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(form_widget)
        box.addWidget(Section("All values", column(self.editor, self.save_recipe), opened=False))
        box.addWidget(self.effective)

    def _connect(self) -> None:
        self.recipes.currentIndexChanged.connect(lambda _: self._recipe_chosen())
        self.open_recipe.clicked.connect(self._open_recipe)
        self.save_recipe.clicked.connect(self._save_recipe)
        self.weights.activated.connect(self._weights_chosen)
        self.epochs.valueChanged.connect(lambda n: self.editor.set_values(epochs=n))
        self.editor.changed.connect(self._recipe_edited)
        self.device.currentIndexChanged.connect(lambda _: self._explain_device())
        self.data.changed.connect(self._data_chosen)
        for box in (self.split, self.where, self.device):
            box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.out.changed.connect(self._runs_folder_chosen)

    @property
    def recipe(self) -> TrainingRecipe | None:
        """The effective recipe, or None while a value is wrong."""
        return self.editor.recipe

    @property
    def reported_combo(self) -> float | None:
        """What the source reports for the chosen recipe."""
        return self.recipe.reported.combo if self.recipe is not None else None

    def plan(self) -> TrainingPlan:
        """Take what is chosen.

        Raises
        ------
        MonusacError
            No folder is chosen, or a value of the recipe is wrong.
        """
        if self.recipe is None:
            raise MonusacError("a value of the recipe is wrong", "correct it under All values")
        if self.data.path is None:
            raise MonusacError("no folder to train on", "choose a folder of labelled crops")
        return TrainingPlan(
            recipe=self.recipe,
            data=self.data.path,
            runs_folder=self.model.runs_folder,
            split=self.split.currentData(),
            where=self.where_value,
            device=self.device_value,
        )

    @property
    def where_value(self) -> str:
        """Where training runs: "thread" or "child"."""
        return _WHERE[self.where.currentText()]

    @property
    def device_value(self) -> str:
        """What computes: "auto", "cpu", "cuda" or "mps"."""
        return str(self.device.currentData())

    def take_collection(self, collection: Any) -> None:
        """Train on the open folder unless the user chose another."""
        if collection is not None:
            self.data.set_path(collection.root)
            self._looking = None
            self._say_patients(collection)
            self.changed.emit()

    def _take_data(self, folder: Path) -> None:
        self.data.set_path(folder)
        self._look_for_patients(folder)
        self.changed.emit()

    def _data_chosen(self, text: str) -> None:
        self._look_for_patients(Path(text).expanduser())
        self.changed.emit()

    def _look_for_patients(self, folder: Path) -> None:
        """Say how the crops of a folder fall into patients: the unit of the split."""

        def work(_: Report) -> Any:
            from napari_monusac.io.collection.collection import open_collection

            return open_collection(folder)

        task = self._looking = self.model.work.task(work, self)
        self.patients.say("")
        task.done.connect(lambda collection: self._say_patients(collection) if self._looking is task else None)
        task.failed.connect(
            lambda error: self.patients.say(error_line(error), "warning") if self._looking is task else None
        )
        task.start()

    def _say_patients(self, collection: Any) -> None:
        grouping = collection.grouping_of(collection.labelled)
        self.patients.say(f"{grouping_words(grouping)}{' Set them in Slides.' if grouping.guessed else ''}")

    def start_from(self, folder: Path, checkpoint: Path | None) -> None:
        """Train on corrected crops, from the weights of a former run."""
        self._take_data(folder)
        if checkpoint is not None:
            self._start_from_weights(checkpoint)

    def _start_from_weights(self, checkpoint: Path) -> None:
        """Take the recipe of the checkpoint's run, with its weights to start from."""
        recipe = load_recipe(checkpoint.parent / "recipe.toml")
        self.editor.show_recipe(recipe)
        self.editor.set_values(start_from=str(checkpoint))
        self.about.say(f"Goes on from {checkpoint.parent.name} (recipe {recipe.name}).")

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
        self.recipe_chosen.emit(recipe)

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
                "".join(SETTINGS.last_paths("weights")[:1]),
                "Weights (*.safetensors *.pth *.pt)",
            )[0]
            if not value:
                self.weights.setCurrentIndex(0)
                value = "imagenet"
            else:
                SETTINGS.remember_path("weights", value)
        self.editor.set_values(encoder_weights=value)

    def _recipe_edited(self) -> None:
        recipe = self.recipe
        if recipe is None:
            self.effective.say("One value is wrong: see All values.", "error")
            self.changed.emit()
            return
        self._follow_editor(recipe)
        base = self.editor._base
        changed = recipe.changes(base) if base is not None else {}
        words = "; ".join(f"{k.replace('_', ' ')} {mine} (was {theirs})" for k, (mine, theirs) in changed.items())
        self.effective.say(f"Changed: {words}." if words else "")
        self.changed.emit()

    def _follow_editor(self, recipe: TrainingRecipe) -> None:
        """Keep the short form in step with the editor."""
        self.epochs.blockSignals(True)
        self.epochs.setValue(recipe.epochs)
        self.epochs.blockSignals(False)
        at = {"imagenet": 0, "none": 1}.get(recipe.encoder_weights, 2)
        self.weights.setCurrentIndex(at)
        self.weights.setToolTip(recipe.encoder_weights if at == 2 else self.weights.itemText(at))

    def _explain_device(self) -> None:
        asked = self.device_value

        def work(_: Report) -> str:
            from napari_monusac.network.device import choose_device

            return device_answer(*choose_device(asked))

        task = self.model.work.task(work, self)
        task.done.connect(self.device_reason.say)
        task.failed.connect(lambda error: self.device_reason.say(error_line(error), "error"))
        task.start()

    def _runs_folder_chosen(self, text: str) -> None:
        self.model.runs_folder = Path(text).expanduser()
        self.runs_folder_chosen.emit()
        self.changed.emit()

    def runs_folder_hinted(self) -> None:
        """Show where runs are kept: somebody else has said so."""
        self.out.show_default(self.model.runs_folder)
