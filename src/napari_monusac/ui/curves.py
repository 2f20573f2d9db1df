"""Live training curves: losses, Dice inside and boundary, combo, learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_monusac.core.events import BatchEnded, EpochEnded, TrainEvent

#: Okabe-Ito colours: they stay apart for colour-blind eyes and on both themes.
_BLUE, _ORANGE, _GREEN, _PINK, _GREY = "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#8a8f98"
#: One colour a run where several are compared.
RUN_COLORS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442", "#0072b2")


def style_plot(plot: Any) -> None:
    """Give a plot the look of all our plots: faint grid, plain numbers, no menu."""
    plot.showGrid(x=True, y=True, alpha=0.15)
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.getAxis("left").setWidth(58)
    plot.getAxis("left").enableAutoSIPrefix(False)


class CurvesView(QWidget):
    """Two plots over the epochs: losses above, scores below; the source's reported combo as a dashed line."""

    def __init__(self) -> None:
        super().__init__()
        self.graphics = pg.GraphicsLayoutWidget()
        self.graphics.setMinimumHeight(380)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.graphics)
        self.losses = self.graphics.addPlot(row=0, col=0)
        self.scores = self.graphics.addPlot(row=1, col=0)
        self.rates = self.graphics.addPlot(row=2, col=0)
        self.graphics.ci.layout.setRowStretchFactor(0, 3)
        self.graphics.ci.layout.setRowStretchFactor(1, 3)
        self.graphics.ci.layout.setRowStretchFactor(2, 2)
        for plot, name in ((self.losses, "Loss"), (self.scores, "Score"), (self.rates, "lr")):
            plot.setLabel("left", name)
            style_plot(plot)
        for plot in (self.losses, self.scores):
            plot.getAxis("bottom").setStyle(showValues=False)
        self.rates.setLabel("bottom", "Epoch")
        self.losses.setXLink(self.rates)
        self.scores.setXLink(self.rates)
        self.losses.addLegend(offset=(-4, 4), labelTextSize="8pt", colCount=3)
        self.scores.addLegend(offset=(-4, 4), labelTextSize="8pt", colCount=3)
        self._reference: Any = None
        self._curves: dict[str, Any] = {}
        self._data: dict[str, tuple[list[float], list[float]]] = {}
        self._steps_per_epoch = 1
        self.clear()

    def set_theme(self, background: str, foreground: str) -> None:
        """Follow napari's theme (CSS colours)."""
        self.graphics.setBackground(background)
        for plot in (self.losses, self.scores, self.rates):
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(foreground)
                plot.getAxis(side).setTextPen(foreground)
            if plot.legend is not None:
                plot.legend.setLabelTextColor(foreground)

    def clear(self, reported_combo: float | None = None) -> None:
        """Empty the plots and draw the source's reported combo, if there is one."""
        for plot in (self.losses, self.scores, self.rates):
            plot.clear()
            if plot.legend is not None:
                plot.legend.clear()
        self._data = {k: ([], []) for k in ("batch", "train", "val", "combo", "inside", "boundary", "lr")}
        solid, dotted = Qt.PenStyle.SolidLine, Qt.PenStyle.DotLine
        look = {
            "batch": (self.losses, _GREY, 1, solid, "each step"),
            "train": (self.losses, _BLUE, 2, solid, "training"),
            "val": (self.losses, _ORANGE, 2, solid, "validation"),
            "inside": (self.scores, _BLUE, 1.5, dotted, "Dice inside"),
            "boundary": (self.scores, _PINK, 1.5, dotted, "Dice boundary"),
            "combo": (self.scores, _GREEN, 2.5, solid, "combo"),
            "lr": (self.rates, _GREY, 2, solid, None),
        }  # fmt: skip
        self._curves = {
            key: plot.plot(
                [],
                [],
                pen=pg.mkPen(color, width=width, style=style),
                name=name,
                symbol=None if key in ("batch", "lr") else "o",
                symbolSize=4,
                symbolBrush=color,
                symbolPen=None,
            )
            for key, (plot, color, width, style, name) in look.items()
        }
        self._reference = None
        if reported_combo is not None:
            self._reference = pg.InfiniteLine(
                pos=reported_combo, angle=0, pen=pg.mkPen(_GREEN, width=1.5, style=Qt.PenStyle.DashLine),
                label=f"source (other split): combo {reported_combo:.2f}",
                labelOpts={"position": 0.5, "color": _GREEN, "anchors": [(0.5, 0), (0.5, 1)]},
            )  # fmt: skip
            self.scores.addItem(self._reference)
        self.scores.setYRange(0, 1, padding=0.02)

    @property
    def has_points(self) -> bool:
        """Whether there is anything to see."""
        return any(x for x, _ in self._data.values())

    def add(self, event: TrainEvent, steps_per_epoch: int = 0) -> None:
        """Take an event into the curves; draw later with `draw`."""
        if steps_per_epoch:
            self._steps_per_epoch = steps_per_epoch
        if isinstance(event, BatchEnded):
            at = event.epoch - 1 + event.step_in_epoch / max(1, self._steps_per_epoch)
            self._append("batch", at, event.loss)
            self._append("lr", at, event.lr)
        elif isinstance(event, EpochEnded):
            self._append("train", event.epoch, event.train_loss)
            self._append("val", event.epoch, event.val_loss)
            self._append("combo", event.epoch, event.scores.combo)
            self._append("inside", event.epoch, event.scores.dice_inside)
            self._append("boundary", event.epoch, event.scores.dice_boundary)

    def add_many(self, events: Sequence[TrainEvent], steps_per_epoch: int) -> None:
        """Take a whole history and draw it."""
        for event in events:
            self.add(event, steps_per_epoch)
        self.draw()

    def draw(self) -> None:
        """Bring the plots up to date."""
        for key, (x, y) in self._data.items():
            # a long run's steps are thinned: the eye sees no more than the plot's width
            step = max(1, len(x) // 1500)
            self._curves[key].setData(x[::step], y[::step])

    def _append(self, key: str, x: float, y: float | None) -> None:
        if y is not None and y == y:  # a NaN has no place on a plot
            self._data[key][0].append(x)
            self._data[key][1].append(y)
