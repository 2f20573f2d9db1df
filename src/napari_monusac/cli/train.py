"""``train``: one run, from a folder and a recipe; also as the child of a dock and under torchrun."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_monusac.cli.shell import (
    STOPPED,
    DeviceOption,
    Json,
    Patients,
    answer,
    answer_json,
    complete_recipe,
    existing_folder,
    plain,
    progress,
    stop_on_signal,
    tell,
)
from napari_monusac.core.errors import RunError, TrainingError
from napari_monusac.core.events import RunEnded

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import Split, SplitKind

#: How long the other ranks wait for rank 0 to make the run folder, seconds.
_WAIT_S = 300.0


def train(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of labelled crops. A resumed run knows its own.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="A recipe's name, or a .toml file.", autocompletion=complete_recipe)
    ] = "run-8",
    run: Annotated[
        Path | None, typer.Option("--run", "--run-folder", help="Run folder; new, or with --resume an existing one.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the recipe; may be given several times.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --run stopped; start it where there is none.")
    ] = False,
    split: Annotated[
        Literal["patient", "official"],
        typer.Option("--split", help="By patient within --data, or the two official lists."),
    ] = "patient",
    patients: Patients = None,
    device: DeviceOption = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try everything once, estimate time and memory, and end. Makes no run.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves for TensorBoard into the run folder, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train the dual-head U-Net.

    Ctrl-C (or SIGTERM, or a file `stop` in the run folder) saves the model within one batch and ends with exit code
    130; `train --resume --run DIR` goes on from there.

    On several GPUs or machines: `torchrun --nproc-per-node=N -m napari_monusac train --run-folder DIR ...` (torchrun
    takes `--run` for an option of its own).
    """
    if dry_run:
        _dry_run(data, recipe, settings or [], split, device, patients, as_json=as_json)
        return
    folder = _run_path(run, recipe, resume)
    run_folder = _opened(folder, data, settings or [], patients) if resume and _is_run(folder) else None
    if run_folder is None:
        run_folder = _made(folder, data, recipe, settings or [], split, patients)
    end = follow(run_folder, device=device, threads=threads, tensorboard=tensorboard)
    if not _is_first_rank():
        raise typer.Exit({"completed": 0, "stopped": STOPPED}.get(end.reason, 1))
    report(run_folder, end, as_json=as_json)


def follow(
    run: RunFolder,
    *,
    device: str = "auto",
    threads: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    tensorboard: bool = False,
) -> RunEnded:
    """Train a run to its end with progress on stderr, and give back how it ended.

    Ctrl-C becomes a wish to stop: the loop saves and ends by itself.
    """
    from napari_monusac.cli.console import console_sink
    from napari_monusac.jobs.sinks import played, tensorboard_of
    from napari_monusac.learn.loop import train as train_events

    end = RunEnded(reason="failed", message="the run ended without a word")
    with stop_on_signal("stopping: the model is saved after this batch (Ctrl-C again ends at once)") as asked:

        def stop() -> bool:
            return asked() or (should_stop is not None and should_stop())

        shown = console_sink(run, quiet=not _is_first_rank())
        more = tensorboard_of(run, wanted=tensorboard and _is_first_rank())
        for event in played(train_events(run.recipe, run, stop, device=device, threads=threads), shown, *more):
            if isinstance(event, RunEnded):
                end = event
    return end


def report(run: RunFolder, end: RunEnded, *, as_json: bool) -> None:
    """Say how a run ended.

    Raises
    ------
    TrainingError
        It failed.
    typer.Exit
        It was stopped.
    """
    if as_json:
        scores = next((e.scores for e in reversed(run.epochs()) if e.epoch == end.best_epoch), None)
        answer_json(
            {
                "run": run.path,
                "reason": end.reason,
                "message": end.message,
                "epoch": end.epoch,
                "step": end.step,
                "best_combo": end.best_combo,
                "best_epoch": end.best_epoch,
                "scores": scores,
                "best": run.best if run.best.is_file() else None,
                "last": run.last if run.last.is_file() else None,
                "recipe": run.recipe.name,
                "fingerprint": run.recipe.fingerprint(),
            }
        )
    if end.reason == "failed":
        raise TrainingError(f"{run.path}: training failed: {end.message}")
    if not as_json:
        best = (
            f"best combo {end.best_combo:.3f} in epoch {end.best_epoch}"
            if end.best_combo is not None
            else "no epoch finished"
        )
        answer(f"{end.reason}: {best}, {end.step} steps; the run is in {run.path}")
    if end.reason == "stopped":
        tell(f"go on with: napari-monusac train --resume --run {run.path}")
        raise typer.Exit(STOPPED)


