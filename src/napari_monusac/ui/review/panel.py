"""Review: see where the model is wrong, decide who is right, show it to others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QPushButton, QTabBar, QVBoxLayout, QWidget

from napari_monusac.app.actions import BLINK, REVIEW_NEXT, REVIEW_PREVIOUS, KeyGroup, keymap
from napari_monusac.app.review import COMPARE, ERRORS, PAGES, QUEUE, SCORES, TABLES, ReviewModel
from napari_monusac.app.work import Task
from napari_monusac.core.settings import environment
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.opening import crop_opener
from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers
from napari_monusac.ui.editing.controller import controller_of
from napari_monusac.ui.model import Placed, hear, improving_model, review_model
from napari_monusac.ui.review.errors import ErrorsView
from napari_monusac.ui.review.folder import FolderScores, StoredPrediction, UnknownImage
from napari_monusac.ui.review.going import Going
from napari_monusac.ui.review.guard import GuardView
from napari_monusac.ui.review.judging import Judging
from napari_monusac.ui.review.keys import ReviewActions, review_keys
from napari_monusac.ui.review.looking import Looking, WaysView
from napari_monusac.ui.review.queue import QueueView
from napari_monusac.ui.review.readers import ReadersView
from napari_monusac.ui.review.report import ReportButton
from napari_monusac.ui.review.scores import ScoresView
from napari_monusac.ui.review.tables import TablesView
from napari_monusac.ui.widgets import settings as annotate_settings
from napari_monusac.ui.widgets.basic import Section, calm, column, key_table, row, step_buttons
from napari_monusac.ui.widgets.export_row import ExportRow
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.round_row import RoundRow
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.review.comparison import Comparison

_NO_CROP = "Open a crop (Slides) and predict it (Predict); then its scores and errors stand here."
_NO_PREDICTION = (
    "Predict this crop (Predict), or choose a folder of predictions: then its scores and errors stand here."
)
_NOT_IN_FOLDER = (
    "The chosen folder holds no prediction of this crop: predict it (Predict), or go to a crop that is predicted there."
)
_NO_TRUTH = "This crop has no labels to compare with. Its uncertain nuclei can be gone through: see Queue."


class StartView(QWidget):
    """The next step, as buttons; hidden once there is a prediction.

    Parameters
    ----------
    model : ReviewModel
        What there is.
    predictions : PathPicker
        Chooses the folder of predictions.
    """

    def __init__(self, model: ReviewModel, predictions: PathPicker) -> None:
        super().__init__()
        self.model = model
        self.open = calm(QPushButton("Open a crop"))
        self.open.setToolTip("Goes to Slides")
        self.open.clicked.connect(lambda: model.studio.panel_asked.emit("Slides"))
        self.predict = calm(QPushButton("Predict this crop"))
        self.predict.setToolTip("Goes to Predict; come back when it is done")
        self.predict.clicked.connect(lambda: model.studio.panel_asked.emit("Predict"))
        self.choose = calm(QPushButton("Choose a folder of predictions…"))
        self.choose.setToolTip(predictions.box.toolTip())
        self.choose.clicked.connect(predictions.button.click)
        self.hint = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        self.buttons = row(self.open, self.predict, self.choose)
        box.addWidget(self.hint)
        box.addWidget(self.buttons)
        studio = model.studio
        for signal in (studio.crop_changed, studio.predicted, studio.layers_changed, model.predictions_changed,
                       model.compared, model.awaited_changed, model.missing_changed):  # fmt: skip
            hear(self, signal, self.show_next)
        self.show_next()

    def show_next(self, _: object = None) -> None:
        """Say what to do next."""
        model, studio = self.model, self.model.studio
        crop, prediction = studio.crop is not None, studio.last_prediction is not None
        waiting = model.awaited is not None
        self.hint.say(
            "Opening the crop of this nucleus…" if waiting
            else _NO_TRUTH if prediction and not model.labelled
            else "" if prediction
            else _NOT_IN_FOLDER if crop and model.missing
            else _NO_PREDICTION if crop
            else _NO_CROP
        )  # fmt: skip
        self.buttons.setVisible(not prediction and not waiting)
        self.open.setVisible(not crop)
        self.predict.setVisible(crop)
        self.choose.setVisible(model.predictions is None)


class Comparing(QObject):
    """Compares truth and prediction of the open crop in the background, while Review is in front.

    Parameters
    ----------
    model : ReviewModel
        Says what is to be compared, and gets what came out.
    progress : TaskRow
        Shows the first comparison of a crop; later ones (an edit, a threshold) run unseen.
    """

    def __init__(self, model: ReviewModel, progress: TaskRow) -> None:
        super().__init__(progress)
        self.model, self.progress = model, progress
        self._stale = True  # a dock that is opened again finds the crop as it is
        self._task: Task | None = None
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(_SETTLE_MS)
        self._settling.timeout.connect(self.start)
        hear(self, model.outdated, self._outdated)
        hear(self, model.shown_changed, lambda _: self._outdated() if self._stale else None)
        hear(self, model.studio.crop_changed, lambda _: self._give_up())

    def _outdated(self) -> None:
        self._stale = True
        if self.model.shown:
            self._settling.start()

    def _give_up(self) -> None:
        """Another crop: what is under way is of no use."""
        if self._task is not None:
            self._task.stop()
            self._task = None

    def start(self) -> Task | None:
        """Compare; while a comparison is under way, once more after it. None where there is nothing to start."""
        work = self.model.comparing() if self._task is None else None
        if work is None:
            return None
        self._stale = False
        self._task = task = self.model.studio.work.task(lambda _: work(), self)
        task.done.connect(lambda comparison: self._compared(task, comparison))
        task.finished.connect(lambda: self._finished(task))
        if self.model.comparison is None:
            return self.progress.follow(task, "Comparing…")
        task.failed.connect(lambda error: self.model.studio.tell(str(error), "error"))
        return task.start()

    def _compared(self, task: Task, comparison: Comparison) -> None:
        if self._task is task:
            self.model.comparison = comparison

    def _finished(self, task: Task) -> None:
        if self._task is task:
            self._task = None
            if self._stale:
                self._outdated()


class ShowAgain(QPushButton):
    """Brings back layers that the user has deleted though they are what is compared; hidden while all are there."""

    def __init__(self, viewer: Any, model: ReviewModel) -> None:
        super().__init__("Show the compared layers again")
        self.viewer, self.model = viewer, model
        self.setToolTip("Labels or prediction were deleted from the layer list: scores and errors go on without them")
        calm(self).clicked.connect(self.show_layers)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self.look)
        hear(self, model.studio.predicted, self.look)
        hear(self, model.studio.layers_changed, self.look)
        self.look()

    def _gone(self) -> tuple[bool, bool]:
        """Whether the labels, and whether the prediction, are no layer any more."""
        truth = self.model.studio.editing.session is not None
        prediction = self.model.studio.last_prediction is not None
        return tuple(  # type: ignore[return-value]
            there and canvas.find_layer(self.viewer, role) is None
            for there, role in ((truth, "nuclei"), (prediction, "predicted nuclei"))
        )

    def look(self, _: object = None) -> None:
        """See whether all layers are there."""
        self.setVisible(any(self._gone()))

    def show_layers(self) -> None:
        """Put the layers in again."""
        truth, prediction = self._gone()
        image, controller = canvas.image_layer(self.viewer), controller_of(self.viewer)
        latest = self.model.studio.last_prediction
        if truth and controller.layers is not None:
            controller.bring_back()
        if prediction and image is not None and latest is not None:
            add_prediction_layers(self.viewer, image, *latest)
        self.look()


_PAGE_TIPS = {
    SCORES: "How good the prediction is",
    ERRORS: "Each nucleus that is wrong, to step through and judge",
    TABLES: "By class and patient; a click shows the nuclei",
    QUEUE: "What to look at next over the whole folder",
    COMPARE: "Before and after retraining; two readers",
}
_WHY_NOTHING = "Nothing to show yet: needs a crop with labels and a prediction."
#: After a threshold or an edit the scores follow this long after the last one.
_SETTLE_MS = 150
#: What stands above and below the lists and should be in sight with them, px.
_AROUND_ERRORS_PX, _AROUND_QUEUE_PX = 500, 594


class ReviewPanel(QWidget):
    """Compare a prediction with the truth.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that holds truth and prediction.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.model = review_model(napari_viewer)
        Placed(self, self.model.studio)
        self.model.reader = self.model.reader or annotate_settings.reader()
        self.looking = Looking(napari_viewer, self.model, self)
        self.going = Going(napari_viewer, self.model, self)
        self._build()
        self.keys = review_keys(napari_viewer, ReviewActions(napari_viewer, self.model, self.judging, self.looking))
        self._binding = QTimer(self)
        self._binding.setSingleShot(True)
        self._binding.setInterval(0)
        self._binding.timeout.connect(self._bind_keys)
        self._connect()
        self._show_page()

    # -- the form

    def _build(self) -> None:
        model = self.model
        self.progress = TaskRow()
        self.ways_view = WaysView(model)
        self.ways = self.ways_view.buttons
        self.looking_section = Section(f"Ways of looking (hold {BLINK.key}: blink)", self.ways_view)
        self.predictions = PathPicker(
            "predictions", tooltip="A folder that Predict wrote (.zarr), or label .tif, .xml, .geojson, n-ary .mat",
            placeholder="Folder of predictions (for all crops)",
        )  # fmt: skip
        self.start = StartView(model, self.predictions)
        improving = improving_model(self.viewer)
        self.round = RoundRow(improving)
        hear(self, improving.changed, self.round.show_steps)
        self.asking, self.again = UnknownImage(model), ShowAgain(self.viewer, model)
        self.tabs = QTabBar()
        self.tabs.setExpanding(True)
        self.tabs.setDrawBase(False)
        self.tabs.setUsesScrollButtons(False)
        for page in PAGES:
            self.tabs.addTab(page)
        self.tabs.setCurrentIndex(PAGES.index(model.page))
        self.pages: dict[str, QWidget] = {}
        self._build_pages()
        keys = next(lines for group, lines in keymap() if group is KeyGroup.REVIEW)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        for widget in (self.round, self.start, self.predictions, self.asking, self.again, self.progress, self.looking_section,
                       self.tabs, *self.pages.values(), self.judging, Section("Keys", key_table(keys), opened=False)):  # fmt: skip
            box.addWidget(widget)
        box.addStretch(1)

    def _build_pages(self) -> None:
        model = self.model
        self.scores = ScoresView()
        self.folder, self.report = FolderScores(model), ReportButton(model)
        self.errors, self.tables, self.queue = ErrorsView(model), TablesView(model), QueueView(model)
        self.exports = ExportRow(model.studio.work, lambda: model.predictions)
        self.guard, self.readers = GuardView(model), ReadersView(model)
        self.previous, self.next = step_buttons(REVIEW_PREVIOUS, REVIEW_NEXT)
        self.judging = Judging(self.viewer, model)
        self.stored = StoredPrediction(self.viewer, model, self.progress)
        self.comparing = Comparing(model, self.progress)
        self.pages = {
            SCORES: column(
                self.scores,
                self.folder,
                self.report,
                Section("Export the predictions", self.exports, opened=False),
            ),
            ERRORS: column(self.errors, row(self.previous, self.next)),
            TABLES: self.tables,
            QUEUE: self.queue,
            COMPARE: column(Section("What retraining changed", self.guard), Section("Two readers", self.readers)),
        }

    def _connect(self) -> None:
        model = self.model
        self.viewer.layers.events.inserted.connect(lambda _: self._bind_soon())
        self.tabs.currentChanged.connect(lambda at: setattr(model, "page", PAGES[at]))
        self.previous.clicked.connect(lambda: model.step(-1))
        self.next.clicked.connect(lambda: model.step(1))
        self.predictions.changed.connect(lambda _: setattr(model, "predictions", self.predictions.path))
        controller_of(self.viewer).session_changed.connect(model.outdated.emit)
        crop_opener(self.viewer).began.connect(self._crop_is_read)
        hear(self, model.predictions_changed, self._show_predictions)
        self._show_predictions(model.predictions)
        hear(self, model.said, model.studio.tell)
        hear(self, model.reader_changed, _remember_reader)
        hear(self, model.page_changed, lambda page: self.tabs.setCurrentIndex(PAGES.index(page)))
        for signal in (model.compared, model.page_changed, model.predictions_changed, model.session_changed):
            hear(self, signal, lambda _: self._show_page())
        hinted = environment().predictions
        if hinted is not None:
            self.predictions.set_path(hinted)
            model.predictions = self.predictions.path

    def _show_predictions(self, folder: Path | None) -> None:
        """Show the folder, whoever chose it; it is one of those that are remembered."""
        if self.predictions.path != folder:
            self.predictions.set_path(folder, remember=True)

    def _crop_is_read(self, task: Task, words: str) -> None:
        """Show how far the opening of a crop is where no other panel does: Review may be docked alone."""
        if not task.running:
            self.progress.follow(task, words)

    def _show_page(self) -> None:
        model, page = self.model, self.model.page
        comparison = model.comparison
        why = "" if comparison is not None else _WHY_NOTHING
        for at, (name, widget) in enumerate(self.pages.items()):
            there = not why or name in (QUEUE, COMPARE) or (name != ERRORS and model.predictions is not None)
            widget.setVisible(name == page and there)
            # the one that is shown stays: Qt would go to another by itself while the next crop opens
            self.tabs.setTabEnabled(at, there or name == page)
            self.tabs.setTabToolTip(at, _PAGE_TIPS[name] if there else why)
        self.scores.setVisible(comparison is not None)
        if comparison is not None:
            title = f"This crop, {comparison.pair.crop}"
            self.scores.set_evaluation(comparison.evaluation, title, forgiving=comparison.forgiving)
        self.judging.setVisible(page in (ERRORS, QUEUE) and (comparison is not None or model.queue is not None))
        self.ways_view.enable(comparison is not None)
        self.looking_section.setVisible(comparison is not None)

    @property
    def hint(self) -> Note:
        """What to do next."""
        return self.start.hint

    # -- shown and hidden

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Keys and canvas are ours while the panel is in front."""
        super().showEvent(event)
        self._fit()
        self._bind_soon()
        self.model.reader = self.model.reader or annotate_settings.reader()
        self.model.shown = True

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """The lists are as high as leaves the buttons below them in sight."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        around = self.parentWidget()
        if around is not None:
            for table, px in ((self.errors.table, _AROUND_ERRORS_PX), (self.queue.table, _AROUND_QUEUE_PX)):
                table.fit_into(around.height() - px)

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Give keys and canvas back: another panel is in front."""
        super().hideEvent(event)
        self._binding.stop()
        self.keys.unbind()
        self.model.shown = False

    def _bind_soon(self) -> None:
        # after the panel that is left has taken its own keys off
        self._binding.start()

    def _bind_keys(self) -> None:
        if self.isVisible():
            self.keys.bind()

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Keys work while the dock has the focus, too."""
        if not self.keys.pressed(event):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """The end of a held key."""
        if not self.keys.released(event):
            super().keyReleaseEvent(event)


def _remember_reader(name: str) -> None:
    """Ask for the name once: it is kept, unless there is one already."""
    if name and not annotate_settings.reader():
        annotate_settings.set_reader(name)
