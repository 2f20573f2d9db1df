"""How an image is framed for the network, alike in training, validation and prediction: centred, mirrored. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def margin_before(size: int, length: int) -> int:
    """Px before an image of `size` px that is centred in `length` px; an odd one lies before. 0 where it is longer."""
    return max(0, -((size - length) // 2))


def mirrored(start: int, length: int, size: int) -> NDArray[np.intp]:
    """Which px of an image are seen along an axis that goes on beyond its ends, mirrored.

    The px at the edge is not repeated (numpy calls this ``reflect``); an image shorter than what is missing is mirrored
    again and again.

    Parameters
    ----------
    start : int
        First px that is looked at; may be negative.
    length : int
        How many.
    size : int
        Length of the image, px.

    Returns
    -------
    intp (length,)
        Each in 0 to size - 1.
    """
    period = max(1, 2 * (size - 1))
    phase = np.arange(start, start + length) % period
    return np.asarray(np.minimum(phase, period - phase) if size > 1 else np.zeros(length), np.intp)
