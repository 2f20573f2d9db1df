"""Panoptic quality of two instance maps, as a whole and per class.

PQ = sum of matched IoU / (TP + FP/2 + FN/2) = SQ x DQ, with matches where IoU > 0.5, strictly (Kirillov et al.,
"Panoptic Segmentation", CVPR 2019). Where there is nothing in truth and nothing in prediction it is undefined: nan,
never 0 and never 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import MonusacError
from napari_monusac.masks.lookup import majority_classes
from napari_monusac.scoring.matching.matching import AmbiguousRule, Matching, match_instances

#: Class of each nucleus: ``{id: class}``, an array with one class for each id in ascending order, or a semantic map.
ClassesOf = Mapping[int, int] | Sequence[int] | NDArray[Any]


@dataclass(frozen=True, slots=True)
class PanopticQuality:
    """Panoptic quality: counts of a comparison, and the scores that follow from them.

    Attributes
    ----------
    tp, fp, fn : int
        Matched, spurious and missed nuclei.
    iou_sum : float
        Sum of the IoU of the matches.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou_sum: float = 0.0

    @property
    def pq(self) -> float:
        """Panoptic quality in 0 to 1; nan where truth and prediction are both empty."""
        weight = self.tp + 0.5 * self.fp + 0.5 * self.fn
        return self.iou_sum / weight if weight else float("nan")

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of the matches; nan without a match."""
        return self.iou_sum / self.tp if self.tp else float("nan")

    @property
    def dq(self) -> float:
        """Detection quality: F1 of the matches; nan where truth and prediction are both empty."""
        weight = self.tp + 0.5 * self.fp + 0.5 * self.fn
        return self.tp / weight if weight else float("nan")

    @property
    def defined(self) -> bool:
        """Whether there is a nucleus in truth or prediction."""
        return self.tp + self.fp + self.fn > 0

    def __add__(self, other: PanopticQuality) -> PanopticQuality:
        """Pool the counts of two comparisons."""
        return PanopticQuality(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.iou_sum + other.iou_sum)


def panoptic_quality(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    *,
    ignore: NDArray[np.bool_] | None = None,
    ambiguous: AmbiguousRule = "mask",
) -> PanopticQuality:
    """Panoptic quality of two instance maps, classes left aside.

    Parameters
    ----------
    truth, prediction : integers (y, x)
        Instance maps of any integer type; 0 is background, numbers may have gaps.
    ignore : bool (y, x), optional
        Ambiguous regions.
    ambiguous : {"mask", "discount"}
        Leave ignored pixels out of both maps, or do not count unmatched predictions with over half their area there.

    Returns
    -------
    PanopticQuality
        `pq`, `sq`, `dq`, `tp`, `fp`, `fn`.

    Raises
    ------
    ShapeError
        The arrays differ in shape.
    MonusacError
        A map does not hold integers from 0 up.
    """
    return quality_of(match_instances(truth, prediction, ignore=ignore, ambiguous=ambiguous))


def quality_of(matching: Matching) -> PanopticQuality:
    """Panoptic quality of a finished matching, classes left aside. What matches counts, discounted or not."""
    matches = matching.matches
    tp = len(matches)
    spurious = (matching.partner_of_prediction < 0) & ~matching.discounted
    return PanopticQuality(tp, int(spurious.sum()), len(matching.truth) - tp, float(matching.iou[matches].sum()))


def classes_by_id(classes: ClassesOf, instances: NDArray[Any]) -> Mapping[int, int]:
    """Return the class of each nucleus as ``{id: class number}``, from any of the accepted forms.

    Parameters
    ----------
    classes : mapping, sequence or uint8 (y, x)
        ``{id: class}``; or one class for each id of `instances`, ascending; or a semantic map, of which each nucleus
        takes the most frequent value (background does not count).
    instances : integers (y, x)
        The instance map.
    """
    if isinstance(classes, Mapping):
        return classes
    values = np.asarray(classes)
    if values.ndim == 2:
        return majority_classes(values, instances)
    ids = np.unique(instances)
    ids = ids[ids != 0]
    return dict(zip(ids.tolist(), values.tolist(), strict=True))


def class_array(ids: NDArray[np.int64], classes: Mapping[int, int] | None) -> NDArray[np.int64]:
    """The class of each of `ids`; `UNCLASSIFIED` where the mapping has none.

    Raises
    ------
    MonusacError
        A nucleus has a number that is no class.
    """
    unknown = int(NucleusClass.UNCLASSIFIED)
    if classes is None:
        return np.full(len(ids), unknown, np.int64)
    values = np.fromiter((int(classes.get(i, unknown)) for i in ids.tolist()), np.int64, len(ids))
    foreign = np.flatnonzero(~np.isin(values, list(NucleusClass)))
    if len(foreign):
        k = foreign[0]
        raise MonusacError(f"nucleus {ids[k]} has the class {values[k]}", "use 1 to 4, or 255 for unclassified")
    return values


def quality_by_class(
    matching: Matching, truth_classes: NDArray[np.int64], prediction_classes: NDArray[np.int64]
) -> dict[NucleusClass, PanopticQuality]:
    """Panoptic quality of each class: a match counts where both nuclei have the class.

    A prediction that matches a true nucleus of unknown class is neither right nor wrong, and such a nucleus is never
    missed: the truth does not say. A discounted prediction counts where it is right, and is never spurious: with edges
    forgiven it may match a nucleus of another class, and forgiving an edge must not make a score fall.

    Parameters
    ----------
    matching : Matching
        The two maps laid over each other.
    truth_classes, prediction_classes : int64 (n,)
        Class numbers in the order of `matching.truth.ids` and `matching.prediction.ids`.
    """
    matches = matching.matches
    true, predicted = truth_classes[matching.pair_truth[matches]], prediction_classes[matching.pair_prediction[matches]]
    counted = ~matching.discounted
    counted[matching.pair_prediction[matches[true == int(NucleusClass.UNCLASSIFIED)]]] = False
    result = {}
    for cls in CLASSES:
        same = (true == cls) & (predicted == cls)
        tp = int(same.sum())
        n_truth = int((truth_classes == cls).sum())
        spurious = (prediction_classes == cls) & counted
        spurious[matching.pair_prediction[matches[same]]] = False
        result[cls] = PanopticQuality(tp, int(spurious.sum()), n_truth - tp, float(matching.iou[matches][same].sum()))
    return result


def panoptic_by_class(
    truth: NDArray[Any],
    truth_classes: ClassesOf,
    prediction: NDArray[Any],
    prediction_classes: ClassesOf,
    *,
    ignore: NDArray[np.bool_] | None = None,
    ambiguous: AmbiguousRule = "mask",
) -> dict[NucleusClass, PanopticQuality]:
    """Panoptic quality of each of the four classes.

    Parameters
    ----------
    truth, prediction : integers (y, x)
        Instance maps.
    truth_classes, prediction_classes : mapping, sequence or uint8 (y, x)
        The class of each nucleus; see `classes_by_id`.
    ignore : bool (y, x), optional
        Ambiguous regions.
    ambiguous : {"mask", "discount"}
        See `panoptic_quality`.

    Returns
    -------
    dict
        `PanopticQuality` by `NucleusClass`; a class absent from both has ``pq = nan``.
    """
    matching = match_instances(truth, prediction, ignore=ignore, ambiguous=ambiguous)
    true = class_array(matching.truth.ids, classes_by_id(truth_classes, np.asarray(truth)))
    predicted = class_array(matching.prediction.ids, classes_by_id(prediction_classes, np.asarray(prediction)))
    return quality_by_class(matching, true, predicted)
