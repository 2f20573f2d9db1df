"""Train: recipe, data, device; check, start, pause, stop; progress and live curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.events import CheckpointSaved, EpochEnded, RunEnded, RunStarted, TrainEvent, Warned
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.ui.curves import CurvesView
from napari_monusac.ui.model import studio_model
from napari_monusac.ui.runs_compare import ComparedRun, RunsCompare
from napari_monusac.ui.runs_table import RunsTable
from napari_monusac.ui.timelapse import TimelapseView
from napari_monusac.ui.train_form import TrainForm
from napari_monusac.ui.training import Training
from napari_monusac.ui.widgets import Note, Section, TaskRow, row
from napari_monusac.ui.work import Report, Task, error_line, spoken_duration

if TYPE_CHECKING:
    from napari_monusac.io.runs import RunFolder


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
        self.lapse = TimelapseView(napari_viewer, self)
        self._paused = self._opening = False
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
        self.compared = RunsCompare()
        self.compared.hide()
        self.runs = RunsTable(self.model)
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        box.addWidget(self.form)
        box.addWidget(self.running)
        box.addWidget(row(self.check, self.start, self.pause, self.stop))
        for widget in (self.checking, self.bar, self.status, self.curves, self.compared):
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
        self.runs.compare_asked.connect(self._compare)
        self.runs.timelapse_asked.connect(self._timelapse_clicked)
        self.lapse.closed.connect(lambda: self.runs.timelapse_shown(False))
        self.compared.back_asked.connect(self._close_comparison)
        self.model.collection_changed.connect(self._collection_changed)
        self.model.train_asked.connect(self.form.start_from)

    # -- what will run

    def _recipe_chosen(self, recipe: TrainingRecipe) -> None:
        if not self.training.running:
            self.curves.clear(recipe.reported.combo)
            self.curves.hide()

    def _form_changed(self) -> None:
        self.start.setEnabled(self.form.recipe is not None and not self.training.running)

    def _collection_changed(self, collection: Any) -> None:
        self.form.take_collection(collection)
        if not self.training.running:
            self.status.say(
                "" if collection is not None else "Open a folder of labelled crops (Slides), then press Start training."
            )

    # -- running

    def dry_run(self) -> Task | None:
        """Try everything once before the long run."""
        try:
            plan = self.form.plan()
        except MonusacError as error:
            self.status.say(error_line(error), "warning")
            return None

        def work(report: Report) -> Any:
            import tempfile

            from napari_monusac.learn.dryrun import dry_run

            with tempfile.TemporaryDirectory() as folder:
                run = plan.make_run(Path(folder) / "check")
                return dry_run(
                    plan.recipe, run, device=plan.device,
                    progress=lambda fraction, message: report(fraction, message), should_stop=lambda: report.stopping,
                )  # fmt: skip

        task = Task(work)
        task.done.connect(
            lambda outcome: self.checking.label.say(outcome.summary(), "warning" if outcome.problems else "good")
        )
        self.check.setEnabled(False)
        task.finished.connect(lambda: self.check.setEnabled(not self.training.running))
        return self.checking.follow(task, "Checking…")

    def start_training(self) -> Task | None:
        """Make the run folder and start."""
        if self.training.running:
            return None
        try:
            plan = self.form.plan()
        except MonusacError as error:
            self.status.say(error_line(error), "warning")
            return None
        self.start.setEnabled(False)
        self.status.say("Starting…")
        task = Task(lambda _: plan.make_run())
        task.done.connect(lambda run: self._go(run, plan.where, plan.device))
        task.failed.connect(self._not_started)
        return task.start()

    def _not_started(self, error: Exception) -> None:
        self.status.say(error_line(error), "error")
        self._idle()

    def resume(self, run: RunFolder) -> Task | None:
        """Go on with a stopped or interrupted run."""
        where, device = self.form.where_value, self.form.device.currentText()

        def go(history: list[TrainEvent]) -> None:
            run.request_resume()
            self._go(run, where, device, history)

        return self._with_history(run, go)

    def watch(self, run: RunFolder) -> Task | None:
        """Follow a run that another process is training."""

        def follow(history: list[TrainEvent]) -> None:
            self._begin_view(run, history)
            self.training.attach(run)

        return self._with_history(run, follow)

    def _with_history(self, run: RunFolder, then: Any) -> Task | None:
        """Read what a run has written so far in a worker (a long run has megabytes of it), then go on with it."""
        if self.training.running or self._opening:
            return None
        self._opening = True
        self._buttons(running=False)
        self.status.say(f"Opening {run.path.name}…")
        task = Task(lambda _: run.read_events())
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
        self.model.run = run
        self.model.run_changed.emit(run)
        self._close_comparison()
        self.curves.clear(run.recipe.reported.combo)
        self.curves.show()
        started = [e for e in history if isinstance(e, RunStarted)]
        if started:
            self._steps_per_epoch = started[-1].steps_per_epoch
            self.curves.add_many(history, self._steps_per_epoch)
        self._paused = False
        changed = self.form.effective.text()
        self.running.say(f"{run.recipe.name} on {run.data}, in {run.path}." + (f" {changed}" if changed else ""))
        self._buttons(running=True)
        self.bar.setRange(0, 0)
        self.bar.show()
        self.status.say("Preparing: loading the network and the first crops…")

    def _took(self, events: list[TrainEvent]) -> None:
        for event in events:
            if isinstance(event, RunStarted):
                self._steps_per_epoch = event.steps_per_epoch
                self.form.device_reason.say(f"{event.device}: {event.device_reason} {event.precision}.")
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
        self.start.setEnabled(not running and not self._opening and self.form.recipe is not None)
        self.check.setEnabled(not running)
        self.pause.setEnabled(running)
        self.stop.setEnabled(running)
        self.pause.setText("Pause")
        # what runs is said in one line: the room belongs to progress and curves
        self.form.setVisible(not running)
        self.running.setVisible(running)

    # -- looking at runs

    def _compare(self, runs: list[RunFolder]) -> Task:
        """Lay runs over each other, in the place of the live curves."""
        task = Task(lambda _: [ComparedRun.read(run) for run in runs])
        task.done.connect(self._show_comparison)
        task.failed.connect(lambda error: self.status.say(error_line(error), "error"))
        return task.start()

    def _show_comparison(self, runs: list[ComparedRun]) -> None:
        self.compared.show_runs(runs)
        self.curves.hide()
        self.compared.show()

    def _close_comparison(self) -> None:
        self.compared.hide()
        self.curves.setVisible(self.curves.has_points or self.training.running)

    def _timelapse_clicked(self, run: RunFolder | None) -> Task | None:
        """Show how the pinned crops looked after each epoch, or take that away again."""
        if self.lapse.shown:
            self.lapse.close()
            return None
        if run is None:
            return None
        palette = self.model.palette

        def build(_: Report) -> Any:
            from napari_monusac.plugin.timelapse import timelapse_scene

            return timelapse_scene(run, palette)

        task = Task(build)
        task.done.connect(self._show_timelapse)
        task.failed.connect(lambda error: self.runs.note.say(error_line(error), "warning"))
        return task.start()

    def _show_timelapse(self, scene: Any) -> None:
        self.runs.note.say(self.lapse.show(scene))
        self.runs.timelapse_shown(True)
