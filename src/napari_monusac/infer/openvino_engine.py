"""OpenVINO as the CPU's engine: the same network, compiled for this processor. Needs the extra ``[openvino]``."""

from __future__ import annotations

import importlib.util
import threading
import warnings
import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_monusac.infer.engines import LoadedModel, prepare, softmaxed

_CONVERTED: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def is_converted(network: nn.Module) -> bool:
    """Whether this network was converted before: then it costs nothing to start."""
    return network in _CONVERTED


class OpenVinoEngine:
    """Runs a network with OpenVINO on the CPU.

    Parameters
    ----------
    model : LoadedModel
        Network and recipe; converted in memory, nothing is sent or stored.
    precision : {"auto", "bfloat16", "float32"}
        ``"auto"``: bfloat16 where the processor computes in it.
    """

    batch_size = 1

    def __init__(self, model: LoadedModel, precision: str = "auto") -> None:
        import openvino as ov

        self.model = model
        self._core = ov.Core()
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = ("bfloat16" if has_bf16 else "float32") if precision == "auto" else precision
        self.name = f"OpenVINO {self.precision} on cpu"
        self._compiled: dict[tuple[int, ...], Any] = {}
        with _LOCK:
            if model.network not in _CONVERTED:
                _CONVERTED[model.network] = _convert(model.network)
            self._graph = _CONVERTED[model.network]

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.run`."""
        return softmaxed(self.logits(tiles))

    def logits(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Logits.logits`."""
        with torch.inference_mode():
            batch = prepare(self.model, tiles).cpu().contiguous().numpy()
        found = list(self._for(batch.shape)(batch).values())
        return np.concatenate(found, 1, dtype=np.float32)

    def _for(self, shape: tuple[int, ...]) -> Any:
        """The graph compiled for tiles of one shape (fixed shapes run faster)."""
        if shape not in self._compiled:
            graph = self._graph.clone()
            graph.reshape(list(shape))
            hint = "bf16" if self.precision == "bfloat16" else "f32"
            options = {
                "INFERENCE_PRECISION_HINT": hint,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            }
            self._compiled[shape] = self._core.compile_model(graph, "CPU", options)
        return self._compiled[shape]


def _convert(network: nn.Module) -> Any:
    """The network as an OpenVINO graph, by its PyTorch front end (`openvino.convert_model` would load telemetry)."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    bare = BareNetwork(network).eval()
    example = torch.zeros(1, 3, 64, 64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit.trace is called deprecated; OpenVINO still asks for it
        front = FrontEndManager().load_by_framework("pytorch")
        options = {"check_trace": False}  # tests hold the graph against torch; tracing it thrice takes seconds
        decoder = TorchScriptPythonDecoder(bare, example_input=example, trace_kwargs=options)  # outlives `convert`
        return front.convert(front.load(decoder))


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
