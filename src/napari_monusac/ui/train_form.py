"""The form of the Train panel: recipe, data, split, device; what will run, in plain words."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.recipe import TrainingRecipe, load_recipe, recipe_names
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.recipe_editor import RecipeEditor
from napari_monusac.ui.widgets import Note, PathPicker, Section, column, row, settings
from napari_monusac.ui.work import Report, Task, error_line

if TYPE_CHECKING:
    from napari_monusac.io.runs import RunFolder

_WHERE = {"Here, in napari's background": "thread", "In its own process (goes on when napari closes)": "child"}
_WEIGHTS = ("ImageNet (downloaded once)", "From scratch", "From a file…")
_DEFAULT = "run-8"
_SLOW = "long runs take hours: Check says how many, and the recipe quick is a first try."


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
        from napari_monusac.io.collection import open_collection
        from napari_monusac.io.runs import RunFolder
        from napari_monusac.io.splits import make_split

        split = make_split(open_collection(self.data), kind=self.split, seed=self.recipe.seed)
        if folder is None:
            folder = self.runs_folder / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{self.recipe.name}"
        return RunFolder.create(folder, data=self.data, split=split, recipe=self.recipe)


class TrainForm(QWidget):
    """What to train, on what, where.

    Signals
    -------
    changed : another recipe or another value.
    recipe_chosen(TrainingRecipe) : another recipe, before its values are changed.
    runs_folder_chosen : runs are kept elsewhere now.
    """

    changed = Signal()
    recipe_chosen = Signal(object)
    runs_folder_chosen = Signal()

    def __init__(self, model: StudioModel) -> None:
        super().__init__()
        self.model = model
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
        # what "auto" will take is known once torch is loaded, which takes seconds: not before it is asked for
        self.device_reason = Note(f"Without a GPU, {_SLOW}")
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
        self.device.currentTextChanged.connect(lambda _: self._explain_device())
        self.where.currentIndexChanged.connect(lambda _: self._explain_device())
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
            device=self.device.currentText(),
        )

    @property
    def where_value(self) -> str:
        """Where training runs: "thread" or "child"."""
        return _WHERE[self.where.currentText()]

    def take_collection(self, collection: Any) -> None:
        """Train on the open folder unless the user chose another."""
        if collection is not None:
            self.data.set_path(collection.root)

    def start_from(self, folder: Path, checkpoint: Path | None) -> None:
        """Train on corrected crops, from the weights of a former run."""
        self.data.set_path(folder)
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
        asked = self.device.currentText()

        def work(_: Report) -> str:
            from napari_monusac.learn.device import choose_device

            device, reason = choose_device(asked)
            return f"{device}: {reason}." + (f" Here {_SLOW}" if device == "cpu" else "")

        task = Task(work)
        task.done.connect(lambda text: self.device_reason.say(text))
        task.failed.connect(lambda error: self.device_reason.say(error_line(error), "error"))
        task.start()

    def _runs_folder_chosen(self, text: str) -> None:
        self.model.runs_folder = Path(text).expanduser()
        self.runs_folder_chosen.emit()
