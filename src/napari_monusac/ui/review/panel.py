"""Review: see where the model is wrong, decide who is right, show it to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QPushButton, QTabBar, QVBoxLayout, QWidget

from napari_monusac.app.actions import BLINK, REVIEW_NEXT, REVIEW_PREVIOUS, KeyGroup, keymap
from napari_monusac.app.work import Report, Task
from napari_monusac.core.settings import environment
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.model import Placed, hear, studio_model
from napari_monusac.ui.review.data import CropReview, compare, pair_of_layers, predicted_layer, truth_layer
from napari_monusac.ui.review.errors import ErrorsView
from napari_monusac.ui.review.folder import FolderScores, StoredPrediction
from napari_monusac.ui.review.going import Going
from napari_monusac.ui.review.guard import GuardView
from napari_monusac.ui.review.judging import Judging
from napari_monusac.ui.review.keys import ReviewActions, review_keys
from napari_monusac.ui.review.looking import Looking, WaysView
from napari_monusac.ui.review.queue import QueueView
from napari_monusac.ui.review.readers import ReadersView
from napari_monusac.ui.review.reading import Reading
from napari_monusac.ui.review.report import ReportButton
from napari_monusac.ui.review.scores import ScoresView
from napari_monusac.ui.review.tables import TablesView
from napari_monusac.ui.widgets.basic import (
    Note,
    PathPicker,
    Section,
    TaskRow,
    calm,
    column,
    key_table,
    row,
    step_buttons,
)

if TYPE_CHECKING:
    from napari_monusac.ui.review.reading import Reading


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
    model : StudioModel
        Is asked for panels.
    predictions : PathPicker
        Chooses the folder of predictions.
    """

    def __init__(self, model: Any, predictions: PathPicker) -> None:
        super().__init__()
        self.open = calm(QPushButton("Open a crop"))
        self.open.setToolTip("Goes to Slides")
        self.open.clicked.connect(lambda: model.panel_asked.emit("Slides"))
        self.predict = calm(QPushButton("Predict this crop"))
        self.predict.setToolTip("Goes to Predict; come back when it is done")
        self.predict.clicked.connect(lambda: model.panel_asked.emit("Predict"))
        self.choose = calm(QPushButton("Choose a folder of predictions…"))
        self.choose.setToolTip(predictions.box.toolTip())
        self.choose.clicked.connect(predictions.button.click)
        self.hint = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        self.buttons = row(self.open, self.predict, self.choose)
        box.addWidget(self.hint)
        box.addWidget(self.buttons)

    def show_for(
        self, *, crop: bool, prediction: bool, truth: bool, folder: bool, waiting: bool, missing: bool = False
    ) -> None:
        """Say what to do next.

        Parameters
        ----------
        crop, prediction, truth : bool
            Whether a crop is open, its prediction is there, it has labels.
        folder : bool
            Whether a folder of predictions is chosen.
        waiting : bool
            Whether another crop is being opened to show a nucleus of it.
        missing : bool
            Whether the folder was looked through, and holds no prediction of the crop.
        """
        self.hint.say(
            "Opening the crop of this nucleus…" if waiting
            else _NO_TRUTH if prediction and not truth
            else "" if prediction
            else _NOT_IN_FOLDER if crop and missing
            else _NO_PREDICTION if crop
            else _NO_CROP
        )  # fmt: skip
        self.buttons.setVisible(not prediction and not waiting)
        self.open.setVisible(not crop)
        self.predict.setVisible(crop)
        self.choose.setVisible(not folder)


class Comparing(QObject):
    """Compares truth and prediction of the open crop.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    model : StudioModel
        Is told of errors.
    reading : Reading
        The reader's judgements.
    progress : TaskRow
        Shows the first comparison of a crop; later ones (an edit, a threshold) run unseen.
    review : callable
        Returns the last comparison of the open crop, or None.

    Signals
    -------
    compared(CropReview) : what came out.
    """

    compared = Signal(object)

    def __init__(
        self, viewer: Any, model: Any, reading: Reading, progress: TaskRow, review: Callable[[], CropReview | None]
    ) -> None:
        super().__init__(progress)
        self.viewer, self.model, self.reading, self.progress, self._review = viewer, model, reading, progress, review
        self.stale = False
        self._task: Task | None = None

    def give_up(self) -> None:
        """Another crop: what is under way is of no use."""
        self.stale = False
        if self._task is not None:
            self._task.stop()
            self._task = None

    def start(self) -> Task | None:
        """Compare; while a comparison is under way, once more after it. None where there is nothing to start."""
        make, predicted = pair_of_layers(self.viewer), predicted_layer(self.viewer)
        if make is None or predicted is None:
            return None
        if self._task is not None:
            self.stale = True
            return None
        self.stale = False
        about = predicted.metadata["monusac"]
        width, judgements = int(about.get("boundary_width", 3)), self.reading.of_crop(str(about.get("crop") or ""))

        def work(_: Report) -> CropReview:
            return compare(make(), judgements, width)

        task: Task = self.model.work.task(work, self)
        self._task = task
        task.done.connect(lambda review: self.compared.emit(review) if self._task is task else None)
        task.finished.connect(lambda: self._finished(task))
        if self._review() is None:
            return self.progress.follow(task, "Comparing…")
        task.failed.connect(lambda error: self.model.tell(str(error), "error"))
        return task.start()

    def _finished(self, task: Task) -> None:
        if self._task is task:
            self._task = None
            if self.stale:
                self.start()


