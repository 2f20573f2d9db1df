"""The learning time-lapse: the pinned crops as the network predicts them after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_monusac.core.files import atomic_write
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.learn.validate import ClassMaps

#: Crops that are pinned when the run names none, and the largest side that is kept of each.
PINNED = 2
WINDOW_PX = 1024


def choose_pinned(run: RunFolder, names: Sequence[str]) -> tuple[str, ...]:
    """The crops that the run pins, or the first validation crops."""
    wanted = [n for n in run.info.pinned if n in names]
    return tuple(wanted or names[:PINNED])


def window(shape: tuple[int, int]) -> tuple[slice, slice]:
    """The central part of a crop that is kept."""
    y, x = (max(0, (n - WINDOW_PX) // 2) for n in shape)
    return slice(y, y + WINDOW_PX), slice(x, x + WINDOW_PX)


def save_frame(run: RunFolder, epoch: int, pinned: dict[str, ClassMaps]) -> None:
    """Write ``timelapse/epoch-0001.npz``: ``<crop>/semantic`` and ``<crop>/ternary`` (uint8), ``<crop>/origin``."""
    if not pinned:
        return
    arrays: dict[str, Any] = {}
    for name, (semantic, ternary) in pinned.items():
        part = window(semantic.shape)
        arrays[f"{name}/semantic"], arrays[f"{name}/ternary"] = semantic[part], ternary[part]
        arrays[f"{name}/origin"] = np.array([part[0].start, part[1].start])
    run.timelapse.mkdir(exist_ok=True)
    with atomic_write(run.timelapse / f"epoch-{epoch:04d}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
