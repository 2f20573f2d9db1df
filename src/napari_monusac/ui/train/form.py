"""The form of the Train panel: recipe, data, split, device; what will run, in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QLabel, QSpinBox, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

from napari_monusac.app.actions import OPEN_RECIPE, SAVE_RECIPE
from napari_monusac.app.training import TrainingModel, devices
from napari_monusac.app.work import error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.recipe import TrainingRecipe, load_recipe, recipe_names
from napari_monusac.ui.model import hear
from napari_monusac.ui.train.recipe_editor import RecipeEditor
from napari_monusac.ui.train.words import UNKNOWN_DEVICE, device_answer
from napari_monusac.ui.widgets.basic import Section, column, form_button, grouping_words, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.settings import SETTINGS

if TYPE_CHECKING:
    from napari_monusac.io.collection.patients import Grouping

_SPLITS = {"By patient (a quarter validates)": "patient", "Official (testing crops validate)": "official"}
_WHERE = {"Here, in napari's background": "thread", "In its own process (goes on when napari closes)": "child"}
_WEIGHTS = {"ImageNet (downloaded once)": "imagenet", "From scratch": "none", "From a file…": ""}
_FILE = 2


class TrainForm(QWidget):
    """A view of what will be trained.

    Parameters
    ----------
    training : TrainingModel
    """

    def __init__(self, training: TrainingModel) -> None:
        super().__init__()
        self.training, self.draft = training, training.draft
        self._choosing = False
        self._build()
        self._lay_out()
        self._connect()
        self._base_changed(self.draft.base)
        self._show_draft()
        self._show_patients(training.patients)
        self._show_facts()

    def _build(self) -> None:
        self.recipes = _combo("The nine runs of the source, and ours", list(recipe_names()))
        self.open_recipe = form_button(OPEN_RECIPE, self)
        self.about = Note()
        self.weights = _combo(
            "What the encoder knows before training. ImageNet weights come from a hub; "
            "offline choose a file or from scratch.", list(_WEIGHTS),
        )  # fmt: skip
        self.epochs = QSpinBox()
        self.epochs.setRange(1, 100_000)
        self.epochs.setToolTip(
            "Length of the run in epochs: in each, the network sees as much tissue as all training crops hold"
        )
        self.data = PathPicker(
            "training", "folder", tooltip="A folder of labelled crops", placeholder="The folder to train on"
        )
        self.patients = Note()
        self.split = _combo(
            "Which crops are kept apart to measure the model: all crops of a quarter of the patients, or the crops of "
            "MoNuSAC's testing folder. The model never learns from them.", _SPLITS,
        )  # fmt: skip
        self.where = _combo(
            "In napari's background: closing napari saves the run and ends it. In its own process: it goes on when "
            "napari is closed, and Watch in the table of runs finds it again.", _WHERE,
        )  # fmt: skip
        self.device = _combo("What computes. A GPU trains many times as fast as the processor.", dict(devices()))
        # what "auto" will take is known once torch is loaded, which takes seconds: not before it is asked for
        self.device_reason = Note(UNKNOWN_DEVICE)
        self.out = PathPicker("runs", "folder", tooltip="Where runs are kept: one folder a run", placeholder="Runs in")
        self.editor = RecipeEditor(self.draft)
        self.save_recipe = form_button(SAVE_RECIPE, self)
        self.effective = Note()

    def _lay_out(self) -> None:
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
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(form_widget)
        self.values = Section("All values", column(self.editor, self.save_recipe), opened=False)
        box.addWidget(self.values)
        box.addWidget(self.effective)

    def _connect(self) -> None:
        training = self.training
        self.recipes.currentIndexChanged.connect(lambda _: self._recipe_chosen())
        self.weights.activated.connect(self._weights_chosen)
        self.epochs.valueChanged.connect(lambda n: self.draft.set(epochs=n))
        self.data.changed.connect(lambda text: training.choose_data(Path(text).expanduser()))
        self.out.changed.connect(lambda text: setattr(training, "runs_folder", Path(text).expanduser()))
        for name in ("split", "where", "device"):
            box = getattr(self, name)
            box.currentIndexChanged.connect(lambda _, n=name, b=box: setattr(training, n, b.currentData()))
            hear(self, getattr(training, f"{name}_changed"), self._show_facts)
        hear(self, training.device_changed, lambda: self._device_asked())
        hear(self, training.chosen_device_changed, self._show_device)
        hear(self, training.data_changed, self._show_facts)
        hear(self, training.runs_folder_changed, self._show_facts)
        hear(self, training.patients_changed, self._show_patients)
        hear(self, self.draft.base_changed, self._base_changed)
        hear(self, self.draft.changed, self._show_draft)

    # -- what the model says

    def _show_facts(self) -> None:
        training = self.training
        if self.data.path != training.data:
            self.data.set_path(training.data)
        for name in ("split", "where", "device"):
            box = getattr(self, name)
            with signals_blocked(box):
                box.setCurrentIndex(box.findData(getattr(training, name)))
        self.out.show_default(training.runs_folder)

    def _show_patients(self, patients: Grouping | BaseException | None) -> None:
        if isinstance(patients, BaseException):
            self.patients.say(error_line(patients), "warning")
        elif patients is None:
            self.patients.say("")
        else:
            self.patients.say(f"{grouping_words(patients)}{' Set them in Slides.' if patients.guessed else ''}")

    def _device_asked(self) -> None:
        self.training.ask_device()

    def _show_device(self, answer: object) -> None:
        if isinstance(answer, BaseException):
            self.device_reason.say(error_line(answer), "error")
        elif isinstance(answer, tuple):
            self.device_reason.say(device_answer(*answer))

    def _base_changed(self, recipe: TrainingRecipe) -> None:
        if not self._choosing:  # a recipe that is none of the list is named all the same
            with signals_blocked(self.recipes):
                self.recipes.setCurrentIndex(self.recipes.findText(recipe.name))
            self.recipes.setPlaceholderText(recipe.name)
        reported = recipe.reported.combo
        source = (
            f" Source (other split): combo {reported:.2f}, boundary Dice {recipe.reported.boundary_dice or 0:.2f}."
            if reported
            else ""
        )
        self.about.say(f"{recipe.title or recipe.note}.{source}")
        self.about.setToolTip(recipe.note)

    def _show_draft(self) -> None:
        """Keep the short form in step with all values."""
        draft = self.draft
        if draft.recipe is None:
            self.effective.say(draft.faults_in_words(), "error")
            self.values.toggle.setChecked(True)  # where the field is marked
            return
        with signals_blocked(self.epochs):
            self.epochs.setValue(draft.recipe.epochs)
        weights = draft.recipe.encoder_weights
        at = list(_WEIGHTS.values()).index(weights) if weights in _WEIGHTS.values() else _FILE
        self.weights.setCurrentIndex(at)
        self.weights.setToolTip(weights if at == _FILE else self.weights.itemText(at))
        if draft.recipe.start_from:
            started = Path(draft.recipe.start_from)
            self.about.say(f"Goes on from {started.parent.name} (recipe {draft.base.name}).")
        self.effective.say(draft.changes_in_words())

    # -- what the user says

    def _recipe_chosen(self) -> None:
        self._choosing = True
        try:
            self.draft.take(load_recipe(self.recipes.currentData() or self.recipes.currentText()))
        except MonusacError as error:
            self.about.say(error_line(error), "error")
        finally:
            self._choosing = False

    def read_recipe(self) -> None:
        """Ask for a recipe of the user's own, and take it."""
        path = QFileDialog.getOpenFileName(self, "Open a recipe", "", "Recipes (*.toml)")[0]
        if path:
            self.recipes.addItem(Path(path).stem, path)
            self.recipes.setCurrentIndex(self.recipes.count() - 1)

    def write_recipe(self) -> None:
        """Ask for a file, and write the values into it."""
        from napari_monusac.core.files import atomic_write_text

        path = QFileDialog.getSaveFileName(self, "Save the recipe", "my-recipe.toml", "Recipes (*.toml)")[0]
        if path and self.draft.recipe is not None:
            atomic_write_text(path, self.draft.recipe.with_values(name=Path(path).stem).to_toml())
            self.effective.say(f"Recipe saved as {Path(path).name}.", "good")

    def _weights_chosen(self, index: int) -> None:
        if index == _FILE:
            self.choose_weights_file()
        else:
            self.draft.set(encoder_weights=list(_WEIGHTS.values())[index])

    def from_scratch(self) -> None:
        """Begin with random weights."""
        self.draft.set(encoder_weights="none")

    def choose_weights_file(self) -> None:
        """Ask for a file of encoder weights; the choice stays as it was where none is chosen."""
        value = QFileDialog.getOpenFileName(
            self, "Choose encoder weights", "".join(SETTINGS.last_paths("weights")[:1]),
            "Weights (*.safetensors *.pth *.pt)",
        )[0]  # fmt: skip
        if value:
            SETTINGS.remember_path("weights", value)
            self.draft.set(encoder_weights=value)
        else:
            self._show_draft()


def _combo(tooltip: str, items: list[str] | dict[str, str]) -> QComboBox:
    combo = QComboBox()
    for words in items:
        combo.addItem(words, items[words] if isinstance(items, dict) else None)
    combo.setToolTip(tooltip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)
    return combo
