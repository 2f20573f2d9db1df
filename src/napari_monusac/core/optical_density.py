"""Optical density of the 256 levels of a pixel, for whoever measures stain: one table, looked up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: What divides natural optical densities into those of base 10.
LN_10 = float(np.log(10.0))


def density_of_levels(white: float, offset: float = 1.0) -> NDArray[np.float64]:
    """Return the natural optical density of each level, ``-ln((level + offset) / white)``.

    Parameters
    ----------
    white : float
        Level of clear glass; brighter pixels have densities below 0.
    offset : float
        Added to each level, so that level 0 has a density; with 0 that level counts as 1.

    Returns
    -------
    float64 (256,)
        To be indexed by pixels.
    """
    return np.asarray(-np.log(np.maximum(np.arange(256.0) + offset, 1.0) / white))
