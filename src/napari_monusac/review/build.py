"""Building a review queue: from the errors of a comparison, or from predicted nuclei alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import Cancelled
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.find import PredictionFolder
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.review.queue import UNKNOWN_UNCERTAINTY, ReviewItem, ReviewQueue
from napari_monusac.scoring.errors.finding import Finding, FindingType
from napari_monusac.scoring.errors.findings import find_errors
from napari_monusac.scoring.matching.matching import match_instances
from napari_monusac.scoring.report.folders import FolderPairs, TellCrop, left_open

if TYPE_CHECKING:
    import pandas as pd

_PROBABILITIES = [f"p_{c.label.lower()}" for c in CLASSES]
#: Uncertainty from which a predicted nucleus without truth is worth a look.
LEAST_UNCERTAINTY = 0.3


class NucleusUncertainties:
    """What a network's table says about each of its nuclei.

    Parameters
    ----------
    table : pandas.DataFrame or None
        One row a nucleus: ``label``, and where it has them ``uncertainty``, ``confidence`` and the class probabilities
        ``p_epithelial, p_lymphocyte, p_neutrophil, p_macrophage``.
    """

    def __init__(self, table: pd.DataFrame | None) -> None:
        self._rows: dict[int, tuple[float, NucleusClass | None, float | None]] = {}
        if table is None or not len(table) or "label" not in table:
            return
        labels = table["label"].to_numpy(np.int64).tolist()
        uncertainties = _uncertainties(table)
        seconds = _second_choices(table)
        for label, uncertainty, second in zip(labels, uncertainties, seconds, strict=True):
            self._rows[label] = (uncertainty, *second)

    def item(self, finding: Finding, kind: Any = "error") -> ReviewItem:
        """A finding with the uncertainty of its prediction; that of the most uncertain one where there are several."""
        known = [self._rows[p] for p in finding.prediction_ids if p in self._rows]
        if not known:
            uncertainty = UNKNOWN_UNCERTAINTY if finding.confidence is None else 1 - finding.confidence
            return ReviewItem(kind=kind, finding=finding, uncertainty=uncertainty)
        uncertainty, second, probability = max(known, key=lambda row: row[0])
        return ReviewItem(
            kind=kind, finding=finding, uncertainty=uncertainty, second_class=second, second_probability=probability
        )


def _uncertainties(table: pd.DataFrame) -> list[float]:
    """The larger of the heads' uncertainty and what is missing to full confidence."""
    columns = [np.zeros(len(table))]
    for name in ("uncertainty", "doubt"):  # the column's name, and that of tables of before
        if name in table:
            columns.append(table[name].to_numpy(np.float64))
    if "confidence" in table:
        columns.append(1 - table["confidence"].to_numpy(np.float64))
    if len(columns) == 1:
        return [UNKNOWN_UNCERTAINTY] * len(table)
    values: list[float] = np.clip(np.nanmax(columns, axis=0), 0, 1).tolist()
    return values


def _second_choices(table: pd.DataFrame) -> list[tuple[NucleusClass | None, float | None]]:
    if not set(_PROBABILITIES) <= set(table):
        return [(None, None)] * len(table)
    probabilities = table[_PROBABILITIES].to_numpy(np.float64)
    second = np.argsort(-probabilities, axis=1, kind="stable")[:, 1]
    values = probabilities[np.arange(len(table)), second]
    return [(CLASSES[k], v) if v > 0 else (None, None) for k, v in zip(second.tolist(), values.tolist(), strict=True)]


def error_items(findings: Iterable[Finding], table: pd.DataFrame | None = None) -> list[ReviewItem]:
    """Review items of errors, with the network's uncertainty where its table is at hand."""
    uncertainties = NucleusUncertainties(table)
    return [uncertainties.item(f) for f in findings]


