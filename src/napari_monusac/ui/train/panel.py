"""Train: recipe, data, device; check, start, pause, stop; progress and live curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QApplication, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Report, Task
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.events import CheckpointSaved, EpochEnded, RunEnded, RunStarted, TrainEvent, Warned
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.ui.model import Placed, hear, studio_model
from napari_monusac.ui.train.curves import CurvesView
from napari_monusac.ui.train.form import (
    TrainForm,
    TrainingPlan,
    check_words,
    end_words,
    long_start,
    progress_words,
    run_device_words,
    run_place,
)
from napari_monusac.ui.train.runs_compare import ComparedRun, RunsCompare
from napari_monusac.ui.train.runs_table import RunsTable
from napari_monusac.ui.train.timelapse import TimelapseView
from napari_monusac.ui.train.training import Training
from napari_monusac.ui.widgets.basic import Note, Section, TaskRow, row
from napari_monusac.ui.widgets.note import say_error, short_path

if TYPE_CHECKING:
    from napari_monusac.io.runs.run_folder import RunFolder


class TrainButtons(QWidget):
    """Two buttons before a run and two while it is going, at the same place.

    A button that rests says why on hover, and the keyboard never slips from it to one that does more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.check, self.start = QPushButton("Check"), QPushButton("Start training")
        self.pause, self.stop = QPushButton("Pause"), QPushButton("Stop")
        self.check.setToolTip("Open every crop, do one training and one validation step, say how long it will take")
        self.estimate = QLabel("")
        self.estimate.setToolTip("By the last check. It depends on the epochs, the patches and this machine.")
        # under Start, which it is about
        self.estimate.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._idle = row(self.check, self.start)
        self._running = row(self.pause, self.stop)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        for widget in (self._idle, self._running, self.estimate):
            box.addWidget(widget)
        self.say_estimate("")
        self.show_state(running=False, opening=False, wrong="")

    def say_estimate(self, text: str) -> None:
        """Say how long a start will take; empty: nothing."""
        self.estimate.setText(text)
        self.estimate.setVisible(bool(text))

    def show_state(self, *, running: bool, opening: bool, wrong: str) -> None:
        """Offer what can be done now; `wrong`: why training cannot start."""
        self._hold_focus()
        self._idle.setVisible(not running)
        self._running.setVisible(running)
        self.start.setEnabled(not running and not opening and not wrong)
        why = "A run is being opened" if opening else wrong
        self.start.setToolTip(why or "Make a new folder for the run and train; the window stays usable")
        self.pause.setEnabled(running)
        self.pause.setToolTip("Wait after this batch of patches; what was learned stays, and Go on continues")
        self.stop.setEnabled(running)
        self.stop.setToolTip("End after this batch and keep the model; Resume in the table of runs goes on from there")

    def show_paused(self, paused: bool) -> None:
        """Say on the button what it does now."""
        self.pause.setText("Go on" if paused else "Pause")

    def stopping(self) -> None:
        """A stop was asked for: nothing more can be."""
        self._hold_focus()
        for button in (self.pause, self.stop):
            button.setEnabled(False)
            button.setToolTip("It stops after this batch")

    def _hold_focus(self) -> None:
        """Keep the keyboard here: Qt would hand it to the next control, whatever that does. Tab goes on from here."""
        if QApplication.focusWidget() in (self.start, self.pause, self.stop):
            self.setFocus()


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
        task.failed.connect(lambda error: say_error(self.panel.status, error))
        return task.start()

    def _show_comparison(self, runs: list[ComparedRun]) -> None:
        self.panel.compared.show_runs(runs)
        self.panel.curves.hide()
        self.panel.compared.show()

    def close_comparison(self) -> None:
        """Show the curves of the training run again, if there is one."""
        panel = self.panel
        panel.compared.hide()
        panel.curves.setVisible(panel.curves.has_points or panel.training.running)

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
        Placed(self, self.model, lambda: not self.training.running)
        self.training = Training(self.model.work, self)
        self.lapse = TimelapseView(napari_viewer, self)
        self._opening = self._stopping = False
        self._steps_per_epoch = 1
        self._build()
        self._connect()
        self.curves.clear(self.form.reported_combo)
        # until something is trained the room belongs to the runs
        self.curves.hide()
        self._collection_changed(self.model.collection)
        self._idle()

    def _build(self) -> None:
        self.form = TrainForm(self.model)
        self.running = Note()
        self.buttons = TrainButtons()
        self.check, self.start = self.buttons.check, self.buttons.start
        self.pause, self.stop = self.buttons.pause, self.buttons.stop
        self.checking = TaskRow(asked_by=self.check)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.status = Note()
        self.curves = CurvesView()
        self.compared = RunsCompare()
        self.compared.hide()
        self.runs = RunsTable(self.model)
        self.looking = RunsLooking(self)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        box.addWidget(self.form)
        box.addWidget(self.running)
        for widget in (self.buttons, self.checking, self.bar, self.status, self.curves, self.compared):
            box.addWidget(widget)
        box.addWidget(Section("Runs", self.runs, opened=True))
        box.addStretch(1)

    def _connect(self) -> None:
        self.form.changed.connect(self._form_changed)
        self.form.recipe_chosen.connect(self._recipe_chosen)
        self.form.runs_folder_chosen.connect(self.runs.refresh)
        self.check.clicked.connect(self.dry_run)
        self.start.clicked.connect(self.start_training)
        self.pause.clicked.connect(self._pause_clicked)
        self.stop.clicked.connect(self._stop_clicked)
        self.training.events.connect(self._took)
        self.training.ended.connect(self._ended)
        self.runs.resume_asked.connect(self.resume)
        self.runs.watch_asked.connect(self.watch)
        hear(self, self.model.collection_changed, self._collection_changed)
        hear(self, self.model.train_asked, self.form.start_from)

    # -- what will run

    def _recipe_chosen(self, recipe: TrainingRecipe) -> None:
        if not self.training.running:
            self.curves.clear(recipe.reported.combo)
            self.curves.hide()

    def _form_changed(self) -> None:
        """Something else would run now: what was said of the former values holds no longer."""
        self._buttons(running=self.training.running)
        if not self.training.running and not self._opening:
            self.status.say("")
            self._forget_check()

    def _forget_check(self) -> None:
        if self.checking.task is not None:
            self.checking.task.stop()
        self.checking.label.say("")
        self.buttons.say_estimate("")

    def _collection_changed(self, collection: Any) -> None:
        self.form.take_collection(collection)
        if collection is None and not self.training.running:
            self.status.say("Open a folder of labelled crops (Slides), then press Start training.")

    # -- running

    def _plan(self) -> TrainingPlan | None:
        try:
            return self.form.plan()
        except MonusacError as error:
            say_error(self.status, error, "warning")
            return None

    def dry_run(self) -> Task | None:
        """Try everything once before the long run."""
        if self.training.running or self._opening or self.checking.task is not None:
            return None
        plan = self._plan()
        if plan is None:
            return None
        self._forget_check()
        self.status.say("")

        def work(report: Report) -> Any:
            import tempfile

            from napari_monusac.learn.dryrun import dry_run

            with tempfile.TemporaryDirectory() as folder:
                run = plan.make_run(Path(folder) / "check")
                return dry_run(
                    plan.recipe, run, device=plan.device,
                    progress=lambda fraction, message: report(fraction, message), should_stop=lambda: report.stopping,
                )  # fmt: skip

        task: Task = self.model.work.task(work, self)
        task.done.connect(lambda outcome: self._checked(task, outcome))
        return self.checking.follow(task, "Checking…")

    def _checked(self, task: Task, outcome: Any) -> None:
        if task.stopping or self.training.running:
            return  # of values that have changed since
        self.checking.label.say(
            check_words(outcome), "warning" if outcome.problems or outcome.left_out else "good", outcome.summary()
        )
        self.buttons.say_estimate(long_start(outcome))

    def start_training(self) -> Task | None:
        """Make the run folder and start."""
        if self.training.running or self._opening:
            return None
        plan = self._plan()
        if plan is None:
            return None
        self._forget_check()
        self._opening = True
        self._buttons(running=False)
        self.status.say("Starting…")
        task: Task = self.model.work.task(lambda _: plan.make_run(), self)
        task.done.connect(lambda run: self._go(run, plan.where, plan.device))
        task.failed.connect(self._not_started)
        task.finished.connect(self._opened)
        return task.start()

    def _not_started(self, error: Exception) -> None:
        say_error(self.status, error)
        self._idle()

    def resume(self, run: RunFolder) -> Task | None:
        """Go on with a stopped or interrupted run."""
        where, device = self.form.where_value, self.form.device_value

        def go(history: list[TrainEvent]) -> None:
            run.request_resume()
            self._go(run, where, device, history)

        return self._with_history(run, go)

    def watch(self, run: RunFolder) -> Task | None:
        """Follow a run that another process is training."""

        def follow(history: list[TrainEvent]) -> None:
            self._begin_view(run, history)
            self.training.attach(run)
            if run.status == "paused":
                self.training.progress.pause(True)
                self.buttons.show_paused(True)
                self.status.say("Paused.")

        return self._with_history(run, follow)

    def _with_history(self, run: RunFolder, then: Any) -> Task | None:
        """Read what a run has written so far in a worker (a long run has megabytes of it), then go on with it."""
        if self.training.running or self._opening:
            return None
        self._forget_check()
        self._opening = True
        self._buttons(running=False)
        self.status.say(f"Opening {run.path.name}…")
        task: Task = self.model.work.task(lambda _: run.read_events(), self)
        task.done.connect(then)
        task.failed.connect(self._not_started)
        task.finished.connect(self._opened)
        return task.start()

    def _opened(self) -> None:
        self._opening = False
        self._buttons(running=self.training.running)

    def _go(self, run: RunFolder, where: str, device: str, history: Sequence[TrainEvent] = ()) -> None:
        self._begin_view(run, history)
        self.training.start(run, where, device)

    def _begin_view(self, run: RunFolder, history: Sequence[TrainEvent]) -> None:
        self._stopping = False
        self.model.run = run
        self.looking.close_comparison()
        self.curves.clear(run.recipe.reported.combo)
        self.curves.show()
        started = [e for e in history if isinstance(e, RunStarted)]
        if started:
            self._steps_per_epoch = started[-1].steps_per_epoch
            self.curves.add_many(history, self._steps_per_epoch)
        changed = self.form.effective.text()
        changed = f" {changed}" if changed else ""
        self.running.say(
            f"{run.recipe.name} on {short_path(run.data, 60)}, in {short_path(run.path, 60)}.{changed}",
            whole=f"{run.recipe.name}\nData: {run.data}\nRun: {run.path}",
        )
        self._buttons(running=True)
        # the run has its row from now on
        self.runs.refresh()
        self.buttons.show_paused(False)
        self.bar.setRange(0, 0)
        self.bar.show()
        self.status.say("Preparing: loading the network and the first crops…")

    def _took(self, events: list[TrainEvent]) -> None:
        for event in events:
            if isinstance(event, RunStarted):
                self._steps_per_epoch = event.steps_per_epoch
                whole = f"{event.device}: {event.device_reason}"
                self.form.device_reason.say(run_device_words(event), whole=whole)
                self.runs.refresh_soon()
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
            self._say_progress()

    def _say_progress(self) -> None:
        progress = self.training.progress
        if not self._stopping:
            self.status.say(f"{progress_words(progress)} {run_place(progress)}".strip(), whole=progress.device)
        self.model.run_progressed.emit(progress)

    def _pause_clicked(self) -> None:
        paused = not self.training.progress.paused
        self.training.pause(paused)
        self.buttons.show_paused(paused)
        self.status.say("Pausing after this batch…" if paused else "Going on…")
        # no event comes while it waits: the foot of the Studio is told now
        self.model.run_progressed.emit(self.training.progress)
        self.runs.refresh_soon()

    def _stop_clicked(self) -> None:
        self._stopping = True
        self.buttons.stopping()
        self.status.say("Stopping after this batch; the model is kept…")
        if self.training.progress.paused:
            self.training.pause(False)
        self.training.stop()

    def _ended(self, end: Any) -> None:
        if isinstance(end, RunEnded):
            self.status.say(*end_words(end))
        elif isinstance(end, Exception):
            say_error(self.status, end)
        self._idle()
        self.model.run_ended.emit(end)

    def _idle(self) -> None:
        self._buttons(running=False)
        self.bar.hide()
        self.runs.refresh()

    def _buttons(self, *, running: bool) -> None:
        wrong = "" if self.form.recipe is not None else "A value of the recipe is wrong: see All values"
        self.buttons.show_state(running=running, opening=self._opening, wrong=wrong)
        self.runs.set_busy(running or self._opening)
        # what runs is said in one line: the room belongs to progress and curves
        self.form.setVisible(not running)
        self.running.setVisible(running)
