"""One row for every nucleus of truth and prediction: what a cell of the confusion matrix is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.scoring.matching.matching import Objects, match_instances
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.panoptic import class_array

if TYPE_CHECKING:
    import pandas as pd

#: Row and column of the confusion matrix for nuclei that one side lacks.
SPURIOUS, MISSED = "Spurious", "Missed"


def nuclei_table(pair: CropPair) -> pd.DataFrame:
    """Every nucleus of a crop, in the words of the confusion matrix.

    ``table[(table["class"] == row) & (table["predicted_class"] == column)]`` are the nuclei of a cell of
    `napari_monusac.scoring.metrics.evaluation.Confusion`.

    Parameters
    ----------
    pair : CropPair
        Truth and prediction.

    Returns
    -------
    pandas.DataFrame
        Matched pairs and missed nuclei in the order of the truth's ids, then spurious ones. Columns class,
        predicted_class, truth_id, prediction_id (nullable Int64), iou, confidence, y, x, y0, x0, y1, x1 (px, of the
        true nucleus where there is one), area_px, crop, patient.
    """
    import pandas as pd

    m = match_instances(pair.truth, pair.prediction, ignore=pair.ignore)
    partner = m.partner_of_truth
    spurious = np.flatnonzero((m.partner_of_prediction < 0) & ~m.discounted)
    iou = np.full(len(m.truth) + len(spurious), np.nan)
    iou[m.pair_truth[m.matches]] = m.iou[m.matches]
    true = _labels(class_array(m.truth.ids, pair.truth_classes))
    predicted = _labels(class_array(m.prediction.ids, pair.prediction_classes))
    found = [predicted[p] if p >= 0 else MISSED for p in partner.tolist()]
    predicted_ids = [int(m.prediction.ids[p]) if p >= 0 else None for p in partner.tolist()]
    predicted_ids += m.prediction.ids[spurious].tolist()
    confidence = [np.nan if i is None else pair.confidence.get(i, np.nan) for i in predicted_ids]
    geometry = _geometry(m.truth, np.arange(len(m.truth))), _geometry(m.prediction, spurious)
    return pd.DataFrame(
        {
            "class": true + [SPURIOUS] * len(spurious),
            "predicted_class": found + [predicted[p] for p in spurious.tolist()],
            "truth_id": pd.array([*m.truth.ids.tolist(), *[None] * len(spurious)], dtype="Int64"),
            "prediction_id": pd.array(predicted_ids, dtype="Int64"),
            "iou": iou,
            "confidence": np.array(confidence, np.float64),
            **{name: np.concatenate([g[name] for g in geometry]) for name in geometry[0]},
            "crop": pair.crop,
            "patient": pair.patient,
        }
    )


def _labels(classes: NDArray[np.int64]) -> list[str]:
    return [NucleusClass(c).label for c in classes.tolist()]


def _geometry(objects: Objects, chosen: NDArray[np.intp]) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
    centres, boxes = objects.centres[chosen], objects.boxes[chosen]
    columns: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {"y": centres[:, 0], "x": centres[:, 1]}
    columns |= {name: boxes[:, k] for k, name in enumerate(("y0", "x0", "y1", "x1"))}
    return {**columns, "area_px": objects.areas[chosen]}
