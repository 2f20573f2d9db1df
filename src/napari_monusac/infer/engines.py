"""What runs the network on a batch of tiles: torch in the faster precision, or OpenVINO where it is installed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.recipe import TrainingRecipe

Precision = Literal["auto", "bfloat16", "float32"]
_TIMED: dict[tuple[Any, ...], str] = {}


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


@dataclass(eq=False)
class TorchEngine:
    """Torch on a device, channels last, in float32 or bfloat16.

    Attributes
    ----------
    model : LoadedModel
        Network and recipe. The network is put into evaluation mode for each batch and left in the mode it had.
    device : str
        ``"cpu"``, ``"cuda"``, ``"mps"``.
    precision : {"float32", "bfloat16"}
        Precision of the convolutions; probabilities are always float32.
    """

    model: LoadedModel
    device: str = "cpu"
    precision: str = "float32"
    name: str = field(init=False)
    batch_size: int = field(init=False)

    def __post_init__(self) -> None:
        self.batch_size = 1 if self.device == "cpu" else 8
        self.name = f"torch {self.precision} on {self.device}"
        self._network = self.model.network.to(self.device).to(memory_format=torch.channels_last)

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.run`."""
        network, kind = self._network, self.device.split(":")[0]
        training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                batch = prepare(self.model, tiles, self.device)
                with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
                    semantic, ternary = network(batch)
                out = torch.cat([semantic.float().softmax(1), ternary.float().softmax(1)], 1)
                return np.asarray(out.contiguous().cpu().numpy(), np.float32)
        finally:
            network.train(training)


def prepare(model: LoadedModel, tiles: NDArray[np.uint8], device: str) -> Tensor:
    """Normalise a batch as the network was trained: by its own `prepare` where it has one, else pixels / 255."""
    own = getattr(model.network, "prepare", None)
    batch = own(tiles) if own else torch.from_numpy(tiles).to(device).permute(0, 3, 1, 2).float() / 255
    return batch.contiguous(memory_format=torch.channels_last)


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
    key = (id(model.network), device, torch.get_num_threads())
    if key not in _TIMED:
        _TIMED[key] = min(("float32", "bfloat16"), key=lambda p: _seconds(TorchEngine(model, device, p)))
    return _TIMED[key]


def _seconds(engine: Engine, side: int = 192, repeats: int = 2) -> float:
    tile = np.full((1, side, side, 3), 200, np.uint8)
    engine.run(tile)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        engine.run(tile)
        best = min(best, time.perf_counter() - start)
    return best


def choose_engine(model: LoadedModel, device: str = "auto", precision: Precision = "auto") -> Engine:
    """Take the best engine for this machine.

    Parameters
    ----------
    model : LoadedModel
        Network and recipe.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    precision : {"auto", "bfloat16", "float32"}
        ``"auto"`` times both.
    """
    if device == "auto":
        from napari_monusac.learn.device import choose_device

        device = str(choose_device("auto")[0])
    if not isinstance(model.network, nn.Module):
        raise MonusacError(f"network is a {type(model.network).__name__}", "pass a model of load_checkpoint")
    return TorchEngine(model, device, choose_precision(model, device, precision))
