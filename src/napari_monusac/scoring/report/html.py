"""The report: one HTML file that holds everything and needs nothing else, and a CSV beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from napari_monusac.core.errors import FileProblem
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.text import cell, visible
from napari_monusac.scoring.errors.finding import Finding
from napari_monusac.scoring.metrics.evaluation import Evaluation, GroupScore, Interval, Quality, interval_words
from napari_monusac.scoring.report import figures
from napari_monusac.scoring.report.figures import class_color, number
from napari_monusac.scoring.report.pictures import Evidence


class ReviewLine(BaseModel):
    """A line of the review log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: str
    reader: str
    crop: str
    what: str
    verdict: str
    note: str = ""


def write_report(
    evaluation: Evaluation,
    path: str | Path,
    *,
    evidence: Evidence | None = None,
    review: Sequence[ReviewLine] = (),
    agreement: str = "",
    title: str = "Nuclei: prediction against truth",
) -> tuple[Path, Path]:
    """Write an evaluation as a self-contained HTML file, and its numbers as a CSV beside it; each whole or not at all.

    Parameters
    ----------
    evaluation : Evaluation
        The scores.
    path : str or Path
        The ``.html`` file; the CSV has the same name.
    evidence : Evidence, optional
        Errors by type and pictures of the worst. Not given: gathered anew from the folders that the evaluation names,
        where they are still there.
    review : sequence of ReviewLine
        The review log.
    agreement : str
        A sentence on how far two readers agree.
    title : str
        The heading.

    Returns
    -------
    (Path, Path)
        The HTML and the CSV.

    Raises
    ------
    FileProblem
        The folder cannot be written.
    """
    path = Path(path)
    if evidence is None:
        evidence = evidence_of(evaluation)
    html = render_report(evaluation, evidence=evidence, review=review, agreement=agreement, title=title)
    table = path.with_suffix(".csv")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, html)
        atomic_write_text(table, scores_csv(evaluation))
    except OSError as error:
        raise FileProblem(path, f"cannot be written ({error.strerror})", "choose a folder you may write to") from error
    return path, table


def evidence_of(evaluation: Evaluation) -> Evidence:
    """Find the errors again in the folders that an evaluation names; empty where they are gone."""
    from napari_monusac.scoring.report.folders import folder_pairs

    evidence = Evidence(ambiguous=evaluation.ambiguous)
    where = evaluation.provenance
    if where.truth and where.prediction and Path(where.truth).is_dir() and Path(where.prediction).is_dir():
        for pair in folder_pairs(
            where.truth,
            where.prediction,
            crops={c.name for c in evaluation.crops},
            within_regions=evaluation.within_regions,
        ):
            evidence.add(pair)
    return evidence


