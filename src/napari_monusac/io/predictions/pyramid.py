"""Smaller levels of an image in zarr, made chunk by chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Images whose longest side is over this get smaller levels, until one is not.
LEVEL_PX = 4096


def add_levels(group: Any, *, mean: bool) -> None:
    """Add arrays "1", "2" ..., each half the size of the one before, until one is no longer than 4096 px.

    Parameters
    ----------
    group : zarr.Group
        Holds the array "0", whose last two axes are y and x.
    mean : bool
        Average 2 x 2 px; else take one of them (labels).
    """
    for name in [k for k in group.array_keys() if k != "0"]:
        del group[name]
    level, array = 0, group["0"]
    while max(array.shape[-2:]) > LEVEL_PX:
        level += 1
        shape = (*array.shape[:-2], *(-(-n // 2) for n in array.shape[-2:]))
        part = tuple(min(512, n) for n in shape[-2:])
        front = (1,) * (len(shape) - 2)
        smaller = group.create_array(
            str(level),
            shape=shape,
            chunks=(*front, *part),
            dtype=array.dtype,
            dimension_names=array.metadata.dimension_names,
        )
        _halve(array, smaller, part, mean)
        array = smaller


def _halve(larger: Any, smaller: Any, part: tuple[int, ...], mean: bool) -> None:
    rows, columns = (2 * n for n in part)
    for y in range(0, smaller.shape[-2], rows):
        for x in range(0, smaller.shape[-1], columns):
            block = np.asarray(larger[..., 2 * y : 2 * (y + rows), 2 * x : 2 * (x + columns)])
            small = _mean(block) if mean else block[..., ::2, ::2]
            smaller[..., y : y + small.shape[-2], x : x + small.shape[-1]] = small


def _mean(block: NDArray[Any]) -> NDArray[Any]:
    pad = [(0, 0)] * (block.ndim - 2) + [(0, n % 2) for n in block.shape[-2:]]
    whole = np.pad(block, pad, mode="edge").astype(np.float32)
    total = whole[..., ::2, ::2] + whole[..., 1::2, ::2] + whole[..., ::2, 1::2] + whole[..., 1::2, 1::2]
    out = total / 4
    return np.asarray(np.rint(out) if block.dtype == np.uint8 else out).astype(block.dtype)
