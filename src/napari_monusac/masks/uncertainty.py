"""Where a prediction deserves a second look: the two heads contradict each other, or the semantic head wavers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_monusac.masks._grow import cut_back

#: What makes a prediction uncertain: either of both, or one of them.
UncertaintyKind = Literal["uncertainty", "disagreement", "entropy"]
Probabilities = NDArray[np.floating] | NDArray[np.uint8]


def nucleus_probability(semantic: Probabilities) -> NDArray[np.float32]:
    """Probability of any nucleus by the semantic head, float32 (y, x): one minus the background's."""
    return np.float32(1.0) - channel(semantic, 0)


def ternary_nucleus_probability(ternary: Probabilities, boundary_width: int = 3) -> NDArray[np.float32]:
    """Probability of a nucleus by the ternary head, float32 (y, x), on the nucleus' true extent.

    The boundary class reaches (w - 1)/2 px outside the nucleus; that rim is cut back.
    """
    return cut_back(np.float32(1.0) - channel(ternary, 0), (boundary_width - 1) // 2)


def disagreement_map(semantic: Probabilities, ternary: Probabilities, boundary_width: int = 3) -> NDArray[np.float32]:
    """How far the heads disagree on whether there is a nucleus, float32 (y, x): 0 agree, 1 contradict.

    Parameters
    ----------
    semantic : (5, y, x)
        Probabilities (float 0 to 1, or uint8 0 to 255), background first.
    ternary : (3, y, x)
        Probabilities of background, inside, boundary.
    boundary_width : int
        Width of the boundary class in px.
    """
    gap = nucleus_probability(semantic) - ternary_nucleus_probability(ternary, boundary_width)
    return np.asarray(np.abs(gap), np.float32)


def entropy_map(probabilities: Probabilities) -> NDArray[np.float32]:
    """Shannon entropy over the channels divided by its largest value, float32 (y, x): 0 certain, 1 no idea."""
    channels = len(probabilities)
    total = np.zeros(probabilities.shape[1:], np.float32)
    for k in range(channels):
        p = channel(probabilities, k)
        total -= p * np.log(np.maximum(p, np.float32(1e-7)))
    return np.asarray(np.clip(total / np.float32(np.log(channels)), 0, 1), np.float32)


def uncertainty_map(
    semantic: Probabilities, ternary: Probabilities, boundary_width: int = 3, kind: UncertaintyKind = "uncertainty"
) -> NDArray[np.float32]:
    """How uncertain a prediction is at each pixel, float32 (y, x), 0 to 1.

    Parameters
    ----------
    semantic, ternary, boundary_width
        See `disagreement_map`.
    kind : {"uncertainty", "disagreement", "entropy"}
        The disagreement of the heads, the entropy of the classes, or the larger of the two.
    """
    if kind == "disagreement":
        return disagreement_map(semantic, ternary, boundary_width)
    entropy = entropy_map(semantic)
    if kind == "entropy":
        return entropy
    return np.asarray(np.maximum(disagreement_map(semantic, ternary, boundary_width), entropy))


def channel(maps: Probabilities, k: int) -> NDArray[np.float32]:
    """Channel `k` of probability maps as float32 in 0 to 1 (uint8 maps count in 255ths)."""
    values = np.asarray(maps[k], np.float32)
    return values / np.float32(255) if maps.dtype == np.uint8 else values
