"""Pixel scores of crops: class and ternary maps compared pixel by pixel, as confusion matrices that can be pooled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import IGNORE_INDEX, SEMANTIC_NAMES, TernaryClass
from napari_monusac.masks.lookup import paint
from napari_monusac.masks.ternary import ternary_map
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.confusion import COMBO_BOUNDARY, COMBO_INSIDE, PixelConfusion
from napari_monusac.scoring.metrics.panoptic import class_array

#: Width of the boundary where neither the prediction nor the caller says one, px: that of the best of the nine runs.
BOUNDARY_WIDTH = 3


@dataclass(frozen=True, slots=True, eq=False)
class PixelCounts:
    """Confusion of the class maps (five classes) and of the ternary maps; ignored pixels are left out of both.

    Attributes
    ----------
    semantic, ternary : PixelConfusion
    boundary_width : int
        Width of the boundary that was compared, px.
    redrawn : bool
        The network's own ternary map has another width than was asked for: its nuclei were drawn instead.
    """

    semantic: PixelConfusion
    ternary: PixelConfusion
    boundary_width: int = BOUNDARY_WIDTH
    redrawn: bool = False


def class_map(instances: NDArray[Any], classes: Mapping[int, int]) -> NDArray[np.uint8]:
    """Semantic map of an instance map, uint8 (y, x): each nucleus in its class, unclassified ones 255.

    Parameters
    ----------
    instances : integers (y, x)
        Instance map.
    classes : mapping
        Class number by id.
    """
    ids = np.array(sorted(int(i) for i in classes if i > 0), np.int64)
    return paint(instances, ids, class_array(ids, classes).astype(np.uint8), other=IGNORE_INDEX)


def count_pixels(pair: CropPair, boundary_width: int | None = None) -> PixelCounts:
    """Compare the maps of one crop; those that the prediction lacks are made from its nuclei.

    Pixels of true or predicted nuclei of unknown class are left out of the class maps' confusion.

    Parameters
    ----------
    pair : CropPair
        Truth and prediction.
    boundary_width : int, optional
        Width of the boundary of the ternary maps, px; by default the prediction's own. A boundary of one width is never
        held against one of another: asked for another width than its own, the predicted nuclei are drawn at that one.
    """
    semantic, ternary = pair.semantic, pair.ternary
    own = pair.boundary_width
    width = boundary_width if boundary_width is not None else own if own is not None else BOUNDARY_WIDTH
    redrawn = ternary is not None and own not in (None, width)
    if redrawn:
        ternary = None
    if semantic is None:
        semantic = class_map(pair.prediction, pair.prediction_classes)
    if ternary is None:
        ternary = ternary_map(pair.prediction, boundary_width=width)
    true_semantic = class_map(pair.truth, pair.truth_classes)
    true_semantic[semantic == IGNORE_INDEX] = IGNORE_INDEX
    true_ternary = ternary_map(pair.truth, boundary_width=width)
    if pair.ignore is not None:
        true_semantic[pair.ignore] = true_ternary[pair.ignore] = IGNORE_INDEX
    counts = PixelCounts(PixelConfusion(len(SEMANTIC_NAMES)), PixelConfusion(len(TernaryClass)), width, redrawn)
    counts.semantic.update(semantic, true_semantic)
    counts.ternary.update(ternary, true_ternary)
    return counts


def pooled_pixels(counts: Iterable[PixelCounts]) -> PixelCounts:
    """The counts of several crops as one."""
    total = PixelCounts(PixelConfusion(len(SEMANTIC_NAMES)), PixelConfusion(len(TernaryClass)))
    for each in counts:
        total.semantic.counts += each.semantic.counts
        total.ternary.counts += each.ternary.counts
    return total


def combo_of(ternary: PixelConfusion) -> float | None:
    """0.7 x Dice inside + 0.3 x Dice boundary; None where either is undefined."""
    inside, boundary = ternary.dice(TernaryClass.INSIDE), ternary.dice(TernaryClass.BOUNDARY)
    return None if inside is None or boundary is None else COMBO_INSIDE * inside + COMBO_BOUNDARY * boundary
