"""Counting crop by crop, then one `Evaluation` from the counts: maps are looked at once and not kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import TernaryClass
from napari_monusac.core.errors import MonusacError
from napari_monusac.scoring.matching.matching import AmbiguousRule
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.breakdown import crop_scores, organ_scores, patient_scores
from napari_monusac.scoring.metrics.confusion import PixelConfusion, training_scores
from napari_monusac.scoring.metrics.confusion_table import confusion_of
from napari_monusac.scoring.metrics.crop_tally import CropTally, tally_crop
from napari_monusac.scoring.metrics.curves import confidence_reliability, precision_recall_curves
from napari_monusac.scoring.metrics.evaluation import Detection, Evaluation, Interval
from napari_monusac.scoring.metrics.intervals import Statistic, score_interval, score_intervals
from napari_monusac.scoring.metrics.levels import CLASS_LABELS, Level, patient_index
from napari_monusac.scoring.metrics.pixels import combo_of, pooled_pixels
from napari_monusac.scoring.metrics.scorings import HEADLINE, Floats, Metric, bootstrap_weights, divided, metric_of


@dataclass(slots=True)
class Tally:
    """Collects crops and says what they amount to.

    Attributes
    ----------
    ambiguous : {"mask", "discount"}
        What Ambiguous regions do.
    tolerances_px : tuple of int
        Tolerances counted beside 0.
    boundary_width : int or None
        Width of the boundary of the ternary maps, px; None: each prediction's own.
    """

    ambiguous: AmbiguousRule = "mask"
    tolerances_px: tuple[int, ...] = ()
    boundary_width: int | None = None
    crops: list[CropTally] = field(default_factory=list)

    def add(self, pair: CropPair) -> CropTally:
        """Count one crop.

        Raises
        ------
        MonusacError
            A map does not hold integers from 0 up.
        """
        crop = tally_crop(pair, self.ambiguous, self.tolerances_px, self.boundary_width)
        self.crops.append(crop)
        return crop

    def result(self, *, bootstrap: int, seed: int) -> Evaluation:
        """The scores of all crops so far.

        Raises
        ------
        MonusacError
            There is no crop.
        """
        if not self.crops:
            raise MonusacError("there is no crop with truth and prediction", "check both folders")
        crops = self.crops
        exact = Level(crops)
        weights = bootstrap_weights(exact.counts.n_patients, bootstrap, seed) if bootstrap else None
        pixels = pooled_pixels(c.pixels for c in crops)
        intervals, interval_patients = _intervals(crops, exact, weights)
        widths = Counter(c.pixels.boundary_width for c in crops)
        return Evaluation(
            ambiguous=self.ambiguous,
            boundary_width=widths.most_common(1)[0][0],
            boundary_widths=tuple(sorted(widths)),
            bootstrap=bootstrap,
            seed=seed,
            scorings=exact.scorings(weights),
            headline=HEADLINE,
            instances=exact.pooled_instances(),
            by_class=exact.pooled(),
            intervals=intervals,
            interval_patients=interval_patients,
            detection=_detection(crops, weights),
            pixels=training_scores(pixels.semantic, pixels.ternary),
            tolerance=tuple(Level(crops, k).tolerance_score(k, weights) for k in self.tolerances_px),
            confusion=confusion_of(np.sum([c.confusion for c in crops], axis=0)),
            precision_recall=precision_recall_curves([c.scored for c in crops]),
            reliability=confidence_reliability([c.scored for c in crops]),
            crops=tuple(crop_scores(crops)),
            patients=tuple(patient_scores(crops)),
            organs=tuple(organ_scores(crops)),
            notes=_width_notes(crops, self.boundary_width),
        )


def _per_patient(values: list[NDArray[np.int64]], crops: list[CropTally]) -> Floats:
    """Values of crops summed over each patient's."""
    patients = patient_index(crops)
    pooled = np.zeros((int(patients.max()) + 1, *values[0].shape))
    np.add.at(pooled, patients, np.array(values, np.float64))
    return pooled


