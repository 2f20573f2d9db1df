"""How far probabilities can be believed: how much is right of what is said with 0.8."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_monusac.core.fitted import ReliabilityBin

#: Equal parts of 0 to 1 that probabilities are sorted into.
BINS = 10
_TEMPERATURES = np.geomspace(0.25, 10, 75)
#: So few nuclei tell nothing of a temperature.
_FEWEST = 20


def reliability(said: ArrayLike, right: ArrayLike) -> tuple[ReliabilityBin, ...]:
    """Sort what was said by its probability, in ten equal parts of 0 to 1; empty ones are left out.

    Parameters
    ----------
    said : float (n,)
        Probabilities.
    right : bool (n,)
        Whether it was so.
    """
    said, right = np.asarray(said, np.float64), np.asarray(right, bool)
    part = np.minimum((said * BINS).astype(int), BINS - 1)
    return tuple(
        ReliabilityBin(said=float(said[part == k].mean()), right=float(right[part == k].mean()), nuclei=int(n))
        for k, n in enumerate(np.bincount(part, minlength=BINS))
        if n
    )


def calibration_error(bins: tuple[ReliabilityBin, ...]) -> float | None:
    """Expected calibration error, 0 to 1: mean gap between what was said and what was so, over the nuclei. None of none.

    References
    ----------
    Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    total = sum(b.nuclei for b in bins)
    return sum(abs(b.said - b.right) * b.nuclei for b in bins) / total if total else None


def fitted_temperature(probabilities: NDArray[np.floating], true: NDArray[np.integer]) -> float:
    """Temperature at which the true classes are most probable (least log loss); 1 where there are too few nuclei.

    Parameters
    ----------
    probabilities : float (classes, n)
        Of each nucleus, summing to 1.
    true : int (n,)
        The row of its true class.

    References
    ----------
    Guo et al. 2017, "On calibration of modern neural networks".
    """
    if len(true) < _FEWEST:
        return 1.0
    log_p = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-7))

    def loss(temperature: float) -> float:
        logits = log_p / temperature
        highest = logits.max(0)
        total = highest + np.log(np.exp(logits - highest).sum(0))
        return float((total - logits[true, np.arange(len(true))]).mean())

    return float(min(_TEMPERATURES, key=loss))
