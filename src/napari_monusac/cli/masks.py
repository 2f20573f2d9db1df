"""``masks``: boundary masks of a whole folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_monusac.cli.shell import (
    Json,
    answer,
    answer_json,
    existing_folder,
    one_line,
    progress,
    stop_on_signal,
    tell,
)
from napari_monusac.core.errors import Cancelled, CollectionError, MonusacError
from napari_monusac.core.recipe import BOUNDARY_WIDTHS


def masks(
    folder: Annotated[Path, typer.Argument(help="A MoNuSAC folder: a root, both roots, one patient, or flat.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the masks, one folder a patient.")],
    boundary_width: Annotated[int, typer.Option("--boundary-width", help="1, 3, 5 or 7 px.")] = 3,
    within_regions: Annotated[
        bool, typer.Option("--within-regions", help="Leave out what lies outside the regions of interest.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write instances, semantic and ternary masks of every labelled crop as .tif.

    Says what is in no mask: nuclei outside the image, outlines of fewer than three vertices, regions of interest ... A
    crop that cannot be read is reported and the rest go on; the exit code is then 1.
    """
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.outputs import NamesApart, refuse_inside
    from napari_monusac.jobs.maskfiles import write_crop_masks
    from napari_monusac.masks.left_out import LeftOut

    if boundary_width not in BOUNDARY_WIDTHS:
        raise typer.BadParameter(f"{boundary_width} is none of 1, 3, 5, 7 px", param_hint="--boundary-width")
    collection = open_collection(existing_folder(folder))
    refuse_inside(out, folder, "masks")
    todo = collection.labelled
    if not todo:
        raise CollectionError(folder, "holds no annotated crop", "put the .xml files beside the images")
    out.mkdir(parents=True, exist_ok=True)
    names, written = NamesApart(out), list[dict[str, Any]]()
    problems: list[dict[str, str]] = []
    with stop_on_signal("stopping after this crop") as stopping, progress(len(todo), "masks") as step:
        for i, crop in enumerate(todo):
            if stopping():
                raise Cancelled(f"{i} of {len(todo)} crops are written to {out}")
            step(i, crop.name)
            try:
                names.take(crop.name)
                written.append(
                    write_crop_masks(
                        collection, crop, out, boundary_width=boundary_width, within_regions=within_regions
                    )
                )
                for note in written[-1]["notes"]:
                    tell(f"{crop.name}: {note}")
            except MonusacError as error:
                problems.append({"crop": crop.name, "message": str(error)})
                tell(f"skipped: {one_line(error)}")
        step(len(todo), "")
    nuclei, left_out = (
        sum(sum(w["nuclei"].values()) for w in written),
        LeftOut.sum(LeftOut(**w["left_out"]) for w in written),
    )
    if as_json:
        answer_json(
            {
                "out": out, "boundary_width": boundary_width, "within_regions": within_regions, "nuclei": nuclei,
                "left_out": left_out.counts(), "crops": written, "problems": problems,
            }
        )  # fmt: skip
    else:
        answer(f"{len(written)} crops, {nuclei} nuclei, {boundary_width} px boundary: masks are in {out}; {left_out}")
    if problems:
        raise typer.Exit(1)
