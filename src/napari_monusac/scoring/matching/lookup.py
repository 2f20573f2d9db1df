"""Painting a value for each nucleus into its pixels."""

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
