"""Detection F1 by centres, classes and outlines left aside: whether there is a nucleus where there should be one.

A true and a predicted nucleus are paired where their centres lie within 12 px at 40x (3 um), as many pairs as possible
(Graham et al., "HoVer-Net", 2019, F_d; radius after Sirinukunwattana et al., 2016). It forgives any outline, which DQ
does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from napari_monusac.scoring.matching.matching import Matching

#: How far apart two centres of the same nucleus may lie.
RADIUS_UM = 3.0
#: The same where the scale is unknown: 12 px at 40x.
RADIUS_PX = 12.0


def detection_radius_px(um_per_px: float | None) -> float:
    """The radius in px of an image of that scale."""
    return RADIUS_PX if not um_per_px else RADIUS_UM / um_per_px


def detection_counts(matching: Matching, radius_px: float = RADIUS_PX) -> tuple[int, int, int]:
    """TP, FP and FN of the centres.

    Parameters
    ----------
    matching : Matching
        Truth and prediction of a crop; discounted predictions are not counted.
    radius_px : float
        How far apart two centres of the same nucleus may lie, px.
    """
    predicted = matching.prediction.centres[~matching.discounted]
    tp = count_pairs(matching.truth.centres, predicted, radius_px)
    return tp, len(predicted) - tp, len(matching.truth) - tp


def count_pairs(one: NDArray[np.float64], other: NDArray[np.float64], radius_px: float) -> int:
    """The largest number of pairs of points (n, 2) and (m, 2) that lie within the radius, each point used once."""
    if len(one) == 0 or len(other) == 0:
        return 0
    near = cKDTree(one).sparse_distance_matrix(cKDTree(other), radius_px, output_type="ndarray")
    links = csr_array((np.ones(len(near), np.int8), (near["i"], near["j"])), shape=(len(one), len(other)))
    return int((maximum_bipartite_matching(links, perm_type="column") >= 0).sum())