_PAGES = {
    "Scores": "How good the prediction is",
    "Errors": "Each nucleus that is wrong, to step through and judge",
    "Tables": "By class and patient; a click shows the nuclei",
    "Queue": "What to look at next over the whole folder",
    "Compare": "Before and after retraining; two readers",
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
        self.model = studio_model(napari_viewer)
        Placed(self, self.model)
        self.review: CropReview | None = None
        self.reading = Reading(self.model, self)
        self.looking = Looking(napari_viewer, self.model, self)
        self.going = Going(napari_viewer, self.model, lambda: self.review, self)
        self._build()
        self.comparing = Comparing(self.viewer, self.model, self.reading, self.progress, lambda: self.review)
        self.comparing.compared.connect(self._show)
        self.keys = review_keys(napari_viewer, ReviewActions(napari_viewer, self.judging, self.looking, self.step))
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(_SETTLE_MS)
        self._settling.timeout.connect(self.update_scores)
        self._binding = QTimer(self)
        self._binding.setSingleShot(True)
        self._binding.setInterval(0)
        self._binding.timeout.connect(self._bind_keys)
        self._connect()
        self._reset()

    # -- the form

    def _build(self) -> None:
        self.progress = TaskRow()
        self.ways_view = WaysView(self.looking)
        self.ways = self.ways_view.buttons
        self.looking_section = Section(f"Ways of looking (hold {BLINK.key}: blink)", self.ways_view)
        self.predictions = PathPicker(
            "predictions", tooltip="A folder that Predict wrote (.zarr), or label .tif, .xml, .geojson, n-ary .mat",
            placeholder="Folder of predictions (for all crops)",
        )  # fmt: skip
        self.start = StartView(self.model, self.predictions)
        self.tabs = QTabBar()
        self.tabs.setExpanding(True)
        self.tabs.setDrawBase(False)
        self.tabs.setUsesScrollButtons(False)
        for page in _PAGES:
            self.tabs.addTab(page)
        self.pages: dict[str, QWidget] = {}
        self._build_pages()
        keys = next(lines for group, lines in keymap() if group is KeyGroup.REVIEW)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        for widget in (self.start, self.predictions, self.stored.asking, self.progress, self.looking_section, self.tabs,
                       *self.pages.values(), self.judging_part, Section("Keys", key_table(keys), opened=False)):  # fmt: skip
            box.addWidget(widget)
        box.addStretch(1)

    def _build_pages(self) -> None:
        self.scores = ScoresView()
        self.folder = FolderScores(self.model, self.reading)
        self.report = ReportButton(self.model, self.reading, self.folder, lambda: self.review)
        self.errors = ErrorsView()
        self.previous, self.next = step_buttons(REVIEW_PREVIOUS, REVIEW_NEXT)
        self.tables = TablesView(self.model, self.reading, self.folder)
        self.queue = QueueView(self.model, self.reading)
        self.guard = GuardView(self.model, self.reading)
        self.readers = ReadersView(self.model, self.reading)
        self.judging = Judging(self.viewer, self.reading)
        self.judging_part: QWidget = self.judging
        self.stored = StoredPrediction(self.viewer, self.model, self.reading, self.progress)
        self.pages = {
            "Scores": column(self.scores, self.folder, self.report),
            "Errors": column(self.errors, row(self.previous, self.next)),
            "Tables": self.tables,
            "Queue": self.queue,
            "Compare": column(Section("What retraining changed", self.guard), Section("Two readers", self.readers)),
        }

    def _connect(self) -> None:
        hear(self, self.model.predicted, self._changed)
        hear(self, self.model.layers_changed, self._edited)
        hear(self, self.model.crop_changed, lambda _: self._reset())
        hear(self, self.model.palette_changed, lambda _: self.looking.set_review(self.review))
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self.viewer.layers.events.inserted.connect(lambda _: self._bind_soon())
        self.tabs.currentChanged.connect(lambda _: self._show_page())
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        for view in (self.errors, self.tables, self.queue, self.guard, self.readers):
            view.chosen.connect(self.going.go_to)
        self.tables.cell_chosen.connect(self.going.show_cell)
        self.going.shown.connect(self.judging.show_finding)
        self.judging.judged.connect(lambda: self.step(1))
        self.reading.changed.connect(self._changed)
        self.reading.changed.connect(self._show_verdicts)
        self.reading.predictions_changed.connect(self._show_page)
        self.reading.session_changed.connect(self._show_page)
        self.reading.said.connect(lambda text, kind: self.model.tell(text, kind) if text else None)
        self.predictions.changed.connect(lambda _: self.reading.set_predictions(self.predictions.path))
        self.stored.shown.connect(self._stored_shown)
        hinted = environment().predictions
        if hinted is not None:
            self.predictions.set_path(hinted)
            self.reading.set_predictions(self.predictions.path)

    def _show_page(self) -> None:
        page = self.page
        why = "" if self.review is not None else _WHY_NOTHING
        for at, (name, widget) in enumerate(self.pages.items()):
            there = not why or name in ("Queue", "Compare") or (name != "Errors" and self._has_folder())
            widget.setVisible(name == page and there)
            # the one that is shown stays: Qt would go to another by itself while the next crop opens
            self.tabs.setTabEnabled(at, there or name == page)
            self.tabs.setTabToolTip(at, _PAGES[name] if there else why)
        self.scores.setVisible(self.review is not None)
        self.judging_part.setVisible(
            page in ("Errors", "Queue") and (self.review is not None or self.reading.session is not None)
        )

    @property
    def page(self) -> str:
        """The page that is shown."""
        return tuple(_PAGES)[int(self.tabs.currentIndex())]

    def _has_folder(self) -> bool:
        return self.reading.predictions is not None

    # -- shown and hidden

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """The keys are ours while the panel is shown; scores that edits have outdated are made anew."""
        super().showEvent(event)
        self._fit()
        self._bind_soon()
        if self.comparing.stale:
            self._settling.start()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """The lists are as high as leaves the buttons below them in sight."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        around = self.parentWidget()
        if around is not None:
            for view, px in ((self.errors, _AROUND_ERRORS_PX), (self.queue, _AROUND_QUEUE_PX)):
                view.table.fit_into(around.height() - px)

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Give the keys back."""
        super().hideEvent(event)
        self._binding.stop()
        self.keys.unbind()

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

    # -- comparing

    def _reset(self) -> None:
        """Another crop, or none."""
        self.review = None
        self.comparing.give_up()
        self.looking.set_review(None)
        self.judging.set_review(None)
        self.judging.forget()
        self.going.forget()
        self._show_page()
        looking = self.stored.look()
        self._say_what_next()
        if looking is None:
            self._arrive()

    def _say_what_next(self) -> None:
        self.start.show_for(
            crop=self.model.crop is not None, prediction=predicted_layer(self.viewer) is not None,
            truth=truth_layer(self.viewer) is not None, folder=self._has_folder(),
            waiting=self.going.awaited is not None, missing=self.stored.missing,
        )  # fmt: skip
        self.ways_view.enable(self.review is not None)
        self.looking_section.setVisible(self.review is not None)

    @property
    def hint(self) -> Note:
        """What to do next."""
        return self.start.hint

    def _show_verdicts(self) -> None:
        """Tick the errors that the reader has judged."""
        if self.review is not None:
            self.errors.set_verdicts(self.reading.verdicts_of_crop(self.review.pair.crop))

    def _changed(self, _: object = None) -> None:
        """Prediction, thresholds or judgements are others now."""
        self._settling.start()

    def _edited(self) -> None:
        """The labels were edited: follow while the panel is seen."""
        if self.review is None:
            return
        self.comparing.stale = True
        if self.isVisible():
            self._settling.start()

    def _layer_removed(self, event: Any) -> None:
        if canvas.role(event.value) in ("nuclei", "predicted nuclei"):
            self._say_what_next()

    def update_scores(self) -> Task | None:
        """Compare in the background and show what came out."""
        self._say_what_next()
        return self.comparing.start()

    def _show(self, review: CropReview) -> None:
        self.review = review
        self._say_what_next()
        self.scores.set_evaluation(review.evaluation, f"This crop, {review.pair.crop}", forgiving=review.forgiving)
        self.errors.set_findings(review.findings)
        self._show_verdicts()
        self.tables.set_review(review)
        self.judging.set_review(review)
        self.looking.set_review(review)
        self._show_page()

    def _stored_shown(self) -> None:
        self._say_what_next()
        self._arrive()

    # -- getting about

    def step(self, by: int) -> None:
        """Go to the next (1) or previous (-1) error, or item of the queue where that is shown."""
        if self.page == "Queue" and self.reading.session is not None:
            self.queue.step(by)
        else:
            self.errors.step(by)

    def _arrive(self) -> None:
        """Another crop is open: show the nucleus that was waited for."""
        if self.going.arrived():
            self._say_what_next()
