"""A trained network as a package of the BioImage Model Zoo (bioimage.io), which ilastik, Fiji, QuPath and others read.

The package holds the network twice (ONNX, and PyTorch's state dict), test tensors, the model card, and our own checkpoint, so
that ``predict --checkpoint MODEL.zip`` gives the very maps of the original. The description is plain data: JSON, which is YAML.
``benchmarks/model_zoo.py`` has bioimageio.core test it.

Source: bioimageio.spec, model description 0.5 (github.com/bioimage-io/spec-bioimage-io).
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_monusac.core.classes import SEMANTIC_NAMES, TERNARY_NAMES
from napari_monusac.core.files import atomic_write, sha256_of
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.infer.engines.deployed import DeployedNetwork
from napari_monusac.infer.export import export_onnx, without_folders
from napari_monusac.infer.model_card import LICENCE, model_card
from napari_monusac.network.checkpoint import CHECKPOINT_IN_PACKAGE, LoadedModel, load_checkpoint, resolve_checkpoint
from napari_monusac.network.unet import DualHeadUnet

_FORMAT = "0.5.4"
_OPSET = 18
#: What overlapping tiles lose at each side, px.
_HALO_PX = 32
_CITES = (
    ("Verma et al., MoNuSAC2020, IEEE Transactions on Medical Imaging 40 (2021)", "10.1109/TMI.2021.3085712"),
    ("Ronneberger et al., U-Net, MICCAI 2015", "10.1007/978-3-319-24574-4_28"),
)
#: Files of the same model are the same bytes.
_WRITTEN = (2020, 1, 1, 0, 0, 0)


def deployed_network(recipe: str) -> nn.Module:
    """Build the network of a package, without its weights: RGB in 0 to 255 in, probabilities of both heads out.

    Parameters
    ----------
    recipe : str
        The recipe as JSON.
    """
    own = TrainingRecipe.model_validate_json(recipe)
    return DeployedNetwork(_Network(DualHeadUnet(own, encoder_weights="none").eval(), own))


@dataclass(frozen=True, slots=True)
class _Network:
    """A network whose weights are still to come."""

    network: Any
    recipe: TrainingRecipe
    metadata: Any = None


def export_bioimageio(checkpoint: str | Path, path: str | Path, *, authors: Sequence[str] = ()) -> Path:
    """Write a model as a package of the BioImage Model Zoo, whole or not at all.

    Parameters
    ----------
    checkpoint : str or Path
        A checkpoint file or a run folder.
    path : str or Path
        The ``.zip`` to write; an existing one is replaced.
    authors : sequence of str
        Who made the model.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    MonusacError
        The extra ``[onnx]`` is not installed, or the ONNX file does not answer as torch does.
    """
    path, model = Path(path), load_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory() as scratch, atomic_write(path) as temporary:
        folder = Path(scratch)
        network = DeployedNetwork(model).eval()
        export_onnx(model, folder / "weights.onnx", opset=_OPSET)
        torch.save(network.state_dict(), folder / "weights.pt")
        (folder / "README.md").write_text(model_card(model), encoding="utf-8")
        shutil.copyfile(resolve_checkpoint(checkpoint), folder / CHECKPOINT_IN_PACKAGE)
        _write_test_tensors(network, 4 * model.network.stride, folder)
        described = _description(model, folder, tuple(authors))
        (folder / "bioimageio.yaml").write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as package:
            for file in sorted(folder.iterdir()):
                package.writestr(zipfile.ZipInfo(file.name, _WRITTEN), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return path


def _write_test_tensors(network: nn.Module, side: int, folder: Path) -> None:
    image = _test_image(side)
    with torch.inference_mode():
        semantic, ternary = (t.numpy() for t in network(torch.from_numpy(image)))
    for name, values in (("image", image), ("semantic", semantic), ("ternary", ternary)):
        np.save(folder / f"{name}.npy", values)


def _test_image(side: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """H&E-like blobs, the same each time: no image of a patient leaves with the model."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    image = np.full((3, side, side), np.array([[[230.0]], [[190.0]], [[215.0]]]), np.float32)
    for cy, cx, radius in zip(*rng.uniform(0, side, (2, 12)), rng.uniform(5, 12, 12), strict=True):
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        image[:, inside] = np.array([[96.0], [64.0], [140.0]])
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.float32)[None]


# ------------------------------------------------------------------ the description


def _description(model: LoadedModel, folder: Path, authors: tuple[str, ...]) -> dict[str, Any]:
    return {
        "format_version": _FORMAT,
        "type": "model",
        "name": _name(model),
        "description": "Nuclei in H&E: classes, and inside and boundary of each nucleus, by a dual-head U-Net.",
        "authors": [{"name": a} for a in authors or ("not named",)],
        "cite": [{"text": text, "doi": doi} for text, doi in _CITES],
        "license": LICENCE,
        "documentation": "README.md",
        "tags": ["nuclei", "histopathology", "H&E", "semantic-segmentation", "instance-segmentation", "unet", "pytorch"],
        "attachments": [_file(folder, CHECKPOINT_IN_PACKAGE)],
        "inputs": [_input(model, folder)],
        "outputs": [
            _output(model, folder, "semantic", SEMANTIC_NAMES), _output(model, folder, "ternary", TERNARY_NAMES)
        ],
        "weights": {
            "pytorch_state_dict": {
                **_file(folder, "weights.pt"),
                "architecture": {
                    "callable": "deployed_network", "import_from": "napari_monusac.infer.bioimageio",
                    "kwargs": {"recipe": without_folders(model).model_dump_json()},
                },
                "pytorch_version": torch.__version__.split("+")[0],
            },
            "onnx": {**_file(folder, "weights.onnx"), "opset_version": _OPSET, "parent": "pytorch_state_dict"},
        },
    }  # fmt: skip


def _file(folder: Path, name: str) -> dict[str, str]:
    return {"source": name, "sha256": sha256_of(folder / name)}


def _name(model: LoadedModel) -> str:
    plain = "".join(c if c.isalnum() or c in " _-" else " " for c in f"napari-monusac {model.recipe.name}")
    return " ".join(plain.split())[:64]


def _axes(model: LoadedModel, channels: Sequence[str], size: Any, **more: int) -> list[dict[str, Any]]:
    scale = model.metadata.um_per_px
    unit = {"unit": "micrometer", "scale": scale} if scale else {}
    space = [{"type": "space", "id": n, "size": size(n), **unit, **more} for n in ("y", "x")]
    return [{"type": "batch"}, {"type": "channel", "channel_names": [c.lower() for c in channels]}, *space]


def _input(model: LoadedModel, folder: Path) -> dict[str, Any]:
    size = {"min": 4 * model.network.stride, "step": model.network.stride}
    return {
        "id": "image",
        "description": "RGB, 0 to 255; the normalisation is inside the network",
        "axes": _axes(model, ("red", "green", "blue"), lambda _: size),
        "data": {"type": "float32", "range": [0.0, 255.0]},
        "test_tensor": _file(folder, "image.npy"),
    }


def _output(model: LoadedModel, folder: Path, name: str, channels: Sequence[str]) -> dict[str, Any]:
    return {
        "id": name,
        "description": f"Probabilities of the {name} head",
        "axes": _axes(model, channels, lambda n: {"tensor_id": "image", "axis_id": n}, halo=_HALO_PX),
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "test_tensor": _file(folder, f"{name}.npy"),
    }
