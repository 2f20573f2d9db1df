"""Many slides, on one machine or on a cluster: whatever happens to one of them, the rest go on."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from napari_monusac.core.errors import Cancelled, MonusacError, SlideError, StoreError
from napari_monusac.core.files import draft_beside

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop

ExecutorFactory = Callable[[], Executor]
#: So long a stop waits for workers, which look for it before each batch of tiles, s.
_STOP_S = 120.0


class SlideJob(BaseModel):
    """One slide to predict.

    Attributes
    ----------
    image, out : str
        The slide, and the store to write.
    channel_order : {"auto", "rgb", "bgr"}
        Of the file; a collection knows better than a single file does (DOMAIN 2: the patient's majority).
    um_per_px : float or None
        Overrides the file's scale.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    out: str
    channel_order: Literal["auto", "rgb", "bgr"] = "auto"
    um_per_px: float | None = None


class SlideResult(BaseModel):
    """What became of one slide.

    Attributes
    ----------
    image, out : str
        The slide, and the store that was written.
    status : {"done", "skipped", "failed"}
        *skipped*: it was finished already.
    message : str
        What went wrong and how to mend it.
    notes : tuple of str
        What the user should be told of it.
    attempts : int
        How often it was started (more than once when a worker died).
    seconds : float
        Of the last attempt.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    out: str
    status: Literal["done", "skipped", "failed"]
    message: str = ""
    notes: tuple[str, ...] = ()
    attempts: int = 1
    seconds: float = 0.0


def output_paths(images: Sequence[str | Path], out: str | Path) -> dict[Path, Path]:
    """One ``.zarr`` in the folder `out` for each image; names that fall together get their folder in front."""
    paths = list(dict.fromkeys(Path(i) for i in images))
    stems = [p.stem.casefold() for p in paths]  # names that differ in case alone are one on some disks
    names = [p.stem if stems.count(p.stem.casefold()) == 1 else f"{p.parent.name}__{p.name}" for p in paths]
    if len({n.casefold() for n in names}) < len(names):
        raise StoreError(out, "two images would get the same name", "predict them into different folders")
    return {p: Path(out) / f"{n}.zarr" for p, n in zip(paths, names, strict=True)}


def job_of(collection: Collection, crop: Crop, out: Path, um_per_px: float | None = None) -> SlideJob:
    """The job of one crop: red and blue as the collection knows them, which asks the patient's other crops.

    Whole paths: a worker may run in another folder, or on another machine that sees the same disk.
    """
    order: Literal["auto", "rgb", "bgr"] = "auto"
    with suppress(SlideError):  # the worker meets it again, and reports it for this image
        order = "bgr" if collection.channels_swapped(crop) else "rgb"
    return SlideJob(
        image=str(crop.image.absolute()), out=str(out.absolute()), channel_order=order, um_per_px=um_per_px
    )  # fmt: skip


def predict_many(
    images: Iterable[str | Path | SlideJob],
    checkpoint: str | Path,
    out: str | Path,
    *,
    executor: Executor | ExecutorFactory | None = None,
    workers: int = 1,
    attempts: int = 3,
    options: Mapping[str, Any] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[SlideResult]:
    """Predict many slides into one folder of stores; each has a result, in the order in which they finish.

    A slide that fails is reported and the rest go on. When a worker dies, what it was at starts again (after the last
    finished tile), alone, up to `attempts` times. Finished slides are skipped.

    Parameters
    ----------
    images : iterable of paths or SlideJob
        Slides; a `SlideJob` names its own store and may say the channels' order and the scale. Jobs are asked for as
        workers become free.
    checkpoint : path
        A checkpoint file or a run folder that all workers can read.
    out : path
        Folder of the stores, see `output_paths`.
    executor : concurrent.futures.Executor, or a function that makes one, optional
        For example ``dask_executor("tcp://...")``. A function is called again when the executor breaks (as a process
        pool does when one of its processes dies). By default `workers` processes of this machine.
    workers : int
        Slides at the same time.
    attempts : int
        Starts of one slide before it counts as failed.
    options : mapping, optional
        Further parameters of `napari_monusac.infer.crop.predict_crop`.
    should_stop : callable, optional
        Asked each half second.

    Yields
    ------
    SlideResult

    Raises
    ------
    Cancelled
        `should_stop` said so. The workers stop within a batch of tiles; what they have done is kept.
    StoreError
        The folder cannot be written.
    """
    if isinstance(images, Sequence) and not any(isinstance(i, SlideJob) for i in images):
        targets = output_paths([i for i in images if not isinstance(i, SlideJob)], out)
        images = [SlideJob(image=str(i), out=str(o)) for i, o in targets.items()]
    jobs = (
        i if isinstance(i, SlideJob) else SlideJob(image=str(i), out=str(Path(out) / f"{Path(i).stem}.zarr"))
        for i in images
    )
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(out, f"cannot be written ({error.strerror})", "choose another folder") from error
    stop = draft_beside(Path(out).absolute() / "stop")
    pool = _Pool(executor or _processes(workers), (str(checkpoint), dict(options or {}), str(stop)), workers)
    try:
        yield from _drive(pool, (_Started(job) for job in jobs), attempts, should_stop)
    finally:
        pool.close(stop)


@dataclass
class _Started:
    job: SlideJob
    attempts: int = 0


@dataclass
class _Pool:
    """An executor that is made anew when it breaks."""

    given: Executor | ExecutorFactory
    arguments: tuple[Any, ...]
    workers: int
    running: dict[Future[SlideResult], _Started] = field(default_factory=dict)
    current: Executor | None = None

    def submit(self, started: _Started) -> None:
        started.attempts += 1
        if self.current is None:
            self.current = self.given if isinstance(self.given, Executor) else self.given()
        try:
            future = self.current.submit(predict_one, started.job, *self.arguments)
        except RuntimeError:  # a pool that broke between two submissions
            self.renew()
            future = self.current.submit(predict_one, started.job, *self.arguments)
        self.running[future] = started

    def renew(self) -> None:
        """Replace a broken executor; one that was given as it is has to heal itself (Dask does)."""
        if not isinstance(self.given, Executor):
            if self.current is not None:
                self.current.shutdown(wait=False, cancel_futures=True)
            self.current = self.given()

    def close(self, stop: Path) -> None:
        """End what is still running: workers look for the file `stop` before each batch of tiles."""
        running = [future for future in self.running if not future.cancel()]
        if running:
            stop.touch()
            wait(running, timeout=_STOP_S)
        if self.current is not None and not isinstance(self.given, Executor):
            self.current.shutdown(wait=True, cancel_futures=True)
        stop.unlink(missing_ok=True)


def _drive(
    pool: _Pool, waiting: Iterator[_Started], attempts: int, should_stop: Callable[[], bool] | None
) -> Iterator[SlideResult]:
    """Keep as many slides running as there are workers; those whose worker died run alone, after the others."""
    suspects: deque[_Started] = deque()
    following = next(waiting, None)
    while following is not None or suspects or pool.running:
        if should_stop is not None and should_stop():
            raise Cancelled("stopped; finished slides and tiles are kept")
        while following is not None and len(pool.running) < pool.workers:
            pool.submit(following)
            following = next(waiting, None)
        if suspects and not pool.running:
            pool.submit(suspects.popleft())
        for future in wait(pool.running, timeout=0.5, return_when=FIRST_COMPLETED).done:
            started = pool.running.pop(future)
            try:
                yield future.result().model_copy(update={"attempts": started.attempts})
            except (Exception, CancelledError) as error:  # noqa: BLE001 - whatever an executor says of a dead worker
                if started.attempts >= attempts:
                    yield _died(started, error)
                else:
                    suspects.append(started)
                pool.renew() if not pool.running else None


def _died(started: _Started, error: BaseException) -> SlideResult:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    job = started.job
    message = f"{job.image}: its worker died {started.attempts} times ({reason}) — out of memory? use smaller tiles"
    return SlideResult(image=job.image, out=job.out, status="failed", attempts=started.attempts, message=message)


def predict_one(
    job: SlideJob, checkpoint: str, options: Mapping[str, Any], stop: str = "", *, model: Any = None
) -> SlideResult:
    """Predict one slide, in whatever process: errors come back as a result, not as an exception.

    Parameters
    ----------
    job : SlideJob
    checkpoint : str
        A checkpoint file or a run folder; loaded once in each process.
    options : mapping
        Further parameters of `napari_monusac.infer.crop.predict_crop`.
    stop : str
        A file; once it is there the work ends.
    model : LoadedModel, optional
        What `checkpoint` holds, where the caller has loaded it.

    Raises
    ------
    Cancelled
        It was told to stop.
    """
    from napari_monusac.infer.crop import predict_crop
    from napari_monusac.io.slides.slide import open_slide

    start = time.perf_counter()

    def result(status: Literal["done", "skipped", "failed"], **more: Any) -> SlideResult:
        seconds = time.perf_counter() - start
        return SlideResult(image=job.image, out=job.out, status=status, seconds=seconds, **more)

    if stop:
        options = {**options, "should_stop": lambda: Path(stop).exists()}
    try:
        model = model if model is not None else _model(checkpoint, _stamp(checkpoint))
        with open_slide(job.image, channel_order=job.channel_order, um_per_px=job.um_per_px) as slide:
            outcome = predict_crop(slide, model, Path(job.out), **options)
    except Cancelled:
        raise
    except MonusacError as error:
        said = str(error)  # of many images one wants to know which
        return result("failed", message=said if str(job.image) in said else f"{job.image}: {said}")
    except Exception as error:  # noqa: BLE001 - one slide must not take the others with it
        return result("failed", message=f"{job.image}: {type(error).__name__}: {error}")
    return result("skipped" if outcome.skipped else "done", notes=outcome.notes)


def _stamp(checkpoint: str) -> float:
    path = Path(checkpoint)
    newest = [path, *path.glob("*.safetensors")] if path.is_dir() else [path]
    return max((p.stat().st_mtime for p in newest if p.exists()), default=0.0)


@lru_cache(maxsize=1)
def _model(checkpoint: str, _: float) -> Any:
    """Load a checkpoint once in each process; again when its file has changed."""
    from napari_monusac.infer.model import as_model

    return as_model(checkpoint)


def _processes(workers: int) -> ExecutorFactory:
    """Processes of this machine that share its cores; spawned, because a fork of torch or Qt breaks."""
    threads = max(1, (os.cpu_count() or 1) // workers)

    def make() -> Executor:
        context = get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_set_threads, initargs=(threads,))

    return make


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def dask_executor(address: str | None = None, client: Any = None) -> Executor:
    """Executor of a Dask cluster; it restarts by itself what a dead worker was at.

    Parameters
    ----------
    address : str
        Of the scheduler, for example ``"tcp://node1:8786"``.
    client : distributed.Client, optional
        A client that exists already.

    Raises
    ------
    MonusacError
        Dask's `distributed` is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MonusacError("distributed is not installed", "pip install 'napari-monusac[cluster]'") from error
    try:
        client = client or Client(address, timeout="15s")  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as error:
        raise MonusacError(f"scheduler {address} does not answer", "check the address, and that it runs") from error
    executor: Executor = client.get_executor(pure=False)
    return executor


def cluster_workers(executor: Executor) -> int:
    """How many slides a Dask cluster takes at the same time: its threads, all workers together; at least 1."""
    client = getattr(executor, "_client", None)
    return max(1, sum(client.nthreads().values())) if client is not None else 1
