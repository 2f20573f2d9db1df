"""Evaluate predictions: all scores of many crops, from pairs in memory or from folders."""

from __future__ import annotations

from collections.abc import Iterable

from napari_monusac.scoring.evaluation import Evaluation
from napari_monusac.scoring.matching import AmbiguousRule
from napari_monusac.scoring.pairs import CropPair
from napari_monusac.scoring.tally import Tally
from napari_monusac.scoring.tolerance import TOLERANCES_PX

#: Resamples of the patient bootstrap.
BOOTSTRAP = 1000


def evaluate(
    pairs: CropPair | Iterable[CropPair],
    *,
    ambiguous: AmbiguousRule = "mask",
    tolerances_px: tuple[int, ...] = TOLERANCES_PX,
    boundary_width: int = 3,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
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
        Edges forgiven, px: see `napari_monusac.scoring.tolerance`.
    boundary_width : int
        Width of the boundary for Dice inside and boundary, px.
    bootstrap : int
        Resamples of patients for the 95 % intervals; 0 for none. With fewer than two patients there are none.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Evaluation
        Undefined values are None.

    Raises
    ------
    MonusacError
        There is no pair, or a pair's arrays cannot be compared.
    """
    tally = Tally(ambiguous=ambiguous, tolerances_px=tolerances_px, boundary_width=boundary_width)
    for pair in [pairs] if isinstance(pairs, CropPair) else pairs:
        tally.add(pair)
    return tally.result(bootstrap=bootstrap, seed=seed)
