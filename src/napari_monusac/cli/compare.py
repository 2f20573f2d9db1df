"""``compare``: models, or people, against each other, without truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_monusac.cli.shell import (
    Json,
    Patients,
    answer,
    answer_json,
    existing_folder,
    progress,
    stop_on_signal,
    tell,
)

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Crop
    from napari_monusac.scoring.report.agreement import Agreement, Consensus, PairOfRaters

#: Crops that are listed.
_SHOWN = 10


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Two folders or more: predictions of models, or annotations of readers under the names of the crops."
        ),
    ],
    images: Annotated[Path, typer.Option("--images", help="A folder of crops; its annotations are not used.")],
    consensus: Annotated[
        Path | None,
        typer.Option("--consensus", help="Write what more than half of them see, as Aperio XML, into this folder."),
    ] = None,
    class_mapping: Annotated[
        str | None,
        typer.Option(
            "--class-mapping",
            help="What the classes of other programs mean: a preset or a file; by default class_mapping.csv in each folder.",
        ),
    ] = None,
    crops: Annotated[
        list[str] | None, typer.Option("--crop", help="Only this crop; may be given several times.")
    ] = None,
    patients: Patients = None,
    as_json: Json = False,
) -> None:
    """Compare models, or readers, without truth: PQ, F1, kappa of each pair; the crops where they differ most first."""
    from napari_monusac.io.predictions.class_mapping import class_mapping_of
    from napari_monusac.scoring.report.agreement import compare_raters

    for folder in (images, *folders):
        existing_folder(folder)
    if len(folders) < 2:
        raise typer.BadParameter("give two folders or more", param_hint="FOLDERS")
    mapping = None if class_mapping is None else class_mapping_of(class_mapping)
    with stop_on_signal("stopping after this crop") as stopping, progress(1.0, "") as step:
        found = compare_raters(
            images,
            dict(zip(_names(folders), folders, strict=True)),
            crops=crops,
            patients=patients,
            mapping=mapping,
            progress=lambda done, total, name: step(done / max(1, total), f"comparing {name}"),
            should_stop=stopping,
            each=None if consensus is None else _writer(consensus),
        )
    for note in found.notes:
        tell(note)
    if as_json:
        answer_json(found)
    else:
        answer(_in_words(found))
    if consensus is not None:
        tell(f"what more than half of them see: {len(found.crops)} files in {consensus}")


def _names(folders: list[Path]) -> list[str]:
    """The last parts of the folders' paths, as many as tell them apart."""
    paths = [f.absolute() for f in folders]
    for depth in range(1, max(len(p.parts) for p in paths) + 1):
        names = ["/".join(p.parts[-depth:]) for p in paths]
        if len(set(names)) == len(names):
            return names
    raise typer.BadParameter("the same folder is given twice", param_hint="FOLDERS")


def _writer(out: Path) -> Callable[[Crop, Consensus, float | None], None]:
    from napari_monusac.io.outputs import NamesApart
    from napari_monusac.jobs.exports import annotation_of

    out.mkdir(parents=True, exist_ok=True)
    names = NamesApart(out)

    def write(crop: Crop, found: Consensus, um_per_px: float | None) -> None:
        from napari_monusac.io.annotations.files import write_annotation

        name = crop.name.replace("/", "_")
        names.take(name)
        write_annotation(annotation_of(found.instances, found.classes, um_per_px), out / f"{name}.xml")

    return write


def _in_words(found: Agreement) -> str:
    lines = [_of_pair(pair) for pair in found.pairs]
    if found.fleiss_kappa is not None:
        lines.append(f"all {len(found.raters)}: Fleiss' kappa of the classes {found.fleiss_kappa:.3f}")
    lines += ["", "crops, the most disputed nuclei first (outlined by some only, or of another class):"]
    lines += [
        f"  {c.disputed:5d} of {c.nuclei:5d}  {c.crop}" + ("" if c.pq is None else f"  (PQ {c.pq:.3f})")
        for c in found.crops[:_SHOWN]
    ]
    if len(found.crops) > _SHOWN:
        lines.append(f"  and {len(found.crops) - _SHOWN} more (--json lists all)")
    return "\n".join(lines)


def _of_pair(pair: PairOfRaters) -> str:
    def told(value: float | None, interval: object) -> str:
        low, high = getattr(interval, "low", None), getattr(interval, "high", None)
        return "undefined" if value is None else f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")

    return (
        f"{pair.first} and {pair.second}: PQ {told(pair.pq, pair.pq_interval)}, F1 {told(pair.f1, None)}, kappa of the classes "
        f"{told(pair.kappa, pair.kappa_interval)}; {pair.matched} nuclei in common, of {pair.nuclei_first} and "
        f"{pair.nuclei_second}, in {pair.crops} crops"
    )
