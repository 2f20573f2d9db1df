"""From nuclei to pixels and back: a value painted for each nucleus, what its pixels say of it, where they lie."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)


def paint(instances: NDArray[Any], ids: NDArray[Any], values: NDArray[Value], other: int = 0) -> NDArray[Value]:
    """Give every pixel its nucleus' value.

    Parameters
    ----------
    instances : integers (y, x)
        Instance map, 0 is background.
    ids : integers (n,)
        Ids, ascending; they need not all occur.
    values : (n,)
        One value for each of `ids`.
    other : int
        Value of nuclei that are not in `ids`; background is always 0.

    Returns
    -------
    array (y, x)
        Of the type of `values`.
    """
    background = np.zeros((), values.dtype)
    highest = int(instances.max(initial=0))
    if highest <= 4 * instances.size + 1024:  # a table is fastest, unless the numbers are huge
        table = np.full(highest + 1, other, values.dtype)
        low = ids <= highest
        table[ids[low]] = values[low]
        table[0] = background
        return np.asarray(table[instances])
    if len(ids) == 0:
        return np.where(instances == 0, background, np.asarray(other, values.dtype))
    place = np.searchsorted(ids, instances.astype(np.int64)).clip(max=len(ids) - 1)
    known = np.where(ids[place] == instances, values[place], np.asarray(other, values.dtype))
    return np.asarray(np.where(instances == 0, background, known))


def majority_classes(semantic: NDArray[Any], instances: NDArray[Any]) -> dict[int, int]:
    """Read the class of each nucleus off a semantic map: its most frequent value; background (0) does not count.

    Parameters
    ----------
    semantic : uint8 (y, x)
        Class of each pixel.
    instances : integers (y, x)
        Instance map, 0 is background. A nucleus without a pixel of any class is left out.
    """
    inside = (instances != 0) & (semantic != 0)
    ids, index = np.unique(instances[inside], return_inverse=True)
    counts = np.bincount(index.ravel() * 256 + semantic[inside].astype(np.int64), minlength=len(ids) * 256)
    winners = counts.reshape(len(ids), 256).argmax(1)
    return dict(zip(ids.tolist(), winners.tolist(), strict=True))


def measure(instances: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Measure where the nuclei of a map lie and how large they are.

    Parameters
    ----------
    instances : integers (y, x)
        Instance map, 0 is background; numbers may have gaps.

    Returns
    -------
    ids : int64 (n,)
        Those that occur, ascending.
    areas : int64 (n,)
        px.
    centroids : float64 (n, 2)
        (y, x), px.
    """
    ys, xs = np.nonzero(instances)
    ids, index, areas = np.unique(instances[ys, xs], return_inverse=True, return_counts=True)
    sums = [np.bincount(index.ravel(), places, len(ids)) for places in (ys, xs)]
    centroids = np.stack(sums, 1) / areas[:, None] if len(ids) else np.zeros((0, 2))
    return ids.astype(np.int64), areas.astype(np.int64), centroids
