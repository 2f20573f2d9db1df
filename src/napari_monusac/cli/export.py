"""``export``: nuclei for other programs, and a model for deployment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_monusac.cli.shell import Json, answer, answer_json, progress, stop_on_signal, tell
from napari_monusac.core.errors import Cancelled

if TYPE_CHECKING:
    from napari_monusac.jobs.exports import Exportable

_MODEL = ("onnx", "bioimageio", "card")


def export(
    source: Annotated[
        Path,
        typer.Argument(
            help="A prediction (.zarr), a folder of them, an annotation, a folder of crops; for onnx, bioimageio, card a model."
        ),
    ],
    to: Annotated[
        Literal["geojson", "aperio", "coco", "csv", "tif", "mat", "onnx", "bioimageio", "card"],
        typer.Option(
            "--to", help="What to write; of a model: onnx, bioimageio (a package of the Model Zoo), card (Markdown)."
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
        files, count = _nuclei(source, to, out, parent)
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


def _nuclei(source: Path, to: str, out: Path, parent: bool) -> tuple[list[Path], int]:
    from napari_monusac.io.outputs import NamesApart
    from napari_monusac.jobs.exports import exportables

    _refuse_data_folder(source, out)
    out.mkdir(parents=True, exist_ok=True)
    names, files = NamesApart(out), list[Path]()
    held: list[Exportable] = []
    count = 0
    with stop_on_signal("stopping after this image") as stopping, progress(float("inf"), "exporting") as step:
        for item in exportables(source):
            if stopping():
                raise Cancelled(f"{count} images are written to {out}")
            step(count, item.name)
            names.take(item.name)
            for note in item.annotation.notes:
                tell(f"{item.name}: {note}")
            if to == "coco":
                held.append(item)
            else:
                files += _write(item, to, out, parent)
            count += 1
    if held:
        files.append(_write_coco(held, out / "nuclei.coco.json"))
    return files, count


def _refuse_data_folder(source: Path, out: Path) -> None:
    """Refuse to write what was exported among the crops that it comes from.

    Raises
    ------
    CollectionError
        `out` lies in the folder of crops.
    """
    from napari_monusac.io.collection.folders import is_collection
    from napari_monusac.io.outputs import refuse_inside

    if source.is_dir() and source.suffix != ".zarr" and is_collection(source):
        refuse_inside(out, source, "exported nuclei")


def _write(item: Exportable, to: str, out: Path, parent: bool) -> list[Path]:
    """Write one image's nuclei; what a format cannot hold is told."""
    from napari_monusac.jobs.exports import shifted

    path = out / f"{item.name}.{ {'geojson': 'geojson', 'aperio': 'xml', 'csv': 'csv'}.get(to, '') }"
    if to in {"geojson", "aperio"}:
        from napari_monusac.io.annotations.files import what_is_left_out, write_annotation

        left_out = write_annotation(shifted(item) if parent else item.annotation, path)
        if left_out:
            tell(f"{item.name}: left out: {what_is_left_out(left_out)}")
        return [path]
    if to == "csv":
        from napari_monusac.io.tables import nuclei_table, write_table

        pixels = item.pixels() if item.pixels is not None else None
        table = nuclei_table(
            item.instances, item.classes, confidence=item.confidence, um_per_px=item.um_per_px, image=pixels
        )
        write_table(table, path)
        return [path]
    if to == "tif":
        from napari_monusac.io.predictions.maskfiles import write_masks

        return list(write_masks(out, item.name, {"instances": item.instances, **item.maps}, item.um_per_px).values())
    from napari_monusac.io.predictions.nary import nary_maps, write_nary

    maps, without = nary_maps(item.instances, item.classes, item.ignore)
    if without:
        tell(f"{item.name}: {len(without)} regions left out (no class)")
    return list(write_nary(out, item.patient, item.name, maps))


def _write_coco(items: list[Exportable], path: Path) -> Path:
    from napari_monusac.io.annotations.coco import CocoImage, write_coco
    from napari_monusac.io.annotations.files import what_is_left_out

    images = [CocoImage(f"{i.name}.tif", i.shape, i.annotation) for i in items]
    left_out = write_coco(images, path)
    if left_out:
        tell(f"left out: {what_is_left_out(left_out)}")
    return path
