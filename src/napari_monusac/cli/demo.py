"""``demo``: the whole way on synthetic tissue, in about three minutes on two CPU cores."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_monusac.cli.shell import STOPPED, Device, Json, answer, answer_json, tell
from napari_monusac.core.errors import TrainingError
from napari_monusac.core.recipe import TrainingRecipe, load_recipe

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.io.collection import Collection, Crop
    from napari_monusac.io.runs import RunFolder
    from napari_monusac.masks.instances import Nuclei
    from napari_monusac.scoring.evaluation import Evaluation
    from napari_monusac.scoring.pairs import CropPair

#: Length that the recipe `quick` is made for, on two CPU cores.
_QUICK_MINUTES = 2.0
_PATIENTS, _CROPS, _SHAPE, _SEED = 5, 2, (512, 512), 46


def demo(
    no_gui: Annotated[bool, typer.Option("--no-gui", help="Do not open the Studio at the end.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for everything; by default a new temporary one.")
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0.05, help="About how long to train.")] = _QUICK_MINUTES,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Make synthetic tissue, train on it for two minutes, predict a crop of a patient never seen, score it, show it.

    Nothing is downloaded. Synthetic tissue is easier than the real thing: its scores say that the program works, no
    more.
    """
    from napari_monusac.cli.scores import print_scores

    began = time.monotonic()
    root = out if out is not None else Path(tempfile.mkdtemp(prefix="monusac-demo-"))
    training, unseen = _tissue(root)
    run = _train(root, training, minutes, device)
    collection, crop = _held_out(unseen)
    prediction, nuclei, pair = _predict(collection, crop, run, device)
    evaluation = _score(pair)
    picture, stored = root / "overlay.png", root / "predictions"
    _save(collection, crop, pair, prediction, nuclei, picture, stored)
    seconds = time.monotonic() - began
    if as_json:
        answer_json(
            {
                "out": root,
                "run": run.path,
                "image": crop.image,
                "overlay": picture,
                "prediction": stored,
                "seconds": round(seconds, 1),
                "evaluation": evaluation,
            }
        )
    else:
        print_scores(evaluation, f"Nuclei of {crop.name}, a patient that training has not seen")
        answer(f"\nDone in {seconds / 60:.1f} minutes. Look at {picture}; everything is in {root}")
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
        write_collection(unseen, 1, 1, _SEED + 1000, shape=_SHAPE)
    return training, unseen


def _recipe(minutes: float) -> TrainingRecipe:
    """Scale recipe `quick` to the time there is: fewer or more epochs, and below one epoch fewer steps."""
    quick = load_recipe("quick")
    epochs = quick.epochs * minutes / _QUICK_MINUTES
    if epochs >= 2:
        return quick.with_values(epochs=round(epochs))
    steps = max(1, round((quick.steps_per_epoch or 20) * epochs / 2))
    return quick.with_values(epochs=2, steps_per_epoch=steps)


def _train(root: Path, data: Path, minutes: float, device: str) -> RunFolder:
    from napari_monusac.cli.train import follow, make_run

    recipe = _recipe(minutes)
    run = make_run(root / "runs" / time.strftime("%Y-%m-%d-%H%M%S"), data, recipe)
    tell(f"training recipe {recipe.name} for about {minutes:g} minutes (Ctrl-C stops and goes on with what is learnt)")
    # A machine much slower than the one the recipe was measured on stops in time and uses what it has.
    until = time.monotonic() + 2.5 * 60 * max(minutes, 0.5)
    end = follow(run, device=device, should_stop=lambda: time.monotonic() > until)
    if end.reason == "failed":
        raise TrainingError(f"{run.path}: training failed: {end.message}")
    if not run.best.is_file() and not run.last.is_file():
        raise typer.Exit(STOPPED)
    return run


def _held_out(folder: Path) -> tuple[Collection, Crop]:
    from napari_monusac.io.collection import open_collection

    collection = open_collection(folder)
    return collection, collection.labelled[0]


def _predict(collection: Collection, crop: Crop, run: RunFolder, device: str) -> tuple[Prediction, Nuclei, CropPair]:
    from napari_monusac.infer.predict import predict
    from napari_monusac.masks.instances import instances_from_maps
    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.scoring.pairs import CropPair

    tell(f"predicting {crop.name}, a patient that training has not seen")
    with collection.open(crop) as slide:
        prediction = predict(slide, run.best if run.best.is_file() else run.last, device=device)
        um_per_px = slide.um_per_px
    nuclei = instances_from_maps(
        prediction.semantic, prediction.ternary, boundary_width=prediction.boundary_width, um_per_px=um_per_px
    )
    annotation = collection.annotation(crop)
    truth = label_maps(annotation, prediction.shape)
    pair = CropPair(
        crop=crop.name,
        patient=crop.patient,
        truth=truth.instances,
        truth_classes={i: int(n.nucleus_class) for i, n in enumerate(annotation.nuclei, 1)},
        prediction=nuclei.instances,
        prediction_classes={
            int(i): int(c) for i, c in zip(nuclei.table["label"], nuclei.table["class_id"], strict=True)
        },
        confidence={int(i): float(c) for i, c in zip(nuclei.table["label"], nuclei.table["confidence"], strict=True)},
        um_per_px=um_per_px,
        semantic=prediction.semantic_map,
        ternary=prediction.ternary_map,
        truth_file=crop.annotation,
    )
    return prediction, nuclei, pair


def _score(pair: CropPair) -> Evaluation:
    from napari_monusac.scoring.report import evaluate

    return evaluate(pair)


def _save(
    collection: Collection,
    crop: Crop,
    pair: CropPair,
    prediction: Prediction,
    nuclei: Nuclei,
    picture: Path,
    stored: Path,
) -> None:
    from napari_monusac.cli.overlay import overlay_picture, save_png
    from napari_monusac.io.store import write_prediction

    with collection.open(crop) as slide:
        image = slide.read(0, 0, *slide.shape)
    both = overlay_picture(image, pair.truth, pair.truth_classes, pair.prediction, pair.prediction_classes)
    save_png(both, picture)
    path = stored / f"{crop.name}.zarr"
    write_prediction(prediction, path, instances=nuclei.instances, table=nuclei.table, image=str(crop.image))


def _show(crop: Crop, run: RunFolder, stored: Path) -> None:
    from napari_monusac.cli.window import PANEL, PREDICTIONS, RUNS, display_is_there, open_studio

    if not display_is_there():
        tell("no display here: on a desktop the Studio would open on this crop now")
        return
    tell("opening the Studio (it goes on by itself; close its window to end it)")
    hints: dict[str, str | Path | None] = {
        RUNS: run.path.parent,
        PREDICTIONS: stored if stored.is_dir() else None,
        PANEL: "Predict",
    }
    open_studio([crop.image], hints, wait=False)
