"""``review``: the Studio on a folder, with its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_monusac.cli.shell import existing_folder
from napari_monusac.cli.window import display_is_there, open_studio
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.settings import Environment


def review(
    folder: Annotated[Path, typer.Argument(help="A MoNuSAC folder.")],
    pred: Annotated[Path | None, typer.Option("--pred", help="Folder that `predict --out` wrote.")] = None,
) -> None:
    """Open the Studio on a folder, to compare its predictions with the truth. Ends when napari closes."""
    from napari_monusac.io.collection.collection import open_collection

    open_collection(existing_folder(folder))
    if pred is not None:
        existing_folder(pred)
    if not display_is_there():
        raise MonusacError("there is no display (DISPLAY is not set)", "run it on a desktop, or with xvfb-run -a")
    hints = Environment(panel="Review")
    if pred is not None:
        hints = Environment(panel="Review", predictions=pred.absolute())
    code = open_studio([folder.absolute()], hints, wait=True)
    if code:
        raise MonusacError(f"napari ended with code {code}", "see what it printed above")
