"""Scores as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_monusac.cli.shell import table, tell
from napari_monusac.core.classes import CLASSES
from napari_monusac.scoring.metrics.evaluation import interval_words

if TYPE_CHECKING:
    from napari_monusac.scoring.metrics.evaluation import Evaluation
    from napari_monusac.scoring.report.guard import Guard


def print_scores(evaluation: Evaluation, title: str) -> None:
    """Print an evaluation on stdout: per class, pixels, and where there are several crops the four scorings."""
    span = evaluation.span
    rows: list[tuple[Any, ...]] = []
    for kind in CLASSES:
        q = evaluation.by_class.get(kind.label)
        if q is not None:
            rows.append((kind.label, q.pq, span(f"pq/{kind.label}"), q.sq, q.dq, q.tp, q.fp, q.fn))
    q = evaluation.instances
    rows.append(("(any class)", q.pq, span("pq"), q.sq, q.dq, q.tp, q.fp, q.fn))
    table(title, ("class", "PQ", "95 %", "SQ", "DQ", "found", "spurious", "missed"), rows)
    if len(evaluation.crops) > 1:
        lines = [(s.label, s.pq, interval_words(s.interval, s.patients), s.reason) for s in evaluation.scorings]
        table("PQ, scored in four ways", ("scoring", "PQ", "95 %", "why it differs"), lines)
    pixels, found = evaluation.pixels, evaluation.detection
    headline = evaluation.scoring()
    values = [
        ("PQ, mean over classes", evaluation.pq, interval_words(headline.interval, headline.patients)),
        ("detection F1", found.f1, interval_words(found.interval, found.patients)),
        ("combo = 0.7 inside + 0.3 boundary", pixels.combo, span("combo")),
        ("Dice inside", pixels.dice_inside, span("dice_inside")),
        (f"Dice boundary ({evaluation.boundary_words})", pixels.dice_boundary, span("dice_boundary")),
        ("mIoU of five classes", pixels.miou_macro, ""),
    ]
    table("", ("score", "value", "95 %"), values)
    for note in evaluation.notes:
        tell(f"note: {note}")


def print_guard(guard: Guard) -> None:
    """Print what a model fixed and newly broke, by class, and the verdict."""
    rows = [
        (
            name,
            c.pq_before,
            c.pq_after,
            interval_words(c.interval, c.patients, "+.3f"),
            c.fixed,
            c.broken,
            c.spurious_gone,
            c.spurious_new,
        )
        for name, c in guard.by_class.items()
    ]
    columns = ("class", "PQ before", "PQ after", "difference, 95 %", "fixed", "broken", "gone", "new spurious")
    table(f"Against the earlier model: {guard.verdict}", columns, rows)
    tell(guard.reason)
    for note in guard.notes:
        tell(f"note: {note}")
