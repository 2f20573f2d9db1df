"""Two readers: how far they agree (Cohen's kappa, PQ between their truths), and where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_monusac.core.training_crops import SeenAs
from napari_monusac.review.judgements import Judgement, Verdict, words_on
from napari_monusac.review.truth import CorrectedTruth, correct_truth
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.evaluation import Evaluation
from napari_monusac.scoring.metrics.kappa import crossed, kappa_of_table
from napari_monusac.scoring.report.evaluate import BOOTSTRAP, evaluate


class ReaderDifference(BaseModel):
    """A finding that the two readers answered differently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    first: Judgement
    second: Judgement


class ReaderAgreement(BaseModel):
    """How two readers compare on what both judged; what either skipped is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: str
    second: str
    both: int = Field(description="Findings that both judged")
    agreed: int = 0
    kappa: float | None = Field(None, description="Cohen's kappa of the verdicts; None where it is undefined")
    verdicts: tuple[str, ...] = ()
    table: tuple[tuple[int, ...], ...] = Field((), description="Counts, first reader's verdict by second's")
    differences: tuple[ReaderDifference, ...] = ()
    elsewhere: int = Field(0, description="Findings that they judged in different predictions: not compared")
    only_first: tuple[str, ...] = Field((), description="Keys that the first alone judged")
    only_second: tuple[str, ...] = ()


def compare_readers(
    first: Iterable[Judgement], second: Iterable[Judgement], *, names: tuple[str, str] = ("", "")
) -> ReaderAgreement:
    """Compare the last words of two readers.

    Parameters
    ----------
    first, second : iterable of Judgement
        Their last words (`JudgementLog.judgements`).
    names : (str, str)
        The readers; taken from the judgements where not given.
    """
    first, second = ([j for j in side if j.verdict is not Verdict.SKIP] for side in (first, second))
    keys = {j.key for j in first}, {j.key for j in second}
    # the same numbers in another prediction are other nuclei
    shared = [(a, b) for b in second for a in first if a.finding.same_as(b.finding)]
    one, other = [a.verdict.value for a, _ in shared], [b.verdict.value for _, b in shared]
    table, verdicts = crossed(one, other)
    kappa = kappa_of_table(table)
    found = [next((j.reader for j in side), "") for side in (first, second)]
    return ReaderAgreement(
        first=names[0] or found[0],
        second=names[1] or found[1],
        both=len(shared),
        agreed=int(np.trace(table)),
        kappa=None if np.isnan(kappa) else kappa,
        verdicts=tuple(str(v) for v in verdicts),
        table=tuple(tuple(row) for row in table.tolist()),
        differences=tuple(
            ReaderDifference(key=a.key, first=a, second=b) for a, b in shared if _answer(a) != _answer(b)
        ),
        elsewhere=len(keys[0] & keys[1] - {a.key for a, _ in shared}),
        only_first=tuple(j.key for j in first if j.key not in keys[1]),
        only_second=tuple(j.key for j in second if j.key not in keys[0]),
    )


def _answer(judgement: Judgement) -> tuple[Verdict, object]:
    return judgement.verdict, judgement.chosen_class


def reader_pair(pair: CropPair, first: CorrectedTruth, second: CorrectedTruth) -> CropPair:
    """One reader's truth of a crop against the other's, Ambiguous regions of either left out."""
    ignore = first.ignore | second.ignore
    return replace(
        pair,
        truth=first.instances,
        truth_classes=first.classes,
        prediction=second.instances,
        prediction_classes=second.classes,
        ignore=ignore if ignore.any() else None,
        confidence={},
        semantic=None,
        ternary=None,
        seen_as=SeenAs.NOT_ASKED,  # readers, not models
    )


def inter_reader_evaluation(
    pairs: Iterable[CropPair],
    first: Sequence[Judgement],
    second: Sequence[Judgement],
    *,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
) -> Evaluation:
    """Score the second reader's truth against the first's: the ceiling that a model can be held to.

    Parameters
    ----------
    pairs : iterable of CropPair
        The crops that were judged, with the original truth and the judged prediction.
    first, second : sequence of Judgement
        Their last words.
    bootstrap, seed : int
        See `napari_monusac.scoring.report.evaluate.evaluate`.

    Raises
    ------
    SessionError
        Truth or prediction changed since they were judged.
    """
    crops = (
        reader_pair(
            pair,
            *(correct_truth(pair, words_on(side, pair.crop, pair.nuclei)) for side in (first, second)),
        )
        for pair in pairs
    )
    return evaluate(crops, bootstrap=bootstrap, seed=seed)
