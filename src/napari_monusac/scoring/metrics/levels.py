"""All scorings of a set of crops at one tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES
from napari_monusac.scoring.metrics.crop_tally import CropTally
from napari_monusac.scoring.metrics.evaluation import Interval, Quality, Scoring, ToleranceScore, defined
from napari_monusac.scoring.metrics.intervals import score_interval
from napari_monusac.scoring.metrics.scorings import SCORINGS, Floats, MatchCounts, ScoringRule

#: Names of the four classes, in order.
CLASS_LABELS = tuple(c.label for c in CLASSES)


class Level:
    """Counts of crops at one tolerance.

    Parameters
    ----------
    crops : sequence of CropTally
        The crops.
    tolerance_px : int
        One of the tolerances that they were counted at.
    """

    def __init__(self, crops: Sequence[CropTally], tolerance_px: int = 0) -> None:
        patients = patient_index(crops)
        self.counts = MatchCounts(np.array([c.by_class[tolerance_px] for c in crops]), patients)
        self.instances = MatchCounts(np.array([c.instances[tolerance_px] for c in crops])[:, None], patients)

    def scorings(self, weights: Floats | None) -> tuple[Scoring, ...]:
        """The four scorings; with bootstrap weights (n, patients) also the interval of each."""
        result = []
        for rule in SCORINGS.values():
            value, by_class = rule.score(self.counts)
            interval, patients = self._interval(rule, weights)
            result.append(
                Scoring(
                    key=rule.key,
                    label=rule.label,
                    reason=rule.reason,
                    pq=defined(value),
                    sq=defined(rule.score(self.counts, "sq")[0]),
                    dq=defined(rule.score(self.counts, "dq")[0]),
                    interval=interval,
                    patients=patients,
                    by_class={name: defined(float(v)) for name, v in zip(CLASS_LABELS, by_class, strict=True)},
                )
            )
        return tuple(result)

    def _interval(self, rule: ScoringRule, weights: Floats | None) -> tuple[Interval | None, int]:
        if weights is None:
            return None, 0
        return score_interval(lambda w: rule.function(self.counts, w, "pq")[0], weights)

    def pooled(self) -> dict[str, Quality]:
        """Each class, all crops pooled."""
        return qualities(self.counts.values.sum(0))

    def pooled_instances(self) -> Quality:
        """Nuclei whatever their class, all crops pooled."""
        return Quality.of_counts(self.instances.values.sum((0, 1)))

    def tolerance_score(self, tolerance_px: int, weights: Floats | None) -> ToleranceScore:
        """Return the scores at this tolerance as a value of the evaluation."""
        return ToleranceScore(
            tolerance_px=tolerance_px,
            scorings=self.scorings(weights),
            instances=self.pooled_instances(),
            by_class=self.pooled(),
        )


def qualities(counts: Floats) -> dict[str, Quality]:
    """Quality by class name of counts (4, 4)."""
    return {name: Quality.of_counts(row) for name, row in zip(CLASS_LABELS, counts, strict=True)}


def patient_index(crops: Sequence[CropTally]) -> NDArray[np.intp]:
    """The number of each crop's patient, patients in the order of their names."""
    _, index = np.unique([c.patient for c in crops], return_inverse=True)
    return np.asarray(index.ravel(), np.intp)
