"""The learning time-lapse of a run: its pinned crops as predicted after each epoch, for a slider."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import RunError
from napari_monusac.io.runs import RunFolder


@dataclass(frozen=True, slots=True, eq=False)
class Timelapse:
    """One pinned crop over the epochs.

    Attributes
    ----------
    crop : str
    epochs : tuple of int
        The epoch of each frame.
    semantic, ternary : uint8 (t, y, x)
        Class numbers, as predicted.
    origin_px : tuple of int
        (y, x) of the frames' first pixel in the crop.
    """

    crop: str
    epochs: tuple[int, ...]
    semantic: NDArray[np.uint8]
    ternary: NDArray[np.uint8]
    origin_px: tuple[int, int]


def timelapse_crops(run: RunFolder) -> tuple[str, ...]:
    """Names of the crops that have frames."""
    frames = _frames(run)
    if not frames:
        return ()
    with _opened(frames[-1]) as arrays:
        return tuple(dict.fromkeys(name.rpartition("/")[0] for name in arrays.files))


def read_timelapse(run: RunFolder, crop: str) -> Timelapse:
    """Read the frames of one crop.

    Raises
    ------
    RunError
        The run has no frame of this crop, or one is damaged.
    """
    epochs, semantic, ternary, origin = [], [], [], (0, 0)
    for path in _frames(run):
        with _opened(path) as arrays:
            if f"{crop}/semantic" not in arrays.files:
                continue
            epochs.append(int(path.stem.rpartition("-")[2]))
            semantic.append(arrays[f"{crop}/semantic"])
            ternary.append(arrays[f"{crop}/ternary"])
            y, x = arrays[f"{crop}/origin"]
            origin = (int(y), int(x))
    if not epochs:
        raise RunError(run.path, f"has no frame of crop {crop!r}", "let it finish an epoch first")
    return Timelapse(crop, tuple(epochs), np.stack(semantic), np.stack(ternary), origin)


def _frames(run: RunFolder) -> list[Path]:
    return sorted(run.timelapse.glob("epoch-*.npz"))


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    try:
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise RunError(path, f"is damaged ({error})", "delete this frame") from error
