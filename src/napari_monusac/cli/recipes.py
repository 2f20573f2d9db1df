"""``recipes``: what can be trained."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from napari_monusac.cli.shell import Json, answer, answer_json, complete_recipe, table
from napari_monusac.core.recipe import TrainingRecipe, load_recipe, recipe_names, speaking_names

app = typer.Typer(help="List the recipes: the nine runs of the source, and ours.", invoke_without_command=True)


@app.callback()
def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes: the nine runs of the source, and ours."""
    if context.invoked_subcommand is not None:
        return
    found = [load_recipe(name) for name in recipe_names()]
    if as_json:
        answer_json({"recipes": [_described(r) for r in found]})
        return
    columns = ("name", "also", "encoder", "lr", "boundary", "schedule", "epochs", "source reports", "for what")
    rows = [
        (
            r.name,
            ", ".join(speaking_names(r.name)),
            r.encoder,
            f"{r.lr:g}",
            f"{r.boundary_width} px",
            r.schedule,
            r.epochs,
            _reported(r),
            r.title,
        )
        for r in found
    ]
    table("", columns, rows)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A recipe's name, or a .toml file.", autocompletion=complete_recipe)],
    as_json: Json = False,
) -> None:
    """Print one recipe, whole, as TOML: a file to start your own from."""
    recipe = load_recipe(name)
    if as_json:
        answer_json(_described(recipe))
    else:
        answer(recipe.to_toml())


def _described(recipe: TrainingRecipe) -> dict[str, Any]:
    return {**recipe.model_dump(mode="json"), "also": speaking_names(recipe.name), "fingerprint": recipe.fingerprint()}


def _reported(recipe: TrainingRecipe) -> str | None:
    """Combo as the source gives it: on another split, so a mark and no target."""
    if recipe.reported.combo is None:
        return None
    return ("~" if "combo" in recipe.reported.approximate else "") + f"{recipe.reported.combo:.3f}"
