"""What runs the network on a batch of tiles: torch in the faster precision, or OpenVINO where it is installed."""

from __future__ import annotations

import copy
import time
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.recipe import TrainingRecipe

Precision = Literal["auto", "bfloat16", "float32"]
#: From so many pixels on it pays to convert the network for OpenVINO (2 to 3 s).
OPENVINO_PX = 4_000_000
_TIMED: weakref.WeakKeyDictionary[nn.Module, dict[tuple[str, int], str]] = weakref.WeakKeyDictionary()


class LoadedModel(Protocol):
    """What `learn.checkpoint.load_checkpoint` gives: a network, its recipe, and what the checkpoint says of itself."""

    @property
    def network(self) -> Any:
        """A `torch.nn.Module` that gives the logits of both heads."""

    @property
    def recipe(self) -> TrainingRecipe:
        """What it was trained with."""
        ...

    @property
    def metadata(self) -> Any:
        """What the checkpoint says about itself."""


class Engine(Protocol):
    """Gives the probabilities of both heads for a batch of tiles."""

    #: For the user: what runs, where, how precisely.
    name: str
    #: Tiles at once that suit it.
    batch_size: int

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uint8 (b, y, x, 3) to float32 (b, 8, y, x): five semantic and three ternary probabilities."""
        ...


def as_model(checkpoint: Any) -> LoadedModel:
    """Load a checkpoint file or a run folder; a loaded model is handed through.

    Raises
    ------
    CheckpointError
        The file is missing, foreign or damaged.
    """
    if isinstance(checkpoint, str | Path):
        from napari_monusac.learn.checkpoint import load_checkpoint

        model: LoadedModel = load_checkpoint(checkpoint)
        return model
    if not hasattr(checkpoint, "network") or not hasattr(checkpoint, "recipe"):
        raise MonusacError(
            f"{type(checkpoint).__name__} is no checkpoint", "pass a file, a run folder or what load_checkpoint gives"
        )
    loaded: LoadedModel = checkpoint
    return loaded


def checkpoint_name(checkpoint: Any, model: LoadedModel) -> str:
    """Where the weights came from, for a prediction's record; empty where it is unknown."""
    if isinstance(checkpoint, str | Path):
        return str(checkpoint)
    metadata = model.metadata if hasattr(model, "metadata") else {}
    return str(getattr(model, "path", None) or (metadata or {}).get("path", ""))


class TorchEngine:
    """Torch on a device, channels last, in float32 or bfloat16, on a copy of the network of its own.

    Parameters
    ----------
    model : LoadedModel
        Network and recipe. The network itself stays as it is: it may be in training meanwhile.
    device : str
        ``"cpu"``, ``"cuda"``, ``"mps"``.
    precision : {"float32", "bfloat16"}
        Precision of weights and activations; probabilities are always float32.
    """

    def __init__(self, model: LoadedModel, device: str = "cpu", precision: str = "float32") -> None:
        self.model, self.device, self.precision = model, device, precision
        self.name = f"torch {precision} on {device}"
        self.batch_size = 1 if device == "cpu" else 8
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        copied = _folded(model.network) if device == "cpu" else copy.deepcopy(model.network).eval()
        self._network = copied.to(device, self._dtype).to(memory_format=torch.channels_last)

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.run`."""
        with torch.inference_mode():
            batch = prepare(self.model, tiles).to(self.device, self._dtype)
            return _probabilities(*self._network(batch.contiguous(memory_format=torch.channels_last)))


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


def prepare(model: LoadedModel, tiles: NDArray[np.uint8]) -> Tensor:
    """Normalise a batch as the network was trained: by its own mean and deviation where it has them, else pixels / 255.

    Parameters
    ----------
    model : LoadedModel
        Its network may have the buffers `mean` and `std`, (1, 3, 1, 1), in units of a pixel.
    tiles : uint8 (b, y, x, 3)
        RGB.

    Returns
    -------
    float32 (b, 3, y, x)
        In channels-last memory, on the network's device.
    """
    network = model.network
    mean, std = (getattr(network, n, None) for n in ("mean", "std"))
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        mean, std = torch.zeros(3), torch.full((3,), 255.0)
    count, height, width, channels = tiles.shape
    batch = torch.from_numpy(tiles).to(mean.device).float()
    # whole rows at once: arithmetic that repeats every three values is several times as slow
    rows = batch.view(count, height, width * channels)
    scale = 1 / std.float().flatten()
    rows.mul_(scale.repeat(width)).add_((-mean.float().flatten() * scale).repeat(width))
    return batch.permute(0, 3, 1, 2)


def _probabilities(semantic: Tensor, ternary: Tensor) -> NDArray[np.float32]:
    """Probabilities of both heads, float32 (b, 8, y, x), computed where the logits are and as planes: twice as fast."""
    both = [torch.softmax(logits.float().contiguous(), 1) for logits in (semantic, ternary)]
    return np.asarray(torch.cat(both, 1).cpu().numpy(), np.float32)


def tile_multiple(network: Any) -> int:
    """Side of a tile must be a multiple of this many px."""
    return int(getattr(network, "stride", 32))


def choose_precision(model: LoadedModel, device: str, wanted: Precision = "auto") -> str:
    """Take the faster of bfloat16 and float32, timed once for each network and device."""
    if wanted != "auto":
        return wanted
    kind = device.split(":")[0]
    if kind == "mps" or (kind == "cuda" and not torch.cuda.is_bf16_supported()):
        return "float32"
    timed = _TIMED.setdefault(model.network, {})
    key = (device, torch.get_num_threads())
    if key not in timed:
        timed[key] = min(("float32", "bfloat16"), key=lambda p: _seconds(TorchEngine(model, device, p)))
    return timed[key]


def _seconds(engine: Engine, side: int = 192, repeats: int = 2) -> float:
    tile = np.full((1, side, side, 3), 200, np.uint8)
    engine.run(tile)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        engine.run(tile)
        best = min(best, time.perf_counter() - start)
    return best


def choose_engine(
    model: LoadedModel, device: str = "auto", precision: Precision = "auto", pixels: int | None = None
) -> Engine:
    """Take the best engine for this machine: on a CPU OpenVINO where it is installed, else torch.

    Parameters
    ----------
    model : LoadedModel
        Network and recipe.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"openvino"`` to insist on it.
    precision : {"auto", "bfloat16", "float32"}
        ``"auto"`` times both.
    pixels : int, optional
        How much there is to do. Converting the network takes seconds, so little work stays with torch.

    Raises
    ------
    MonusacError
        The model or the device cannot be used.
    """
    from napari_monusac.infer import openvino_engine

    if not isinstance(model.network, nn.Module):
        raise MonusacError(f"network is a {type(model.network).__name__}", "pass a model of load_checkpoint")
    if device == "openvino" and not openvino_engine.available():
        raise MonusacError("OpenVINO is not installed", "pip install 'napari-monusac[openvino]', or use device auto")
    if device == "auto":
        from napari_monusac.learn.device import choose_device

        device = choose_device("auto")[0]
        worth_it = pixels is None or pixels >= OPENVINO_PX or openvino_engine.is_converted(model.network)
        if device == "cpu" and worth_it and openvino_engine.available():
            device = "openvino"
    if device == "openvino":
        return openvino_engine.OpenVinoEngine(model, precision)
    return TorchEngine(model, device, choose_precision(model, device, precision))
