"""The learning time-lapse of a run: its pinned crops as predicted after each epoch, for a slider."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import RunError
from napari_monusac.io.runs.run_folder import RunFolder


@dataclass(frozen=True, slots=True, eq=False)
class Timelapse:
    """One pinned crop over the epochs.

    Attributes
    ----------
    crop : str
    epochs : tuple of int
        The epoch of each frame.
    semantic, ternary : dask uint8 (t, y, x)
        Class numbers, as predicted; a frame is read when it is looked at, so that a long run costs no memory.
    origin_px : tuple of int
        (y, x) of the frames' first pixel in the crop.
    """

    crop: str
    epochs: tuple[int, ...]
    semantic: da.Array
    ternary: da.Array
    origin_px: tuple[int, int]


def timelapse_crops(run: RunFolder) -> tuple[str, ...]:
    """Names of the crops that have frames."""
    frames = _frames(run)
    if not frames:
        return ()
    with _opened(frames[-1]) as arrays:
        return tuple(dict.fromkeys(name.rpartition("/")[0] for name in arrays.files))


def read_timelapse(run: RunFolder, crop: str) -> Timelapse:
    """Open the frames of one crop.

    Raises
    ------
    RunError
        The run has no frame of this crop, or one is damaged.
    """
    epochs, paths, origin, shape = [], [], (0, 0), (0, 0)
    for path in _frames(run):
        with _opened(path) as arrays:
            if f"{crop}/semantic" not in arrays.files:
                continue
            epochs.append(int(path.stem.rpartition("-")[2]))
            paths.append(path)
            y, x = arrays[f"{crop}/origin"]
            origin = (int(y), int(x))
            if len(paths) == 1:
                shape = arrays[f"{crop}/semantic"].shape
    if not epochs:
        raise RunError(run.path, f"has no frame of crop {crop!r}", "let it finish an epoch first")
    semantic, ternary = (_stacked(paths, f"{crop}/{kind}", shape) for kind in ("semantic", "ternary"))
    return Timelapse(crop, tuple(epochs), semantic, ternary, origin)


def _stacked(paths: list[Path], key: str, shape: tuple[int, ...]) -> da.Array:
    def frame(block_info: Any = None) -> NDArray[np.uint8]:
        (t, *_) = block_info[None]["chunk-location"]
        return _map(paths[t], key, shape)[None]

    chunks = ((1,) * len(paths), *((n,) for n in shape))
    stacked: da.Array = da.map_blocks(frame, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    return stacked


def _map(path: Path, key: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    with _opened(path) as arrays:
        try:
            frame = arrays[key]
        except (OSError, ValueError, KeyError, zlib.error, zipfile.BadZipFile) as error:
            raise RunError(path, f"is damaged ({error})", "delete this frame") from error
    if frame.shape != shape:
        raise RunError(path, f"holds {key} of {frame.shape} px, the frames before it {shape}", "delete this frame")
    return np.asarray(frame, np.uint8)


def _frames(run: RunFolder) -> list[Path]:
    return sorted(run.timelapse.glob("epoch-*.npz"))


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    try:
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(path, f"is damaged ({error})", "delete this frame") from error
