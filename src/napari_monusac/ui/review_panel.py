"""Review: scores of the open crop, outlines and difference on the canvas, the errors to step through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui import canvas, comparing
from napari_monusac.ui.model import studio_model
from napari_monusac.ui.widgets import Heading, Note, TaskRow, column, row
from napari_monusac.ui.work import Report, Task

_FINDING = int(Qt.ItemDataRole.UserRole)


@dataclass(frozen=True, slots=True)
class CropReview:
    """What a comparison of one crop came to.

    Attributes
    ----------
    scores : list of (str, str)
        Name and value, ready to show.
    by_class : list of rows
        Class, PQ, SQ, DQ, TP, FP, FN.
    findings : Findings
        One per error.
    difference : uint8 (y, x)
        The difference map.
    """

    scores: list[tuple[str, str]]
    by_class: list[tuple[str, ...]]
    findings: Any
    difference: Any


def number(value: float | None) -> str:
    """Show a score with the precision it has; undefined stays undefined."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.2f}"


def review_crop(
    truth: Any,
    truth_classes: dict[int, int],
    predicted: Any,
    predicted_classes: dict[int, int],
    ternary: Any,
    semantic: Any,
    ignore: Any,
    um_per_px: float | None,
    boundary_width: int,
    confidence: dict[int, float],
) -> CropReview:
    """Compare a crop's truth with its prediction (no Qt: called in a worker)."""
    from napari_monusac.masks.ternary import ternary_map
    from napari_monusac.scoring.confusion import PixelConfusion, training_scores
    from napari_monusac.scoring.findings import find_errors
    from napari_monusac.scoring.panoptic import panoptic_by_class, panoptic_quality

    true_ternary = ternary_map(truth, boundary_width=boundary_width)
    lut = np.full(int(truth.max(initial=0)) + 1, 255, np.uint8)
    lut[0] = 0
    for label, cls in truth_classes.items():
        lut[label] = cls
    true_semantic = lut[truth]
    if ignore is not None:
        true_ternary, true_semantic = np.where(ignore, 255, true_ternary), np.where(ignore, 255, true_semantic)
    s, t = PixelConfusion(5), PixelConfusion(3)
    s.update(semantic, true_semantic)
    t.update(ternary, true_ternary)
    scores = training_scores(s, t)
    whole = panoptic_quality(truth, predicted, ignore=ignore)
    by_class = panoptic_by_class(truth, truth_classes, predicted, predicted_classes, ignore=ignore)
    defined = [q.pq for q in by_class.values() if q.defined]
    lines = [
        ("Combo", number(scores.combo)), ("Dice inside", number(scores.dice_inside)),
        ("Dice boundary", number(scores.dice_boundary)), ("mIoU (5 classes)", number(scores.miou_macro)),
        ("PQ, mean of classes", number(float(np.mean(defined)) if defined else None)),
        ("PQ, all nuclei", number(whole.pq)), ("SQ", number(whole.sq)), ("DQ (detection F1)", number(whole.dq)),
    ]  # fmt: skip
    rows = [
        (
            c.label,
            number(by_class[c].pq),
            number(by_class[c].sq),
            number(by_class[c].dq),
            *(str(n) for n in (by_class[c].tp, by_class[c].fp, by_class[c].fn)),
        )
        for c in CLASSES
    ]
    findings = find_errors(
        truth, predicted, truth_classes, predicted_classes, ignore=ignore, confidence=confidence, um_per_px=um_per_px
    )
    from napari_monusac.scoring.difference import difference_map

    return CropReview(lines, rows, findings, difference_map(truth, predicted, findings))


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
        self.review: CropReview | None = None
        self._build()
        self.model.predicted.connect(lambda _: self.update_scores())
        self.model.crop_changed.connect(lambda _: self._reset())
        self._reset()

    def _build(self) -> None:
        self.hint = Note()
        self.update_button = QPushButton("Compare with the truth")
        self.update_button.clicked.connect(self.update_scores)
        self.outlines = QCheckBox("Outlines: truth solid, prediction dashed")
        self.difference = QCheckBox("Difference map")
        self.progress = TaskRow()
        self.scores = _table(["Score", "This crop"], stretch=0)
        self.by_class = _table(["Class", "PQ", "SQ", "DQ", "TP", "FP", "FN"], stretch=0)
        self.errors = _table(["Error", "Class", "Size", "IoU"], stretch=1)
        self.errors.setMinimumHeight(180)
        self.counts = Note()
        self.previous, self.next = QPushButton("\u25c0 Previous (P)"), QPushButton("Next (N) \u25b6")
        self.after = column(
            row(self.outlines, self.difference),
            Heading("Scores"),
            self.scores,
            self.by_class,
            Heading("Errors"),
            self.counts,
            self.errors,
            row(self.previous, self.next),
        )
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        for widget in (self.hint, self.update_button, self.progress, self.after):
            box.addWidget(widget)
        box.addStretch(1)
        self.outlines.toggled.connect(self._show_outlines)
        self.difference.toggled.connect(self._show_difference)
        self.errors.itemSelectionChanged.connect(self._go_to_selected)
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))

    def _reset(self) -> None:
        self.review = None
        self.after.hide()
        for box in (self.outlines, self.difference):
            box.blockSignals(True)
            box.setChecked(False)
            box.blockSignals(False)
        self._say_what_next()

    def _say_what_next(self) -> None:
        truth, predicted = self._layers()
        if predicted is None:
            self.hint.say("Predict this crop first (Predict); then its scores and errors stand here.")
        elif truth is None:
            self.hint.say("This crop has no labels to compare with.")
        else:
            self.hint.say("")
        self.update_button.setEnabled(truth is not None and predicted is not None)

    def _layers(self) -> tuple[Labels | None, Labels | None]:
        truth, predicted = canvas.find_layer(self.viewer, "nuclei"), canvas.find_layer(self.viewer, "predicted nuclei")
        return (truth if isinstance(truth, Labels) else None, predicted if isinstance(predicted, Labels) else None)

    def update_scores(self) -> Task | None:
        """Compare in the background and show what came out."""
        truth, predicted = self._layers()
        self._say_what_next()
        if truth is None or predicted is None:
            return None
        about = predicted.metadata["monusac"]
        y, x = about.get("offset_px", (0, 0))
        height, width = predicted.data.shape
        part = (slice(y, y + height), slice(x, x + width))
        ignore_layer = canvas.find_layer(self.viewer, "ambiguous")
        ignore = np.asarray(ignore_layer.data[part]) > 0 if ignore_layer is not None else None
        true_map, predicted_map = np.array(truth.data[part]), np.array(predicted.data)
        maps = {r: canvas.find_layer(self.viewer, r) for r in ("predicted ternary", "predicted semantic")}
        confidence = (
            dict(zip(predicted.features["index"], predicted.features["confidence"], strict=True))
            if "confidence" in predicted.features
            else {}
        )
        true_classes, predicted_classes = comparing.classes_of(truth), comparing.classes_of(predicted)
        um, boundary_width = canvas.um_per_px(predicted), int(about.get("boundary_width", 3))

        def work(_: Report) -> CropReview:
            ternary = (
                maps["predicted ternary"].data
                if maps["predicted ternary"] is not None
                else _ternary_of(predicted_map, boundary_width)
            )
            semantic = (
                maps["predicted semantic"].data
                if maps["predicted semantic"] is not None
                else _semantic_of(predicted_map, predicted_classes)
            )
            return review_crop(
                true_map,
                true_classes,
                predicted_map,
                predicted_classes,
                ternary,
                semantic,
                ignore,
                um,
                boundary_width,
                confidence,
            )

        task = Task(work)
        task.done.connect(self._show)
        return self.progress.follow(task, "Comparing…")

    def _show(self, review: CropReview) -> None:
        self.review = review
        _fill(self.scores, review.scores)
        _fill(self.by_class, review.by_class)
        rows = [
            (
                f.type.value,
                _class_words(f),
                f"{f.size_um2:.0f} µm²" if f.size_um2 is not None else f"{f.size_px:.0f} px",
                number(f.iou),
            )
            for f in review.findings
        ]
        self.errors.blockSignals(True)
        _fill(self.errors, rows)
        for i, finding in enumerate(review.findings):
            self.errors.item(i, 0).setData(_FINDING, finding)
        self.errors.blockSignals(False)
        words = ", ".join(f"{n} {kind.value}" for kind, n in review.findings.counts().items() if n)
        self.counts.say(words or "No errors: every nucleus is right.", "hint" if words else "good")
        self.after.show()
        if self.outlines.isChecked():
            self._show_outlines(on=True)
        if self.difference.isChecked():
            self._show_difference(on=True)

    def _show_outlines(self, on: bool) -> None:
        truth, predicted = self._layers()
        if on and truth is not None and predicted is not None:
            comparing.show_outlines(self.viewer, truth, predicted)
        else:
            comparing.hide(self.viewer, comparing.TRUTH, comparing.PREDICTED)
            for layer in (truth, predicted):
                if layer is not None:
                    layer.visible = True

    def _show_difference(self, on: bool) -> None:
        _, predicted = self._layers()
        if on and self.review is not None and predicted is not None:
            comparing.show_difference(self.viewer, self.review.difference, predicted)
        else:
            comparing.hide(self.viewer, comparing.DIFFERENCE)

    def step(self, by: int) -> None:
        """Go to the next (1) or previous (-1) error."""
        rows = self.errors.rowCount()
        if rows:
            self.errors.selectRow((self.errors.currentRow() + by) % rows if self.errors.currentRow() >= 0 else 0)

    def _go_to_selected(self) -> None:
        items = self.errors.selectedItems()
        _, predicted = self._layers()
        if items and predicted is not None:
            finding = self.errors.item(items[0].row(), 0).data(_FINDING)
            y, x = finding.centre
            canvas.center_on(self.viewer, predicted, y, x, times=40)


