"""Thresholds fitted on the validation crops once a training is over: a search on maps that are predicted once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES
from napari_monusac.core.errors import Cancelled
from napari_monusac.core.fitted import FittedThresholds
from napari_monusac.core.prediction import HEADS
from napari_monusac.masks.facts import CLASS_COLUMNS, nucleus_facts, tempered
from napari_monusac.masks.instances import segment
from napari_monusac.masks.lookup import majority_classes
from napari_monusac.scoring.matching.matching import match_instances
from napari_monusac.scoring.metrics.calibration import calibration_error, fitted_temperature, reliability
from napari_monusac.scoring.metrics.panoptic import PanopticQuality

#: What is tried. The maps are segmented anew for each of the first three, nuclei are left out by the last two.
INSIDE = (0.3, 0.4, 0.5, 0.6, 0.7)
NUCLEUS = (0.3, 0.4, 0.5, 0.6, 0.7)
PART = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7)
PEAK = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
AGREEMENT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85)
#: What is better by less than this is no better: the nearer to the defaults is taken.
_GAIN = 0.002
_SMOOTHING_PX = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class JudgedMaps:
    """What a network predicts of a validation crop, and the truth.

    Attributes
    ----------
    probabilities : uint8 or float32 (8, y, x)
        Of both heads.
    truth : int32 (y, x)
        The true nuclei.
    classes : uint8 (y, x)
        Their classes; 255 where they are unknown.
    ignore : bool (y, x)
        Ambiguous regions.
    boundary_width : int
        px.
    """

    probabilities: NDArray[np.uint8] | NDArray[np.float32]
    truth: NDArray[np.int32]
    classes: NDArray[np.uint8]
    ignore: NDArray[np.bool_]
    boundary_width: int


@dataclass(frozen=True, slots=True)
class _Cut:
    """What decides on the instance map."""

    inside: float = 0.5
    nucleus: float = 0.5
    part: float = FittedThresholds().part


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The nuclei of crops by one cut: peak, agreement, IoU with the true one (0: spurious), true class, class odds."""

    peak: NDArray[np.float32]
    agreement: NDArray[np.float32]
    iou: NDArray[np.float64]
    true: NDArray[np.int64]
    odds: NDArray[np.float64]
    truths: int

    def quality(self, peak: float, agreement: float) -> PanopticQuality:
        """Panoptic quality of all nuclei, those below the two thresholds left out."""
        iou = self.iou[self.kept(peak, agreement)]
        tp = int((iou > 0).sum())
        return PanopticQuality(tp, len(iou) - tp, self.truths - tp, float(iou.sum()))

    def kept(self, peak: float, agreement: float) -> NDArray[np.bool_]:
        """The nuclei that neither threshold leaves out."""
        return np.asarray((self.peak >= peak) & (self.agreement >= agreement))


def fit_thresholds(
    crops: Iterable[JudgedMaps], should_stop: Callable[[], bool] = lambda: False
) -> FittedThresholds | None:
    """Find the thresholds with the highest panoptic quality of all nuclei, and the temperature of the classes.

    One after the other, *inside*, *nucleus* and *part* are tried with the others held, each with every pair of *peak* and
    *agreement*.

    Parameters
    ----------
    crops : iterable of JudgedMaps
        Kept in memory while it goes on.
    should_stop : callable, optional
        Asked before each segmentation.

    Returns
    -------
    FittedThresholds or None
        None where there is no true nucleus.

    Raises
    ------
    Cancelled
        `should_stop` said so.
    """
    judged = list(crops)
    known: dict[_Cut, _Found] = {}

    def found(cut: _Cut) -> _Found:
        if cut not in known:
            if should_stop():
                raise Cancelled("the thresholds are not fitted", "resume the run: they are fitted then")
            known[cut] = _segmented(judged, cut)
        return known[cut]

    plain = FittedThresholds()
    before = found(_Cut()).quality(plain.peak, plain.agreement)
    if not found(_Cut()).truths:
        return None
    best = _Cut(), (plain.peak, plain.agreement)
    for name, tried in (("inside", INSIDE), ("nucleus", NUCLEUS), ("part", PART)):
        cuts = [_Cut(**{**_values(best[0]), name: value}) for value in tried]
        best = _best(cuts, found)
    return _described(judged, best, found(best[0]), before.pq)


