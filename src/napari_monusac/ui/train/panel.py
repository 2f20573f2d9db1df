"""Train: recipe, data, device; check, start, pause, stop; progress and live curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QApplication, QLabel, QProgressBar, QVBoxLayout, QWidget
from superqt.utils import qthrottled

from napari_monusac.app.actions import CHECK, FROM_SCRATCH, PAUSE, PUT_AWAY, START, STOP, WEIGHTS_FILE, TrainStarting
from napari_monusac.app.answers import Said
from napari_monusac.app.training import TrainingModel
from napari_monusac.app.work import Report, Task
from napari_monusac.core.errors import WeightsError
from napari_monusac.core.events import RunEnded, RunStarted, TrainEvent, Warned
from napari_monusac.ui.model import Placed, hear, studio_model
from napari_monusac.ui.train.curves import CurvesView
from napari_monusac.ui.train.form import TrainForm
from napari_monusac.ui.train.runs_compare import ComparedRun, RunsCompare
from napari_monusac.ui.train.runs_table import RunsTable
from napari_monusac.ui.train.timelapse import TimelapseView
from napari_monusac.ui.train.words import (
    check_words,
    end_words,
    long_start,
    progress_words,
    run_device_words,
    run_place,
)
from napari_monusac.ui.widgets.basic import Section, form_button, offer, row
from napari_monusac.ui.widgets.note import Note, say_error, short_path
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.io.runs.run_folder import RunFolder

#: How often the curves are drawn while a run goes on. Eyes need no more, and the window stays free.
_DRAW_MS = 150
_PREPARING = "Preparing: loading the network and the first crops…"
_OPEN_A_FOLDER = "Open a folder of labelled crops (Slides), then press Start training."


class StartButtons(QWidget):
    """Check and start, where nothing runs. A button that rests says why on hover.

    Parameters
    ----------
    starting : TrainStarting
        What they act on.
    """

    def __init__(self, starting: TrainStarting) -> None:
        super().__init__()
        self.check, self.start = form_button(CHECK, starting), form_button(START, starting)
        self.estimate = QLabel("")
        self.estimate.setToolTip("By the last check. It depends on the epochs, the patches and this machine.")
        # under Start, which it is about
        self.estimate.setAlignment(Qt.AlignmentFlag.AlignRight)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        box.addWidget(row(self.check, self.start))
        box.addWidget(self.estimate)
        self.say_estimate("")

    def say_estimate(self, text: str) -> None:
        """Say how long a start will take; empty: nothing."""
        self.estimate.setText(text)
        self.estimate.setVisible(bool(text))

    def show_state(self, *, opening: bool, wrong: str) -> None:
        """Offer what can be done now; `wrong`: why training cannot start."""
        offer(self.start, START, "A run is being opened" if opening else wrong)


class RunView(QWidget):
    """A view of the run that is trained, or was trained last: what it is, how far, its curves. It stays when it ends.

    Parameters
    ----------
    training : TrainingModel
    """

    def __init__(self, training: TrainingModel) -> None:
        super().__init__()
        self.training = training
        self.about, self.status = Note(), Note()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.end_run, self.put_away = training.stop, training.put_away
        self.pause, self.stop = form_button(PAUSE, self), form_button(STOP, self)
        self.away = form_button(PUT_AWAY, self)
        self.buttons = row(self.pause, self.stop)
        self.curves = CurvesView()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.about, self.buttons, self.bar, self.status, self.curves, self.away):
            box.addWidget(widget)
        self._draw_soon = qthrottled(self.curves.draw, timeout=_DRAW_MS)
        hear(self, training.begun, self._begun)
        hear(self, training.events, self._took)
        hear(self, training.progressed, self._show_progress)
        hear(self, training.state_changed, lambda _: self._show_state())
        hear(self, training.ended, lambda _: self._ended())
        self._begun()
        if not training.running:
            self._ended()

    def _begun(self) -> None:
        """Show a run from its beginning, or one that a former panel has shown."""
        training, run = self.training, self.training.run
        if run is not None:
            self.curves.clear(run.recipe.reported.combo)
            changed = training.draft.changes_in_words() if training.running else ""
            self.about.say(
                f"{run.recipe.name} on {short_path(run.data, 60)}, in {short_path(run.path, 60)}. {changed}".strip(),
                whole=f"{run.recipe.name}\nData: {run.data}\nRun: {run.path}",
            )
            self.status.say(_PREPARING)
            self.bar.setRange(0, 0)
            self._add(training.history)
            self.curves.draw()
        self._show_progress()
        self._show_state()

    def _took(self, events: list[TrainEvent]) -> None:
        self._add(events)
        self._draw_soon()

    def _add(self, events: list[TrainEvent]) -> None:
        for event in events:
            self.curves.add(event, event.steps_per_epoch if isinstance(event, RunStarted) else 0)

    def _show_progress(self) -> None:
        progress = self.training.progress
        self.pause.setText("Go on" if progress.paused else PAUSE.text)
        if not self.training.running or self.training.state == "stopping":
            return
        if progress.epochs and progress.step:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * progress.fraction))
            self.status.say(f"{progress_words(progress)} {run_place(progress)}".strip(), whole=progress.device)
        elif progress.paused:
            self.status.say("Paused.")

    def toggle_pause(self) -> None:
        """Pause after this batch, or go on."""
        paused = not self.training.progress.paused
        self.training.pause(paused)
        self.status.say("Pausing after this batch…" if paused else "Going on…")

    def _show_state(self) -> None:
        training = self.training
        running, stopping = training.running, training.state == "stopping"
        self._hold_focus()
        self.setVisible(training.run is not None and (running or training.end is not None))
        self.buttons.setVisible(running)
        self.bar.setVisible(running)
        self.away.setVisible(not running)
        after = "It stops after this batch" if stopping else "" if running else "Nothing is trained here"
        for button, action in ((self.pause, PAUSE), (self.stop, STOP)):
            offer(button, action, after)
        if stopping:
            self.status.say("Stopping after this batch; the model is kept…")

    def _ended(self) -> None:
        end = self.training.end
        self.curves.draw()
        if isinstance(end, RunEnded):
            self.status.say(*end_words(end))
        elif isinstance(end, BaseException):
            say_error(self.status, end)
        self._show_state()

    def _hold_focus(self) -> None:
        """Keep the keyboard here: Qt would hand it to the next control, whatever that does. Tab goes on from here."""
        if QApplication.focusWidget() in (self.pause, self.stop):
            self.setFocus()


class StartNote(QWidget):
    """What was said about starting; where weights cannot be had, what can be done about it."""

    def __init__(self, form: TrainForm) -> None:
        super().__init__()
        self.form = form
        self.note = Note()
        self.file, self.scratch = form_button(WEIGHTS_FILE, form), form_button(FROM_SCRATCH, form)
        self.mends = row(self.file, self.scratch)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.note)
        box.addWidget(self.mends)
        self.show_line(Said())

    def show_line(self, said: Said) -> None:
        """Show it."""
        if said.error is not None:
            say_error(self.note, said.error, said.kind)
        else:
            self.note.say(said.text, said.kind)
        self.mends.setVisible(isinstance(said.error, WeightsError))


class RunsLooking(QObject):
    """What the buttons Compare and Time-lapse of the runs do.

    Parameters
    ----------
    panel : TrainPanel
        Whose runs, curves and viewer are meant.
    """

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self.panel = panel
        panel.runs.compare_asked.connect(self.compare)
        panel.runs.timelapse_asked.connect(self.timelapse)
        panel.lapse.closed.connect(lambda: panel.runs.timelapse_shown(False))
        panel.compared.back_asked.connect(self.close_comparison)

    def compare(self, runs: list[RunFolder]) -> Task:
        """Lay runs over each other, in the place of the live curves."""
        task: Task = self.panel.model.work.task(lambda _: [ComparedRun.read(run) for run in runs], self)
        task.done.connect(self._show_comparison)
        task.failed.connect(lambda error: say_error(self.panel.runs.note, error))
        return task.start()

    def _show_comparison(self, runs: list[ComparedRun]) -> None:
        self.panel.compared.show_runs(runs)
        self.panel.run.curves.hide()
        self.panel.compared.show()

    def close_comparison(self) -> None:
        """Show the curves of the training run again, if there is one."""
        self.panel.compared.hide()
        self.panel.run.curves.show()

    def timelapse(self, run: RunFolder | None) -> Task | None:
        """Show how the pinned crops looked after each epoch, or take that away again."""
        lapse = self.panel.lapse
        if lapse.shown:
            lapse.close()
            return None
        if run is None:
            return None
        palette = self.panel.model.palette

        def build(_: Report) -> Any:
            from napari_monusac.plugin.timelapse import timelapse_scene

            return timelapse_scene(run, palette)

        task: Task = self.panel.model.work.task(build, self)
        task.done.connect(self._show_timelapse)
        task.failed.connect(lambda error: say_error(self.panel.runs.note, error, "warning"))
        return task.start()

    def _show_timelapse(self, scene: Any) -> None:
        self.panel.runs.note.say(self.panel.lapse.show(scene))
        self.panel.runs.timelapse_shown(True)


class TrainPanel(QWidget):
    """The training launcher: views of `TrainingModel`.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose model is shown, and whose canvas the time-lapse is drawn on.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.model = studio_model(napari_viewer)
        self.training = self.model.training
        Placed(self, self.model)
        self.lapse = TimelapseView(napari_viewer, self)
        self._build()
        self._connect()
        self._said(self.training.said)
        self._show_state()
        self._collection_changed(self.model.collection)
        self._theme_changed()
        self.training.list_runs()

    def _build(self) -> None:
        self.run = RunView(self.training)
        self.form = TrainForm(self.training)
        self.buttons = StartButtons(self)
        self.check, self.start = self.buttons.check, self.buttons.start
        self.pause, self.stop, self.curves = self.run.pause, self.run.stop, self.run.curves
        self.checking = TaskRow(asked_by=self.check)
        self.status = StartNote(self.form)
        self.compared = RunsCompare()
        self.compared.hide()
        self.runs = RunsTable(self.training)
        self.looking = RunsLooking(self)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        # the run first: what it says and draws stays where it was when it ends and the form comes back
        for widget in (self.run, self.form, self.buttons, self.checking, self.status, self.compared):
            box.addWidget(widget)
        box.addWidget(Section("Runs", self.runs, opened=True))
        box.addStretch(1)

    def _connect(self) -> None:
        training = self.training
        hear(self, training.plan_changed, self._show_state)
        hear(self, training.state_changed, lambda _: self._show_state())
        hear(self, training.said_changed, self._said)
        hear(self, training.checked_changed, self._checked)
        hear(self, training.begun, self.looking.close_comparison)
        hear(self, training.events, self._took)
        hear(self, self.model.collection_changed, self._collection_changed)
        self.viewer.events.theme.connect(self._theme_changed)

    def _collection_changed(self, collection: Any) -> None:
        if collection is None and not self.training.busy and not self.training.said.text:
            self.training.said = Said(_OPEN_A_FOLDER)

    def dry_run(self) -> Task | None:
        """Try everything once before the long run."""
        task = self.training.check()
        return self.checking.follow(task, "Checking…") if isinstance(task, Task) else None

    def start_training(self) -> Task | None:
        """Make the run folder and start."""
        task = self.training.start()
        return task if isinstance(task, Task) else None

    def _checked(self, found: Any) -> None:
        if found is None:
            self.checking.label.say("")
            self.buttons.say_estimate("")
            return
        kind = "warning" if found.problems or found.left_out else "good"
        self.checking.label.say(check_words(found), kind, found.summary())
        self.buttons.say_estimate(long_start(found))

    def _said(self, said: Said) -> None:
        self.status.show_line(said)

    def _took(self, events: list[TrainEvent]) -> None:
        for event in events:
            if isinstance(event, RunStarted):
                self.form.device_reason.say(run_device_words(event), whole=f"{event.device}: {event.device_reason}")
            elif isinstance(event, Warned):
                self.model.tell(event.message, "warning")

    def _show_state(self) -> None:
        training = self.training
        if QApplication.focusWidget() is self.start and training.busy:
            self.setFocus()  # the key that started must not stop
        wrong = "" if training.draft.recipe is not None else f"A value is wrong: {training.draft.faults_in_words()}"
        self.buttons.show_state(opening=training.busy, wrong=wrong)
        # what runs is said in one line: the room belongs to progress and curves
        self.form.setVisible(not training.running)
        self.buttons.setVisible(not training.running)

    def _theme_changed(self, _: object = None) -> None:
        theme = get_theme(self.viewer.theme)
        for plots in (self.curves, self.compared):
            plots.set_theme(theme.background.as_hex(), theme.text.as_hex())