def _dry_run(
    data: Path | None,
    recipe: str,
    settings: list[str],
    split: SplitKind,
    device: str,
    patients: Path | None,
    *,
    as_json: bool,
) -> None:
    """Try the run in a folder that is thrown away.

    Raises
    ------
    TrainingError
        It cannot start.
    """
    import tempfile

    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.io.runs.run_folder import make_run
    from napari_monusac.learn.dryrun import dry_run

    if data is None:
        raise typer.BadParameter("name the folder of labelled crops", param_hint="--data")
    chosen = load_recipe(recipe).with_settings(settings)
    with tempfile.TemporaryDirectory() as folder, stop_on_signal("stopping") as stopping, progress(1.0, "") as step:
        run = make_run(existing_folder(data), chosen, Path(folder) / "check", kind=split, patients=patients)
        tell_split(run.split)
        found = dry_run(chosen, run, device=device, progress=step, should_stop=stopping)
    if as_json:
        grouping = {k: getattr(run.split, k) for k in ("grouping", "patient_sources", "guessed_patients")}
        answer_json({**plain(found), **grouping})
    else:
        answer(f"{run.split.grouping}.\n{found.summary()}")
    if found.problems:
        raise TrainingError(f"the run cannot start: {found.problems[0]}", "mend the data, or choose another recipe")


def _run_path(run: Path | None, recipe: str, resume: bool) -> Path:
    if run is not None:
        return run
    if resume or _ranks() > 1:
        raise typer.BadParameter("name the run folder", param_hint="--run")
    from napari_monusac.io.runs.run_folder import new_run_name

    return Path("runs") / new_run_name(Path(recipe).stem)


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def _opened(folder: Path, data: Path | None, settings: list[str], patients: Path | None) -> RunFolder:
    """Open the run that is to be resumed; its own data, split and recipe hold, with the ``--set`` values over it."""
    from napari_monusac.io.runs.run_folder import RunFolder

    run = RunFolder.open(folder)
    if patients is not None:
        raise RunError(folder, "keeps the split that it began with", "leave --patients out, or start a new run")
    if data is not None and data.expanduser().resolve() != run.data.resolve():
        raise RunError(folder, f"was made on {run.data}, not on {data}", "leave --data out, or start a new run")
    if settings:
        run.recipe = run.recipe.with_settings(settings)
    return run


def _made(
    folder: Path, data: Path | None, recipe: str, settings: list[str], split: SplitKind, patients: Path | None
) -> RunFolder:
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.io.runs.run_folder import make_run

    if data is None:
        raise typer.BadParameter("name the folder of labelled crops", param_hint="--data")
    existing_folder(data)
    chosen = load_recipe(recipe).with_settings(settings)
    if not _is_first_rank():
        return _made_by_first_rank(folder)
    run = make_run(data, chosen, folder, kind=split, patients=patients)
    tell_split(run.split)
    return run


def tell_split(split: Split) -> None:
    """Tell on stderr how the crops of a run fall into patients and what else should be known."""
    tell(split.grouping)
    for note in split.notes:
        tell(f"note: {note}")


def _made_by_first_rank(folder: Path) -> RunFolder:
    from napari_monusac.io.runs.run_folder import RunFolder

    until = time.monotonic() + _WAIT_S
    while not _is_run(folder):
        if time.monotonic() > until:
            raise RunError(folder, "was not made by rank 0", "use a folder that all machines see")
        time.sleep(0.2)
    return RunFolder.open(folder)


def _ranks() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _is_first_rank() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
