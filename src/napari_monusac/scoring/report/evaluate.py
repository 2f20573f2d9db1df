"""Evaluate predictions: all scores of many crops, from pairs in memory or from folders."""

from __future__ import annotations

from collections.abc import Iterable

from napari_monusac.scoring.matching.matching import AmbiguousRule
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.matching.tolerance import TOLERANCES_PX
from napari_monusac.scoring.metrics.evaluation import Evaluation
from napari_monusac.scoring.metrics.tally import Tally
from napari_monusac.scoring.report.training_use import TrainingCount

#: Resamples of the patient bootstrap.
BOOTSTRAP = 1000


def evaluate(
    pairs: CropPair | Iterable[CropPair],
    *,
    ambiguous: AmbiguousRule = "mask",
    tolerances_px: tuple[int, ...] = TOLERANCES_PX,
    boundary_width: int | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
    include_training: bool = False,
) -> Evaluation:
    """Score predictions against truth: the four scorings, per class, crop, patient and organ, with intervals.

    Parameters
    ----------
    pairs : CropPair or iterable of CropPair
        Truth and prediction of each crop. A generator is read one crop at a time and nothing of it is kept.
    ambiguous : {"mask", "discount"}
        Leave Ambiguous regions out of truth and prediction, or do not count unmatched predictions with over half
        their area there.
    tolerances_px : tuple of int
        Edges forgiven, px: see `napari_monusac.scoring.matching.tolerance`.
    boundary_width : int, optional
        Width of the boundary for Dice inside and boundary, px; by default each prediction's own, and 3 px where it has
        none. Asked for another width than its own, a prediction's nuclei are drawn at that one.
    bootstrap : int
        Resamples of patients for the 95 % intervals; 0 for none. With fewer than six patients there are none.
    seed : int
        Seed of the bootstrap.
    include_training : bool
        Score crops too that the model was trained on (`CropPair.seen_as`); else they are left out and counted.

    Returns
    -------
    Evaluation
        Undefined values are None.

    Raises
    ------
    MonusacError
        There is no pair, or a pair's arrays cannot be compared, or the model was trained on all of them.
    """
    training = TrainingCount(include_training)
    tally = Tally(ambiguous=ambiguous, tolerances_px=tolerances_px, boundary_width=boundary_width)
    for pair in [pairs] if isinstance(pairs, CropPair) else pairs:
        if training.takes(pair.crop, pair.patient, pair.seen_as):
            tally.add(pair)
    training.check()
    return training.told_in(tally.result(bootstrap=bootstrap, seed=seed))
