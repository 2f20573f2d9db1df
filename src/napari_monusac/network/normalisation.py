"""How pixels are normalised for a network, in training, in prediction and inside an exported graph: one formula."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Mean and deviation of ImageNet's RGB pixels in 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def mean_and_deviation(network: nn.Module) -> tuple[Tensor, Tensor]:
    """How a network wants its pixels: its own buffers `mean` and `std` where it has them, else pixels / 255.

    Returns
    -------
    mean, deviation : float32 (3,)
        In units of a pixel, 0 to 255.
    """
    mean, std = (getattr(network, n, None) for n in ("mean", "std"))
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return torch.zeros(3), torch.full((3,), 255.0)
    return mean.detach().float().flatten().clone(), std.detach().float().flatten().clone()


def normalised(pixels: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return ``(pixels - mean) / deviation``, of any shapes that fit."""
    return (pixels - mean) / deviation


def prepare(images: NDArray[Any] | Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Normalise a batch of images, on the device of `mean`.

    Parameters
    ----------
    images : uint8 (b, y, x, 3)
        RGB.
    mean, deviation : float32 (3,)
        See `mean_and_deviation`.

    Returns
    -------
    float32 (b, 3, y, x)
        In channels-last memory.
    """
    batch = torch.as_tensor(images).to(mean.device, non_blocking=True).float()
    count, height, width, channels = batch.shape
    # whole rows at once: arithmetic that repeats every three values is several times as slow
    rows = normalised(batch.reshape(count, height, width * channels), mean.repeat(width), deviation.repeat(width))
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)
