"""Truth and prediction of one crop compared: scores, errors, and the maps that show them. In a worker, a second or two."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import N_NUCLEUS_COLORS
from napari_monusac.core.errors import SessionError
from napari_monusac.masks.lookup import paint
from napari_monusac.masks.ternary import ternary_map
from napari_monusac.review.truth import correct_truth
from napari_monusac.scoring.errors.difference import difference_map
from napari_monusac.scoring.errors.findings import errors_of
from napari_monusac.scoring.metrics.nuclei import nuclei_table
from napari_monusac.scoring.report.evaluate import evaluate

if TYPE_CHECKING:
    import pandas as pd

    from napari_monusac.core.prediction import Prediction
    from napari_monusac.review.judgements import Judgement
    from napari_monusac.scoring.errors.finding import Findings
    from napari_monusac.scoring.matching.pairs import CropPair
    from napari_monusac.scoring.metrics.evaluation import Evaluation

#: A map of the truth and one of the prediction, uint8 (y, x).
Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What came out of comparing a crop's truth with its prediction.

    Attributes
    ----------
    pair : CropPair
        Truth and prediction.
    evaluation : Evaluation
        Its scores; one crop, so no intervals.
    findings : Findings
        One per error.
    difference : uint8 (y, x)
        The difference map.
    nuclei : pandas.DataFrame
        One row a nucleus, see `napari_monusac.scoring.metrics.nuclei.nuclei_table`.
    boundary_width : int
        Width of the boundary that the network was trained with, px.
    forgiving : Evaluation or None
        The scores with what is found in Ambiguous regions forgiven, instead of left out; None without such regions.
    judged : Evaluation or None
        Scores against the truth as the reader's judgements make it; None without a judgement that changes it.
    notes : tuple of str
        What should be said of the judgements.
    """

    pair: CropPair
    evaluation: Evaluation
    findings: Findings
    difference: NDArray[np.uint8]
    nuclei: pd.DataFrame
    boundary_width: int = 3
    forgiving: Evaluation | None = None
    judged: Evaluation | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def offset_px(self) -> tuple[int, int]:
        """(y, x) of the maps' first pixel in the image."""
        return self.pair.offset_px


def compare(pair: CropPair, judgements: list[Judgement], boundary_width: int = 3) -> Comparison:
    """Compare a crop's truth with its prediction.

    Parameters
    ----------
    pair : CropPair
        The two.
    judgements : list of Judgement
        The reader's last words on this crop.
    boundary_width : int
        Width of the boundary that the network was trained with, px.
    """
    findings = errors_of(pair)
    judged, notes = judged_scores(pair, judgements, boundary_width)
    forgiving = None
    if pair.ignore is not None:
        forgiving = evaluate(
            pair, ambiguous="discount", bootstrap=0, boundary_width=boundary_width, include_training=True
        )
    return Comparison(
        pair=pair,
        evaluation=evaluate(pair, bootstrap=0, boundary_width=boundary_width, include_training=True),
        forgiving=forgiving,
        findings=findings,
        difference=difference_map(pair.truth, pair.prediction, findings, ignore=pair.ignore),
        nuclei=nuclei_table(pair).assign(counted_in=pair.nuclei),
        boundary_width=boundary_width,
        judged=judged,
        notes=notes,
    )


def judged_scores(
    pair: CropPair, judgements: list[Judgement], boundary_width: int = 3
) -> tuple[Evaluation | None, tuple[str, ...]]:
    """Scores with the judgements carried out, and what is to be said of them."""
    fitting = applicable(pair, judgements)
    lost = len(judgements) - len(fitting)
    were = "judgement was" if lost == 1 else "judgements were"
    notes = (f"{lost} {were} made on another prediction or truth: left aside.",) if lost else ()
    truth = correct_truth(pair, fitting)
    if truth.to_redraw:
        n = len(truth.to_redraw)
        words = "1 nucleus is" if n == 1 else f"{n} nuclei are"
        notes = (*notes, f"{words} to be drawn anew (Annotate): both were wrong.")
    if not truth.changed:
        return None, notes
    corrected = truth.as_truth_of(pair)
    scores = evaluate(corrected, bootstrap=0, tolerances_px=(), boundary_width=boundary_width, include_training=True)
    return scores, notes


