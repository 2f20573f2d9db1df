"""A network as it leaves torch: normalisation and softmax inside, nothing that cannot be traced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_monusac.infer.model import ModelLike
from napari_monusac.network.normalisation import mean_and_deviation, normalised


class DeployedNetwork(nn.Module):
    """RGB in 0 to 255 in, probabilities out: nothing left for the caller to get wrong.

    Parameters
    ----------
    model : ModelLike
        Network and recipe; the network is copied.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: ModelLike) -> None:
        super().__init__()
        self.bare = BareNetwork(model.network)
        mean, deviation = mean_and_deviation(model.network)
        self.register_buffer("mean", mean.cpu().view(1, 3, 1, 1))
        self.register_buffer("deviation", deviation.cpu().view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Give probabilities (b, 5, y, x) and (b, 3, y, x) of images (b, 3, y, x)."""
        semantic, ternary = self.bare(normalised(image, self.mean, self.deviation))
        return semantic.softmax(1), ternary.softmax(1)


class BareNetwork(nn.Module):
    """A copy of a dual-head network without its checks on shapes, which cannot be traced.

    Parameters
    ----------
    network : nn.Module
        `DualHeadUnet`, or any module that gives the logits of both heads.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        import copy

        own: Any = copy.deepcopy(network).float().cpu()
        self.whole: nn.Module | None = None if hasattr(own, "semantic_head") else own
        if self.whole is None:
            self.encoder, self.decoder = own.encoder, own.decoder
            self.semantic_head, self.ternary_head = own.semantic_head, own.ternary_head

    encoder: Any
    decoder: Any
    semantic_head: Any
    ternary_head: Any

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the logits (b, 5, y, x) and (b, 3, y, x) of normalised images (b, 3, y, x)."""
        if self.whole is not None:
            logits: tuple[torch.Tensor, torch.Tensor] = self.whole(images)
            return logits
        shared = self.decoder(self.encoder(images))
        semantic, ternary = self.semantic_head(shared), self.ternary_head(shared)
        return semantic, ternary
