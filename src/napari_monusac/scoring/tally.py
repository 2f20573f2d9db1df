"""Counting crop by crop, then one `Evaluation` from the counts: maps are looked at once and not kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import TernaryClass
from napari_monusac.core.errors import MonusacError
from napari_monusac.scoring.breakdown import crop_scores, organ_scores, patient_scores
from napari_monusac.scoring.confusion import PixelConfusion, training_scores
from napari_monusac.scoring.confusion_table import confusion_of
from napari_monusac.scoring.crop_tally import CropTally, tally_crop
from napari_monusac.scoring.curves import precision_recall_curves
from napari_monusac.scoring.evaluation import Detection, Evaluation, Interval
from napari_monusac.scoring.levels import CLASS_NAMES, Level, patient_index
from napari_monusac.scoring.matching import AmbiguousRule
from napari_monusac.scoring.pairs import CropPair
from napari_monusac.scoring.pixels import combo_of, pooled_pixels
from napari_monusac.scoring.scorings import HEADLINE, Floats, bootstrap_weights, divided, interval_of, metric_of


@dataclass(slots=True)
class Tally:
    """Collects crops and says what they amount to.

    Attributes
    ----------
    ambiguous : {"mask", "discount"}
        What Ambiguous regions do.
    tolerances_px : tuple of int
        Tolerances counted beside 0.
    boundary_width : int
        Width of the boundary of the ternary maps, px.
    """

    ambiguous: AmbiguousRule = "mask"
    tolerances_px: tuple[int, ...] = ()
    boundary_width: int = 3
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
        n = exact.counts.n_patients
        weights = bootstrap_weights(n, bootstrap, seed) if bootstrap and n > 1 else None
        pixels = pooled_pixels(c.pixels for c in crops)
        return Evaluation(
            ambiguous=self.ambiguous,
            boundary_width=self.boundary_width,
            bootstrap=bootstrap if weights is not None else 0,
            seed=seed,
            scorings=exact.scorings(weights),
            headline=HEADLINE,
            instances=exact.pooled_instances(),
            by_class=exact.pooled(),
            intervals=_intervals(crops, exact, weights),
            detection=_detection(crops, weights),
            pixels=training_scores(pixels.semantic, pixels.ternary),
            tolerance=tuple(Level(crops, k).tolerance_score(k, weights) for k in self.tolerances_px),
            confusion=confusion_of(np.sum([c.confusion for c in crops], axis=0)),
            precision_recall=precision_recall_curves([c.scored for c in crops]),
            crops=tuple(crop_scores(crops)),
            patients=tuple(patient_scores(crops)),
            organs=tuple(organ_scores(crops)),
        )


def _per_patient(values: list[NDArray[np.int64]], crops: list[CropTally]) -> Floats:
    """Values of crops summed over each patient's."""
    patients = patient_index(crops)
    pooled = np.zeros((int(patients.max()) + 1, *values[0].shape))
    np.add.at(pooled, patients, np.array(values, np.float64))
    return pooled


def _detection(crops: list[CropTally], weights: Floats | None) -> Detection:
    tp, fp, fn = np.sum([c.detection for c in crops], axis=0).tolist()
    interval = None
    if weights is not None:
        drawn = weights @ _per_patient([c.detection for c in crops], crops)
        total = 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]
        interval = interval_of(divided(2 * drawn[:, 0], total))
    return Detection.of(tp, fp, fn, Interval.of(interval))


def _intervals(crops: list[CropTally], level: Level, weights: Floats | None) -> dict[str, Interval | None]:
    """Intervals of pooled values: nuclei whatever their class, each class, and pixels."""
    if weights is None:
        return {}
    result: dict[str, Interval | None] = {}
    for metric in ("pq", "sq", "dq"):
        pooled = np.tensordot(weights, level.instances.by_patient(), axes=1)
        result[metric] = Interval.of(interval_of(metric_of(pooled, metric)[:, 0]))
        values = metric_of(np.tensordot(weights, level.counts.by_patient(), axes=1), metric)
        for k, name in enumerate(CLASS_NAMES):
            result[f"{metric}/{name}"] = Interval.of(interval_of(values[:, k]))
    ternary = np.tensordot(weights, _per_patient([c.pixels.ternary.counts for c in crops], crops), axes=1)
    drawn = [_as_confusion(matrix) for matrix in ternary]
    for name, measure in _PIXEL_MEASURES.items():
        values = np.array([np.nan if (v := measure(d)) is None else v for d in drawn])
        result[name] = Interval.of(interval_of(values))
    return result


_PIXEL_MEASURES: dict[str, Callable[[PixelConfusion], float | None]] = {
    "combo": combo_of,
    "dice_inside": lambda c: c.dice(TernaryClass.INSIDE),
    "dice_boundary": lambda c: c.dice(TernaryClass.BOUNDARY),
}


def _as_confusion(counts: Floats) -> PixelConfusion:
    confusion = PixelConfusion(len(counts))
    confusion.counts = counts.astype(np.int64)
    return confusion
