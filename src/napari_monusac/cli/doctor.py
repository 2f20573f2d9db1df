"""``doctor``: what is wrong with a folder, and the mend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_monusac.cli.shell import (
    Json,
    Patients,
    answer,
    answer_json,
    existing_folder,
    progress,
    stop_on_signal,
    table,
    tell,
)
from napari_monusac.core.errors import Cancelled

if TYPE_CHECKING:
    from napari_monusac.io.doctor.report import DoctorReport


def doctor(
    folder: Annotated[Path, typer.Argument(help="A MoNuSAC folder: a root, both roots, one patient, or flat.")],
    fix: Annotated[
        bool, typer.Option("--fix", help="Write mended copies into --out; originals are never touched.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="A new folder for the mended copies.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Copy the crops without a fault, too.")] = False,
    patients: Patients = None,
    every: Annotated[bool, typer.Option("--all", help="One line a finding, not one a kind.")] = False,
    as_json: Json = False,
) -> None:
    """Examine every image and every nucleus of a folder. Exit code 0 with findings, too."""
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.doctor.examine import examine
    from napari_monusac.io.doctor.mend import fix as write_mended

    if fix != (out is not None):
        raise typer.BadParameter("--fix and --out DIR belong together", param_hint="--fix")
    existing_folder(folder)
    with stop_on_signal("stopping after this crop") as stopping, progress(1.0, "examining") as step:

        def look(fraction: float, text: str) -> None:
            if stopping():
                raise Cancelled("nothing was changed")
            step(fraction, text)

        report = examine(open_collection(folder, patients=patients), progress=look)
        mended = write_mended(report, out, everything=everything, progress=look) if out is not None else ()
    if as_json:
        answer_json({**report.model_dump(mode="json"), "verdict": report.verdict, "mended": mended})
        return
    if every:
        rows = [(f.severity, f.code, f.image or f.patient, f.message) for f in report.findings]
        table("", ("severity", "what", "where", "finding"), rows)
    elif report.findings:
        _print_kinds(report)
    nuclei = ", ".join(f"{n} {name.lower()}" for name, n in report.nuclei.items() if n) or "no labelled nuclei"
    if report.guess:
        tell(f"note: {report.guess}")
    answer(f"{report.grouping}.\n{nuclei}: {report.verdict}")
    if out is not None:
        tell(f"{len(mended)} files are written to {out}")


def _print_kinds(report: DoctorReport) -> None:
    """Print one line for each kind of finding: how many, in how many crops, the first of them, what to do."""
    rows: list[tuple[Any, ...]] = []
    for code, number in report.counts_by_code().items():
        found = report.of(code)
        crops = len({f.image for f in found if f.image})
        first = found[0]
        example = f"{first.image or first.patient or report.folder}: {first.message}"
        rows.append((first.severity, code, number, crops or None, f"{example}\n-> {first.mend}"))
    table("", ("severity", "what", "number", "crops", "for example, and what to do"), rows)
