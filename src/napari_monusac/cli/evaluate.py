"""``evaluate``: predictions against truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_monusac.cli.shell import Json, answer_json, existing_folder, progress, stop_on_signal, tell


def evaluate(
    truth: Annotated[Path, typer.Option("--truth", help="A MoNuSAC folder: images and annotations.")],
    pred: Annotated[Path, typer.Option("--pred", help="Predictions: .zarr, label .tif, .xml, .geojson or n-ary .mat.")],
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a self-contained HTML report (and a .csv beside it).")
    ] = None,
    crops: Annotated[
        list[str] | None, typer.Option("--crop", help="Only this crop; may be given several times.")
    ] = None,
    ambiguous: Annotated[
        Literal["mask", "discount"],
        typer.Option("--ambiguous", help="Leave Ambiguous regions out, or forgive what is found there."),
    ] = "mask",
    boundary_width: Annotated[int, typer.Option("--boundary-width", help="For Dice inside and boundary, px.")] = 3,
    as_json: Json = False,
) -> None:
    """Score predictions: PQ in four ways, per class, patient and organ, detection F1, combo, with 95 % intervals."""
    from napari_monusac.scoring.folders import evaluate_folders

    existing_folder(truth)
    existing_folder(pred)
    with stop_on_signal("stopping after this crop") as stopping, progress(1.0, "scoring") as step:
        result = evaluate_folders(
            truth,
            pred,
            crops=crops,
            ambiguous=ambiguous,
            boundary_width=boundary_width,
            progress=lambda done, total, name: step(done / max(1, total), name),
            should_stop=stopping,
        )
    if report is not None:
        from napari_monusac.scoring.html import write_report

        html, csv = write_report(result, report)
        tell(f"report: {html}, numbers: {csv}")
    if as_json:
        answer_json(result)
    else:
        from napari_monusac.cli.scores import print_scores

        print_scores(result, f"{len(result.crops)} crops of {len(result.patients)} patients, pooled")
