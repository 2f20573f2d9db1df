"""``demo``: the whole way on synthetic tissue, in about three minutes on two CPU cores."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_monusac.cli.shell import DeviceOption, Json, answer, answer_json, tell
from napari_monusac.core.errors import FileProblem, TrainingError
from napari_monusac.core.recipe import TrainingRecipe, load_recipe
from napari_monusac.core.settings import Environment

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop
    from napari_monusac.io.runs.run_folder import RunFolder

#: Many short epochs: the schedule moves by epochs, and the first one only warms up.
_EPOCHS, _FEWEST_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 12, 2, 2, 50
#: With fewer steps than this the network has learnt next to nothing, and the demo says why.
_USEFUL_STEPS = 150
#: How many times as long as asked for training may take on a slow machine, to come to that many.
_PATIENCE = 4
_PATIENTS, _CROPS, _SHAPE, _SEED = 8, 1, (512, 512), 46


def demo(
    no_gui: Annotated[bool, typer.Option("--no-gui", help="Do not open the Studio at the end.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for everything; by default a new temporary one.")
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0.05, help="About how long to train.")] = 2.0,
    device: DeviceOption = "auto",
    as_json: Json = False,
) -> None:
    """Make synthetic tissue, train on it for two minutes, predict a crop of a patient never seen, score it, show it.

    Nothing is downloaded. Synthetic tissue is easier than the real thing: its scores say that the program works, no
    more.
    """
    from napari_monusac.cli.scores import print_scores
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.scoring.report.folders import evaluate_folders
    from napari_monusac.scoring.report.html import write_report

    began = time.monotonic()
    root = out if out is not None else Path(tempfile.mkdtemp(prefix="monusac-demo-"))
    training, unseen = _tissue(root)
    run = _train(root, training, minutes, device)
    collection = open_collection(unseen)
    crop, stored = collection.labelled[0], root / "predictions"
    _predict(collection, crop, run, device, stored)
    evaluation = evaluate_folders(unseen, stored)
    picture, report = root / "overlay.png", root / "report.html"
    _draw(unseen, stored, picture)
    write_report(evaluation, report, title="Demo: synthetic tissue")
    seconds = time.monotonic() - began
    if as_json:
        files = {"image": crop.image, "overlay": picture, "report": report, "predictions": stored}
        answer_json({"out": root, "run": run.path, **files, "seconds": round(seconds, 1), "evaluation": evaluation})
    else:
        print_scores(evaluation, f"Nuclei of {crop.name}, a patient that training has not seen")
        answer(f"Done in {seconds / 60:.1f} minutes. Look at {picture}\nand {report}; everything is in {root}")
    if not no_gui:
        _show(crop, run, stored)


def _tissue(root: Path) -> tuple[Path, Path]:
    """Write the training collection and one patient apart from it (kept from a former demo in the same folder)."""
    from napari_monusac.synth.collection import write_collection

    training, unseen = root / "tissue", root / "unseen patient"
    if not training.is_dir():
        tell(f"making synthetic tissue of {_PATIENTS} patients in {root}")
        write_collection(training, _PATIENTS, _CROPS, _SEED, shape=_SHAPE)
    if not unseen.is_dir():
        write_collection(unseen, 1, 1, _SEED + 1000, shape=_SHAPE, first_patient=_PATIENTS + 1)
    return training, unseen


def _recipe(data: Path, minutes: float, device: str) -> TrainingRecipe:
    """Fit recipe `quick` to this machine: as many steps as the time allows, so that its schedule ends in time."""
    from napari_monusac.io.runs.run_folder import make_run
    from napari_monusac.learn.dryrun import dry_run

    quick = load_recipe("quick")
    with tempfile.TemporaryDirectory() as folder:
        found = dry_run(quick, make_run(data, quick, Path(folder) / "check"), device=device)
    if found.problems:
        raise TrainingError(f"the demo cannot train here: {found.problems[0]}")
    step, validation = found.seconds_per_step or 1.0, found.seconds_per_validation or 1.0
    for epochs in (_EPOCHS, max(_FEWEST_EPOCHS, _EPOCHS // 2), max(_FEWEST_EPOCHS, _EPOCHS // 4)):
        steps = int((60 * minutes / epochs - validation) / step)
        # fewer epochs where validation would eat the time of a slow machine
        if steps >= _MOST_STEPS // 4:
            break
    # on a slow or busy machine it may take longer than was asked for, but not for ever: a demo that has learnt
    # nothing shows nothing
    longest = int((60 * _PATIENCE * minutes / epochs - validation) / step)
    steps = max(steps, min(_USEFUL_STEPS // epochs, longest), _FEWEST_STEPS)
    seconds = epochs * (steps * step + validation)
    if seconds > max(60, 90 * minutes):
        tell(f"this machine is slow or busy: training will take about {seconds / 60:.0f} minutes")
    return quick.with_values(epochs=epochs, steps_per_epoch=min(steps, _MOST_STEPS))


def _train(root: Path, data: Path, minutes: float, device: str) -> RunFolder:
    from napari_monusac.cli.train import follow, tell_split
    from napari_monusac.io.runs.run_folder import make_run, new_run_name

    tell("measuring how fast this machine trains")
    recipe = _recipe(data, minutes, device)
    run = make_run(data, recipe, root / "runs" / new_run_name(recipe.name))
    tell_split(run.split)
    tell(f"training recipe {recipe.name} for about {minutes:g} minutes (Ctrl-C stops and goes on with what is learnt)")
    # A machine that grows slower than it was when it was measured stops in time and uses what it has.
    until = time.monotonic() + 60 * (_PATIENCE + 1) * minutes + 20
    end = follow(run, device=device, should_stop=lambda: time.monotonic() > until)
    if end.reason == "failed":
        raise TrainingError(f"{run.path}: training failed: {end.message}")
    steps = max((e.step for e in run.read_events() if e.kind == "epoch-ended"), default=0)
    if steps < _USEFUL_STEPS:
        tell(
            f"only {steps} training steps fitted in (this machine is slow or busy): expect poor scores; "
            f"`napari-monusac demo --minutes {max(10, round(5 * minutes))}` trains longer"
        )
    return run


def _predict(collection: Collection, crop: Crop, run: RunFolder, device: str, stored: Path) -> None:
    from napari_monusac.infer.crop import predict_crop

    tell(f"predicting {crop.name}, a patient that training has not seen")
    with collection.open(crop) as slide:
        predict_crop(
            slide,
            run.best if run.best.is_file() else run.last,
            stored / f"{crop.name}.zarr",
            device=device,
            overwrite=True,
        )


def _draw(truth: Path, stored: Path, picture: Path) -> None:
    """Save truth and prediction side by side."""
    from napari_monusac.cli.overlay import overlay_picture, save_png
    from napari_monusac.scoring.report.folders import folder_pairs

    pair = next(iter(folder_pairs(truth, stored)))
    if pair.pixels is None:
        raise FileProblem(truth, "has no image", "start the demo in a new folder")
    image = pair.pixels()
    save_png(overlay_picture(image, pair.truth, pair.truth_classes, pair.prediction, pair.prediction_classes), picture)


def _show(crop: Crop, run: RunFolder, stored: Path) -> None:
    from napari_monusac.cli.window import display_is_there, open_studio

    if not display_is_there():
        tell("no display here: on a desktop the Studio would open on this crop now")
        return
    tell("opening the Studio (it goes on by itself; close its window to end it)")
    hints = Environment(runs=run.path.parent, predictions=stored, panel="Review")
    open_studio([crop.image], hints, wait=False)
