"""Typed errors: what is wrong with each nucleus, once.

Every nucleus of truth and prediction is right or stands in exactly one finding. How the types are told apart:

1. A true and a predicted nucleus are *linked* where one lies mostly in the other: over half the true nucleus is in the
   prediction, or over half the prediction is in the true nucleus and covers at least a tenth of it.
2. Links are taken up best IoU first; one that would tie two groups together is dropped, so that each group has one
   true nucleus or one prediction in its middle. A group whose members share no more than a fifth of their joint area
   is no group.
3. One true nucleus with several predictions is *split*; several true nuclei with one prediction are *merged*; a pair
   whose classes differ is *wrong class*; a pair whose edges lie apart by more than the tolerance, or that is no match
   (IoU <= 0.5), is *loose edge*; every other pair is right. What is left alone is *missed* or *spurious*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.scoring.errors.finding import Finding, Findings, FindingType, findings_table
from napari_monusac.scoring.errors.groups import Group, group_nuclei
from napari_monusac.scoring.matching.matching import AmbiguousRule, Objects, match_instances
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.panoptic import ClassesOf, class_array, classes_by_id

__all__ = ["EDGE_TOLERANCE_PX", "Finding", "FindingType", "Findings", "errors_of", "find_errors", "findings_table"]

_CLASSES = {int(c): c for c in NucleusClass}
#: Mean distance between two edges, in px, above which a matched nucleus has a loose edge (0.4 um at 0.25 um/px).
EDGE_TOLERANCE_PX = 1.5


def errors_of(pair: CropPair, *, ambiguous: AmbiguousRule = "mask") -> Findings:
    """The errors of a crop: `find_errors` with all that its pair of truth and prediction says.

    Parameters
    ----------
    pair : CropPair
        Truth and prediction.
    ambiguous : {"mask", "discount"}
        See `napari_monusac.scoring.matching.matching.match_instances`.
    """
    return find_errors(
        pair.truth, pair.prediction, pair.truth_classes, pair.prediction_classes, ignore=pair.ignore,
        ambiguous=ambiguous, confidence=pair.confidence, um_per_px=pair.um_per_px, crop=pair.crop, patient=pair.patient,
        counted_in=pair.nuclei, fingerprint=pair.fingerprint,
    )  # fmt: skip


def find_errors(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    truth_classes: ClassesOf | None = None,
    prediction_classes: ClassesOf | None = None,
    *,
    ignore: NDArray[np.bool_] | None = None,
    ambiguous: AmbiguousRule = "mask",
    confidence: Mapping[int, float] | None = None,
    um_per_px: float | None = None,
    edge_tolerance_px: float = EDGE_TOLERANCE_PX,
    crop: str = "",
    patient: str = "",
    counted_in: str = "",
    fingerprint: str = "",
) -> Findings:
    """Find what is wrong with each nucleus: missed, spurious, split, merged, wrong class, loose edge.

    Parameters
    ----------
    truth, prediction : integers (y, x)
        Instance maps.
    truth_classes, prediction_classes : mapping, sequence or uint8 (y, x), optional
        The class of each nucleus; see `napari_monusac.scoring.metrics.panoptic.classes_by_id`. Without them, or where one of a
        pair is unclassified, no class is wrong.
    ignore : bool (y, x), optional
        Ambiguous regions.
    ambiguous : {"mask", "discount"}
        See `napari_monusac.scoring.matching.matching.match_instances`.
    confidence : mapping, optional
        Confidence (0 to 1) by prediction id.
    um_per_px : float, optional
        Micrometres per pixel; without it sizes are in px only.
    edge_tolerance_px : float
        Mean distance between the edges of a matched pair above which the edge is loose.
    crop, patient, fingerprint : str
        Written into each finding.
    counted_in : str
        Written into each finding: `napari_monusac.io.predictions.identity.nuclei_digest` of the whole prediction, without which
        ids are nothing once the prediction is out of sight.

    Returns
    -------
    Findings
        A sequence of `Finding`. `size_px` is the area at fault: of the nucleus (missed, spurious, wrong class), of the
        pieces beside the best one (split, merged), of the pixels on which the two disagree (loose edge). `edge_px`
        is that last area over the mean length of both edges, each taken as pi/2 x (height + width) of its box.

    Raises
    ------
    ShapeError
        The arrays differ in shape.
    MonusacError
        A map does not hold integers from 0 up.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    matching = match_instances(truth, prediction, ignore=ignore, ambiguous=ambiguous)
    true_by_id = None if truth_classes is None else classes_by_id(truth_classes, truth)
    predicted_by_id = None if prediction_classes is None else classes_by_id(prediction_classes, prediction)
    sorter = _Sorter(
        truth=_Side(matching.truth, class_array(matching.truth.ids, true_by_id)),
        prediction=_Side(matching.prediction, class_array(matching.prediction.ids, predicted_by_id)),
        discounted=matching.discounted.tolist(),
        confidence=confidence or {},
        um_per_px=um_per_px,
        edge_tolerance_px=edge_tolerance_px,
        about={"crop": crop, "patient": patient, "counted_in": counted_in, "fingerprint": fingerprint},
    )
    return sorter.sort(group_nuclei(matching))