def _values(cut: _Cut) -> dict[str, float]:
    return {"inside": cut.inside, "nucleus": cut.nucleus, "part": cut.part}


def _best(cuts: list[_Cut], found: Callable[[_Cut], _Found]) -> tuple[_Cut, tuple[float, float]]:
    """The best of these with the best filters; of those that are as good, the nearest to the defaults."""
    scored = [
        (found(cut).quality(*filters).pq, cut, filters)
        for cut in cuts
        for filters in itertools.product(PEAK, AGREEMENT)
    ]
    highest = max(pq for pq, _, _ in scored)
    good = [(cut, filters) for pq, cut, filters in scored if pq >= highest - _GAIN]
    return min(good, key=lambda one: _far(*one))


def _far(cut: _Cut, filters: tuple[float, float]) -> float:
    plain = FittedThresholds()
    pairs = zip(
        (*_values(cut).values(), *filters), (*_values(_Cut()).values(), plain.peak, plain.agreement), strict=True
    )
    return sum(abs(a - b) for a, b in pairs)


def _segmented(crops: list[JudgedMaps], cut: _Cut) -> _Found:
    found = [_nuclei(crop, cut) for crop in crops]
    return _Found(
        np.concatenate([f.peak for f in found]),
        np.concatenate([f.agreement for f in found]),
        np.concatenate([f.iou for f in found]),
        np.concatenate([f.true for f in found]),
        np.concatenate([f.odds for f in found], axis=1),
        sum(f.truths for f in found),
    )


def _nuclei(crop: JudgedMaps, cut: _Cut) -> _Found:
    semantic, ternary = (crop.probabilities[head] for head in HEADS)
    labels = segment(
        semantic, ternary, boundary_width=crop.boundary_width, inside_threshold=cut.inside,
        nucleus_threshold=cut.nucleus, part_threshold=cut.part, smoothing_px=_SMOOTHING_PX,
    )  # fmt: skip
    facts = nucleus_facts(labels, semantic, ternary, crop.boundary_width)
    matching = match_instances(crop.truth, labels, ignore=crop.ignore)
    ids = matching.prediction.ids
    partner = matching.partner_of_prediction
    iou = np.zeros(len(ids))
    iou[matching.pair_prediction[matching.matches]] = matching.iou[matching.matches]
    classes = majority_classes(crop.classes, crop.truth)
    true = np.array([classes.get(int(matching.truth.ids[k]), 255) if k >= 0 else 0 for k in partner], np.int64)
    odds = (
        np.stack([facts[name][ids] for name in CLASS_COLUMNS]).astype(np.float64).reshape(len(CLASS_COLUMNS), len(ids))
    )
    return _Found(facts["peak"][ids], facts["p_semantic"][ids], iou, true, odds, len(matching.truth))


def _described(
    crops: list[JudgedMaps], best: tuple[_Cut, tuple[float, float]], found: _Found, before: float
) -> FittedThresholds:
    cut, (peak, agreement) = best
    classified = found.kept(peak, agreement) & np.isin(found.true, list(CLASSES))
    odds, true = found.odds[:, classified], found.true[classified] - 1
    right = odds.argmax(0) == true
    untouched = reliability(odds.max(0), right)
    temperature = fitted_temperature(odds, true)
    now = reliability(tempered(odds, temperature).max(0), right)
    if (calibration_error(now) or 0) >= (calibration_error(untouched) or 0):  # likelier classes, but no better believed
        temperature, now = 1.0, untouched
    return FittedThresholds(
        **_values(cut), peak=peak, agreement=agreement, temperature=temperature, crops=len(crops), nuclei=found.truths,
        pq_before=before, pq=found.quality(peak, agreement).pq,
        error_before=calibration_error(untouched), error=calibration_error(now), reliability=now,
    )  # fmt: skip
