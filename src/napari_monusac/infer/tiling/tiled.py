"""The one predictor: tiles through the engine, read ahead, turned and flipped where asked, blended.

Validation, `predict` and `predict_slide` all come through here, so they see and say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import Cancelled
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.tiling.glass import is_glass
from napari_monusac.infer.tiling.grid import Blender
from napari_monusac.infer.tiling.plan import Plan, in_region
from napari_monusac.infer.tiling.source import resample

#: A slide longer than this on one side is searched for glass without being asked, px.
SLIDE_PX = 4096


def whole_maps(
    plan: Plan,
    *,
    flips: bool = False,
    batch_size: int | None = None,
    skip_glass: bool | None = None,
    told: Callable[[int, Region, NDArray[np.float32]], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> NDArray[np.float32]:
    """Predict the region of a plan in memory, at the image's own pixels.

    Parameters
    ----------
    plan : Plan
    flips, batch_size, should_stop
        See `run_tiles`.
    skip_glass : bool, optional
        Do not ask the network about tiles without tissue; by default for images over `SLIDE_PX`.
    told : callable, optional
        Called with what `run_tiles` yields.

    Returns
    -------
    float32 (8, y, x)
        Five semantic and three ternary probabilities.

    Raises
    ------
    Cancelled
        `should_stop` said so.
    """
    maps = np.empty((8, *plan.source.shape), np.float32)

    def keep(_: int, box: Region, values: NDArray[np.float32]) -> None:
        maps[:, *box.slices] = values

    tiles = run_tiles(
        plan, flips=flips, batch_size=batch_size, skip_glass=skips_glass(plan, skip_glass), sink=keep,
        should_stop=should_stop,
    )  # fmt: skip
    for tile in tiles:
        if told is not None:
            told(*tile)
    return _region_maps(plan, maps)


def skips_glass(plan: Plan, wanted: bool | None) -> bool:
    """Whether tiles without tissue are skipped: as asked, by default for images over 4096 px."""
    return max(plan.source.shape) > SLIDE_PX if wanted is None else wanted


def _region_maps(plan: Plan, maps: NDArray[np.float32], block: int = 2048) -> NDArray[np.float32]:
    """The region cut out of the maps of `plan.source`, at the image's pixels."""
    region = plan.region
    if plan.factor == 1.0:
        return in_region(plan, Region(0, 0, *plan.source.shape), maps)[1]
    out = np.empty((len(maps), region.height, region.width), np.float32)
    for y in range(0, region.height, block):
        for x in range(0, region.width, block):
            part = Region(y, x, min(block, region.height - y), min(block, region.width - x))
            wanted = Region(y + plan.shift[0], x + plan.shift[1], part.height, part.width)
            top, left = (max(0, int(n * plan.factor) - 2) for n in wanted[:2])
            bottom, right = (int((n + m) * plan.factor) + 3 for n, m in zip(wanted[:2], wanted[2:], strict=True))
            for plane, target in zip(maps[:, top:bottom, left:right], out, strict=True):
                target[part.slices] = resample(plane, 1 / plan.factor, (top, left), wanted)
    return out


