"""Torch as the engine, in float32 or bfloat16; validation and prediction take the same."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_monusac.core.errors import MonusacError
from napari_monusac.network.normalisation import mean_and_deviation, prepare
from napari_monusac.network.unet import memory_format_of

_SOUND_WEIGHTS = "use another checkpoint, or precision float32"


class HasNetwork(Protocol):
    """Whatever holds a network: a loaded model, a training step."""

    @property
    def network(self) -> Any:
        """A `torch.nn.Module` that gives the logits of both heads."""


class TorchEngine:
    """Torch on a device, in the memory layout that suits it, in float32 or bfloat16, on a copy of the network of its own.

    Parameters
    ----------
    model : HasNetwork
        A loaded model. Its network itself stays as it is: it may be in training meanwhile.
    device : str
        ``"cpu"``, ``"cuda"``, ``"mps"``.
    precision : {"float32", "bfloat16"}
        Precision of weights and activations; probabilities are always float32.
    """

    def __init__(self, model: HasNetwork, device: str = "cpu", precision: str = "float32") -> None:
        self.device, self.precision = device, precision
        # not the model itself: an engine is kept for as long as its network lives, and must not keep it alive
        # on the device, wherever the model is: bytes go there, and become numbers there
        self._mean, self._std = (each.to(device) for each in mean_and_deviation(model.network))
        self.name = f"torch {precision} on {device}"
        self.batch_size = 1 if device == "cpu" else 8
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        copied = _folded(model.network) if device == "cpu" else copy.deepcopy(model.network).eval()
        self._layout = memory_format_of(device)
        self._network = copied.to(device, self._dtype).to(memory_format=self._layout)

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.run`."""
        return _sound(np.asarray(self.probabilities(tiles).cpu().numpy(), np.float32))

    @torch.inference_mode()
    def probabilities(self, tiles: NDArray[np.uint8]) -> Tensor:
        """As `run`, float32 (b, 8, y, x) left on the device, where nobody waits for them."""
        batch = prepare(tiles, self._mean, self._std).to(self.device, self._dtype)
        return _probabilities(*self._network(batch.contiguous(memory_format=self._layout)))


def _folded(network: nn.Module) -> nn.Module:
    """A copy for inference on the CPU whose batch norms are folded into the convolutions before them.

    What stands one after the other is taken to run so, and the outcome is compared: an encoder that does otherwise is
    left as it is. No tracing: `torch.fx` patches torch for all threads, one of which may be training.
    """
    whole = copy.deepcopy(network).float().cpu().eval()
    folded = copy.deepcopy(whole)
    for parent in list(folded.modules()):
        for (name, conv), (after, norm) in pairwise(list(parent.named_children())):
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and conv.out_channels == norm.num_features:
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, after, nn.Identity())
    side = 2 * tile_multiple(network)
    sample = torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)
    with torch.inference_mode():
        alike = all(
            torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(folded(sample), whole(sample), strict=True)
        )
    return folded if alike else whole


def _probabilities(semantic: Tensor, ternary: Tensor) -> Tensor:
    """Probabilities of both heads, float32 (b, 8, y, x), computed where the logits are and as planes: twice as fast."""
    return torch.cat([torch.softmax(logits.float().contiguous(), 1) for logits in (semantic, ternary)], 1)


def _sound(found: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(found.sum()):
        raise MonusacError("the network answers with values that are no numbers", _SOUND_WEIGHTS)
    return found


def tile_multiple(network: Any) -> int:
    """Side of a tile must be a multiple of this many px."""
    return int(getattr(network, "stride", 32))