def _class_words(finding: Any) -> str:
    true = finding.truth_class.label if finding.truth_class is not None else None
    predicted = finding.predicted_class.label if finding.predicted_class is not None else None
    return f"{true} \u2192 {predicted}" if true and predicted and true != predicted else true or predicted or ""


def _ternary_of(instances: Any, boundary_width: int) -> Any:
    from napari_monusac.masks.ternary import ternary_map

    return ternary_map(instances, boundary_width=boundary_width)


def _semantic_of(instances: Any, classes: dict[int, int]) -> Any:
    lut = np.zeros(int(instances.max(initial=0)) + 1, np.uint8)
    for label, cls in classes.items():
        lut[label] = cls
    return lut[instances]


def _table(headers: list[str], stretch: int) -> QTableWidget:
    table = QTableWidget(0, len(headers))
    table.setHorizontalHeaderLabels(headers)
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    header = table.horizontalHeader()
    for i in range(len(headers)):
        header.setSectionResizeMode(
            i, QHeaderView.ResizeMode.Stretch if i == stretch else QHeaderView.ResizeMode.ResizeToContents
        )
    table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    return table


def _fill(table: QTableWidget, rows: Sequence[tuple[str, ...]]) -> None:
    table.setRowCount(len(rows))
    for i, texts in enumerate(rows):
        for column_, text in enumerate(texts):
            table.setItem(i, column_, QTableWidgetItem(text))
    if table.minimumHeight() < 100:
        table.setFixedHeight(table.horizontalHeader().height() + sum(table.rowHeight(i) for i in range(len(rows))) + 4)
