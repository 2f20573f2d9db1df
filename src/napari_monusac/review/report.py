"""What a report says about the review: the log of all readers, and how far two of them agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_monusac.core.errors import MonusacError, SessionError
from napari_monusac.core.files import sha256_of
from napari_monusac.io.predictions.find import PredictionFolder
from napari_monusac.review.judgements import Judgement, latest, log_path, read_log, readers_of, standing
from napari_monusac.review.readers import ReaderAgreement, compare_readers, inter_reader_evaluation
from napari_monusac.scoring.metrics.evaluation import ComparedWith, Evaluation, created_now
from napari_monusac.scoring.report.folders import FolderPairs
from napari_monusac.scoring.report.html import ReviewLine
from napari_monusac.scoring.report.pictures import Evidence

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.io.collection.collection import Collection
    from napari_monusac.review.comparison import Comparison


def judgements_of(folder: str | Path, reader: str) -> list[Judgement]:
    """The last words of a reader, without opening the log for writing.

    Raises
    ------
    SessionError
        The log is missing or damaged.
    """
    return latest(standing(read_log(log_path(folder, reader))[0]))


def review_lines(folder: str | Path) -> list[ReviewLine]:
    """The judgements of all readers of a review folder that stand, oldest first.

    Raises
    ------
    SessionError
        A log is damaged.
    """
    judgements = [j for reader in readers_of(folder) for j in judgements_of(folder, reader)]
    return [review_line(j) for j in sorted(judgements, key=lambda j: (j.time, j.reader))]


def review_line(judgement: Judgement) -> ReviewLine:
    """One judgement in words."""
    f = judgement.finding
    classes = dict.fromkeys(c.label for c in (f.truth_class, f.predicted_class) if c is not None)
    verdict = judgement.verdict.value
    if judgement.chosen_class is not None:
        verdict += f": {judgement.chosen_class.label}"
    return ReviewLine(
        time=judgement.time.replace("T", " ").rstrip("Z"),
        reader=judgement.reader,
        crop=f.crop,
        what=f"{f.type.value}, {' → '.join(classes)}" if classes else f.type.value,
        verdict=verdict,
        note=judgement.note,
    )


def agreement_of(folder: str | Path, first: str = "", second: str = "") -> ReaderAgreement:
    """Compare two readers of a review folder; the first two by name where none are given.

    Raises
    ------
    SessionError
        There are not two readers, or a log is damaged.
    """
    readers = readers_of(folder)
    names = (first, second) if first and second else readers[:2]
    if len(names) < 2:
        raise SessionError(f"{folder}: {len(readers)} reader(s), two are needed", "let a second reader judge")
    return compare_readers(*(judgements_of(folder, n) for n in names), names=(names[0], names[1]))


def agreement_sentence(agreement: ReaderAgreement, inter_reader_pq: float | None = None) -> str:
    """How far two readers agree, as a sentence for the report."""
    a = agreement
    findings = "1 finding was" if a.elsewhere == 1 else f"{a.elsewhere} findings were"
    elsewhere = f" {findings} judged in different predictions and not compared." if a.elsewhere else ""
    if not a.both:
        return f"{a.first} and {a.second} judged nothing in common.{elsewhere}"
    kappa = "undefined (both always gave the same answer)" if a.kappa is None else f"{a.kappa:.2f}"
    words = f"{a.first} and {a.second} both judged {a.both} findings and agreed on {a.agreed}: Cohen's kappa {kappa}."
    words += elsewhere
    if inter_reader_pq is not None:
        words += f" PQ of one reader's truth against the other's: {inter_reader_pq:.2f}, the ceiling for a model."
    return words


def review_log(folder: Path) -> tuple[list[ReviewLine], str]:
    """The review log of a folder, and how far two readers agree in a sentence; empty without a review."""
    readers = readers_of(folder)
    if not readers:
        return [], ""
    return review_lines(folder), agreement_sentence(agreement_of(folder)) if len(readers) > 1 else ""


def inter_reader_pq(
    folder: Path, collection: Collection | None, predictions: Path | None, readers: tuple[str, str]
) -> float | None:
    """PQ of one reader's truth against the other's on the crops that both judged; None where that cannot be had."""
    if collection is None or predictions is None:
        return None
    first, second = (judgements_of(folder, name) for name in readers)
    both = {j.finding.crop for j in first} & {j.finding.crop for j in second}
    pairs = FolderPairs(collection, PredictionFolder(predictions), both)
    try:
        return inter_reader_evaluation(pairs, first, second, bootstrap=0).pq if len(pairs) else None
    except MonusacError:
        return None  # judged on another prediction or truth: their verdicts compare all the same


def evidence_of_crop(
    comparison: Comparison, annotation: Path | None, prediction: Prediction | None
) -> tuple[Evaluation, Evidence]:
    """Scores and evidence of the open crop, with what is known of where they came from."""
    from napari_monusac import __version__

    evidence = Evidence()
    evidence.add(comparison.pair)
    provenance = ComparedWith(
        truth=str(annotation or ""),
        truth_sha256=sha256_of(annotation) if annotation is not None and annotation.is_file() else "",
        prediction="the prediction in the window, with its thresholds",
        recipe=prediction.fingerprint if prediction is not None else "",
        checkpoint=prediction.checkpoint if prediction is not None else "",
        version=f"napari-monusac {__version__}",
        created=created_now(),
    )
    return comparison.evaluation.model_copy(update={"provenance": provenance}), evidence
