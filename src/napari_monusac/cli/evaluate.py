"""``evaluate``: predictions against truth, and against those of an earlier model."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_monusac.cli.shell import Json, Patients, answer_json, existing_folder, plain, progress, stop_on_signal, tell

if TYPE_CHECKING:
    from napari_monusac.core.class_mapping import ClassMapping
    from napari_monusac.scoring.metrics.evaluation import Evaluation
    from napari_monusac.scoring.report.guard import Guard
    from napari_monusac.scoring.report.pictures import Evidence


def evaluate(
    truth: Annotated[Path, typer.Option("--truth", help="A MoNuSAC folder: images and annotations.")],
    pred: Annotated[
        Path,
        typer.Option(
            "--pred",
            help="Predictions (.zarr, label .tif, .png, .npy, .xml, .geojson, n-ary .mat, files of HoVer-Net, CellViT, Cellpose, "
            "StarDist, HistomicsUI, COCO), a run folder or a checkpoint.",
        ),
    ],
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a self-contained HTML report (and a .csv beside it).")
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option(
            "--before", help="What an earlier model predicts: says which nuclei are fixed, which newly broken."
        ),
    ] = None,
    crops: Annotated[
        list[str] | None, typer.Option("--crop", help="Only this crop; may be given several times.")
    ] = None,
    patients: Patients = None,
    ambiguous: Annotated[
        Literal["mask", "discount"],
        typer.Option("--ambiguous", help="Leave Ambiguous regions out, or forgive what is found there."),
    ] = "mask",
    within_regions: Annotated[
        bool, typer.Option("--within-regions", help="Leave out what lies outside the regions of interest of the truth.")
    ] = False,
    class_mapping: Annotated[
        str | None,
        typer.Option(
            "--class-mapping",
            help="What the classes of another program mean: monusac, pannuke, consep, consep-merged, lizard, nucls, or a file "
            "of lines name,class; by default class_mapping.csv beside the predictions.",
        ),
    ] = None,
    boundary_width: Annotated[
        int | None,
        typer.Option("--boundary-width", help="For Dice inside and boundary, px; by default the predictions' own."),
    ] = None,
    include_training: Annotated[
        bool, typer.Option("--include-training", help="Score crops too that the model was trained on.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Where a checkpoint's predictions are kept; else they are not.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score predictions: PQ in four ways, per class, patient and organ, detection F1, combo, with 95 % intervals."""
    from napari_monusac.io.predictions.class_mapping import class_mapping_of
    from napari_monusac.scoring.report.folders import evaluate_folders
    from napari_monusac.scoring.report.pictures import Evidence

    existing_folder(truth)
    evidence = Evidence(ambiguous=ambiguous)
    mapping = None if class_mapping is None else class_mapping_of(class_mapping)
    with (
        tempfile.TemporaryDirectory() as scratch,
        stop_on_signal("stopping after this crop") as stopping,
        progress(1.0, "") as step,
    ):
        where = cache or Path(scratch)
        folders = [
            _predictions(p, truth, where, crops, patients, include_training, step, stopping)
            for p in (pred, before)
            if p is not None
        ]
        result = evaluate_folders(
            truth,
            folders[0],
            crops=crops,
            patients=patients,
            within_regions=within_regions,
            mapping=mapping,
            ambiguous=ambiguous,
            boundary_width=boundary_width,
            include_training=include_training,
            progress=lambda done, total, name: step(done / max(1, total), f"scoring {name}"),
            should_stop=stopping,
            each=evidence.add if report is not None else None,
            command=_command(
                truth,
                pred,
                before,
                crops,
                ambiguous,
                boundary_width,
                include_training,
                patients,
                within_regions,
                class_mapping,
            ),
        )
        guard = _compare(truth, folders, crops, patients, include_training, within_regions, step, mapping)
        if report is not None:
            _write_report(result, report, evidence, folders[0])
    _answer(result, guard, as_json)


def _command(
    truth: Path,
    pred: Path,
    before: Path | None,
    crops: list[str] | None,
    ambiguous: str,
    boundary_width: int | None,
    include_training: bool,
    patients: Path | None = None,
    within_regions: bool = False,
    class_mapping: str | None = None,
) -> str:
    """What to type to get the same numbers again."""
    words = ["napari-monusac", "evaluate", "--truth", str(truth), "--pred", str(pred)]
    words += ["--before", str(before)] if before is not None else []
    words += [word for crop in crops or () for word in ("--crop", crop)]
    words += ["--patients", str(patients)] if patients is not None else []
    words += ["--ambiguous", ambiguous] if ambiguous != "mask" else []
    words += ["--within-regions"] if within_regions else []
    words += ["--class-mapping", class_mapping] if class_mapping is not None else []
    words += ["--boundary-width", str(boundary_width)] if boundary_width is not None else []
    words += ["--include-training"] if include_training else []
    return shlex.join(words)


def _write_report(result: Evaluation, path: Path, evidence: Evidence, predictions: Path) -> None:
    """Write the report, with the review log where the predictions have been reviewed."""
    from napari_monusac.io.outputs import REVIEW_FOLDER
    from napari_monusac.review.judgements import readers_of
    from napari_monusac.review.report import agreement_of, agreement_sentence, review_lines
    from napari_monusac.scoring.report.html import write_report

    folder = predictions / REVIEW_FOLDER
    readers = readers_of(folder)
    html, csv = write_report(
        result,
        path,
        evidence=evidence,
        review=review_lines(folder) if readers else (),
        agreement=agreement_sentence(agreement_of(folder)) if len(readers) > 1 else "",
    )
    tell(f"report: {html}, numbers: {csv}")


def _predictions(
    path: Path,
    truth: Path,
    cache: Path,
    crops: list[str] | None,
    patients: Path | None,
    include_training: bool,
    step: Callable[[float, str], None],
    stopping: Any,
) -> Path:
    """A folder of predictions; of a checkpoint, what it predicts now."""
    from napari_monusac.infer.predicted_folder import is_checkpoint, predictions_of
    from napari_monusac.io.collection.collection import open_collection

    if not is_checkpoint(path):
        return existing_folder(path)
    return predictions_of(
        path, open_collection(truth, patients=patients), cache, crops=crops, include_training=include_training, should_stop=stopping,
        report=lambda fraction, text: step(fraction or 0.0, text),
    )  # fmt: skip


def _compare(
    truth: Path,
    folders: list[Path],
    crops: list[str] | None,
    patients: Path | None,
    include_training: bool,
    within_regions: bool,
    step: Callable[[float, str], None],
    mapping: ClassMapping | None = None,
) -> Guard | None:
    if len(folders) < 2:
        return None
    from napari_monusac.scoring.report.guard import guard_folders

    step(0.99, "comparing nucleus by nucleus")
    return guard_folders(
        truth,
        before=folders[1],
        after=folders[0],
        crops=crops,
        patients=patients,
        within_regions=within_regions,
        include_training=include_training,
        mapping=mapping,
    )


def _answer(result: Evaluation, guard: Guard | None, as_json: bool) -> None:
    from napari_monusac.cli.scores import print_guard, print_scores

    if as_json:
        answer_json(result if guard is None else {**plain(result), "guard": plain(guard)})
        return
    print_scores(result, f"{result.title}, pooled")
    if guard is not None:
        print_guard(guard)
