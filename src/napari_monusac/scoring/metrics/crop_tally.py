"""All counts of one crop: nuclei per class at every tolerance, centres, confusion, pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.training_crops import SeenAs
from napari_monusac.io.collection.organs import organ_of
from napari_monusac.scoring.matching.matching import AmbiguousRule, match_instances
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.matching.tolerance import forgiving_matching
from napari_monusac.scoring.metrics.confusion_table import count_confusion
from napari_monusac.scoring.metrics.curves import ScoredNuclei
from napari_monusac.scoring.metrics.detection import detection_counts, detection_radius_px
from napari_monusac.scoring.metrics.panoptic import class_array, quality_by_class, quality_of
from napari_monusac.scoring.metrics.pixels import PixelCounts, count_pixels
from napari_monusac.scoring.metrics.scorings import Floats

#: Organ of patients whose code does not tell.
UNKNOWN_ORGAN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class CropTally:
    """The counts of one crop.

    Attributes
    ----------
    by_class, instances : dict
        By tolerance in px: float64 (4, 4) (class; TP, FP, FN, sum of IoU) and (4,), classes left aside.
    detection : int64 (3,)
        TP, FP, FN of the centres.
    confusion : int64 (6, 6)
        Nuclei by class: four, unclassified, none.
    """

    crop: str
    patient: str
    organ: str
    by_class: dict[int, Floats]
    instances: dict[int, Floats]
    detection: NDArray[np.int64]
    confusion: NDArray[np.int64]
    pixels: PixelCounts
    scored: ScoredNuclei
    seen_as: SeenAs = SeenAs.NOT_ASKED


def tally_crop(
    pair: CropPair, ambiguous: AmbiguousRule, tolerances_px: tuple[int, ...], boundary_width: int | None = None
) -> CropTally:
    """Count one crop at every tolerance; see `CropTally`."""
    truth, prediction = np.asarray(pair.truth), np.asarray(pair.prediction)
    ignore = pair.ignore
    if ignore is not None and ambiguous == "mask":
        truth, prediction, ignore = np.where(ignore, 0, truth), np.where(ignore, 0, prediction), None
    matching = match_instances(truth, prediction, ignore=ignore, ambiguous=ambiguous)
    true = class_array(matching.truth.ids, pair.truth_classes)
    predicted = class_array(matching.prediction.ids, pair.prediction_classes)
    by_class, instances = {}, {}
    for k in (0, *tolerances_px):
        level = forgiving_matching(truth, prediction, matching, k) if k else matching
        by_class[k] = np.array([_row(q) for q in quality_by_class(level, true, predicted).values()])
        instances[k] = np.array(_row(quality_of(level)))
    return CropTally(
        crop=pair.crop,
        patient=pair.patient,
        organ=pair.organ or organ_of(pair.patient) or UNKNOWN_ORGAN,
        by_class=by_class,
        instances=instances,
        detection=np.array(detection_counts(matching, detection_radius_px(pair.um_per_px))),
        confusion=count_confusion(matching, true, predicted),
        pixels=count_pixels(pair, boundary_width),
        scored=ScoredNuclei.of(matching, true, predicted, pair.confidence),
        seen_as=pair.seen_as,
    )


def _row(quality: object) -> list[float]:
    return [float(getattr(quality, name)) for name in ("tp", "fp", "fn", "iou_sum")]