def run_tiles(
    plan: Plan,
    *,
    flips: bool = False,
    batch_size: int | None = None,
    skip_glass: bool = False,
    first: int = 0,
    blender: Blender | None = None,
    sink: Callable[[int, Region, NDArray[np.float32]], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[int, Region, NDArray[np.float32]]]:
    """Predict tile after tile and blend them.

    The network works in the caller's thread, the next tiles are read in another, and what it gave before is blended in
    a third. Not the other way round: OpenMP keeps a pool for each thread that asks for one, and with more threads than
    cores it puts them to sleep after each layer (measured on 2 cores: 74 ms a tile of 512 px, 56 in one thread).

    Parameters
    ----------
    plan : Plan
        What to predict, and with what.
    flips : bool
        Average over the eight flips and turns of each tile.
    batch_size : int, optional
        Tiles at once; 1 on a CPU, 8 elsewhere.
    skip_glass : bool
        Tiles without tissue become background without asking the network.
    first : int
        Tiles before this one are done already (then `blender` holds what they left).
    blender : Blender, optional
        A blender with memory of its own.
    sink : callable, optional
        Called with what is yielded, before, in the thread that blends: storing a tile costs the network no time.
    should_stop : callable, optional
        Asked before each batch.

    Yields
    ------
    int, Region, float32 (8, height, width)
        Number of the tile, and what is final with it: place in px of ``plan.source`` and probabilities.

    Raises
    ------
    Cancelled
        `should_stop` said so.
    """
    grid = plan.grid
    blender = blender or Blender(grid)
    size = batch_size or plan.engine.batch_size
    batches = [range(k, min(k + size, len(grid))) for k in range(first, len(grid), size)]

    def blend(batch: range, found: NDArray[np.float32]) -> list[tuple[int, Region, NDArray[np.float32]]]:
        parts = []
        for index, values in zip(batch, found, strict=True):
            box, final = blender.add(index, values)
            if sink is not None:
                sink(index, box, final)
            parts.append((index, box, final))
        return parts

    with _Ahead("monusac-read") as reader, _Ahead("monusac-blend") as blending:
        for number, batch in enumerate(batches):
            if should_stop is not None and should_stop():
                if number:  # what is at work is not thrown away by a stop
                    yield from blending.take()
                raise Cancelled(f"stopped after {batch.start} of {len(grid)} tiles")
            tiles = reader.take() if number else _read(plan, batch)
            if number + 1 < len(batches):
                reader.begin(_read, plan, batches[number + 1])
            found = _batch(plan.engine, tiles, flips, skip_glass)
            if number:
                yield from blending.take()
            blending.begin(blend, batch, found)
        if batches:
            yield from blending.take()


class _Ahead:
    """One thread that works on the next thing while this one is being dealt with."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._future: Future[Any] | None = None

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Begin the next thing; what was begun before has been taken."""
        self._future = self._pool.submit(function, *arguments)

    def take(self) -> Any:
        """Wait for what was begun."""
        if self._future is None:
            raise RuntimeError("nothing was begun")
        return self._future.result()


def _read(plan: Plan, batch: range) -> NDArray[np.uint8]:
    return np.stack([plan.source.padded(plan.grid.box(k)) for k in batch])


def _batch(engine: Engine, tiles: NDArray[np.uint8], flips: bool, skip_glass: bool) -> NDArray[np.float32]:
    """Probabilities of a batch, float32 (b, 8, y, x). Glass is certain background."""
    asked = np.array([not (skip_glass and is_glass(tile)) for tile in tiles])
    if asked.all():
        return probabilities(engine, tiles, flips)
    out = np.zeros((len(tiles), 8, *tiles.shape[1:3]), np.float32)
    out[:, (0, 5)] = 1.0
    if asked.any():
        out[asked] = probabilities(engine, tiles[asked], flips)
    return out


def probabilities(engine: Engine, tiles: NDArray[np.uint8], flips: bool = False) -> NDArray[np.float32]:
    """Probabilities of both heads, float32 (b, 8, y, x), over one view of each tile or the mean over its eight.

    Parameters
    ----------
    engine : Engine
        What runs the network.
    tiles : uint8 (b, y, x, 3)
        RGB.
    flips : bool
        Average over the four turns by 90 degrees and their mirror images.
    """
    if not flips:
        return engine.run(tiles)
    total: NDArray[np.float32] | None = None
    for turns in range(4):
        for mirrored in (False, True):
            view = np.rot90(tiles, turns, (1, 2))
            view = view[:, :, ::-1] if mirrored else view
            back = engine.run(np.ascontiguousarray(view))
            back = back[..., ::-1] if mirrored else back
            back = np.rot90(back, -turns, (2, 3))
            total = np.array(back) if total is None else total + back
    return np.asarray(total, np.float32) / np.float32(8)
