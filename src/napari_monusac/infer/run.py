"""Tiles through the engine: read ahead, turned and flipped where asked, blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import Cancelled
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.plan import Plan
from napari_monusac.infer.tiles import Blender, Box
from napari_monusac.infer.tissue import is_glass


def run_tiles(
    plan: Plan,
    *,
    flips: bool = False,
    batch_size: int | None = None,
    skip_glass: bool = False,
    first: int = 0,
    blender: Blender | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[int, Box, NDArray[np.float32]]]:
    """Predict tile after tile and blend them.

    The next tiles are read in a second thread while the network works.

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
    should_stop : callable, optional
        Asked before each batch.

    Yields
    ------
    int, Box, float32 (8, height, width)
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
    with ThreadPoolExecutor(1, thread_name_prefix="monusac-read") as reader:
        waiting = [reader.submit(_read, plan, batch) for batch in batches[:1]]
        for number, batch in enumerate(batches):
            if should_stop is not None and should_stop():
                raise Cancelled(f"stopped after {batch.start} of {len(grid)} tiles")
            tiles = waiting.pop().result()
            if number + 1 < len(batches):
                waiting.append(reader.submit(_read, plan, batches[number + 1]))
            for index, values in zip(batch, _batch(plan.engine, tiles, flips, skip_glass), strict=True):
                yield (index, *blender.add(index, values))


def _read(plan: Plan, batch: range) -> NDArray[np.uint8]:
    return np.stack([plan.source.padded(plan.grid.box(k)) for k in batch])


def _batch(engine: Engine, tiles: NDArray[np.uint8], flips: bool, skip_glass: bool) -> NDArray[np.float32]:
    """Probabilities of a batch, float32 (b, 8, y, x); glass is certain background."""
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
