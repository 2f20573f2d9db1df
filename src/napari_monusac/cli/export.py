"""``export``: nuclei for other programs, and a model for deployment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_monusac.cli.shell import Json, answer, answer_json, progress, stop_on_signal, tell

if TYPE_CHECKING:
    from napari_monusac.jobs.exports import ExportFormat


def export(
    source: Annotated[
        Path,
        typer.Argument(
            help="A prediction (.zarr), a folder of them, an annotation, a folder of crops; for onnx a model."
        ),
    ],
    to: Annotated[
        Literal["geojson", "aperio", "coco", "csv", "table", "tif", "mat", "onnx"],
        typer.Option("--to", help="What to write."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
    parent: Annotated[
        bool,
        typer.Option(
            "--parent", help="geojson, aperio: coordinates of the parent slide, for QuPath on the whole slide."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write nuclei as QuPath GeoJSON, Aperio XML, COCO, CSV (csv: a table an image, table: one of all), label .tif or the challenge's .mat; a model as ONNX."""
    if to == "onnx":
        files = _onnx(source, out)
        count = 1
    else:
        if parent and to not in {"geojson", "aperio"}:
            raise typer.BadParameter("only with --to geojson or aperio", param_hint="--parent")
        files, count = _nuclei(source, to, out, parent)
    if as_json:
        answer_json({"to": to, "out": out, "files": files})
    else:
        answer(f"{count} {'models' if to == 'onnx' else 'images'}: {len(files)} files in {out}")


def _onnx(source: Path, out: Path) -> list[Path]:
    from napari_monusac.infer.export import export_onnx

    out.mkdir(parents=True, exist_ok=True)
    name = source.stem if source.is_file() else source.absolute().name
    report = export_onnx(source, out / f"{name}.onnx")
    if report.difference is None:
        tell("not compared with torch: ONNX Runtime is not installed (pip install onnxruntime)")
    else:
        tell(f"largest difference from torch: {report.difference:.1e} of a probability")
    return [report.path]


def _nuclei(source: Path, to: ExportFormat, out: Path, parent: bool) -> tuple[list[Path], int]:
    from napari_monusac.jobs.exports import export_nuclei

    with stop_on_signal("stopping after this image") as stopping, progress(float("inf"), "exporting") as step:
        done = export_nuclei(source, to, out, parent=parent, tell=tell, begun=step, should_stop=stopping)
    return done.files, done.images