def render_report(
    evaluation: Evaluation,
    *,
    evidence: Evidence | None = None,
    review: Sequence[ReviewLine] = (),
    agreement: str = "",
    title: str = "",
) -> str:
    """The HTML of `write_report` as text. Every name in it is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters.update(num=number, span=interval_words, color=class_color, classes=_classes, size=_size)
    source = resources.files("napari_monusac.scoring") / "templates" / "report.html.j2"
    template = environment.from_string(source.read_text("utf-8"))
    evidence = evidence or Evidence()
    counts = evidence.counts()
    columns = [*evaluation.by_class, *sorted({c for row in counts.values() for c in row} - set(evaluation.by_class))]
    provenance = evaluation.provenance
    text = template.render(
        e=evaluation,
        title=title,
        provenance=provenance,
        created=provenance.created[:16].replace("T", " ") + " UTC" if provenance.created else "",
        facts=_facts(evaluation),
        figures=_figures(evaluation),
        cell=_cell_color,
        fault_columns=columns,
        fault_rows=[(kind.value.capitalize(), row) for kind, row in counts.items()] if evidence.findings else [],
        pictures=[
            (kind.value.capitalize(), list(group))
            for kind, group in groupby(evidence.pictures, key=lambda p: p.finding.type)
        ],
        agreement=agreement,
        review=review,
        command=provenance.command,
        hashes=_hashes(evaluation),
    )
    return visible(text, keep="\n\t")  # names from elsewhere may turn the direction of the text after them


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    from markupsafe import Markup

    drawn = {
        "forest": figures.forest_plot(evaluation.scorings, evaluation.headline),
        "tolerance": figures.tolerance_plot(evaluation),
        "patients": figures.patient_plot(evaluation.patients),
        "reliability": figures.reliability_plot(evaluation.reliability),
        "precision_recall": figures.precision_recall_plot(evaluation.precision_recall),
    }
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704 - figures.py escapes its text


def _facts(e: Evaluation) -> list[tuple[str, float | None, Interval | None, int]]:
    """Name, value, interval and the patients behind it."""

    def pooled(key: str) -> tuple[Interval | None, int]:
        return e.intervals.get(key), e.interval_patients.get(key, 0)

    return [
        ("Detection F1 (centres within 3 µm)", e.detection.f1, e.detection.interval, e.detection.patients),
        ("SQ, any class", e.instances.sq, *pooled("sq")),
        ("DQ, any class", e.instances.dq, *pooled("dq")),
        ("Combo (0.7 inside + 0.3 boundary)", e.pixels.combo, *pooled("combo")),
        ("Dice inside", e.pixels.dice_inside, *pooled("dice_inside")),
        (f"Dice boundary ({e.boundary_words})", e.pixels.dice_boundary, *pooled("dice_boundary")),
        ("mIoU macro (with background)", e.pixels.miou_macro, None, 0),
        ("mIoU micro (with background)", e.pixels.miou_micro, None, 0),
        ("mIoU macro (four classes)", e.pixels.miou_macro_nuclei, None, 0),
    ]


def _hashes(e: Evaluation) -> list[tuple[str, str]]:
    p = e.provenance
    pairs = [
        ("Truth", p.truth),
        ("Truth, SHA-256", p.truth_sha256),
        ("Prediction", p.prediction),
        ("Prediction, SHA-256", p.prediction_sha256),
        ("Recipe, fingerprint", p.recipe),
        ("Checkpoint", p.checkpoint),
        ("Checkpoint, SHA-256", p.checkpoint_sha256),
        ("Program", p.version),
    ]
    return [(name, value or "not known") for name, value in pairs]


def _classes(finding: Finding) -> str:
    names = [c.label for c in (finding.truth_class, finding.predicted_class) if c is not None]
    return names[0] if len(set(names)) == 1 else " → ".join(names)


def _size(finding: Finding) -> str:
    size = f"{finding.size_px:.0f} px" if finding.size_um2 is None else f"{finding.size_um2:.0f} µm²"
    return size if finding.iou is None else f"{size} · IoU {finding.iou:.2f}"


def _cell_color(n: int, row: Sequence[int], right: bool) -> str:
    """Shade of a cell of the confusion matrix: by its share of the row, right answers blue, wrong ones red."""
    share = n / max(1, sum(row))
    red, green, blue = (47, 91, 208) if right else (196, 62, 40)
    return f"rgba({red},{green},{blue},{0.04 + 0.42 * share:.2f})"


def scores_csv(evaluation: Evaluation) -> str:
    """All scores as a long table: kind, name, class, metric, value, low, high, n; undefined values are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["kind", "name", "class", "metric", "value", "low", "high", "n"])
    for row in _csv_rows(evaluation):
        writer.writerow(["" if v is None else cell(v) for v in row])
    return out.getvalue()


def _csv_rows(e: Evaluation) -> Iterator[tuple[Any, ...]]:
    for tolerance, scorings in [(0, e.scorings), *((t.tolerance_px, t.scorings) for t in e.tolerance)]:
        kind = f"scoring, {tolerance} px forgiven" if tolerance else "scoring"
        for s in scorings:
            ends = _ends(s.interval, s.patients)
            yield (kind, s.key, "", "pq", s.pq, *ends)
            yield from ((kind, s.key, "", m, getattr(s, m), *_ends()) for m in ("sq", "dq"))
            yield from ((kind, s.key, name, "pq", v, *_ends()) for name, v in s.by_class.items())
    for name, quality in {"": e.instances, **e.by_class}.items():
        yield from _quality_rows("pooled", "all crops", name, quality, e)
    for name, value, interval, patients in _facts(e):
        yield ("pixels and centres", "all crops", "", name, value, *_ends(interval, patients))
    for name, value in e.pixels.iou.items():
        yield ("pixels and centres", "all crops", name, "iou", value, *_ends())
    for group in (*e.organs, *e.patients, *e.crops):
        yield from _group_rows(group)


def _ends(interval: Interval | None = None, patients: int = 0) -> tuple[float | None, float | None, int | None]:
    """Both ends of an interval and its patients, for the table."""
    if interval is None:
        return None, None, patients or None
    return interval.low, interval.high, interval.n or patients or None


def _quality_rows(kind: str, name: str, cls: str, q: Quality, e: Evaluation | None = None) -> Iterator[tuple[Any, ...]]:
    for metric in ("pq", "sq", "dq", "tp", "fp", "fn"):
        key = f"{metric}/{cls}" if cls else metric
        ends = _ends() if e is None else _ends(e.intervals.get(key), e.interval_patients.get(key, 0))
        yield (kind, name, cls, metric, getattr(q, metric), *ends)


def _group_rows(group: GroupScore) -> Iterable[tuple[Any, ...]]:
    yield (group.kind, group.name, "", "pq, mean of classes", group.pq, *_ends())
    yield (group.kind, group.name, "", "detection f1", group.detection.f1, *_ends())
    yield (group.kind, group.name, "", "combo", group.combo, *_ends())
    for name, quality in {"": group.instances, **group.by_class}.items():
        yield from _quality_rows(group.kind, group.name, name, quality)
