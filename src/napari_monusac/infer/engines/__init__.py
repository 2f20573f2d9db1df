"""What runs a network on a batch of tiles: torch in the faster precision, or OpenVINO where it is installed."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """Gives the probabilities of both heads for a batch of tiles."""

    #: For the user: what runs, where, how precisely.
    name: str
    #: Tiles at once that suit it.
    batch_size: int

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uint8 (b, y, x, 3) to float32 (b, 8, y, x): five semantic and three ternary probabilities."""
        ...
