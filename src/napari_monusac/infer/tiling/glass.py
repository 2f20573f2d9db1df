"""Where there is tissue and where there is only glass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.optical_density import LN_10, density_of_levels

#: Sum of the optical densities (base 10) of R, G and B above which a pixel is stained; glass stays below 0.15, noise included.
STAINED_OD = 0.25
#: A tile with less than this part of stained pixels is glass.
TISSUE_PART = 0.002


_WHITE = 245.0


def is_glass(tile: NDArray[np.uint8], step: int = 4) -> bool:
    """Whether a tile shows no tissue.

    Parameters
    ----------
    tile : uint8 (y, x, 3)
        RGB.
    step : int
        Only every so many-th pixel a side is looked at.
    """
    density = np.maximum(density_of_levels(_WHITE) / LN_10, 0).astype(np.float32)
    stained = density[tile[::step, ::step]].sum(-1) > STAINED_OD
    return float(stained.mean()) < TISSUE_PART
