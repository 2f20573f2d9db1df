"""Live training curves: losses, Dice inside and boundary, combo, learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_monusac.core.events import BatchEnded, EpochEnded, TrainEvent

#: Okabe-Ito colours: they stay apart for colour-blind eyes and on both themes.
_BLUE, _ORANGE, _GREEN, _PINK, _GREY = "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#8a8f98"
#: Colour, width, line and name of every curve.
_LOOKS: dict[str, tuple[str, float, str, str]] = {
    "batch": (_GREY, 1, "solid", "each step"),
    "train": (_BLUE, 2, "solid", "training"),
    "val": (_ORANGE, 2, "solid", "validation"),
    "inside": (_BLUE, 1.5, "dotted", "Dice inside"),
    "boundary": (_PINK, 1.5, "dotted", "Dice boundary"),
    "combo": (_GREEN, 2.5, "solid", "combo"),
    "lr": (_GREY, 2, "solid", ""),
}
#: Axes of smaller numbers have powers of ten.
_SMALL = 0.01
#: One colour a run where several are compared.
RUN_COLORS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442", "#0072b2")


class NumberAxis(pg.AxisItem):
    """An axis with plain numbers; very small ones in powers of ten (1e-4)."""

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:  # noqa: N802 - pyqtgraph's
        """Write the numbers beside the ticks."""
        if self.logMode or max((abs(v * scale) for v in values), default=1.0) >= _SMALL:
            return list(super().tickStrings(values, scale, spacing))
        return [_power(v * scale) for v in values]


class EpochAxis(pg.AxisItem):
    """An axis over epochs: there is no half of one to point at."""

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:  # noqa: N802 - pyqtgraph's
        """Whole epochs only."""
        whole = [(s, at) for s, at in super().tickSpacing(low, high, size) if s >= 1 and s == round(s)]
        return whole or [(1.0, 0.0)]


def _power(value: float) -> str:
    if abs(value) < 1e-12:
        return "0"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"


def plot_axes() -> dict[str, Any]:
    """Axes for a plot over epochs."""
    return {"left": NumberAxis("left"), "bottom": EpochAxis("bottom")}


def style_plot(plot: Any) -> None:
    """Give a plot the look of all our plots: faint grid, plain numbers, no menu, the wheel left to the panel."""
    plot.showGrid(x=True, y=True, alpha=0.15)
    plot.setMenuEnabled(False)
    plot.setMouseEnabled(False, False)
    plot.hideButtons()
    plot.getAxis("left").setWidth(62)
    for side in ("left", "bottom"):
        plot.getAxis(side).enableAutoSIPrefix(False)


def fit_epochs(plot: Any, last: float) -> None:
    """Show the epochs from 0 to `last`, with room for whole markers at both ends."""
    plot.setXRange(0, max(1.0, last), padding=0.03)


def fit_rates(plot: Any, highest: float) -> None:
    """Show learning rates from 0 to a little above the highest: a constant one is a line, too, and not nothing."""
    plot.setYRange(0, highest * 1.15 if highest > 0 else 1.0, padding=0.02)


def fit_log_rates(plot: Any, rates: Sequence[float]) -> None:
    """Show learning rates above 0 on a logarithmic axis, with room above and below a constant one."""
    above = [rate for rate in rates if rate > 0] or [1.0]
    plot.setYRange(math.log10(min(above)) - 0.2, math.log10(max(above)) + 0.2, padding=0.02)


def legend_html(entries: Sequence[tuple[str, str, str]]) -> str:
    """A line of names in the looks of their curves: (name, colour, "solid" or "dotted")."""
    marks = {"solid": "\u2501\u2501", "dotted": "\u2505\u2505"}
    return "&nbsp;&nbsp; ".join(f'<span style="color:{c}">{marks[how]}</span>&nbsp;{name}' for name, c, how in entries)


class CurvesView(QWidget):
    """Plots over the epochs: losses, scores, learning rate; the source's reported combo as a dashed line.

    What the colours mean stands above each plot, where no curve runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.graphics = pg.GraphicsLayoutWidget()
        self.graphics.setMinimumHeight(440)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.graphics)
        self.legends: dict[str, Any] = {}
        self.losses = self._plot("Loss", 0, 3, ("batch", "train", "val"))
        self.scores = self._plot("Score", 2, 3, ("inside", "boundary", "combo"))
        self.rates = self._plot("Learning rate", 4, 2, ())
        for plot in (self.losses, self.scores):
            plot.getAxis("bottom").setStyle(showValues=False)
            plot.setXLink(self.rates)
        self.rates.setLabel("bottom", "Epoch")
        self._reference: Any = None
        self._curves: dict[str, Any] = {}
        self._data: dict[str, tuple[list[float], list[float]]] = {}
        self._steps_per_epoch = 1
        self._log = False
        self.clear()

    def _plot(self, name: str, at: int, share: int, curves: Sequence[str]) -> Any:
        if curves:
            text = legend_html([(_LOOKS[c][3], _LOOKS[c][0], _LOOKS[c][2]) for c in curves])
            self.legends[name] = self.graphics.addLabel(text, row=at, col=0, size="9pt")
        plot = self.graphics.addPlot(row=at + 1, col=0, axisItems=plot_axes())
        self.graphics.ci.layout.setRowStretchFactor(at + 1, share)
        plot.setLabel("left", name)
        style_plot(plot)
        return plot

    def set_theme(self, background: str, foreground: str) -> None:
        """Follow napari's theme (CSS colours)."""
        self.graphics.setBackground(background)
        for plot in (self.losses, self.scores, self.rates):
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(foreground)
                plot.getAxis(side).setTextPen(foreground)
        for label in self.legends.values():
            label.setText(label.text, color=foreground)

    def clear(self, reported_combo: float | None = None) -> None:
        """Empty the plots and draw the source's reported combo, if there is one."""
        for plot in (self.losses, self.scores, self.rates):
            plot.clear()
        self._data = {k: ([], []) for k in _LOOKS}
        self._curves = {}
        for key, (color, width, how, _) in _LOOKS.items():
            plot = self.losses if key in ("batch", "train", "val") else self.rates if key == "lr" else self.scores
            style = Qt.PenStyle.SolidLine if how == "solid" else Qt.PenStyle.DotLine
            self._curves[key] = plot.plot(
                [], [], pen=pg.mkPen(color, width=width, style=style), symbol=None if key in ("batch", "lr") else "o",
                symbolSize=5, symbolBrush=color, symbolPen=None,
            )  # fmt: skip
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
        fit_epochs(self.rates, max((x[-1] for x, _ in self._data.values() if x), default=1.0))
        if self._log:
            fit_log_rates(self.rates, self._data["lr"][1])
        else:
            fit_rates(self.rates, max(self._data["lr"][1], default=0.0))

    def set_log(self, on: bool) -> None:
        """Draw losses and learning rate on a logarithmic axis, or on a plain one."""
        self._log = on
        for plot in (self.losses, self.rates):
            plot.setLogMode(x=False, y=on)
        self.draw()

    def points(self) -> Iterator[tuple[str, float, float]]:
        """Give all numbers behind the curves: name of the curve, epoch, value."""
        names = {**{key: look[3] for key, look in _LOOKS.items()}, "batch": "loss of each step", "lr": "learning rate"}
        names |= {"train": "training loss", "val": "validation loss"}
        for key, (x, y) in self._data.items():
            yield from ((names[key], epoch, value) for epoch, value in zip(x, y, strict=True))

    def _append(self, key: str, x: float, y: float | None) -> None:
        if y is not None and y == y:  # a NaN has no place on a plot
            self._data[key][0].append(x)
            self._data[key][1].append(y)
