"""A trained network as ONNX, with everything that another program must know to use it, checked against torch."""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_monusac.core.classes import SEMANTIC_NAMES, TERNARY_NAMES
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.files import atomic_write
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.infer.engines.deployed import DeployedNetwork
from napari_monusac.infer.engines.torch import tile_multiple
from napari_monusac.infer.model import ModelLike, as_model, checkpoint_name
from napari_monusac.infer.plan import expected_of
from napari_monusac.network.normalisation import mean_and_deviation

#: Largest difference of a probability between ONNX Runtime and torch, both in float32.
TOLERANCE = 1e-3
_EXTRA = "pip install 'napari-monusac[onnx]'"


@dataclass(frozen=True, slots=True)
class OnnxReport:
    """What was written, and how it compares with torch.

    Attributes
    ----------
    path : Path
        The ``.onnx`` file.
    difference : float or None
        Largest difference of a probability on test images of two sizes; None where ONNX Runtime is not installed.
    metadata : dict of str to str
        What stands in the file.
    """

    path: Path
    difference: float | None
    metadata: dict[str, str]


def export_onnx(checkpoint: Any, path: str | Path, *, opset: int = 18) -> OnnxReport:
    """Write a network as ONNX.

    Input ``image``: float32 (b, 3, y, x), RGB in 0 to 255; y and x multiples of 32. Outputs ``semantic`` (b, 5, y, x)
    and ``ternary`` (b, 3, y, x): probabilities. The normalisation is inside.

    Parameters
    ----------
    checkpoint : path or ModelLike
        A checkpoint file, a run folder, or what `load_checkpoint` gives.
    path : str or Path
        The ``.onnx`` file to write.
    opset : int
        Version of ONNX's operators.

    Returns
    -------
    OnnxReport

    Raises
    ------
    MonusacError
        The extra ``[onnx]`` is not installed, or the written file does not answer as torch does.
    """
    _need("onnx")
    path, model = Path(path), as_model(checkpoint)
    network = DeployedNetwork(model).eval()
    metadata = _metadata(model, checkpoint_name(checkpoint, model))
    with atomic_write(path) as temporary:
        _write(network, metadata, tile_multiple(model.network), opset, temporary)
        difference = _difference(network, temporary, tile_multiple(model.network))
        if difference is not None and difference > TOLERANCE:
            raise MonusacError(
                f"{path}: ONNX Runtime differs from torch by {difference:.2g}",
                "report this with the name of the encoder",
            )
    return OnnxReport(path, difference, metadata)


def _need(*modules: str) -> None:
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        raise MonusacError(f"{' and '.join(missing)} not installed", _EXTRA)


def _metadata(model: ModelLike, source: str) -> dict[str, str]:
    mean, deviation = (v.tolist() for v in mean_and_deviation(model.network))
    expected = expected_of(model)
    return {
        "producer": "napari-monusac",
        "classes": json.dumps(SEMANTIC_NAMES),
        "ternary_classes": json.dumps(TERNARY_NAMES),
        "um_per_px": "unknown" if expected.um_per_px is None else repr(expected.um_per_px),
        "boundary_width_px": str(model.recipe.boundary_width),
        "input": "float32 (b, 3, y, x), RGB, 0 to 255; y and x multiples of " + str(tile_multiple(model.network)),
        "normalisation": json.dumps({"inside_the_network": True, "mean": mean, "deviation": deviation}),
        "stain_normalisation": model.recipe.stain if model.recipe.stain == "normalise" else "none",
        "recipe": model.recipe.name,
        "recipe_toml": without_folders(model).to_toml(),
        "fingerprint": model.recipe.fingerprint(),
        "checkpoint": Path(source).name,
        "use": "Research use, not diagnosis. Weights trained on MoNuSAC are under its licence, CC BY-NC-SA 4.0.",
    }


def without_folders(model: ModelLike) -> TrainingRecipe:
    """Return the recipe with the names of its files alone: where they lie on this machine is nobody else's business."""
    recipe: TrainingRecipe = model.recipe
    return recipe.with_values(
        encoder_weights=Path(recipe.encoder_weights).name, start_from=Path(recipe.start_from).name
    )


def _write(network: nn.Module, metadata: dict[str, str], multiple: int, opset: int, path: Path) -> None:
    """Trace the network: seconds, where the exporter by `torch.export` takes minutes over symbolic sizes."""
    import onnx

    example = torch.zeros(1, 3, 2 * multiple, 3 * multiple)
    axes = {n: {0: "b", 2: "y", 3: "x"} for n in ("image", "semantic", "ternary")}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is called deprecated, and sizes are meant to be traced
        torch.onnx.export(
            network, (example,), str(path), dynamo=False, opset_version=opset, input_names=["image"],
            output_names=["semantic", "ternary"], dynamic_axes=axes,
        )  # fmt: skip
    proto = onnx.load_from_string(path.read_bytes())
    for node in proto.graph.node:  # the exporter notes the lines of source, with their folders
        node.ClearField("doc_string")
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def quiet_onnxruntime() -> Any:
    """Import ONNX Runtime without its telemetry, which calls Microsoft and writes a number for the user into their home."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read as it is loaded
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # another plugin may have loaded it
    return onnxruntime


def _difference(network: nn.Module, path: Path, multiple: int) -> float | None:
    """Largest difference from torch over two sizes and batches; None without ONNX Runtime."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    onnxruntime = quiet_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    worst = 0.0
    for batch, height, width in ((1, multiple, 2 * multiple), (2, 3 * multiple, multiple)):
        image = rng.integers(0, 256, (batch, 3, height, width)).astype(np.float32)
        found: list[NDArray[np.float32]] = session.run(["semantic", "ternary"], {"image": image})
        with torch.inference_mode():
            expected = network(torch.from_numpy(image))
        worst = max(worst, *(float(np.abs(f - e.numpy()).max()) for f, e in zip(found, expected, strict=True)))
    return worst
