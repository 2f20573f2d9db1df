"""A slide of any size to disk: tiles streamed into OME-Zarr, taken up again where they stopped."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import StoreError
from napari_monusac.core.files import atomic_write, atomic_write_text
from napari_monusac.core.recipe import Precision
from napari_monusac.infer.blocks import segment_store, segmented_otherwise
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.identity import finished, identity_of
from napari_monusac.infer.model import as_model, checkpoint_name, crops_seen_by_model, fitted_of
from napari_monusac.infer.plan import plan_prediction
from napari_monusac.infer.predict import TileProgress
from napari_monusac.infer.tiling.grid import Blender
from napari_monusac.infer.tiling.plan import OVERLAP_PX, Plan, in_region
from napari_monusac.infer.tiling.source import Source, as_source
from napari_monusac.infer.tiling.tiled import run_tiles, skips_glass
from napari_monusac.io.locks import store_lock
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.rescale import ImageFrame
from napari_monusac.io.predictions.store import move_into_place, refuse_image
from napari_monusac.io.predictions.store_info import PredictionIdentity, StoreInfo

#: Part of the progress that separating the nuclei takes.
_NUCLEI_PART = 0.05


def predict_slide(
    image: Any,
    checkpoint: Any,
    out: str | Path,
    *,
    um_per_px: float | None = None,
    region: Sequence[int] | None = None,
    flips: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine | None = None,
    tile_px: int | None = None,
    overlap_px: int = OVERLAP_PX,
    batch_size: int | None = None,
    skip_glass: bool | None = None,
    nuclei: bool = True,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[TileProgress], object] | None = None,
    on_tile: Callable[[Region, NDArray[np.float32], NDArray[np.float32]], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Predict an image of any size into an OME-Zarr store, in memory that does not grow with the image.

    Unfinished work lies in ``OUT.partial``. Started again with the same image, checkpoint and options it goes on after
    the last finished tile; the store takes its name only when it is whole. A finished store is left as it is.

    The maps are stored at the scale of the network: where the image was resampled, ``um_per_px`` of the store says so,
    and `io.store.read_prediction` brings them to the pixels of the image.

    Parameters
    ----------
    image, checkpoint, um_per_px, region, flips, device, precision, engine, tile_px, overlap_px, batch_size, skip_glass
        See `predict`.
    out : str or Path
        The ``.zarr`` folder to write.
    nuclei : bool
        Segment the nuclei, too.
    settings : mapping, optional
        Thresholds of `instances_from_maps`, over those that were fitted for the model. A finished store with other ones
        is segmented again, the network is not asked.
    overwrite : bool
        Predict again although `out` is finished.
    progress : callable, optional
        Called with a `TileProgress` after each tile.
    on_tile : callable, optional
        See `predict`; tiles of an earlier start are not shown again.
    should_stop : callable, optional
        Asked before each batch.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    Cancelled
        `should_stop` said so; what is done is kept.
    StoreError, SlideError, CheckpointError, ShapeError
        As their names say.
    """
    out, model = Path(out), as_model(checkpoint)
    refuse_image(out)
    source = as_source(image, um_per_px)
    identity = identity_of(source, model, region=region, flips=flips)
    done = finished(out, identity, overwrite=overwrite)
    if done is not None:
        if nuclei and (done.read_table() is None or segmented_otherwise(done.info, settings)):
            told = None if progress is None else lambda part: progress(_separating(part, 1, 0.0, whole=1.0))
            segment_store(out, progress=told, should_stop=should_stop, settings=settings)
        return out
    plan = plan_prediction(
        source, model, um_per_px=um_per_px, region=region, device=device, precision=precision, engine=engine,
        tile_px=tile_px, overlap_px=overlap_px,
    )  # fmt: skip
    info = _info(plan, model.recipe.fingerprint(), checkpoint_name(checkpoint, model), model.recipe.boundary_width)
    about = {"identity": identity, "image": _path_of(source), "trained_on": crops_seen_by_model(model)}
    about["fitted"] = fitted_of(model)
    info = info.model_copy(update=about)
    with store_lock(out) as lock:
        skip = skips_glass(plan, skip_glass)
        work = _Work.begin(out, plan, info, _key(plan, identity, skip=skip))
        started, total = time.perf_counter(), len(plan.grid)
        blender = work.blender()

        def write(index: int, box: Region, values: NDArray[np.float32]) -> None:
            lock.touch()
            work.write(index, plan.cut(box, values), blender)

        for index, box, values in run_tiles(
            plan,
            flips=flips,
            batch_size=batch_size,
            skip_glass=skip,
            first=work.done,
            blender=blender,
            sink=write,
            should_stop=should_stop,
        ):
            if on_tile is not None:
                place, part = in_region(plan, box, values)
                if part.size:
                    on_tile(place, part[:5], part[5:])
            if progress is not None:
                progress(_progress(index + 1, work.first, total, time.perf_counter() - started, nuclei))
        if nuclei:
            seconds = time.perf_counter() - started

            def segmented(part: float) -> None:
                lock.touch()
                if progress is not None and part < 1:
                    progress(_separating(part, total, seconds))

            segment_store(work.store.path, progress=segmented, should_stop=should_stop, settings=settings)
        else:
            work.store.add_pyramid()
        work.finish()
        if progress is not None:
            progress(TileProgress.of(total, total, time.perf_counter() - started))
    return out


