"""The table of runs: status, epochs, best combo; resume, watch, compare, show the folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QInputDialog,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.actions import (
    COMPARE,
    NOTE_RUN,
    REMOVE_RUNS,
    RENAME_RUN,
    RESTORE_RUNS,
    RESUME,
    SELECT_ROWS,
    SHOW_RUN,
    TIMELAPSE,
    WATCH,
)
from napari_monusac.app.answers import Refused
from napari_monusac.app.training import RunRow, TrainingModel
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import form_button, offer, row
from napari_monusac.ui.widgets.note import Note, short_path

if TYPE_CHECKING:
    from napari_monusac.io.runs.removed import RemovedRun
    from napari_monusac.io.runs.run_folder import RunFolder


_HEADERS = (
    "Name of the run's folder: when it was started, and its recipe",
    "Whether it is being trained, was stopped, or is complete",
    "Epochs that are done, of how many",
    "Best combo so far, 0 to 1: 0.7 x Dice of the insides + 0.3 x Dice of the boundaries, on crops kept apart",
)
_FIRST, _SEVERAL = "Select a run first", f"Select two runs or more ({SELECT_ROWS})"
_TRAINED = "It is being trained: stop it first"
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
        self.rename, self.write_note = form_button(RENAME_RUN, self), form_button(NOTE_RUN, self)
        self.remove, self.undo = form_button(REMOVE_RUNS, self), form_button(RESTORE_RUNS, self)
        self.note = Note()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.table,
            row(self.resume, self.watch, self.compare),
            row(self.timelapse, self.folder),
            row(self.rename, self.write_note, self.remove),
            self.note,
            self.undo,
        ):
            box.addWidget(widget)
        self.table.itemSelectionChanged.connect(self._selected)
        hear(self, training.removed_changed, self._show_removed)
        self._show_removed(training.removed)
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

    def _alive(self, run: RunFolder) -> bool:
        return any(one.alive for one in self.training.runs if one.run.path == run.path)

    def _show(self, runs: Sequence[RunRow]) -> None:
        chosen = {r.path for r in self.selected()}
        self.table.setRowCount(len(runs))
        for i, one in enumerate(runs):
            run, combo = one.run, "–" if one.combo is None else f"{one.combo:.3f}"
            texts = (run.title, one.status, f"{one.epochs}/{run.recipe.epochs}", combo)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setData(_RUN, run)
                about = f"{run.path}\nrecipe {run.recipe.name}, data {run.data}"
                item.setToolTip(f"{run.info.note}\n{about}" if run.info.note else about)
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
        elif not self._lapse_shown and not self.training.removed:
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
            (self.rename, RENAME_RUN, first),
            (self.write_note, NOTE_RUN, first),
            (self.remove, REMOVE_RUNS, _FIRST if not runs else _TRAINED if any(map(self._alive, runs)) else ""),
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

    def _said(self, answer: Refused | None) -> None:
        if answer is not None:
            self.note.say(answer.why, "warning")

    def _show_removed(self, removed: tuple[RemovedRun, ...]) -> None:
        """What was removed can be brought back, and is said to be kept."""
        self.undo.setVisible(bool(removed))
        if removed:
            names = removed[0].name if len(removed) == 1 else f"{len(removed)} runs"
            kept = removed[0].kept.parent
            said = f"{names} removed. Kept in {short_path(kept, 60)}: delete that folder for its room."
            self.note.say(said, whole=str(kept))

    def remove_runs(self) -> None:
        """Take the selected runs off the list."""
        self._said(self.training.remove_runs(self.selected()))

    def restore_runs(self) -> None:
        """Bring back those that were removed last."""
        self._said(self.training.restore_runs())

    def rename_run(self) -> None:
        """Ask for another name of the selected run."""
        run = self.selected()[0]
        name, given = QInputDialog.getText(self, "Rename the run", "Name (its folder stays as it is)", text=run.title)
        if given:
            self._said(self.training.describe_run(run, name=name))

    def note_run(self) -> None:
        """Ask for a note on the selected run."""
        run = self.selected()[0]
        note, given = QInputDialog.getMultiLineText(self, "Note", f"What to remember of {run.title}", run.info.note)
        if given:
            self._said(self.training.describe_run(run, note=note))

    def toggle_timelapse(self) -> None:
        """Ask for the time-lapse of the selected run, or that it is taken away."""
        runs = self.selected()
        if runs or self._lapse_shown:
            self.timelapse_asked.emit(runs[0] if runs else None)

    def show_folder(self) -> None:
        """Show the folders of the selected runs in the file manager."""
        for run in self.selected():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(run.path)))