def _width_notes(crops: list[CropTally], asked: int | None) -> tuple[str, ...]:
    """What must be said of boundaries of several widths: they are different tasks."""
    notes = []
    redrawn = sum(c.pixels.redrawn for c in crops)
    if redrawn:
        notes.append(
            f"{redrawn} of {len(crops)} predictions have boundaries of another width than the {asked} px asked for: "
            "their nuclei were drawn at that width, and the network's own boundary is not scored"
        )
    widths = Counter(c.pixels.boundary_width for c in crops)
    if len(widths) > 1:
        each = ", ".join(f"{width} px in {number} crops" for width, number in sorted(widths.items()))
        notes.append(
            f"boundaries of several widths ({each}): Dice boundary and combo pool different tasks; "
            "score them apart, or all at one width (--boundary-width)"
        )
    return tuple(notes)


def _detection(crops: list[CropTally], weights: Floats | None) -> Detection:
    tp, fp, fn = np.sum([c.detection for c in crops], axis=0).tolist()
    if weights is None:
        return Detection.of(tp, fp, fn)
    pooled = _per_patient([c.detection for c in crops], crops)

    def f1(chosen: Floats) -> Floats:
        drawn = chosen @ pooled
        return divided(2 * drawn[:, 0], 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2])

    return Detection.of(tp, fp, fn, *score_interval(f1, weights))


def _intervals(
    crops: list[CropTally], level: Level, weights: Floats | None
) -> tuple[dict[str, Interval | None], dict[str, int]]:
    """Intervals of pooled values, with their patients: nuclei whatever their class, each class, and pixels."""
    if weights is None:
        return {}, {}
    names: list[str] = []
    found: list[Interval | None] = []
    patients: list[int] = []

    def take(keys: Iterable[str], statistic: Statistic) -> None:
        intervals, counts = score_intervals(statistic, weights)
        names.extend(keys)
        found.extend(intervals)
        patients.extend(counts)

    for metric in _METRICS:
        for keys, counts in (
            ([metric], level.instances.by_patient()),
            ([f"{metric}/{name}" for name in CLASS_LABELS], level.counts.by_patient()),
        ):
            take(keys, partial(_pooled_metric, counts, metric))
    ternary = _per_patient([c.pixels.ternary.counts for c in crops], crops)
    for name, measure in _PIXEL_MEASURES.items():
        take([name], partial(_pooled_measure, ternary, measure))
    return dict(zip(names, found, strict=True)), dict(zip(names, patients, strict=True))


def _pooled_metric(counts: Floats, metric: Metric, weights: Floats) -> Floats:
    """PQ, SQ or DQ (b, k) of the counts (patients, k, 4), pooled with weights (b, patients)."""
    return metric_of(np.tensordot(weights, counts, axes=1), metric)


def _pooled_measure(ternary: Floats, measure: Callable[[PixelConfusion], float | None], weights: Floats) -> Floats:
    """A measure (b, 1) of confusion matrices (patients, 3, 3), pooled with weights (b, patients)."""
    drawn = (measure(_as_confusion(matrix)) for matrix in np.tensordot(weights, ternary, axes=1))
    return np.array([[np.nan if v is None else v] for v in drawn])


_METRICS: tuple[Metric, ...] = ("pq", "sq", "dq")
_PIXEL_MEASURES: dict[str, Callable[[PixelConfusion], float | None]] = {
    "combo": combo_of,
    "dice_inside": lambda c: c.dice(TernaryClass.INSIDE),
    "dice_boundary": lambda c: c.dice(TernaryClass.BOUNDARY),
}


def _as_confusion(counts: Floats) -> PixelConfusion:
    confusion = PixelConfusion(len(counts))
    confusion.counts = counts.astype(np.int64)
    return confusion
