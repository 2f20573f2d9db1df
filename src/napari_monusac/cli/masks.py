"""``masks``: boundary masks of a whole folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    from napari_monusac.jobs.maskfiles import write_folder_masks

    if boundary_width not in BOUNDARY_WIDTHS:
        raise typer.BadParameter(f"{boundary_width} is none of 1, 3, 5, 7 px", param_hint="--boundary-width")
    collection = open_collection(existing_folder(folder))
    with (
        stop_on_signal("stopping after this crop") as stopping,
        progress(len(collection.labelled), "masks") as step,
    ):
        masks = write_folder_masks(
            collection, out, boundary_width=boundary_width, within_regions=within_regions,
            progress=lambda done, _, name: step(done, name), should_stop=stopping,
        )  # fmt: skip
    for crop in masks.crops:
        for note in crop["notes"]:
            tell(f"{crop['crop']}: {note}")
    for _, error in masks.problems:
        tell(f"skipped: {one_line(error)}")
    if as_json:
        answer_json(
            {
                "out": out, "boundary_width": boundary_width, "within_regions": within_regions, "nuclei": masks.nuclei,
                "left_out": masks.left_out.counts(), "crops": masks.crops,
                "problems": [{"crop": crop, "message": str(error)} for crop, error in masks.problems],
            }
        )  # fmt: skip
    else:
        answer(
            f"{len(masks.crops)} crops, {masks.nuclei} nuclei, {boundary_width} px boundary: masks are in {out}; "
            f"{masks.left_out}"
        )
    if masks.problems:
        raise typer.Exit(1)
