"""``weights``: encoder weights of this machine, fetched where there is a network and carried to where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_monusac.cli.shell import Json, answer, answer_json, progress, table

if TYPE_CHECKING:
    from napari_monusac.network.weights_store import KeptWeights

app = typer.Typer(help="ImageNet weights of encoders: what is here, get them, import a file.", no_args_is_help=True)
_WORDS = {"imported": "kept here", "cache": "in the hub's cache", "missing": "not here"}


@app.command("list")
def list_weights(as_json: Json = False) -> None:
    """List the encoders that are offered, and whether their ImageNet weights are on this machine. Asks no network."""
    from napari_monusac.app.recipe_draft import ENCODERS
    from napari_monusac.network.weights_store import find_weights

    found = [find_weights(name) for name in ENCODERS]
    if as_json:
        answer_json({"weights": [_described(one) for one in found]})
        return
    rows = [
        (one.encoder, _WORDS[one.where], f"{one.bytes / 1e6:.0f} MB" if one.path else "", one.path or "")
        for one in found
    ]
    table("", ("encoder", "weights", "size", "file"), rows)


@app.command("get")
def get(
    encoder: Annotated[str, typer.Argument(help="Name of the encoder: resnet34, tu-tf_efficientnet_lite0, ...")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="A mirror laid out as the hub, the address of a weights file, or a file. Default: the hub."
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write them into this file, too: to carry to a machine without a network."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Get the ImageNet weights of an encoder, check that they fit, and keep them on this machine."""
    from napari_monusac.network.weights_store import find_weights, get_weights, write_weights

    kept = find_weights(encoder)
    if source or kept.path is None:
        with progress(1.0, f"getting the weights of {encoder}") as step:
            kept = get_weights(encoder, source, progress=lambda done, total: step(done / total if total else 0.0, ""))
    _told(kept, write_weights(kept, out) if out is not None else None, as_json=as_json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A weights file: .safetensors or .pth, of timm, torchvision or smp.")],
    encoder: Annotated[str, typer.Option("--encoder", help="The encoder that they belong to.")],
    as_json: Json = False,
) -> None:
    """Keep a file of weights as the ImageNet weights of an encoder, if they fit it. Asks no network."""
    from napari_monusac.network.weights_store import import_weights

    _told(import_weights(file, encoder), None, as_json=as_json)


def _described(kept: KeptWeights) -> dict[str, Any]:
    return {"encoder": kept.encoder, "where": kept.where, "path": kept.path, "bytes": kept.bytes}


def _told(kept: KeptWeights, copy: Path | None, *, as_json: bool) -> None:
    if as_json:
        answer_json({**_described(kept), "copy": copy})
        return
    answer(f"ImageNet weights of {kept.encoder}: {kept.path} ({kept.bytes / 1e6:.0f} MB)")
    if copy is not None:
        answer(f"copied to {copy}: there, napari-monusac weights import {copy.name} --encoder {kept.encoder}")
