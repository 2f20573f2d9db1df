"""The long work of Review, each a function for a worker, which is told how far it is and may stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from napari_monusac.app.work import Report

if TYPE_CHECKING:
    import pandas as pd

    from napari_monusac.core.prediction import Prediction
    from napari_monusac.io.collection.collection import Collection, Crop
    from napari_monusac.io.predictions.open import PredictedCrop
    from napari_monusac.review.comparison import Comparison
    from napari_monusac.review.readers import ReaderAgreement
    from napari_monusac.review.session import ReviewSession
    from napari_monusac.scoring.matching.matching import AmbiguousRule
    from napari_monusac.scoring.matching.pairs import CropPair
    from napari_monusac.scoring.metrics.evaluation import Evaluation
    from napari_monusac.scoring.report.guard import Guard
    from napari_monusac.scoring.report.pictures import Evidence

T = TypeVar("T")
#: Long work: tells how far it is, and sees whether to stop.
ReviewJob: TypeAlias = Callable[[Report], T]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFolder:
    """The scores of a folder: the evaluation, its evidence for the report, and a table of its nuclei."""

    evaluation: Evaluation
    evidence: Evidence
    nuclei: pd.DataFrame


def predicted_of(
    crop: Crop, folder: Path, data: Any, first_px: tuple[int, int], um_per_px: float | None, _: Report
) -> PredictedCrop | None:
    """Open the prediction of a crop on the pixels that the window shows of it ; None where there is none.

    Parameters
    ----------
    crop : Crop
        Whose prediction is looked for.
    folder : Path
        Where.
    data : uint8 (y, x, 3)
        What the window shows of its image, from `first_px` (y, x) on.
    um_per_px : float or None
        Its scale.

    Raises
    ------
    MonusacError
        A file is damaged, or the prediction is of another image.
    """
    from napari_monusac.io.predictions.find import PredictionFolder
    from napari_monusac.io.predictions.identity import ArrayPixels
    from napari_monusac.io.predictions.open import open_prediction
    from napari_monusac.io.slides.slide import open_slide

    path = PredictionFolder(folder).find(crop)
    if path is None:
        return None
    shown = ArrayPixels(data, crop.image)
    if first_px == (0, 0):
        found = open_prediction(path, shown, um_per_px=um_per_px)
    else:
        part = (*first_px, *shown.shape)
        with open_slide(crop.image) as slide:
            found = open_prediction(path, shown, slide, shape=slide.shape, um_per_px=um_per_px, part=part)
        found = found.moved(-first_px[0], -first_px[1])  # layers count from the image layer's first pixel
    found.check_numbers()
    prediction = found.prediction()
    prediction.semantic_map, prediction.ternary_map  # noqa: B018 - found here, not while the window waits
    return found


def open_queue(crops: Path, predictions: Path, reader: str, report: Report, *, anew: bool = False) -> ReviewSession:
    """Open the queue of a folder; it is built where there is none, or `anew`."""
    from napari_monusac.review.session import ReviewSession

    return ReviewSession.open(
        crops, predictions, reader, anew=anew, should_stop=lambda: report.stopping,
        progress=lambda done, total, name: report(done / max(1, total), f"Looking through {name}"),
    )  # fmt: skip


def score_folder(
    crops: Path,
    predictions: Path,
    report: Report,
    *,
    rule: AmbiguousRule = "mask",
    training: bool = False,
) -> ScoredFolder:
    """Score the crops of a folder that have truth and prediction; training crops too, where that is asked for."""
    import pandas as pd

    from napari_monusac.scoring.metrics.nuclei import nuclei_table
    from napari_monusac.scoring.report.folders import evaluate_folders
    from napari_monusac.scoring.report.pictures import Evidence

    evidence, tables = Evidence(), []

    def each(pair: CropPair) -> None:
        evidence.add(pair)
        tables.append(nuclei_table(pair).assign(counted_in=pair.nuclei))

    evaluation = evaluate_folders(
        crops, predictions, ambiguous=rule, include_training=training, each=each, should_stop=lambda: report.stopping,
        progress=lambda done, total, name: report(done / max(1, total), f"Scoring {name}"),
    )  # fmt: skip
    return ScoredFolder(evaluation, evidence, pd.concat(tables, ignore_index=True))


def guard_models(
    collection: Collection,
    before: Path,
    after: Path,
    cache: Path,
    report: Report,
    *,
    training: bool = False,
) -> Guard:
    """Compare two models nucleus by nucleus; a checkpoint predicts the labelled crops first, into `cache`."""
    from napari_monusac.infer.predicted_folder import predictions_of
    from napari_monusac.scoring.report.guard import guard_folders

    first, second = (
        predictions_of(
            path, collection, cache, include_training=training, report=report, should_stop=lambda: report.stopping
        )
        for path in (before, after)
    )
    report(None, "Comparing nucleus by nucleus")
    return guard_folders(collection.root, first, second, include_training=training)


def compare_two_readers(
    folder: Path,
    collection: Collection | None,
    predictions: Path | None,
    readers: tuple[str, str],
    report: Report,
) -> tuple[ReaderAgreement, float | None]:
    """See how far two readers agree; and the PQ of one's truth against the other's, where that can be had."""
    from napari_monusac.review.report import agreement_of, inter_reader_pq

    agreement = agreement_of(folder, *readers)
    report(None, "Scoring one reader's truth against the other's")
    return agreement, inter_reader_pq(folder, collection, predictions, readers)


def report_of_folder(scored: ScoredFolder, folder: Path, _: Report) -> Path:
    """Write the report of a folder's scores into the review folder."""
    return _write(scored.evaluation, scored.evidence, folder / "report.html", folder)


def report_of_crop(
    comparison: Comparison, annotation: Path | None, prediction: Prediction | None, folder: Path, _: Report
) -> Path:
    """Write the report of the open crop into the review folder."""
    from napari_monusac.review.report import evidence_of_crop

    scores, evidence = evidence_of_crop(comparison, annotation, prediction)
    return _write(scores, evidence, folder / f"report-{comparison.pair.crop.replace('/', '_')}.html", folder)


def _write(scores: Evaluation, evidence: Evidence, path: Path, folder: Path) -> Path:
    from napari_monusac.review.report import review_log
    from napari_monusac.scoring.report.html import write_report

    lines, agreement = review_log(folder)
    return write_report(scores, path, evidence=evidence, review=lines, agreement=agreement)[0]
