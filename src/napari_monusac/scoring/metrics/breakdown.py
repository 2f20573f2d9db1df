"""Scores by crop, by patient and by organ."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napari_monusac.scoring.metrics.crop_tally import CropTally
from napari_monusac.scoring.metrics.evaluation import Detection, GroupScore, Quality, defined
from napari_monusac.scoring.metrics.levels import Level, qualities
from napari_monusac.scoring.metrics.pixels import combo_of, pooled_pixels
from napari_monusac.scoring.metrics.scorings import HEADLINE, SCORINGS, mean_defined, metric_of


def group_score(kind: str, name: str, crops: list[CropTally], patient: str = "", organ: str = "") -> GroupScore:
    """The pooled counts of some crops as one line of a table."""
    counts = np.sum([c.by_class[0] for c in crops], axis=0)
    detection = np.sum([c.detection for c in crops], axis=0).tolist()
    return GroupScore.model_validate(
        {
            "kind": kind,
            "name": name,
            "patient": patient,
            "organ": organ,
            "crops": len(crops),
            "pq": defined(float(mean_defined(metric_of(counts, "pq")))),
            "instances": Quality.of_counts(np.sum([c.instances[0] for c in crops], axis=0)),
            "by_class": qualities(counts),
            "detection": Detection.of(*detection),
            "combo": combo_of(pooled_pixels(c.pixels for c in crops).ternary),
        }
    )


def crop_scores(crops: list[CropTally]) -> Iterator[GroupScore]:
    """A line for each crop."""
    for crop in crops:
        score = group_score("crop", crop.crop, [crop], crop.patient, crop.organ)
        yield score.model_copy(update={"seen_as": crop.seen_as})


def patient_scores(crops: list[CropTally]) -> Iterator[GroupScore]:
    """A line for each patient."""
    for patient in sorted({c.patient for c in crops}):
        mine = [c for c in crops if c.patient == patient]
        yield group_score("patient", patient, mine, patient, mine[0].organ)


def organ_scores(crops: list[CropTally]) -> Iterator[GroupScore]:
    """A line for each organ; its PQ as the headline has it: the mean over the organ's patients."""
    for organ in sorted({c.organ for c in crops}):
        mine = [c for c in crops if c.organ == organ]
        value, _ = SCORINGS[HEADLINE].score(Level(mine).counts)
        yield group_score("organ", organ, mine, organ=organ).model_copy(update={"pq": defined(value)})
