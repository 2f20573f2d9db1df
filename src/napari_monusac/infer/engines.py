"""What runs the network on a batch of tiles: torch in the faster precision, or OpenVINO where it is installed."""

from __future__ import annotations

import copy
import threading
import time
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.learn.network import memory_format_of

Precision = Literal["auto", "bfloat16", "float32"]
#: From so many pixels on it pays to convert the network for OpenVINO (2 to 3 s).
OPENVINO_PX = 4_000_000
#: Engines that were made for a network, and how many px it was asked to predict: both live as long as it does.
_MADE: weakref.WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Any]] = weakref.WeakKeyDictionary()
_ASKED: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
_LOCK = threading.RLock()


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


_SOUND = "use another checkpoint, or precision float32"
AnyEngine = TypeVar("AnyEngine", bound=Engine)


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
    """Torch on a device, in the memory layout that suits it, in float32 or bfloat16, on a copy of the network of its own.

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
        self.device, self.precision = device, precision
        # not the model itself: an engine is kept for as long as its network lives, and must not keep it alive
        self._mean, self._std = mean_and_deviation(model)
        self.name = f"torch {precision} on {device}"
        self.batch_size = 1 if device == "cpu" else 8
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        copied = _folded(model.network) if device == "cpu" else copy.deepcopy(model.network).eval()
        self._layout = memory_format_of(device)
        self._network = copied.to(device, self._dtype).to(memory_format=self._layout)

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.run`."""
        with torch.inference_mode():
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


def mean_and_deviation(model: LoadedModel) -> tuple[Tensor, Tensor]:
    """How a network wants its pixels: its own buffers `mean` and `std` where it has them, else pixels / 255.

    Returns
    -------
    mean, deviation : float32 (3,)
        In units of a pixel, 0 to 255.
    """
    mean, std = (getattr(model.network, n, None) for n in ("mean", "std"))
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return torch.zeros(3), torch.full((3,), 255.0)
    return mean.detach().float().flatten().clone(), std.detach().float().flatten().clone()


def prepare(tiles: NDArray[np.uint8], mean: Tensor, deviation: Tensor) -> Tensor:
    """Normalise a batch as the network was trained.

    Parameters
    ----------
    tiles : uint8 (b, y, x, 3)
        RGB.
    mean, deviation : float32 (3,)
        See `mean_and_deviation`.

    Returns
    -------
    float32 (b, 3, y, x)
        In channels-last memory, on the device of `mean`.
    """
    count, height, width, channels = tiles.shape
    batch = torch.from_numpy(tiles).to(mean.device).float()
    # whole rows at once: arithmetic that repeats every three values is several times as slow
    rows = batch.view(count, height, width * channels)
    scale = 1 / deviation
    rows.mul_(scale.repeat(width)).add_((-mean * scale).repeat(width))
    return batch.permute(0, 3, 1, 2)


def _probabilities(semantic: Tensor, ternary: Tensor) -> NDArray[np.float32]:
    """Probabilities of both heads, float32 (b, 8, y, x), computed where the logits are and as planes: twice as fast."""
    both = [torch.softmax(logits.float().contiguous(), 1) for logits in (semantic, ternary)]
    found = np.asarray(torch.cat(both, 1).cpu().numpy(), np.float32)
    if not np.isfinite(found.sum()):
        raise MonusacError("the network answers with values that are no numbers", _SOUND)
    return found


def tile_multiple(network: Any) -> int:
    """Side of a tile must be a multiple of this many px."""
    return int(getattr(network, "stride", 32))


def state_of(network: nn.Module) -> int:
    """A number that changes whenever torch changes a weight in place (as an optimiser does)."""
    return sum(value._version for value in network.state_dict(keep_vars=True).values())


def choose_precision(model: LoadedModel, device: str, wanted: Precision = "auto") -> str:
    """Take the faster of bfloat16 and float32, timed once for each network and device."""
    return _torch_engine(model, device, wanted).precision


def _torch_engine(model: LoadedModel, device: str, wanted: Precision) -> TorchEngine:
    kind = device.split(":")[0]
    if wanted == "auto" and (kind == "mps" or (kind == "cuda" and not torch.cuda.is_bf16_supported())):
        wanted = "float32"

    def make() -> TorchEngine:
        if wanted != "auto":
            return TorchEngine(model, device, wanted)
        return min((TorchEngine(model, device, p) for p in ("float32", "bfloat16")), key=_seconds)

    return _kept(model.network, ("torch", device, wanted), make)


def _kept(network: nn.Module, key: tuple[Any, ...], make: Callable[[], AnyEngine]) -> AnyEngine:
    """The engine of an earlier call with the same weights and threads, else a new one: to make one takes seconds."""
    key = (*key, torch.get_num_threads(), state_of(network))
    with _LOCK:
        engines = _MADE.setdefault(network, {})
        if key not in engines:
            for old in [k for k in engines if k[-1] != key[-1]]:  # of weights that are no more
                del engines[old]
            engines[key] = make()
        engine: AnyEngine = engines[key]
        return engine


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
        How much there is to do. Converting the network takes seconds, so little work stays with torch; what the same
        network was asked before counts, too: a folder of small crops is much work.

    Raises
    ------
    MonusacError
        The model or the device cannot be used.
    """
    from napari_monusac.infer import openvino_engine
    from napari_monusac.learn.device import choose_device

    network = model.network
    if not isinstance(network, nn.Module):
        raise MonusacError(f"network is a {type(network).__name__}", "pass a model of load_checkpoint")
    if device == "openvino" and not openvino_engine.available():
        raise MonusacError("OpenVINO is not installed", "pip install 'napari-monusac[openvino]', or use device auto")
    if device != "openvino":
        asked = device
        device = choose_device(device)[0]
        with _LOCK:
            _ASKED[network] = _ASKED.get(network, 0) + (OPENVINO_PX if pixels is None else pixels)
            much = _ASKED[network] >= OPENVINO_PX
        if asked == "auto" and device == "cpu" and much and openvino_engine.available():
            device = "openvino"
    if device == "openvino":
        return _kept(network, (device, precision), lambda: openvino_engine.OpenVinoEngine(model, precision))
    return _torch_engine(model, device, precision)