def _progress(done: int, first: int, total: int, seconds: float, nuclei: bool) -> TileProgress:
    """Fraction over the tiles of all starts; the time still to go from the tiles of this one."""
    part = 1 - _NUCLEI_PART if nuclei else 1.0
    progress = TileProgress(part * done / total)
    progress.done, progress.total, progress.seconds = done, total, seconds
    progress.eta_s = seconds / (done - first) * (total - done) / part
    return progress


def _separating(part: float, tiles: int, seconds: float, *, whole: float = _NUCLEI_PART) -> TileProgress:
    """How far the separation of the nuclei has come, after the tiles: it is the last `whole` of the work."""
    progress = TileProgress(1 - whole * (1 - part))
    progress.done, progress.total, progress.seconds, progress.eta_s = tiles, tiles, seconds, whole * seconds
    return progress


def _info(plan: Plan, fingerprint: str, checkpoint: str, boundary_width: int) -> StoreInfo:
    scale = plan.um_per_px / plan.factor if plan.um_per_px else None
    return StoreInfo(
        um_per_px=scale,
        offset_px=(round(plan.region.y * plan.factor), round(plan.region.x * plan.factor)),
        boundary_width=boundary_width,
        fingerprint=fingerprint,
        checkpoint=checkpoint,
        notes=plan.notes,
        engine=plan.engine.name,
        frame=_frame(plan),
    )


def _path_of(source: Source) -> str:
    """Where the pixels lie, whole: the store may be read from another folder."""
    return "" if source.path is None else str(source.path.absolute())


def _frame(plan: Plan) -> ImageFrame | None:
    """How the maps lie on the image; None where they have its pixels."""
    if plan.factor == 1.0:
        return None
    inner = plan.inner
    shift = [s * plan.factor - start for s, start in zip(plan.shift, inner[:2], strict=True)]
    return ImageFrame(
        shape=plan.region[2:], offset_px=plan.region[:2], um_per_px=plan.um_per_px, factor=plan.factor,
        origin=(shift[0], shift[1]),
    )  # fmt: skip


@dataclass(eq=False)
class _Work:
    """Unfinished work beside the store to be: the store, how many tiles are done, and what the next one needs."""

    folder: Path
    out: Path
    store: PredictionStore
    plan: Plan
    key: dict[str, Any]
    done: int
    first: int

    @classmethod
    def begin(cls, out: Path, plan: Plan, info: StoreInfo, key: dict[str, Any]) -> _Work:
        """Take up what was begun with the same `key`, or begin anew."""
        folder = out.with_name(f"{out.name}.partial")
        done = _tiles_done(folder, key)
        if done is not None:
            store = PredictionStore.open(folder / out.name, "r+")
            store.update(info)
            return cls(folder, out, store, plan, key, done, done)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        except OSError as error:
            raise StoreError(folder, f"cannot be written ({error.strerror})", "choose another folder") from error
        inner, grid = plan.inner, plan.grid
        stride = (grid.rows.stride, grid.columns.stride)
        store = PredictionStore.create(folder / out.name, inner[2:], info, chunk=stride)
        work = cls(folder, out, store, plan, key, 0, 0)
        work._note_progress()
        return work

    def blender(self) -> Blender:
        """A blender whose memory lies in files."""
        shape = Blender.below_shape(self.plan.grid)
        below = None
        if 0 not in shape:
            path = self.folder / "below.dat"
            mode = "r+" if path.is_file() and self.done else "w+"
            below = np.memmap(path, np.float16, mode, shape=shape)  # type: ignore[call-overload]
        right = self.folder / f"right-{(self.done - 1) % 2}.npy"
        column = self.plan.grid.position(self.done)[1]
        return Blender(self.plan.grid, below=below, right=np.load(right) if self.done and column else None)

    def write(self, index: int, part: tuple[Region, NDArray[np.float32]], blender: Blender) -> None:
        """Store a finished tile; after a crash at any moment it is either done or done again."""
        place, values = part
        try:
            if values.size:
                self.store.write_maps(place, values)
            if blender.right is not None:
                with atomic_write(self.folder / f"right-{index % 2}.npy") as temporary:
                    np.save(temporary, blender.right)
            self.done = index + 1
            if isinstance(blender.below, np.memmap) and self.plan.grid.position(index)[1] == 0:
                blender.below.flush()  # a machine that dies must not leave progress behind that outran it
            self._note_progress()
        except OSError as error:
            raise StoreError(
                self.folder, f"cannot be written ({error.strerror or error})", "free some space"
            ) from error

    def _note_progress(self) -> None:
        atomic_write_text(self.folder / "progress.json", json.dumps({"key": self.key, "done": self.done}))

    def finish(self) -> None:
        """Give the store its name and clear up."""
        move_into_place(self.folder / self.out.name, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)


def _tiles_done(folder: Path, key: dict[str, Any]) -> int | None:
    """Finished tiles of earlier work with the same key; None where there is none."""
    try:
        state = json.loads((folder / "progress.json").read_text("utf-8"))
        return int(state["done"]) if state["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(plan: Plan, identity: PredictionIdentity, *, skip: bool) -> dict[str, Any]:
    """What must be the same for work to be taken up again: pixels, weights, options, tiles."""
    grid, inner = plan.grid, plan.inner
    return {
        # a large image is known by samples alone: work that was begun before there was this field goes on
        "identity": identity.model_dump(mode="json", exclude=set() if identity.pixels else {"pixels"}),
        "tiles": [*grid.tile_shape, grid.rows.overlap, grid.columns.overlap, grid.rows.count, grid.columns.count],
        "inner": list(inner),
        "factor": plan.factor,
        "glass_skipped": skip,
    }
