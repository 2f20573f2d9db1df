"""The table of runs: status, epochs, best combo; resume, watch, compare, show the folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.actions import COMPARE, RESUME, SELECT_ROWS, SHOW_RUN, TIMELAPSE, WATCH
from napari_monusac.app.training import RunRow, TrainingModel
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import form_button, offer, row
from napari_monusac.ui.widgets.note import Note, short_path

if TYPE_CHECKING:
    from napari_monusac.io.runs.run_folder import RunFolder


_HEADERS = (
    "Name of the run's folder: when it was started, and its recipe",
    "Whether it is being trained, was stopped, or is complete",
    "Epochs that are done, of how many",
    "Best combo so far, 0 to 1: 0.7 x Dice of the insides + 0.3 x Dice of the boundaries, on crops kept apart",
)
_FIRST, _SEVERAL = "Select a run first", f"Select two runs or more ({SELECT_ROWS})"
#: Rows that are seen without scrolling.
_ROWS = 8
_RUN = int(Qt.ItemDataRole.UserRole)


class RunsTable(QWidget):
    """All runs of the runs folder, newest first.

    Signals
    -------
    timelapse_asked(RunFolder or None), compare_asked(list of RunFolder)
    """

    compare_asked = Signal(object)
    timelapse_asked = Signal(object)

    def __init__(self, training: TrainingModel) -> None:
        super().__init__()
        self.training = training
        self._lapse_shown = False
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels(["Run", "Status", "Epoch", "Combo"])
        for column, text in enumerate(_HEADERS):
            self.table.horizontalHeaderItem(column).setToolTip(text)
        self.table.setToolTip(f"Runs of the folder, the newest first. {SELECT_ROWS} selects several.")
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column, width in ((1, 80), (2, 62), (3, 56)):
            self.table.setColumnWidth(column, width)
        self.resume, self.watch = form_button(RESUME, self), form_button(WATCH, self)
        self.compare, self.timelapse = form_button(COMPARE, self), form_button(TIMELAPSE, self)
        self.folder = form_button(SHOW_RUN, self)
        self.note = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.table,
            row(self.resume, self.watch, self.compare),
            row(self.timelapse, self.folder),
            self.note,
        ):
            box.addWidget(widget)
        self.table.itemSelectionChanged.connect(self._selected)
        hear(self, training.runs_changed, self._show)
        hear(self, training.state_changed, lambda _: self._selected())
        self._selected()

    def timelapse_shown(self, shown: bool) -> None:
        """Say on the button what it does now."""
        self._lapse_shown = shown
        self.timelapse.setText("Close time-lapse" if shown else TIMELAPSE.text)
        if not shown:
            self.note.say("")
        self._selected()

    def selected(self) -> list[RunFolder]:
        """The selected runs."""
        rows = sorted({i.row() for i in self.table.selectedItems()})
        return [self.table.item(r, 0).data(_RUN) for r in rows]

    def _show(self, runs: Sequence[RunRow]) -> None:
        chosen = {r.path for r in self.selected()}
        self.table.setRowCount(len(runs))
        for i, one in enumerate(runs):
            run, combo = one.run, "–" if one.combo is None else f"{one.combo:.3f}"
            texts = (run.path.name, one.status, f"{one.epochs}/{run.recipe.epochs}", combo)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setData(_RUN, run)
                item.setToolTip(f"{run.path}\nrecipe {run.recipe.name}, data {run.data}")
                self.table.setItem(i, column, item)
                item.setSelected(run.path in chosen)
        shown = min(max(len(runs), 2), _ROWS)
        header = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(header + shown * self.table.verticalHeader().defaultSectionSize() + 4)
        self._selected()
        self._say_what_trains(runs)

    def _say_what_trains(self, runs: Sequence[RunRow]) -> None:
        """Point at a run that another process trains: napari may have been closed and opened again since it started."""
        mine = self.training.run.path if self.training.run is not None and self.training.running else None
        alive = [i for i, one in enumerate(runs) if one.alive and one.run.path != mine]
        if not runs:
            folder = self.training.runs_folder
            self.note.say(f"No run yet in {short_path(folder, 60)}.", whole=str(folder))
            return
        if not self.selected() and (alive or len(runs) == 1):
            # the one that is meant most likely
            self.table.selectRow(alive[0] if alive else 0)
        chosen = {r.path for r in self.selected()}
        names = [runs[i].run.path.name for i in alive if runs[i].run.path in chosen]
        if names:
            self.note.say(f"{names[0]} is being trained by another process: Watch shows and stops it.")
        elif not self._lapse_shown:
            self.note.say("")

    def _selected(self) -> None:
        """Offer what can be done with the selected runs; a button that rests says why on hover."""
        runs = self.selected()
        one = runs[0] if len(runs) == 1 else None
        status = one.status if one is not None else ""
        first = _FIRST if not runs else "Select one run only" if one is None else ""
        busy = "A run is being trained here: one at a time" if self.training.busy else ""
        stopped = status in ("stopped", "interrupted", "failed", "new")
        alive = status in ("running", "paused")
        for button, action, why in (
            (self.resume, RESUME, first or busy or ("" if stopped else f"This run is {status}: nothing to go on with")),
            (self.watch, WATCH, first or busy or ("" if alive else f"This run is {status}: nobody trains it")),
            (self.compare, COMPARE, _FIRST if not runs else "" if len(runs) > 1 else _SEVERAL),
            (self.timelapse, TIMELAPSE, "" if self._lapse_shown else first),
            (self.folder, SHOW_RUN, first),
        ):
            offer(button, action, why)
        if self._lapse_shown:
            self.timelapse.setToolTip("Take the time-lapse off the canvas")

    def resume_run(self) -> None:
        """Go on with the selected run."""
        self.training.resume(self.selected()[0])

    def watch_run(self) -> None:
        """Follow the selected run, which another process trains."""
        self.training.watch(self.selected()[0])

    def compare_runs(self) -> None:
        """Ask that the selected runs are laid over each other."""
        self.compare_asked.emit(self.selected())

    def toggle_timelapse(self) -> None:
        """Ask for the time-lapse of the selected run, or that it is taken away."""
        runs = self.selected()
        if runs or self._lapse_shown:
            self.timelapse_asked.emit(runs[0] if runs else None)

    def show_folder(self) -> None:
        """Show the folders of the selected runs in the file manager."""
        for run in self.selected():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(run.path)))
