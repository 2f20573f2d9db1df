"""``predict``: images, folders and whole slides, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_monusac.cli.shell import Json, answer, answer_json, bar_on_stderr, stop_on_signal, table, tell
from napari_monusac.core.errors import Cancelled, FileProblem, MonusacError
from napari_monusac.core.fitted import with_fitted

if TYPE_CHECKING:
    from napari_monusac.infer.batch import SlideResult
    from napari_monusac.io.collection.collection import Collection, Crop

_FITTED = "By default what was fitted for the model."
TellStep = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class _Task:
    """One image and where its prediction goes."""

    collection: Collection
    crop: Crop
    out: Path


def predict(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="A checkpoint file, or a run folder (its best).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the predictions: one OME-Zarr an image.")],
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler, for example tcp://node1:8786.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, help="Images at the same time; with --scheduler 1 means all of the cluster."),
    ] = 1,
    flips: Annotated[
        bool, typer.Option("--flips", help="Average over 8 flips and turns: better, 8 times slower.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Predict finished images again.")] = False,
    um_per_px: Annotated[
        float | None,
        typer.Option("--um-per-px", help="Micrometres per pixel of the images, over what their files say."),
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option("--counts", help="Write nuclei per class, per mm² and as ratios (crop, patient, all) as CSV."),
    ] = None,
    inside: Annotated[
        float | None,
        typer.Option("--inside", min=0, max=1, help=f"From where on a pixel is inside a nucleus. {_FITTED}"),
    ] = None,
    nucleus: Annotated[
        float | None,
        typer.Option("--nucleus", min=0, max=1, help=f"From where on a pixel is a nucleus at all. {_FITTED}"),
    ] = None,
    peak: Annotated[
        float | None, typer.Option("--peak", min=0, max=1, help=f"How sure a nucleus' surest pixel must be. {_FITTED}")
    ] = None,
    part: Annotated[
        float | None,
        typer.Option("--part", min=0, max=1, help=f"How readily touching nuclei are parted; 0 never. {_FITTED}"),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option("--agreement", min=0, max=1, help=f"How much of a nucleus the class head must see. {_FITTED}"),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, openvino, cuda, cuda:N or mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """Predict nuclei with class and confidence, and store maps and nuclei as OME-Zarr.

    Finished images are skipped, so a stopped batch goes on when it is started again; a prediction of other pixels, by
    other weights or with other options is never taken for finished. An image that fails is reported and the rest go
    on; the exit code is then 1.
    """
    from napari_monusac.infer.tiling.stain_sample import GREY_NOTE
    from napari_monusac.network.checkpoint import read_metadata

    tasks = _tasks(images, out)
    fitted = read_metadata(checkpoint).fitted  # one line for a file that is no model, not one for each image
    asked = {"inside": inside, "nucleus": nucleus, "peak": peak, "part": part, "agreement": agreement}
    settings = {f"{name}_threshold": value for name, value in asked.items() if value is not None}
    if fitted is not None:
        tell(fitted.sentence())
    out.mkdir(parents=True, exist_ok=True)
    options = {
        "flips": flips, "device": device, "overwrite": overwrite, "um_per_px": um_per_px, "settings": settings or None,
    }  # fmt: skip
    results: list[dict[str, Any]] = []
    with stop_on_signal("stopping; finished images are kept") as stopping, bar_on_stderr() as bar:
        task = bar.add_task("predicting", total=len(tasks))

        def step(fraction: float, name: str) -> None:
            bar.update(task, completed=len(results) + fraction, description=f"predicting {name}")

        many = scheduler is not None or workers > 1
        found = _many(tasks, checkpoint, scheduler, workers, options, stopping) if many else _one_by_one(
            tasks, checkpoint, options, stopping, step
        )  # fmt: skip
        for one, result in found:
            results.append(_result(one, result))
            step(0.0, one.crop.name)
            if result.status == "failed":
                tell(f"failed: {result.message}")
            for note in result.notes if result.status == "done" else ():
                if many or note != GREY_NOTE:  # one by one it was told before
                    tell(f"{one.crop.name}: {note}")
    if counts is not None:
        _write_counts(results, counts)
    _report(results, out, with_fitted(fitted, settings), as_json)


def _write_counts(results: list[dict[str, Any]], path: Path) -> None:
    from napari_monusac.scoring.metrics.density import count_store, density_table, write_density_table

    done = [r for r in results if r["status"] != "failed"]
    if done:
        counts = [count_store(r["out"], name=r["crop"], patient=r["patient"]) for r in done]
        write_density_table(density_table(counts), path)
        tell(f"counts and densities are in {path}")


def _report(results: list[dict[str, Any]], out: Path, thresholds: dict[str, Any], as_json: bool) -> None:
    failed = sum(r["status"] == "failed" for r in results)
    if as_json:
        answer_json({"out": out, "thresholds": thresholds, "results": results})
    else:
        kinds = list(dict.fromkeys(k for r in results for k in r.get("nuclei", {})))
        rows = [(Path(r["image"]).name, r["status"], *(r.get("nuclei", {}).get(k, 0) for k in kinds)) for r in results]
        table("", ("image", "status", *(k.lower() for k in kinds)), rows)
        answer(f"{len(results) - failed} of {len(results)} images are predicted in {out} (model output, research use)")
    if failed:
        raise typer.Exit(1)


def _tasks(images: list[Path], out: Path) -> list[_Task]:
    """Find every image once; an image in a collection is read with its patient's channel order.

    Raises
    ------
    FileProblem
        An argument does not exist, or two images would share a name.
    """
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.predictions.store import crop_store
    from napari_monusac.io.slides.ome_zarr import is_image_store

    collections: dict[Path, Collection] = {}
    tasks: dict[Path, _Task] = {}
    for given in images:
        if not given.exists():
            raise FileProblem(given, "does not exist", "check the path")
        is_folder = given.is_dir() and not is_image_store(given)
        folder = given if is_folder else given.parent
        if folder not in collections:
            collections[folder] = open_collection(folder)
        collection = collections[folder]
        crops = collection.crops if is_folder else (_crop_of(collection, given),)
        for crop in crops:
            path = crop_store(out, crop.name)
            known = tasks.get(path)
            if known is not None and known.crop.image.resolve() != crop.image.resolve():
                raise FileProblem(crop.image, f"has the name of {known.crop.image}", "predict them into two folders")
            tasks[path] = _Task(collection, crop, path)
    return list(tasks.values())


def _crop_of(collection: Collection, image: Path) -> Crop:
    from napari_monusac.io.slides.formats import IMAGE_SUFFIXES

    crop = collection.find(image)
    if crop is None:
        raise FileProblem(image, "is no image that can be read", f"give one of {', '.join(IMAGE_SUFFIXES)}")
    return collection.with_image(crop, image) if crop.image != image and image in crop.others else crop


def _one_by_one(
    tasks: list[_Task], checkpoint: Path, options: dict[str, Any], stopping: Callable[[], bool], step: TellStep
) -> Iterator[tuple[_Task, SlideResult]]:
    from napari_monusac.infer.batch import job_of, predict_one
    from napari_monusac.infer.tiling.stain_sample import GREY_NOTE

    um_per_px = options.pop("um_per_px")
    for task in tasks:
        if stopping():
            raise Cancelled("the same command goes on")
        job = job_of(task.collection, task.crop, task.out, um_per_px)

        def told(part: float, name: str = task.crop.name) -> None:
            step(float(part), name)

        if _is_grey(task):
            tell(f"{task.crop.name}: {GREY_NOTE}")  # before it is predicted: there is time to stop
        yield task, predict_one(job, str(checkpoint), {**options, "progress": told, "should_stop": stopping})


def _is_grey(task: _Task) -> bool:
    from napari_monusac.infer.tiling.source import as_source
    from napari_monusac.infer.tiling.stain_sample import is_grey, sample_pixels

    try:
        return is_grey(sample_pixels(as_source(task.crop.image)))
    except MonusacError:
        return False  # it is told of when the image is predicted


def _many(
    tasks: list[_Task],
    checkpoint: Path,
    scheduler: str | None,
    workers: int,
    options: dict[str, Any],
    stopping: Callable[[], bool],
) -> Iterator[tuple[_Task, SlideResult]]:
    from napari_monusac.infer.batch import cluster_workers, dask_executor, job_of, predict_many

    executor = dask_executor(scheduler) if scheduler is not None else None
    if executor is not None and workers == 1:
        workers = cluster_workers(executor)
    um_per_px = options.pop("um_per_px")
    targets = {str(task.out.absolute()): task for task in tasks}
    found = predict_many(
        (job_of(task.collection, task.crop, task.out, um_per_px) for task in tasks),
        checkpoint.absolute(),
        tasks[0].out.parent.absolute() if tasks else Path(),
        executor=executor,
        workers=workers,
        options=options,
        should_stop=stopping,
    )
    for result in found:
        yield targets[result.out], result


def _result(task: _Task, result: SlideResult) -> dict[str, Any]:
    values: dict[str, Any] = {
        "image": str(task.crop.image),
        "crop": task.crop.name,
        "patient": task.crop.patient,
        "out": str(task.out),
        "status": result.status,
        "message": result.message,
        "notes": list(result.notes),
        "attempts": result.attempts,
        "seconds": round(result.seconds, 2),
    }
    if result.status != "failed":
        values["nuclei"] = _counts(task.out)
    return values


def _counts(store: Path) -> dict[str, int]:
    """Nuclei of each class in a finished store; empty where they were not segmented."""
    from napari_monusac.core.classes import CLASSES
    from napari_monusac.io.predictions.lazy import open_lazily

    rows = open_lazily(store).table if store.exists() else None
    if rows is None:
        return {}
    return {kind.label: int((rows["class_id"] == int(kind)).sum()) for kind in CLASSES}
