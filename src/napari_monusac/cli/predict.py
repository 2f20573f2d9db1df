"""``predict``: images, folders and whole slides, on this machine or on a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_monusac.cli.shell import Device, Json, answer, answer_json, bar_on_stderr, stop_on_signal, table, tell
from napari_monusac.core.errors import Cancelled, FileProblem, MonusacError, SlideError

if TYPE_CHECKING:
    from napari_monusac.infer.batch import SlideJob, SlideResult
    from napari_monusac.io.collection import Collection, Crop

Step = Callable[[float, str], None]


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
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Predict nuclei with class and confidence, and store maps and nuclei as OME-Zarr.

    Finished images are skipped, so a stopped batch goes on when it is started again. An image that fails is reported
    and the rest go on; the exit code is then 1.
    """
    from napari_monusac.learn.checkpoint import resolve_checkpoint

    tasks = _tasks(images, out)
    resolve_checkpoint(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    options = {"flips": flips, "device": device, "overwrite": overwrite}
    results: list[dict[str, Any]] = []
    with stop_on_signal("stopping; finished images are kept") as stopping, bar_on_stderr() as bar:
        task = bar.add_task("predicting", total=len(tasks))

        def step(fraction: float, name: str) -> None:
            bar.update(task, completed=len(results) + fraction, description=f"predicting {name}")

        many = scheduler is not None or workers > 1
        found = _many(tasks, checkpoint, scheduler, workers, options, stopping) if many else _one_by_one(
            tasks, checkpoint, options, stopping, step
        )  # fmt: skip
        for result in found:
            results.append(result)
            step(0.0, Path(result["image"]).name)
            if result["status"] == "failed":
                tell(f"failed: {result['message']}")
    _report(results, out, as_json)


def _report(results: list[dict[str, Any]], out: Path, as_json: bool) -> None:
    failed = sum(r["status"] == "failed" for r in results)
    if as_json:
        answer_json({"out": out, "results": results})
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
    from napari_monusac.io.collection import open_collection

    collections: dict[Path, Collection] = {}
    tasks: dict[Path, _Task] = {}
    for given in images:
        if not given.exists():
            raise FileProblem(given, "does not exist", "check the path")
        folder = given if given.is_dir() else given.parent
        collection = collections.setdefault(folder, open_collection(folder))
        crops = collection.crops if given.is_dir() else (_crop_of(collection, given),)
        for crop in crops:
            path = out / f"{crop.name.replace('/', '_')}.zarr"
            known = tasks.get(path)
            if known is not None and known.crop.image.resolve() != crop.image.resolve():
                raise FileProblem(crop.image, f"has the name of {known.crop.image}", "predict them into two folders")
            tasks[path] = _Task(collection, crop, path)
    return list(tasks.values())


def _crop_of(collection: Collection, image: Path) -> Crop:
    crop = collection.find(image)
    if crop is None:
        raise FileProblem(image, "is no image that can be read", "give an .svs, .tif, .png or .jpg")
    return collection.with_image(crop, image) if crop.image != image and image in crop.others else crop


def _one_by_one(
    tasks: list[_Task], checkpoint: Path, options: dict[str, Any], stopping: Callable[[], bool], step: Step
) -> Iterator[dict[str, Any]]:
    from napari_monusac.learn.checkpoint import load_checkpoint

    model = None
    for task in tasks:
        if stopping():
            raise Cancelled("the same command goes on")
        if task.out.exists() and not options["overwrite"]:
            yield _result(task, "skipped")
            continue
        model = model or load_checkpoint(checkpoint)
        start = time.perf_counter()
        try:
            _predict_one(task, model, options, stopping, step)
        except Cancelled:
            raise
        except MonusacError as error:
            yield _result(task, "failed", message=str(error))
            continue
        yield _result(task, "done", seconds=time.perf_counter() - start)


def _predict_one(task: _Task, model: Any, options: dict[str, Any], stopping: Callable[[], bool], step: Step) -> None:
    from napari_monusac.infer.crop import predict_crop

    with task.collection.open(task.crop) as slide:
        notes = predict_crop(
            slide,
            model,
            task.out,
            flips=options["flips"],
            device=options["device"],
            overwrite=options["overwrite"],
            progress=lambda p: step(float(p), task.crop.name),
            should_stop=stopping,
        )
    for note in notes:
        tell(f"{task.crop.name}: {note}")


def _many(
    tasks: list[_Task],
    checkpoint: Path,
    scheduler: str | None,
    workers: int,
    options: dict[str, Any],
    stopping: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    from napari_monusac.infer.batch import cluster_workers, dask_executor, predict_many

    executor = dask_executor(scheduler) if scheduler is not None else None
    if executor is not None and workers == 1:
        workers = cluster_workers(executor)
    jobs = [_job(task, finished=task.out.exists() and not options["overwrite"]) for task in tasks]
    targets = {job.out: task for job, task in zip(jobs, tasks, strict=True)}
    folder = tasks[0].out.parent.absolute() if tasks else Path()
    found = predict_many(
        jobs,
        checkpoint.absolute(),
        folder,
        executor=executor,
        workers=workers,
        options=options,
        should_stop=stopping,
    )
    for result in found:
        task = targets[result.out]
        for note in result.notes:
            tell(f"{task.crop.name}: {note}")
        yield _of_slide(result, task)


def _job(task: _Task, *, finished: bool) -> SlideJob:
    """What a worker needs to know; the order of the channels is the collection's word, which asks the patient's others."""
    from napari_monusac.infer.batch import SlideJob

    order: Literal["auto", "rgb", "bgr"] = "auto"
    if not finished:
        with suppress(SlideError):  # the worker meets it again, and reports it for this image
            order = "bgr" if task.collection.channels_swapped(task.crop) else "rgb"
    # whole paths: a worker may run in another folder, or on another machine that sees the same disk
    return SlideJob(image=str(task.crop.image.absolute()), out=str(task.out.absolute()), channel_order=order)


def _of_slide(result: SlideResult, task: _Task) -> dict[str, Any]:
    values = _result(task, result.status, message=result.message, seconds=result.seconds)
    return {**values, "out": result.out, "attempts": result.attempts}


def _result(task: _Task, status: str, *, message: str = "", seconds: float = 0.0) -> dict[str, Any]:
    values: dict[str, Any] = {
        "image": str(task.crop.image),
        "crop": task.crop.name,
        "patient": task.crop.patient,
        "out": str(task.out),
        "status": status,
        "message": message,
        "seconds": round(seconds, 2),
    }
    if status != "failed":
        values["nuclei"] = _counts(task.out)
    return values


def _counts(store: Path) -> dict[str, int]:
    """Nuclei of each class in a finished store; empty where they were not separated."""
    from napari_monusac.core.classes import CLASSES
    from napari_monusac.io.store import PredictionStore

    if not store.exists():
        return {}
    rows = PredictionStore.open(store).read_table()
    if rows is None:
        return {}
    return {kind.label: int((rows["class_id"] == int(kind)).sum()) for kind in CLASSES}
