"""The MoNuSAC Studio: one dock with everything, the next step always plain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QDockWidget,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.actions import (
    HIDE,
    LEGEND,
    NEXT_CROP,
    PANELS,
    PREVIOUS_CROP,
    SNAPSHOT,
    Action,
    Panel,
    StudioWindow,
)
from napari_monusac.app.snapshot import CanvasPicture
from napari_monusac.app.work import spoken_duration
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.settings import environment
from napari_monusac.ui.annotate.panel import AnnotatePanel
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.growing import GrowingImages
from napari_monusac.ui.canvas.hiding import Hiding
from napari_monusac.ui.canvas.keys import name_of, napari_name
from napari_monusac.ui.canvas.legend import Legend
from napari_monusac.ui.canvas.opening import show_outlines
from napari_monusac.ui.canvas.overview import Overview
from napari_monusac.ui.canvas.snapshot import ENDINGS, take, write
from napari_monusac.ui.canvas.zoom_bar import ZoomBar
from napari_monusac.ui.masks.panel import MasksPanel
from napari_monusac.ui.model import Placed, hear, studio_model
from napari_monusac.ui.predict.panel import PredictPanel
from napari_monusac.ui.review.panel import ReviewPanel
from napari_monusac.ui.slides.panel import SlidesPanel
from napari_monusac.ui.train.panel import TrainPanel
from napari_monusac.ui.widgets.accessible import name_widgets
from napari_monusac.ui.widgets.basic import scrolling
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.settings import SETTINGS

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop

_WIDTH_PX, _UNSAVED = 410, "\u25cf unsaved"
#: napari's themes do not show which control has the keyboard.
_FOCUS = (
    "QPushButton:focus, QComboBox:focus, QLineEdit:focus, QAbstractSpinBox:focus, QTreeWidget:focus, QTableWidget:focus, "
    "QCheckBox:focus, QRadioButton:focus, QSlider:focus, QTabBar:focus, QToolButton:focus "
    "{ border: 1px solid #56b4e9; }"
)
_PANELS: dict[Panel, type[QWidget]] = {
    Panel.SLIDES: SlidesPanel,
    Panel.ANNOTATE: AnnotatePanel,
    Panel.MASKS: MasksPanel,
    Panel.TRAIN: TrainPanel,
    Panel.PREDICT: PredictPanel,
    Panel.REVIEW: ReviewPanel,
}

#: Keys that napari's canvas passes to the viewer; Qt hears the other ones wherever the keyboard is.
_OF_THE_VIEWER = (NEXT_CROP, PREVIOUS_CROP, HIDE, LEGEND)


class Studio(QWidget):
    """Slides, Annotate, Masks, Train, Predict, Review in one dock.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the Studio belongs to.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer, self.model = napari_viewer, studio_model(napari_viewer)
        self.panels: dict[str, QWidget] = {}
        self._sized = False
        #: layers of another image that were dropped while there are unsaved edits
        self._held: list[Any] = []
        self._build()
        Placed(self, self.model)
        canvas.show_scale(napari_viewer)
        canvas.show_magnification(napari_viewer)
        self._connect()
        self._crop_changed(self.model.crop)
        self.unsaved.setText(_UNSAVED if self.model.editing.unsaved else "")
        self._take_hints()
        # napari opens files before it docks the Studio: take what is there already
        QTimer.singleShot(0, self._adopt_open_layers)

    def _build(self) -> None:
        self.setMinimumWidth(380)
        self.setStyleSheet(_FOCUS)
        self.where = QLabel("No slide is open")
        self.where.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.previous, self.next = _arrow(PREVIOUS_CROP), _arrow(NEXT_CROP)
        self.place = QLabel("")
        self.place.setToolTip("Which crop of the folder this is")
        head = QHBoxLayout()
        head.addWidget(self.previous)
        head.addWidget(self.where, 1)
        head.addWidget(self.place)
        head.addWidget(self.next)
        self.zoom = ZoomBar(self.viewer)
        self.presets = self.zoom.presets
        self.overview = Overview(self.viewer, self.model.work)
        self.tabs = QTabWidget()
        self.tabs.setUsesScrollButtons(True)
        for at, action in enumerate(PANELS):
            name = Panel(action.text)
            self.panels[name] = _PANELS[name](self.viewer)
            self.tabs.addTab(scrolling(self.panels[name]), name)
            self.tabs.setTabToolTip(at, action.label)
            keys = QShortcut(QKeySequence(action.keys[0]), self)
            keys.activated.connect(lambda a=action: a.run(self))
            name_widgets(self.panels[name])
        self.panels["Annotate"].open_keymap_from(self)
        self.notice = Note()
        self.job = QToolButton()
        self.job.setAutoRaise(True)
        self.job.hide()
        self.unsaved = QLabel("")
        self.unsaved.setToolTip("Edits that no file has yet. They are kept: even after a crash they come back.")
        foot = QHBoxLayout()
        foot.addWidget(self.job, 1)
        foot.addWidget(self.unsaved)
        box = QVBoxLayout(self)
        box.setContentsMargins(6, 6, 6, 6)
        box.addLayout(head)
        box.addWidget(self.zoom)
        box.addWidget(self.overview)
        box.addWidget(self.tabs, 1)
        box.addWidget(self.notice)
        box.addLayout(foot)
        self._notice_timer = QTimer(self)
        self._notice_timer.setSingleShot(True)
        self._notice_timer.timeout.connect(lambda: self.notice.say(""))

    def _connect(self) -> None:
        self.previous.clicked.connect(lambda: self.go(-1))
        self.next.clicked.connect(lambda: self.go(1))
        self.zoom.picture.clicked.connect(lambda: SNAPSHOT.run(self))
        keys = QShortcut(QKeySequence(SNAPSHOT.keys[0]), self)
        keys.activated.connect(lambda: SNAPSHOT.run(self))
        self.job.clicked.connect(lambda: self.show_panel("Train"))
        hear(self, self.model.crop_changed, self._crop_changed)
        hear(self, self.model.collection_changed, self._collection_changed)
        hear(self, self.model.training.progressed, self._run_progressed)
        hear(self, self.model.training.ended, lambda _: self.job.hide())
        hear(self, self.model.told, self._told)
        hear(self, self.model.panel_asked, self.show_panel)
        hear(self, self.model.editing.unsaved_changed, lambda on: self.unsaved.setText(_UNSAVED if on else ""))
        hear(self, self.model.layers_changed, self._layers_changed)
        self._growing = GrowingImages(self.viewer, self)
        self.viewer.layers.events.inserted.connect(self._inserted)
        self.viewer.layers.events.removed.connect(self._layers_changed)
        self.hiding = Hiding(self.viewer, self.model, self)
        self.legend = Legend(self.viewer, self.model, self)
        for action in _OF_THE_VIEWER:
            self.viewer.bind_key(napari_name(action.keys[0]), _doing(self, action), overwrite=True)
        self._run_progressed()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Ask for a dock of 400 px: wide enough for every word, narrow enough to leave the slide its room."""
        return QSize(_WIDTH_PX, 800)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Take 400 px when first shown: Qt gives a new dock as much as the canvas."""
        super().showEvent(event)
        if not self._sized:
            self._sized = True
            QTimer.singleShot(0, self._take_width)

    def _take_width(self) -> None:
        dock, window = self.parent(), self.window()
        if not (isinstance(dock, QDockWidget) and isinstance(window, QMainWindow)):
            return
        room, size = window.screen().availableGeometry(), window.frameGeometry()
        if not (window.isMaximized() or window.isFullScreen()) and not room.contains(size):
            # the dock has pushed the window over the edge of a small screen
            edges = size.size() - window.size()
            window.resize(window.size().boundedTo(room.size() - edges))
            window.move(room.topLeft())
        window.resizeDocks([dock], [_WIDTH_PX], Qt.Orientation.Horizontal)

    # -- getting about

    def show_panel(self, name: str) -> None:
        """Bring a panel to the front."""
        if name in self.panels:
            self.tabs.setCurrentIndex(list(self.panels).index(name))

    def go(self, step: int) -> None:
        """Open the next (1) or the previous (-1) crop."""
        crop = self.model.neighbour(step)
        if crop is not None:
            self.model.ask_for_crop(crop)

    def show_keymap(self) -> None:
        """Open or close the key map."""
        self.panels["Annotate"].show_keymap()

    def toggle_hidden(self) -> None:
        """Hide all but the tissue, or show it again."""
        self.model.hidden = not self.model.hidden

    def move_legend(self) -> None:
        """Put the legend into the other corner, away, and back."""
        self.model.move_legend()

    def snapshot(self) -> None:
        """Write what the window shows as a picture, where the reader says."""
        name = "view" if self.model.crop is None else str(self.model.crop.name)
        taken = take(self.viewer, name)  # before the question covers the canvas
        start = str(Path(next(iter(SETTINGS.last_paths("pictures")), "")) / f"{name}.png")
        chosen = QFileDialog.getSaveFileName(self, "Write the picture", start, "Pictures (*.png *.svg)")[0]
        if chosen:
            self.write_snapshot(taken, Path(chosen))

    def write_snapshot(self, taken: CanvasPicture, path: Path) -> None:
        """Write a picture; without an ending it is a PNG."""
        path = path if path.suffix else path.with_suffix(ENDINGS[0])
        try:
            write(taken, path)
        except (MonusacError, OSError) as error:
            self.model.tell(f"{path.name} cannot be written: {error}", "error")
            return
        SETTINGS.remember_path("pictures", str(path.parent))
        self.model.tell(f"{path.name} is written into {path.parent}.", "good")

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Keys of the window work while the dock has the focus, too."""
        action = next((a for a in _OF_THE_VIEWER if name_of(event) in a.keys and not event.isAutoRepeat()), None)
        if action is None:
            super().keyPressEvent(event)
        else:
            action.run(self)

    def _collection_changed(self, _: Collection | None) -> None:
        self._crop_changed(self.model.crop)

    def _crop_changed(self, crop: Crop | None) -> None:
        self.where.setText("No slide is open" if crop is None else str(crop.name))
        self.where.setToolTip("" if crop is None else str(crop.image))
        image = canvas.find_layer(self.viewer, "image")
        notes = image.metadata["monusac"].get("notes", ()) if image is not None else ()
        said = "; ".join(notes)
        self.notice.say(f"{said[:1].upper()}{said[1:]}", "hint")
        at, number = self.model.position()
        self.place.setText(f"{at}/{number}" if number else "")
        self.previous.setEnabled(self.model.neighbour(-1) is not None)
        self.next.setEnabled(self.model.neighbour(1) is not None)
        self._layers_changed()

    def _inserted(self, event: Any) -> None:
        """A layer came in, perhaps by File > Open or a drop: list its collection, show its crop."""
        show_outlines(self.viewer, event.value)
        self._growing.look()
        if not self._hold(event.value):
            self._take_layer(event.value)
        self._layers_changed()

    def _hold(self, layer: Any) -> bool:
        """Whether a layer that came in over a crop with unsaved edits waits until the reader has decided about them."""
        controller, about = self.panels["Annotate"].controller, layer.metadata.get("monusac", {})
        session = controller.session
        if (
            session is None
            or controller.editing.place is None
            or about.get("image") in (None, controller.editing.place.image)
        ):
            return False
        if not self._held:
            controller.adopt()
            former = controller.layers is not None and controller.layers.get("nuclei") is not None
            if about.get("role") != "image" or not session.unsaved or not former:
                return False
            self.model.holding = True
            QTimer.singleShot(0, self._ask_about_held)  # once all of its layers are in
        self._held.append(layer)
        return True

    def _ask_about_held(self) -> None:
        held, self._held = self._held, []
        for layer in held:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self.model.holding = False

        def go() -> None:
            for layer in canvas.our_layers(self.viewer):
                self.viewer.layers.remove(layer)
            for layer in held:
                self.viewer.add_layer(layer)
            self.viewer.reset_view()

        self.model.leave_crop(go)

    def _take_layer(self, layer: Any) -> None:
        about = layer.metadata.get("monusac", {})
        if about.get("role") == "image" and about.get("collection"):
            root = str(about["collection"])
            if self.model.collection is None or str(self.model.collection.root) != root:
                QTimer.singleShot(0, lambda: self._list(root, str(about.get("crop") or "")))
            elif self.model.crop is None or self.model.crop.name != about.get("crop"):
                self._adopt(str(about.get("crop") or ""))

    def _adopt_open_layers(self) -> None:
        for layer in self.viewer.layers:
            show_outlines(self.viewer, layer)
        image = canvas.find_layer(self.viewer, "image")
        if image is not None and self.model.crop is None:
            self._take_layer(image)

    def _take_hints(self) -> None:
        """What the command line wants to be shown: where the runs are, and which panel."""
        hints = environment()
        if hints.runs is not None:
            self.model.training.runs_folder = hints.runs
        panel = hints.panel.capitalize()
        if panel not in self.panels:
            self.model.tell(
                f"MONUSAC_PANEL = {hints.panel!r} is no panel; they are {', '.join(self.panels)}.", "warning"
            )
        self.show_panel(panel)

    def _list(self, root: str, crop_name: str) -> None:
        slides = self.panels["Slides"]
        task = slides.open_folder(root, then_first=False)
        task.done.connect(lambda _: self._adopt(crop_name))

    def _adopt(self, crop_name: str) -> None:
        collection = self.model.collection
        crop = next((c for c in collection.crops if c.name == crop_name), None) if collection else None
        if crop is not None:
            self.model.crop = crop

    # -- on the canvas

    def _layers_changed(self, _: object = None) -> None:
        self.zoom.refresh()
        self.overview.refresh()

    # -- the foot

    def _told(self, text: str, kind: str) -> None:
        self.notice.say(text, kind)
        self._notice_timer.start(20_000 if kind in ("warning", "error") else 6_000)

    def _run_progressed(self) -> None:
        training = self.model.training
        if not training.running or training.run is None:
            return
        progress, name = training.progress, training.run.recipe.name
        duration = spoken_duration(progress.seconds_left)
        left = "paused" if progress.paused else f"{duration} left" if duration else ""
        epoch = f": epoch {progress.epoch}/{progress.epochs}" if progress.epochs else ""
        self.job.setText(f"{name}{epoch}{f', {left}' if left else ''}")
        self.job.setToolTip(f"The running training{progress.device and f', on {progress.device}'}: click to see it")
        self.job.show()


def _doing(studio: Studio, action: Action[StudioWindow]) -> Callable[[Any], None]:
    """Make the function of a key of the viewer, which must not keep the Studio alive."""
    weakly = ref(studio)

    def do(_viewer: Any) -> None:
        here = weakly()
        if here is not None:
            action.run(here)

    return do


def _arrow(action: Action[StudioWindow]) -> QToolButton:
    button = QToolButton()
    button.setText(action.text)
    button.setAccessibleName(action.tooltip)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    button.setToolTip(action.tooltip)
    button.setEnabled(False)
    return button
