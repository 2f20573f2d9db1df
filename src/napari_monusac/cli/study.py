"""``study``: several recipes one after another on one split, and a table and a figure that compare them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from napari_monusac.cli.shell import (
    STOPPED,
    DeviceOption,
    Json,
    Patients,
    answer_json,
    complete_recipe,
    existing_folder,
    stop_on_signal,
    table,
    tell,
)
from napari_monusac.core.errors import RunError
from napari_monusac.core.recipe import load_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_monusac.core.recipe import TrainingRecipe
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import Split

_DEFAULT = ["run-3", "run-4", "run-8"]


def study(
    data: Annotated[Path, typer.Option("--data", help="Folder of labelled crops.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the runs, the table and the figure.")],
    recipes: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="A recipe; may be given several times. Default: run-3 run-4 run-8.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over every recipe; may be given several times.")
    ] = None,
    split: Annotated[Literal["patient", "official"], typer.Option("--split", help="One split for all.")] = "patient",
    patients: Patients = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the split.")] = 0,
    device: DeviceOption = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch.")] = None,
    as_json: Json = False,
) -> None:
    """Train several recipes on the same split, one after another, and compare them.

    Ctrl-C or SIGTERM saves the run at work, begins no other one, and ends with exit code 130. Started again, it goes
    on: finished runs are kept, an unfinished one is resumed.
    """
    from napari_monusac.cli.train import tell_split
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.splits import make_split

    existing_folder(data)
    chosen = {name: load_recipe(name).with_settings(settings or []) for name in recipes or _DEFAULT}
    names = _folder_names(list(chosen))
    out.mkdir(parents=True, exist_ok=True)
    common = make_split(open_collection(data, patients=patients), kind=split, seed=seed)
    tell_split(common)
    note = "stopping: the model is saved after this batch, no other run begins (Ctrl-C again ends at once)"
    with stop_on_signal(note) as asked:
        runs, failed = _train_all(chosen, names, data, out, common, device, threads, asked)
    rows = [_row(r) for r in runs]
    if as_json:
        answer_json({"split": common, "runs": rows, "table": out / "comparison.csv", "figure": out / "comparison.svg"})
    else:
        table("", list(rows[0]), [list(r.values()) for r in rows])
        tell("source_combo is what the source reports: another split, no target")
    if failed:
        raise typer.Exit(1)


def _train_all(
    chosen: dict[str, TrainingRecipe],
    names: dict[str, str],
    data: Path,
    out: Path,
    split: Split,
    device: str,
    threads: int | None,
    asked: Callable[[], bool],
) -> tuple[list[RunFolder], bool]:
    """Train one recipe after another; table and figure are written after each.

    Returns
    -------
    list of RunFolder, bool
        The runs, and whether one of them failed.

    Raises
    ------
    typer.Exit
        The study was stopped: the run at work is saved, the next one is not begun.
    """
    from napari_monusac.cli.train import follow

    runs: list[RunFolder] = []
    failed = False
    for name, recipe in chosen.items():
        if asked():
            _stopped()
        run = _run(out / names[name], data, split, recipe)
        runs.append(run)
        if run.status != "completed":
            tell(f"{name} ({len(runs)} of {len(chosen)})")
            end = follow(run, device=device, threads=threads, should_stop=asked)
            if end.reason == "failed":
                failed = True
                tell(f"{name} failed: {end.message}")
        _write(out, [_row(r) for r in runs], runs)
        if run.status == "stopped":
            _stopped()
    return runs, failed


def _stopped() -> NoReturn:
    tell("stopped; the same command goes on")
    raise typer.Exit(STOPPED)


def _folder_names(recipes: list[str]) -> dict[str, str]:
    names = {r: Path(r).stem if r.endswith(".toml") else r for r in recipes}
    if len(set(names.values())) < len(names):
        raise typer.BadParameter(f"two recipes of one name: {', '.join(recipes)}", param_hint="--recipe")
    return names


def _run(folder: Path, data: Path, split: Split, recipe: TrainingRecipe) -> RunFolder:
    """Make the run, or open the one that is there.

    Raises
    ------
    RunError
        It was made with another recipe or another split: the comparison would not be one.
    """
    from napari_monusac.io.runs.run_folder import RunFolder

    if not (folder / "run.json").is_file():
        return RunFolder.create(folder, data=data, split=split, recipe=recipe)
    run = RunFolder.open(folder)
    if run.recipe.fingerprint() != recipe.fingerprint():
        key, (now, then) = next(iter(recipe.changes(run.recipe).items()))
        raise RunError(folder, f"was made with {key} = {then!r}, not {now!r}", "choose another --out")
    if (run.split.training, run.split.validation) != (split.training, split.validation):
        raise RunError(folder, "was made with another split of the data", "choose another --out")
    return run


def _row(run: RunFolder) -> dict[str, Any]:
    epochs, best = run.epochs_and_best()
    scores = best.scores if best else None
    return {
        "recipe": run.path.name,
        "status": run.status,
        "combo": scores.combo if scores else None,
        "dice_inside": scores.dice_inside if scores else None,
        "dice_boundary": scores.dice_boundary if scores else None,
        "miou_macro": scores.miou_macro if scores else None,
        "miou_micro": scores.miou_micro if scores else None,
        "best_epoch": best.epoch if best else None,
        "steps": epochs[-1].step if epochs else 0,
        "minutes": round(sum(e.seconds for e in epochs) / 60, 1),
        "source_combo": run.recipe.reported.combo,
        "source_boundary_dice": run.recipe.reported.boundary_dice,
    }


def _write(out: Path, rows: list[dict[str, Any]], runs: list[RunFolder]) -> None:
    import csv
    import io

    from napari_monusac.core.files import atomic_write_text
    from napari_monusac.core.text import cell
    from napari_monusac.scoring.report.figures import curves_plot

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: cell(v) for k, v in row.items()} for row in rows)
    atomic_write_text(out / "comparison.csv", text.getvalue())
    lines = {r.path.name: [(e.step, e.scores.combo) for e in r.epochs()] for r in runs}
    boundary = {r.path.name: [(e.step, e.scores.dice_boundary or 0.0) for e in r.epochs()] for r in runs}
    atomic_write_text(out / "comparison.svg", curves_plot({"combo": lines, "Dice boundary": boundary}, "steps"))
