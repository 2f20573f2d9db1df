"""A tiny network with known weights, and maps drawn by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@dataclass
class StandIn:
    """What `load_checkpoint` gives, as far as prediction needs it."""

    network: Any
    recipe: Any
    metadata: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def stand_in() -> StandIn:
    """A convolutional network of 13 px reach: what tiles must reproduce is exact beyond it."""
    import torch
    from torch import nn

    from napari_monusac.core.recipe import TrainingRecipe

    class Tiny(nn.Module):
        stride = 32

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 8, 7, padding=3), nn.Conv2d(8, 8, 7, padding=3)
            self.semantic, self.ternary = nn.Conv2d(8, 5, 1), nn.Conv2d(8, 3, 1)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            assert images.shape[2] % 32 == images.shape[3] % 32 == 0
            features = torch.relu(self.second(torch.relu(self.first(images))))
            return 5 * self.semantic(features), 5 * self.ternary(features)

    return StandIn(Tiny().eval(), TrainingRecipe(name="stand-in"))


@pytest.fixture(scope="session")
def tissue() -> np.ndarray:
    """A noisy image with structure, uint8 (420, 610, 3)."""
    import cv2

    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.normal(size=(420, 610, 3)).astype(np.float32), (0, 0), 3)
    return np.clip(150 + 400 * image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint file of the smallest real network, untrained."""
    import torch

    from napari_monusac.core.events import Scores
    from napari_monusac.core.recipe import TrainingRecipe
    from napari_monusac.network.checkpoint import CheckpointMetadata, save_checkpoint
    from napari_monusac.network.unet import DualHeadUnet

    recipe = TrainingRecipe(
        name="smallest", encoder="resnet18", encoder_weights="none", decoder_channels=(8, 8, 8, 8, 8), dropout=0.0
    )
    torch.manual_seed(0)
    network = DualHeadUnet(recipe)
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    save_checkpoint(path, network, CheckpointMetadata.describe(recipe, 1, 1, Scores(), {}))
    return path