def uncertain_items(
    instances: NDArray[Any],
    table: pd.DataFrame,
    *,
    crop: str = "",
    patient: str = "",
    counted_in: str = "",
    fingerprint: str = "",
    um_per_px: float | None = None,
    least_uncertainty: float = LEAST_UNCERTAINTY,
    leave_out: Iterable[int] = (),
) -> list[ReviewItem]:
    """Review items of predicted nuclei without looking at any truth.

    A nucleus is taken for its uncertainty, or because a rare class is its second choice.

    Parameters
    ----------
    instances : integers (y, x)
        Predicted nuclei.
    table : pandas.DataFrame
        One row a nucleus: ``label, class_id, confidence, uncertainty`` and class probabilities.
    crop, patient, counted_in, fingerprint : str
        Written into the items; see `napari_monusac.scoring.errors.findings.find_errors`.
    um_per_px : float, optional
        Scale of the maps.
    least_uncertainty : float
        Uncertainty, 0 to 1, from which a nucleus is taken.
    leave_out : iterable of int
        Labels that stand in the queue already.
    """
    uncertainties = NucleusUncertainties(table)
    objects = match_instances(np.zeros_like(instances), instances).prediction
    place = {label: k for k, label in enumerate(objects.ids.tolist())}
    known = set(leave_out)
    confidence = table["confidence"].tolist() if "confidence" in table else [None] * len(table)
    items = []
    for label, class_id, sure in zip(table["label"].tolist(), table["class_id"].tolist(), confidence, strict=True):
        if label in known or label not in place:
            continue
        k = place[label]
        y0, x0, y1, x1 = objects.boxes[k].tolist()
        area = float(objects.areas[k])
        finding = Finding(
            type=FindingType.SPURIOUS,
            prediction_id=int(label),
            prediction_ids=(int(label),),
            predicted_class=NucleusClass(int(class_id)),
            confidence=sure,
            size_px=area,
            size_um2=None if um_per_px is None else area * um_per_px**2,
            centre=((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2),
            box=(y0, x0, y1, x1),
            crop=crop,
            patient=patient,
            counted_in=counted_in,
            fingerprint=fingerprint,
        )
        item = uncertainties.item(finding, "uncertain")
        if item.uncertainty >= least_uncertainty or item.rare_second_choice:
            items.append(item)
    return items


def build_queue(
    collection: str | Path,
    predictions: str | Path,
    *,
    folder: str | Path | None = None,
    reader: str = "",
    least_uncertainty: float = LEAST_UNCERTAINTY,
    progress: TellCrop | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> ReviewQueue:
    """Build the queue of a whole folder: the errors of crops with truth, and uncertain nuclei of all crops.

    Parameters
    ----------
    collection : str or Path
        The folder of crops; truth is used where there is some.
    predictions : str or Path
        The folder of predictions, in any form that `napari_monusac.io.predictions.find` knows.
    folder : str or Path, optional
        The review folder; the queue is saved there.
    reader : str
        Whose progress it keeps.
    least_uncertainty : float
        Uncertainty, 0 to 1, from which a nucleus that is no error is taken.
    progress : callable, optional
        Called with (done, total, crop) before each crop, and once at the end.
    should_stop : callable, optional
        Asked before each crop.

    Raises
    ------
    CollectionError, FileProblem
        A folder is missing.
    Cancelled
        `should_stop` said so.
    """
    pairs = FolderPairs(open_collection(collection), PredictionFolder(predictions))
    found = [(c, path) for c in pairs.collection.crops if (path := pairs.predictions.find(c)) is not None]
    items: list[ReviewItem] = []
    for done, (crop, path) in enumerate(found):
        if should_stop is not None and should_stop():
            raise Cancelled("building the queue was stopped", "start it again")
        if progress is not None:
            progress(done, len(found), crop.name)
        items += _items_of(pairs, crop, path, least_uncertainty)
    if progress is not None:
        progress(len(found), len(found), "")
    queue = ReviewQueue(items, folder, reader)
    queue.notes = (*queue.notes, *left_open(pairs))
    if folder is not None:
        queue.save_items()
    return queue


def _items_of(pairs: FolderPairs, crop: Any, path: Path, least_uncertainty: float) -> Iterator[ReviewItem]:
    predicted, shape, um_per_px = pairs.predicted(crop, path)
    counted_in = predicted.counted_in()
    # of nuclei alone nothing says how doubtful they are, but for the confidence that the finding has
    table = predicted.nuclei.table if predicted.maps is not None else None
    known: set[int] = set()
    if crop.annotation is not None:
        annotation = pairs.collection.annotation(crop)
        maps = label_maps(annotation, shape)
        part = predicted.region.slices
        findings = find_errors(
            maps.instances[part],
            predicted.instances,
            {k: int(n.nucleus_class) for k, n in enumerate(annotation.nuclei, 1)},
            predicted.classes,
            ignore=maps.ignore[part],
            confidence=predicted.confidence,
            um_per_px=um_per_px or annotation.um_per_px,
            crop=crop.name,
            patient=crop.patient,
            counted_in=counted_in,
            fingerprint=predicted.fingerprint,
        )
        known = {p for f in findings for p in f.prediction_ids}
        yield from error_items(findings, table)
    if table is not None:
        yield from uncertain_items(
            predicted.instances,
            table,
            crop=crop.name,
            patient=crop.patient,
            counted_in=counted_in,
            fingerprint=predicted.fingerprint,
            um_per_px=um_per_px,
            least_uncertainty=least_uncertainty,
            leave_out=known,
        )
