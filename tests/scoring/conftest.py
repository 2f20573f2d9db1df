"""Small tissues for the tests of scores: discs on a grid, with classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Maps = tuple[NDArray[np.int32], dict[int, int]]


def disc_grid(rows: int, columns: int, radius: int = 9, pitch: int = 26, gap: int = 1) -> NDArray[np.int32]:
    """Discs of one size on a grid, numbered 1, 1 + gap, 1 + 2 gap ..."""
    instances = np.zeros((rows * pitch, columns * pitch), np.int32)
    yy, xx = np.mgrid[: instances.shape[0], : instances.shape[1]]
    number = 1
    for r in range(rows):
        for c in range(columns):
            cy, cx = r * pitch + pitch // 2, c * pitch + pitch // 2
            instances[(yy - cy) ** 2 + (xx - cx) ** 2 <= radius**2] = number
            number += gap
    return instances


@pytest.fixture
def grid() -> Callable[..., NDArray[np.int32]]:
    return disc_grid


@pytest.fixture
def tissue() -> Maps:
    """36 discs of radius 9 px, classes 1 to 4 in turn."""
    instances = disc_grid(6, 6)
    return instances, {i: (i - 1) % 4 + 1 for i in range(1, 37)}