def applicable(pair: CropPair, judgements: list[Judgement]) -> list[Judgement]:
    """The judgements whose nuclei are still there as they were judged: truth and prediction may have changed since."""
    if _fits(pair, judgements):
        return judgements
    return [j for j in judgements if _fits(pair, [j])]


def _fits(pair: CropPair, judgements: list[Judgement]) -> bool:
    try:
        correct_truth(pair, judgements)
    except SessionError:
        return False
    return True


# ---------------------------------------------------------------------- maps


def maps_of(comparison: Comparison, kind: str) -> Maps:
    """Truth and prediction as maps for the screen.

    Parameters
    ----------
    comparison : Comparison
        The two.
    kind : {"semantic", "ternary", "nuclei"}
        What of them. In the last, matched nuclei have the same number, from 1, in both maps, and 0 is background.
    """
    if kind == "semantic":
        return _semantic(comparison.pair)
    if kind == "ternary":
        return _ternary(comparison.pair, comparison.boundary_width)
    return _numbers(comparison)


def _semantic(pair: CropPair) -> Maps:
    def of(instances: NDArray[Any], classes: Any) -> NDArray[np.uint8]:
        ids = np.array(sorted(classes), np.int64)
        return paint(instances, ids, np.array([classes[int(k)] for k in ids], np.uint8), other=255)

    predicted = pair.semantic if pair.semantic is not None else of(pair.prediction, pair.prediction_classes)
    return of(pair.truth, pair.truth_classes), np.asarray(predicted, np.uint8)


def _ternary(pair: CropPair, boundary_width: int) -> Maps:
    given = pair.ternary
    of = ternary_map(pair.prediction.astype(np.int32), boundary_width) if given is None else given
    return ternary_map(pair.truth.astype(np.int32), boundary_width), np.asarray(of, np.uint8)


def _numbers(comparison: Comparison) -> Maps:
    pair, table = comparison.pair, comparison.nuclei
    matched = table[table["truth_id"].notna() & table["prediction_id"].notna()]
    partner = dict(zip(matched["prediction_id"].astype(int), matched["truth_id"].astype(int), strict=True))

    def of(instances: NDArray[Any], same: dict[int, int]) -> NDArray[np.uint8]:
        ids = np.unique(instances)
        ids = ids[ids > 0].astype(np.int64)
        values = [same.get(int(k), int(k)) % N_NUCLEUS_COLORS + 1 for k in ids]
        return paint(instances, ids, np.array(values, np.uint8))

    return of(pair.truth, {}), of(pair.prediction, partner)


def difference_counts(comparison: Comparison) -> Counter[str]:
    """Nuclei by what became of them, in the words of the difference map."""
    counts: Counter[str] = Counter({"right": len(comparison.findings.right)})
    for f in comparison.findings:
        kind = f.type.value
        if kind in ("split", "merged"):
            counts["spurious" if kind == "split" else "missed"] += max(len(f.prediction_ids), len(f.truth_ids)) - 1
            counts["loose edge"] += 1
        else:
            counts[kind] += 1
    return counts


def uncertainty_of(comparison: Comparison, prediction: Prediction | None) -> NDArray[np.float32]:
    """How uncertain the model is at each pixel, float32 (y, x), 0 to 1.

    That of its two heads where their probabilities are at hand; else of each predicted nucleus as a whole
    (1 - confidence).
    """
    from napari_monusac.masks.uncertainty import uncertainty_map

    pair, p = comparison.pair, prediction
    if p is not None and tuple(p.offset_px) == pair.offset_px and p.shape == pair.truth.shape:
        return uncertainty_map(p.semantic, p.ternary, p.boundary_width)
    ids = np.array(sorted(pair.confidence), np.int64)
    values = np.array([1 - pair.confidence[int(k)] for k in ids], np.float32)
    return np.asarray(paint(pair.prediction, ids, values), np.float32)
