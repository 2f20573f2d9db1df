"""Where there is tissue and where there is only glass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Sum of the optical densities of R, G and B above which a pixel is stained; glass stays below 0.15, noise included.
STAINED_OD = 0.25
#: A tile with less than this part of stained pixels is glass.
TISSUE_PART = 0.002


def optical_density(pixels: NDArray[np.uint8], white: float = 245.0) -> NDArray[np.float32]:
    """Sum over R, G, B of -log10((p + 1) / white), float32 (y, x); never below 0 for a channel."""
    logs = np.log10(np.float32(white)) - np.log10(pixels.astype(np.float32) + 1)
    return np.asarray(np.maximum(logs, 0).sum(-1), np.float32)


def is_glass(tile: NDArray[np.uint8], step: int = 4) -> bool:
    """Whether a tile shows no tissue.

    Parameters
    ----------
    tile : uint8 (y, x, 3)
        RGB.
    step : int
        Only every so many-th pixel a side is looked at.
    """
    stained = optical_density(tile[::step, ::step]) > STAINED_OD
    return float(stained.mean()) < TISSUE_PART
