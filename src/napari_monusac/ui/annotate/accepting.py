"""From the prediction: take over what a network found, above a confidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider

from napari_monusac.app.editing import Question
from napari_monusac.app.place import Place
from napari_monusac.app.work import Report, Task, error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.io.predictions.find import names_of
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers
from napari_monusac.ui.canvas.regions import VIEW, chosen_region
from napari_monusac.ui.editing.commands import Commands
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import calm, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.settings import SETTINGS
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.io.predictions.find import FoundStore
    from napari_monusac.io.predictions.identity import Pixels
    from napari_monusac.io.predictions.open import PredictedCrop


#: No more than these are offered, the newest.
_MOST = 3


class StoredPredictions(QWidget):
    """One button for each stored prediction of the open crop, and a folder to look in.

    Parameters
    ----------
    controller : EditingController
        Whose crop is meant.

    Signals
    -------
    looked() : what is on disk is known.
    """

    looked = Signal()

    def __init__(self, controller: EditingController) -> None:
        super().__init__()
        self.controller = controller
        self.buttons: list[QPushButton] = []
        self.found: tuple[FoundStore, ...] = ()
        self.left_out: tuple[FoundStore, ...] = ()
        self._place: Place | None = None
        self.note, self.others = Note(), Note(kind="warning")
        self.folder = PathPicker(
            "predictions", tooltip="Where predictions of this crop may lie (.zarr, as Predict and the command line write them)",
            placeholder="Look in a folder of predictions…",
        )  # fmt: skip
        self.progress = TaskRow()
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.note, self.others, self.folder, self.progress):
            self._box.addWidget(widget)
        self.folder.changed.connect(lambda _: self.look())
        controller.session_changed.connect(self._session_changed)
        hear(self, controller.model.predicted, self._predicted)
        self._session_changed()

    def _predicted(self, _: object) -> None:
        self._show()

    def _session_changed(self) -> None:
        place = self.controller.editing.place if self.controller.session is not None else None
        if place is not self._place:
            self._place, self.found, self.left_out = place, (), ()
            self.look()
        self._show()

    # -- looking

    def look(self) -> Task | None:
        """Look for stored predictions of the open crop, in the background."""
        place = self._place
        if place is None:
            return None
        folders, names, pixels = (
            list(self._folders(place)),
            (*names_of(place.name, Path(place.image)), Path(place.image).stem),
            self._pixels(place),
        )

        def work(_: Report) -> tuple[Place, tuple[FoundStore, ...]]:
            from napari_monusac.io.predictions.find import stores_near

            return place, stores_near(folders, names, pixels())

        task = self.controller.model.work.task(work, self)
        # a method, not a lambda: Qt drops the connection when the panel goes
        task.done.connect(self._looked)
        return task.start()

    def _folders(self, place: Place) -> Iterator[Path]:
        """Where predictions are likely to lie: chosen folders first, then beside the crops and the runs."""
        if self.folder.path is not None:
            yield self.folder.path
        yield from map(Path, SETTINGS.last_paths("predictions"))
        model = self.controller.model
        near = [Path(place.image).parent, Path(model.training.runs_folder)]
        if model.collection is not None:
            near += [Path(model.collection.root), Path(model.collection.root).parent]
        for folder in near:
            yield from (folder / "predictions", folder)

    def _looked(self, answer: tuple[Place, tuple[FoundStore, ...]]) -> None:
        place, found = answer
        if place is self._place:
            self.left_out = tuple(one for one in found if one.same_image is False)
            self.found = tuple(one for one in found if one.same_image is not False)[:_MOST]
            self._show()
            self.looked.emit()

    def _show(self) -> None:
        for button in self.buttons:
            self._box.removeWidget(button)
            button.deleteLater()
        self.buttons = []
        latest = self.controller.model.last_prediction
        self.folder.setVisible(latest is None and not self.found)
        if latest is not None:
            self.note.say("")
            self.others.say("")
            return
        name = self._place.name if self._place is not None else "this crop"
        self.note.say(
            "A prediction of this crop is on disk:" if len(self.found) == 1
            else f"{len(self.found)} predictions of this crop are on disk:" if self.found
            else f"No prediction of {name} is open or found on disk. Predict it (Predict), or choose where one lies:"
        )  # fmt: skip
        self.others.say(_left_out(self.left_out), "warning")
        for at, one in enumerate(self.found):
            button = calm(QPushButton(f"Open {one.model or one.path.parent.name} of {_spoken(one.modified)}"))
            button.setToolTip(str(one.path))
            button.clicked.connect(lambda _=False, one=one: self.choose(one))
            self._box.insertWidget(1 + at, button)
            self.buttons.append(button)

    def _pixels(self, place: Place) -> Callable[[], list[Pixels]]:
        """Return what gives the pixels of the open crop, in a worker: those that are shown, or those of the file."""
        image = canvas.find_layer(self.controller.viewer, "image")
        data = None if not isinstance(image, Image) else image.data[0] if image.multiscale else image.data

        def pixels() -> list[Pixels]:
            from napari_monusac.io.predictions.identity import ArrayPixels
            from napari_monusac.io.slides.slide import open_slide

            shown: list[Pixels] = [] if data is None else [ArrayPixels(data, Path(place.image))]
            whole = data is not None and tuple(data.shape[:2]) == place.whole
            return shown if whole else [*shown, open_slide(place.image)]

        return pixels

    # -- opening

    def choose(self, one: FoundStore) -> Task | None:
        """Open a stored prediction; where it does not say of which image it is, ask first."""
        if one.same_image:
            return self.open(one.path)
        text = f"{one.path.name} does not say of which image it is: an earlier version wrote it. Is it of this crop?"
        answers = (("Yes, open it", lambda: self.open(one.path, unknown=True)), ("No", lambda: None))
        self.controller.editing.question = Question(text, answers)
        return None

    def open(self, path: Path, *, unknown: bool = False) -> Task | None:
        """Open a stored prediction: its nuclei are shown, and can be accepted. `unknown`: whatever image it is of."""
        place, image = self._place, canvas.find_layer(self.controller.viewer, "image")
        if place is None or not isinstance(image, Image):
            return None

        pixels = self._pixels(place)

        def work(_: Report) -> PredictedCrop:
            from napari_monusac.io.predictions.open import open_prediction

            return open_prediction(
                path, *pixels(), shape=place.whole, um_per_px=place.um_per_px, part=place.part, unknown=unknown
            )

        task = self.controller.model.work.task(work, self)
        task.done.connect(lambda read: self._opened(place, image, read))
        return self.progress.follow(task, f"Reading {path.name}…")

    def _opened(self, place: Place, image: Image, read: PredictedCrop) -> None:
        viewer, model = self.controller.viewer, self.controller.model
        if place is not self._place or image not in viewer.layers:
            return
        y, x = place.image_offset_px  # the layers count from the image layer's first pixel
        found = read.moved(-y, -x)
        prediction = found.prediction()
        add_prediction_layers(viewer, image, prediction, found.nuclei)
        model.last_prediction = (prediction, found.nuclei)


def _left_out(others: tuple[FoundStore, ...]) -> str:
    if not others:
        return ""
    first = f"{others[0].path.name} in {others[0].path.parent}"
    if len(others) == 1:
        return f"A prediction of this name is of another image and is left out: {first}."
    return f"{len(others)} predictions of this name are of other images and are left out, such as {first}."


def _spoken(seconds: float) -> str:
    return time.strftime("%d %b %Y, %H:%M", time.localtime(seconds)).lstrip("0")


class Accepting(QWidget):
    """The least confidence, how many are that sure, and a button for all that the window shows.

    Parameters
    ----------
    controller : EditingController
        Whose session takes them.
    commands : Commands
        What accepts them.
    """

    def __init__(self, controller: EditingController, commands: Commands) -> None:
        super().__init__()
        self.controller, self.commands = controller, commands
        self.confidence = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.confidence.setRange(0.0, 1.0)
        self.confidence.setSingleStep(0.05)
        self.confidence.setDecimals(2)
        self.confidence.setValue(controller.editing.min_confidence)
        self.confidence.setToolTip("Predicted nuclei that the network is less sure of stay out")
        self.in_view = calm(QPushButton("Accept all in view"))
        self.in_view.setToolTip("Take over every predicted nucleus in the window that is at least this sure")
        self.hint = Note()
        self.stored = StoredPredictions(controller)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.stored)
        self.controls = row(self.confidence, self.in_view, stretch_first=True)
        box.addWidget(self.controls)
        box.addWidget(self.hint)
        self.confidence.valueChanged.connect(self._confidence_moved)
        self.in_view.clicked.connect(self.accept_in_view)
        controller.session_changed.connect(self.count)
        hear(self, controller.model.predicted, self._predicted)
        self.count()

    def _predicted(self, _: object) -> None:
        self.count()

    def _confidence_moved(self, value: float) -> None:
        self.controller.editing.min_confidence = float(value)
        self.count()

    def count(self) -> None:
        """Say how many predicted nuclei are sure enough."""
        latest: Any = self.controller.model.last_prediction
        self.controls.setVisible(latest is not None)
        if latest is None:
            self.hint.say("")
            return
        table = latest[1].table
        least = self.controller.editing.min_confidence
        sure = int((table["confidence"] >= least).sum()) if "confidence" in table else len(table)
        self.hint.say(
            f"{sure} of {len(table)} predicted nuclei (dashed) are that sure. A takes the one under the pointer, the tool "
            "Accept many; what is outlined already stays. Model output, research use."
        )

    def accept_in_view(self) -> None:
        """Accept the predicted nuclei that the window shows, above the confidence."""
        layers = self.controller.layers
        layer = layers.get("nuclei") if layers is not None else None
        if layer is None:
            return
        try:
            y, x, height, width = chosen_region(self.controller.viewer, layer, VIEW)
        except MonusacError as error:
            self.controller.said.emit(error_line(error), "warning")
            return
        corners = [(y, x), (y, x + width - 1), (y + height - 1, x + width - 1), (y + height - 1, x)]
        self.commands.accept_all(corners)
