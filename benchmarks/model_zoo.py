"""The Model Zoo's own test of an exported package: each form of its weights gives the stored outputs, read by bioimageio.core.

    python -m venv zoo && zoo/bin/pip install -e . "bioimageio.core>=0.10" "pydantic<2.14" onnx onnxruntime
    zoo/bin/python benchmarks/model_zoo.py [CHECKPOINT or RUN] [--json]

(bioimageio.spec 0.5.12 cannot serialise its files with pydantic 2.14.) Without a checkpoint a small network with random
weights is packed. Also: whether
the package, read back, predicts the same maps as the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from napari_monusac.infer.bioimageio import export_bioimageio
from napari_monusac.infer.predict import predict


def random_checkpoint(folder: Path) -> Path:
    import torch

    from napari_monusac.core.events import Scores
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.network.checkpoint import CheckpointMetadata, save_checkpoint
    from napari_monusac.network.unet import DualHeadUnet

    torch.manual_seed(0)
    recipe = load_recipe("run-8").with_values(encoder="resnet18", encoder_weights="none")
    about = CheckpointMetadata.describe(recipe, 1, 1, Scores(), {})
    path = folder / "best.safetensors"
    save_checkpoint(path, DualHeadUnet(recipe).eval(), about)
    return path


def measured(checkpoint: Path, folder: Path) -> dict[str, Any]:
    import bioimageio.core
    from bioimageio.spec import ValidationContext

    package = export_bioimageio(checkpoint, folder / "model.zip", authors=["benchmark"])
    found: dict[str, Any] = {"package_mb": package.stat().st_size / 1e6}
    image = np.random.default_rng(1).integers(0, 256, (288, 256, 3), dtype=np.uint8)  # smaller ones get a frame from us
    expected = predict(image, checkpoint, device="cpu", precision="float32")
    with ValidationContext(perform_io_checks=False):  # whether its links answer is not looked at
        for form in ("pytorch_state_dict", "onnx"):
            summary = bioimageio.core.test_model(package, weight_format=form)
            found[form] = summary.status
            if summary.status != "passed":
                print(summary.format())
    back = predict(image, package, device="cpu", precision="float32")
    found["read_back_identical"] = bool(np.array_equal(back.semantic, expected.semantic))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(given.checkpoint or random_checkpoint(Path(folder)), Path(folder))
    print(json.dumps(found) if given.json else "\n".join(f"{k}: {v}" for k, v in found.items()))
    if [found["pytorch_state_dict"], found["onnx"]] != ["passed", "passed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
