"""Looking at runs from the Train panel: several over each other, one after each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_monusac.ui.runs_compare import ComparedRun
from napari_monusac.ui.short_text import say_error
from napari_monusac.ui.work import Report, Task

if TYPE_CHECKING:
    from napari_monusac.io.runs import RunFolder
    from napari_monusac.ui.train_panel import TrainPanel


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
        task = Task(lambda _: [ComparedRun.read(run) for run in runs])
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

        task = Task(build)
        task.done.connect(self._show_timelapse)
        task.failed.connect(lambda error: say_error(self.panel.runs.note, error, "warning"))
        return task.start()

    def _show_timelapse(self, scene: Any) -> None:
        self.panel.runs.note.say(self.panel.lapse.show(scene))
        self.panel.runs.timelapse_shown(True)
