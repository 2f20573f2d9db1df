"""OpenVINO as the CPU's engine: the same network, compiled for this processor. Needs the extra ``[openvino]``."""

from __future__ import annotations

import importlib.util
import sys
import threading
import warnings
from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_monusac.infer.engines.deployed import DeployedNetwork
from napari_monusac.infer.model import ModelLike

#: A graph of a fixed shape is up to a tenth faster and takes 0.3 s to compile: not worth it for a crop of a few tiles.
FIXED_AFTER = 32
ANY_SHAPE = (-1, -1, -1, 3)


def quiet_openvino() -> Any:
    """Import OpenVINO without its telemetry, which looks up a host and writes a number for the user into their home."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's way to say: not there
    import openvino

    return openvino


def available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoEngine:
    """Runs a network with OpenVINO on the CPU.

    Parameters
    ----------
    model : ModelLike
        Network and recipe; converted in memory, nothing is sent or stored.
    precision : {"auto", "bfloat16", "float32"}
        ``"auto"``: bfloat16 where the processor computes in it.
    """

    batch_size = 1

    def __init__(self, model: ModelLike, precision: str = "auto") -> None:
        ov = quiet_openvino()
        self._core = ov.Core()
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = ("bfloat16" if has_bf16 else "float32") if precision == "auto" else precision
        self.name = f"OpenVINO {self.precision} on cpu"
        self._compiled: dict[tuple[int, ...], Any] = {}
        self._asked: Counter[tuple[int, ...]] = Counter()
        self._graph = as_graph(_Joined(model))
        self._one_at_a_time = threading.Lock()

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.run`. Normalisation and softmax are part of the graph: numpy beside it would take its cores."""
        with self._one_at_a_time:  # a compiled graph answers one caller, and all who predict with a network share it
            return np.asarray(self._for(tiles.shape)(tiles)[0], np.float32)

    def _for(self, shape: tuple[int, ...]) -> Any:
        """The graph for tiles of one shape (b, y, x, 3): that of any shape until this one has come often enough."""
        self._asked[shape] += 1
        key = shape if self._asked[shape] > FIXED_AFTER else ANY_SHAPE
        if key not in self._compiled:
            self._compiled[key] = compiled(self._core, _of_pixels(self._graph.clone(), key), self.precision)
        return self._compiled[key]


def compiled(core: Any, graph: Any, precision: str) -> Any:
    """Compile a graph for the CPU, for one tile at a time, with as many threads as torch has."""
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return core.compile_model(graph, "CPU", options)


class _Joined(nn.Module):
    """Both heads' probabilities as one array: one copy out of the graph, not two and their concatenation."""

    def __init__(self, model: ModelLike) -> None:
        super().__init__()
        self.deployed = DeployedNetwork(model)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.deployed(image), 1)


def as_graph(network: nn.Module) -> Any:
    """A network as an OpenVINO graph, by its PyTorch front end (`openvino.convert_model` would load telemetry)."""
    quiet_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    network.eval()
    example = torch.zeros(1, 3, 64, 64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit.trace is called deprecated; OpenVINO still asks for it
        front = FrontEndManager().load_by_framework("pytorch")
        options = {"check_trace": False}  # tests hold the graph against torch; tracing it thrice takes seconds
        decoder = TorchScriptPythonDecoder(network, example_input=example, trace_kwargs=options)  # outlives `convert`
        return front.convert(front.load(decoder))


def _of_pixels(graph: Any, shape: tuple[int, ...]) -> Any:
    """The graph for uint8 (b, y, x, 3) of one shape, or of any."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    count, height, width, channels = shape
    graph.reshape([count, channels, height, width])
    steps = PrePostProcessor(graph)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    return steps.build()
