"""Runs beside each other: one curve a run, what the source reports dashed, and a table of results and differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.actions import CLOSE_COMPARISON
from napari_monusac.core.events import EpochEnded, Scores
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.ui.train.curves import RUN_COLORS, fit_epochs, fit_rates, plot_axes, style_plot
from napari_monusac.ui.widgets.basic import form_button, row
from napari_monusac.ui.widgets.note import Note

if TYPE_CHECKING:
    from napari_monusac.io.runs.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """What is compared of a run, read in a worker.

    Attributes
    ----------
    name : str
        Of the run folder.
    recipe : TrainingRecipe
    epochs : tuple of EpochEnded
    best : EpochEnded or None
        The one whose weights were kept, by the score that the recipe selects by.
    split : str
        What it was validated on, in words: scores of different splits must not be compared.
    """

    name: str
    recipe: TrainingRecipe
    epochs: tuple[EpochEnded, ...]
    best: EpochEnded | None
    split: str

    @classmethod
    def read(cls, run: RunFolder) -> ComparedRun:
        """Read a run's folder."""
        validation = ", ".join(sorted(run.split.validation))
        epochs, best = run.epochs_and_best()
        return cls(run.path.name, run.recipe, tuple(epochs), best, validation)


_RATE = "Learning rate"
#: What can be laid over each other: words, value of an epoch, what the source reports of it.
_MEASURES: dict[str, tuple[Any, Any]] = {
    "Combo": (lambda e: e.scores.combo, lambda r: r.combo),
    "Dice boundary": (lambda e: e.scores.dice_boundary, lambda r: r.boundary_dice),
    "Dice inside": (lambda e: e.scores.dice_inside, lambda r: r.inside_dice),
    "mIoU of the classes": (lambda e: e.scores.miou_macro, lambda r: r.miou_macro),
    "Loss in validation": (lambda e: e.val_loss, None),
    "Loss in training": (lambda e: e.train_loss, None),
    _RATE: (lambda e: e.lr, None),
}


class RunsCompare(QWidget):
    """Curves of several runs over each other, their best results, and where their recipes differ.

    Signals
    -------
    back_asked : show the curves of the training run again.
    """

    back_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.runs: tuple[ComparedRun, ...] = ()
        self.measure = QComboBox()
        self.measure.addItems(list(_MEASURES))
        self.measure.setToolTip("What is drawn, over the epochs")
        self.back = form_button(CLOSE_COMPARISON, self)
        self.graphics = pg.GraphicsLayoutWidget()
        self.graphics.setFixedHeight(240)
        self.plot = self.graphics.addPlot(axisItems=plot_axes())
        self.plot.setLabel("bottom", "Epoch")
        style_plot(self.plot)
        self.note = Note()
        self.table = QTableWidget()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setWordWrap(False)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (row(self.measure, self.back, stretch_first=True), self.graphics, self.note, self.table):
            box.addWidget(widget)
        self.measure.currentIndexChanged.connect(lambda _: self._draw())

    def close_comparison(self) -> None:
        """Ask that the curves of the training are shown again."""
        self.back_asked.emit()

    def show_runs(self, runs: Sequence[ComparedRun]) -> None:
        """Compare these runs."""
        self.runs = tuple(runs)
        self._draw()
        self._fill()

    def set_theme(self, background: str, foreground: str) -> None:
        """Follow napari's theme (CSS colours)."""
        self.graphics.setBackground(background)
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setPen(foreground)
            self.plot.getAxis(side).setTextPen(foreground)

    def _draw(self) -> None:
        name = self.measure.currentText()
        of_epoch, of_source = _MEASURES[name]
        self.plot.clear()
        self.plot.setLabel("left", name)
        dashed, drawn = False, [(0.0, 0.0)]
        for i, run in enumerate(self.runs):
            color = RUN_COLORS[i % len(RUN_COLORS)]
            points = [(e.epoch, of_epoch(e)) for e in run.epochs]
            points = [(x, y) for x, y in points if y is not None and y == y]
            drawn += points
            self.plot.plot(
                [x for x, _ in points], [y for _, y in points], pen=pg.mkPen(color, width=2.5),
                symbol="o" if len(points) < 60 else None, symbolSize=5, symbolBrush=color, symbolPen=None,
            )  # fmt: skip
            source = of_source(run.recipe.reported) if of_source is not None else None
            if source is not None:
                dashed = True
                pen = pg.mkPen(color, width=1.5, style=Qt.PenStyle.DashLine)
                self.plot.addItem(pg.InfiniteLine(pos=source, angle=0, pen=pen))
        self.plot.enableAutoRange()
        fit_epochs(self.plot, max(x for x, _ in drawn))
        if name == _RATE:
            fit_rates(self.plot, max(y for _, y in drawn))
        self.note.say(self._remark(dashed))

    def _remark(self, dashed: bool) -> str:
        said = []
        if len({run.split for run in self.runs}) > 1:
            said.append("These runs were validated on different crops: their scores do not compare.")
        if dashed:
            said.append("Dashed: what the source reports for the recipe, on another split.")
        return " ".join(said)

    def _fill(self) -> None:
        rows = [*_results(self.runs), *_differences(self.runs)]
        self.table.setColumnCount(len(self.runs))
        self.table.setRowCount(len(rows))
        for i, run in enumerate(self.runs):
            item = QTableWidgetItem(_swatch(RUN_COLORS[i % len(RUN_COLORS)]), run.name)
            item.setToolTip(f"{run.name}: recipe {run.recipe.name}")
            self.table.setHorizontalHeaderItem(i, item)
        for i, (title, values) in enumerate(rows):
            self.table.setVerticalHeaderItem(i, QTableWidgetItem(title))
            for column, value in enumerate(values):
                item = QTableWidgetItem(value)
                item.setToolTip(f"{title}: {value}")
                self.table.setItem(i, column, item)
        height = self.table.horizontalHeader().sizeHint().height() + sum(map(self.table.rowHeight, range(len(rows))))
        self.table.setFixedHeight(height + 2 * self.table.frameWidth() + 2)


def _results(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    best = [run.best for run in runs]
    scores = [e.scores if e is not None else Scores(combo=float("nan")) for e in best]
    minutes = [sum(e.seconds for e in run.epochs) / 60 for run in runs]
    return [
        ("best combo", [_number(s.combo) for s in scores]),
        ("Dice inside", [_number(s.dice_inside) for s in scores]),
        ("Dice boundary", [_number(s.dice_boundary) for s in scores]),
        ("in epoch", [f"{e.epoch} of {len(run.epochs)}" if e else "–" for e, run in zip(best, runs, strict=True)]),
        ("steps", [str(run.epochs[-1].step) if run.epochs else "–" for run in runs]),
        ("minutes", [f"{m:.0f}" if m >= 1 else f"{m:.1f}" for m in minutes]),
    ]


def _differences(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    """Fields of the recipes that are not the same in all runs."""
    first = runs[0].recipe if runs else None
    fields: dict[str, None] = {}
    for run in runs[1:]:
        fields |= dict.fromkeys(run.recipe.changes(first) if first is not None else ())
    return [(f.replace("_", " "), [_words(getattr(run.recipe, f)) for run in runs]) for f in fields]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
