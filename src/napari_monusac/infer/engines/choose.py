"""Which engine suits this machine and this much work; those that were made are kept with their network."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.recipe import Precision
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.engines.torch import TorchEngine
from napari_monusac.infer.model import ModelLike
from napari_monusac.network.device import has_bfloat16

#: From so many pixels on it pays to convert the network for OpenVINO (2 to 3 s).
OPENVINO_PX = 4_000_000
#: Engines that were made for a network, and how many px it was asked to predict: both live as long as it does.
_MADE: weakref.WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Any]] = weakref.WeakKeyDictionary()
_ASKED: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
_LOCK = threading.RLock()


AnyEngine = TypeVar("AnyEngine", bound=Engine)


def state_of(network: nn.Module) -> int:
    """A number that changes whenever torch changes a weight in place (as an optimiser does)."""
    return sum(value._version for value in network.state_dict(keep_vars=True).values())


def choose_precision(model: ModelLike, device: str, wanted: Precision = "auto") -> str:
    """Take what validation used on such a device; else bfloat16 on a GPU that has it, on a CPU the faster, timed once."""
    return _torch_engine(model, device, wanted).precision


def _torch_engine(model: ModelLike, device: str, wanted: Precision) -> TorchEngine:
    kind = device.split(":")[0]
    if wanted == "auto":
        wanted = _validated_in(model, kind)
    if wanted == "auto" and kind != "cpu":
        wanted = "bfloat16" if has_bfloat16(device) else "float32"

    def make() -> TorchEngine:
        if wanted != "auto":
            return TorchEngine(model, device, wanted)
        return min((TorchEngine(model, device, p) for p in ("float32", "bfloat16")), key=_seconds)

    return _kept(model.network, ("torch", device, wanted), make)


def _validated_in(model: ModelLike, kind: str) -> Precision:
    """The precision that the scores of a checkpoint were found in, where it was on such a device; else "auto"."""
    about = getattr(model, "metadata", None)
    found = getattr(about, "precision", "") if getattr(about, "device", "") == kind else ""
    return "bfloat16" if found == "bfloat16" else "float32" if found == "float32" else "auto"


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
    model: ModelLike, device: str = "auto", precision: Precision = "auto", pixels: int | None = None
) -> Engine:
    """Take the best engine for this machine: on a CPU OpenVINO where it is installed, else torch.

    Parameters
    ----------
    model : ModelLike
        Network and recipe.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"openvino"`` to insist on it.
    precision : {"auto", "bfloat16", "float32"}
        ``"auto"`` takes that of validation, else bfloat16 on a GPU that has it; on a CPU it times both.
    pixels : int, optional
        How much there is to do. Converting the network takes seconds, so little work stays with torch; what the same
        network was asked before counts, too: a folder of small crops is much work.

    Raises
    ------
    MonusacError
        The model or the device cannot be used.
    """
    from napari_monusac.infer.engines import openvino as openvino_engine
    from napari_monusac.network.device import choose_device

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