class _Side:
    """The nuclei of one map as plain lists: many single look-ups are faster than in arrays."""

    __slots__ = ("areas", "boxes", "classes", "edges", "ids")

    def __init__(self, objects: Objects, classes: NDArray[np.int64]) -> None:
        self.ids: list[int] = objects.ids.tolist()
        self.areas: list[int] = objects.areas.tolist()
        self.boxes: list[list[int]] = objects.boxes.tolist()
        self.classes: list[int] = classes.tolist()
        # length of the edge, as of a convex outline that fills its box
        self.edges: list[float] = ((objects.boxes[:, 2:] - objects.boxes[:, :2]).sum(1) * (np.pi / 2)).tolist()


@dataclass(frozen=True, slots=True)
class _Sorter:
    """Gives each group its type; holds what all of them need."""

    truth: _Side
    prediction: _Side
    discounted: list[bool]
    confidence: Mapping[int, float]
    um_per_px: float | None
    edge_tolerance_px: float
    about: dict[str, str]

    def sort(self, groups: list[Group]) -> Findings:
        found: list[Finding] = []
        right: list[tuple[int, int]] = []
        discounted: list[int] = []
        for group in groups:
            if not group.truths and self.discounted[group.predictions[0]]:
                discounted.append(self.prediction.ids[group.predictions[0]])
                continue
            finding = self._finding(group)
            if finding is None:
                right.append((self.truth.ids[group.truths[0]], self.prediction.ids[group.predictions[0]]))
            else:
                found.append(finding)
        order = {kind: i for i, kind in enumerate(FindingType)}
        found.sort(key=lambda f: (order[f.type], -f.size_px, f.truth_id or 0, f.prediction_id or 0))
        return Findings(tuple(found), tuple(right), tuple(discounted))

    def _finding(self, group: Group) -> Finding | None:
        truth, prediction = self.truth, self.prediction
        t = group.truths[0] if group.truths else None
        p = group.predictions[0] if group.predictions else None
        edge = self._edge_distance(group) if t is not None and p is not None else None
        kind = self._type(group, edge)
        if kind is None:
            return None
        boxes = [*(truth.boxes[k] for k in group.truths), *(prediction.boxes[k] for k in group.predictions)]
        y0, x0, y1, x1 = boxes[0] if len(boxes) == 1 else _around(boxes)
        size, um = self._size(kind, group), self.um_per_px
        prediction_id = None if p is None else prediction.ids[p]
        return Finding(
            type=kind,
            truth_id=None if t is None else truth.ids[t],
            prediction_id=prediction_id,
            truth_ids=tuple(truth.ids[k] for k in group.truths),
            prediction_ids=tuple(prediction.ids[k] for k in group.predictions),
            truth_class=None if t is None else _CLASSES[truth.classes[t]],
            predicted_class=None if p is None else _CLASSES[prediction.classes[p]],
            confidence=None if prediction_id is None else self.confidence.get(prediction_id),
            iou=group.iou,
            size_px=size,
            size_um2=None if um is None else size * um**2,
            edge_px=edge,
            edge_um=None if um is None or edge is None else edge * um,
            centre=((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2),
            box=(y0, x0, y1, x1),
            **self.about,
        )

    def _type(self, group: Group, edge: float | None) -> FindingType | None:
        if not group.predictions:
            return FindingType.MISSED
        if not group.truths:
            return FindingType.SPURIOUS
        if len(group.predictions) > 1:
            return FindingType.SPLIT
        if len(group.truths) > 1:
            return FindingType.MERGED
        true, predicted = self.truth.classes[group.truths[0]], self.prediction.classes[group.predictions[0]]
        if true != predicted and NucleusClass.UNCLASSIFIED not in (true, predicted):
            return FindingType.WRONG_CLASS
        loose = not group.is_match or (edge is not None and edge > self.edge_tolerance_px)
        return FindingType.LOOSE_EDGE if loose else None

    def _size(self, kind: FindingType, group: Group) -> float:
        areas, others = self.truth.areas, self.prediction.areas
        match kind:
            case FindingType.SPURIOUS:
                return float(others[group.predictions[0]])
            case FindingType.SPLIT:
                return float(sum(others[k] for k in group.predictions[1:]))
            case FindingType.MERGED:
                return float(sum(areas[k] for k in group.truths[1:]))
            case FindingType.LOOSE_EDGE:
                return float(areas[group.truths[0]] + others[group.predictions[0]] - 2 * group.shared)
            case _:
                return float(areas[group.truths[0]])

    def _edge_distance(self, group: Group) -> float:
        t, p = group.truths[0], group.predictions[0]
        apart = self.truth.areas[t] + self.prediction.areas[p] - 2 * group.shared
        return 2 * apart / (self.truth.edges[t] + self.prediction.edges[p])


def _around(boxes: list[list[int]]) -> tuple[int, int, int, int]:
    """The box around some boxes."""
    y0, x0, y1, x1 = zip(*boxes, strict=True)
    return min(y0), min(x0), max(y1), max(x1)
