"""The difference map: each pixel of truth and prediction painted by what became of its nucleus."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import DIFFERENCE_COLORS
from napari_monusac.masks.lookup import paint
from napari_monusac.scoring.errors.findings import Findings, FindingType
from napari_monusac.scoring.matching.matching import check_maps

#: Values of a difference map, from 1, in the order of `DIFFERENCE_COLORS`; 0 is background in both.
DIFFERENCE_VALUES = MappingProxyType({name: k for k, name in enumerate(DIFFERENCE_COLORS, 1)})
RIGHT, MISSED, SPURIOUS, WRONG_CLASS, LOOSE_EDGE = (
    DIFFERENCE_VALUES[name] for name in ("right", "missed", "spurious", "wrong class", "loose edge")
)


def difference_map(
    truth: NDArray[Any], prediction: NDArray[Any], findings: Findings, *, ignore: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Paint truth and prediction by what became of each nucleus.

    A pair of nuclei (of a split or merged group: the two that fit best) is *right* where both lie, and *loose edge*
    where only one does; a pair of different classes is *wrong class* throughout. What has no partner is *missed* or
    *spurious*; so are the other pieces of a split nucleus and the other nuclei of a merged one.

    Parameters
    ----------
    truth, prediction : integers (y, x)
        Instance maps.
    findings : Findings
        What `find_errors` said of these two maps.
    ignore : bool (y, x), optional
        Pixels to leave blank.

    Returns
    -------
    uint8 (y, x)
        0 where both are background, then the place in `napari_monusac.core.classes.DIFFERENCE_COLORS`, from 1.

    Raises
    ------
    ShapeError
        The arrays differ in shape.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    check_maps(truth, prediction)
    pairs = [(t, p, False) for t, p in findings.right]
    for f in findings:
        if f.truth_id is not None and f.prediction_id is not None:
            pairs.append((f.truth_id, f.prediction_id, f.type is FindingType.WRONG_CLASS))
    true, wrong = _pair_numbers(truth, [p[0] for p in pairs], [p[2] for p in pairs])
    predicted, wrong_too = _pair_numbers(prediction, [p[1] for p in pairs], [p[2] for p in pairs])
    in_truth, in_prediction = truth > 0, prediction > 0
    result = np.zeros(truth.shape, np.uint8)
    result[in_truth | in_prediction] = LOOSE_EDGE
    result[in_prediction & (predicted == 0)] = SPURIOUS
    result[in_truth & (true == 0)] = MISSED
    result[(true == predicted) & (true > 0)] = RIGHT
    # the part of a wrongly classed pair that only one side covers is its own, unless another nucleus lies there
    result[(wrong & (predicted == 0) & ~in_prediction) | (wrong_too & (true == 0) & ~in_truth)] = WRONG_CLASS
    result[wrong & (true == predicted)] = WRONG_CLASS
    if findings.discounted:
        gone = np.isin(prediction, findings.discounted)
        result[gone & ~in_truth] = 0
    if ignore is not None:
        result[ignore] = 0
    return result


def _pair_numbers(
    instances: NDArray[Any], ids: list[int], wrong: list[bool]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Number of the pair that each pixel's nucleus belongs to (from 1, 0 for none), and whether its classes differ."""
    order = np.argsort(ids)
    numbers = (order + 1).astype(np.int32)
    pairs = paint(instances, np.array(ids, np.int64)[order], numbers)
    table = np.array([False, *wrong])
    return pairs, table[pairs]
