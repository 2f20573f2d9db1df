"""``export``: nuclei for other programs, and a model for deployment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from napari_monusac.cli.shell import Json, answer, answer_json, progress, stop_on_signal, tell

if TYPE_CHECKING:
    from napari_monusac.jobs.exports import ExportFormat

_MODEL = ("onnx", "bioimageio", "card")


def export(
    source: Annotated[
        Path,
        typer.Argument(
            help="A prediction (.zarr), a folder of them, an annotation, a folder of crops; for onnx, bioimageio, card a model."
        ),
    ],
    to: Annotated[
        Literal["geojson", "aperio", "coco", "csv", "table", "tif", "mat", "onnx", "bioimageio", "card"],
        typer.Option(
            "--to",
            help="What to write (csv: a table an image, table: one of all); of a model: onnx, bioimageio (a package of the "
            "Model Zoo), card (Markdown).",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
    parent: Annotated[
        bool,
        typer.Option(
            "--parent", help="geojson, aperio: coordinates of the parent slide, for QuPath on the whole slide."
        ),
    ] = False,
    author: Annotated[
        list[str] | None, typer.Option("--author", help="bioimageio: who made the model; may be given several times.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write nuclei as GeoJSON, Aperio XML, COCO, CSV, label .tif or the challenge's .mat; a model as ONNX, package, card."""
    if author and to != "bioimageio":
        raise typer.BadParameter("only with --to bioimageio", param_hint="--author")
    if to in _MODEL:
        files = _model(source, to, out, author or [])
        count = 1
    else:
        if parent and to not in {"geojson", "aperio"}:
            raise typer.BadParameter("only with --to geojson or aperio", param_hint="--parent")
        files, count = _nuclei(source, cast("ExportFormat", to), out, parent)
    if as_json:
        answer_json({"to": to, "out": out, "files": files})
    else:
        answer(f"{count} {'models' if to in _MODEL else 'images'}: {len(files)} files in {out}")


def _model(source: Path, to: str, out: Path, authors: list[str]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    name = source.stem if source.is_file() else source.absolute().name
    if to == "onnx":
        return _onnx(source, out / f"{name}.onnx")
    if to == "card":
        return _card(source, out / f"{name}.md")
    from napari_monusac.infer.bioimageio import export_bioimageio

    return [export_bioimageio(source, out / f"{name}.zip", authors=authors)]


def _onnx(source: Path, path: Path) -> list[Path]:
    from napari_monusac.infer.export import export_onnx

    report = export_onnx(source, path)
    if report.difference is None:
        tell("not compared with torch: ONNX Runtime is not installed (pip install onnxruntime)")
    else:
        tell(f"largest difference from torch: {report.difference:.1e} of a probability")
    return [report.path]


def _card(source: Path, path: Path) -> list[Path]:
    from napari_monusac.core.files import atomic_write_text
    from napari_monusac.infer.model_card import model_card
    from napari_monusac.network.checkpoint import load_checkpoint

    atomic_write_text(path, model_card(load_checkpoint(source)))
    return [path]


def _nuclei(source: Path, to: ExportFormat, out: Path, parent: bool) -> tuple[list[Path], int]:
    from napari_monusac.jobs.exports import export_nuclei

    with stop_on_signal("stopping after this image") as stopping, progress(float("inf"), "exporting") as step:
        done = export_nuclei(source, to, out, parent=parent, tell=tell, begun=step, should_stop=stopping)
    return done.files, done.images
