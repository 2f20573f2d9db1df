"""What runs the network: the same numbers as the network itself, by quicker ways."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_monusac.core.errors import MonusacError
from napari_monusac.infer.engines.choose import choose_engine
from napari_monusac.infer.engines.torch import TorchEngine, _folded, _probabilities, _sound
from napari_monusac.infer.model import as_model
from napari_monusac.infer.predict import predict
from napari_monusac.network.normalisation import mean_and_deviation, prepare

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    """A real network whose batch norms have seen something."""
    import torch

    loaded = as_model(checkpoint)
    torch.manual_seed(1)
    for module in loaded.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return loaded


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


def test_normalisation_is_the_network_s_own(model: Any, tiles: np.ndarray) -> None:
    import torch

    found = prepare(tiles, *mean_and_deviation(model.network))
    assert torch.equal(found, model.network.prepare(tiles)), "prediction sees to the bit what training saw"
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(found.numpy(), ((tiles / 255 - mean) / std).transpose(0, 3, 1, 2), atol=2e-6)


def test_without_a_mean_pixels_are_divided_by_255(stand_in: Any, tiles: np.ndarray) -> None:
    found = prepare(tiles, *mean_and_deviation(stand_in.network)).numpy()
    np.testing.assert_allclose(found, tiles.transpose(0, 3, 1, 2) / 255, atol=1e-6)


@pytest.mark.parametrize("memory", ["contiguous_format", "channels_last"])
def test_probabilities_are_those_of_scipy(memory: str) -> None:
    import torch
    from scipy.special import softmax

    logits = np.random.default_rng(0).normal(scale=40, size=(2, 8, 9, 7)).astype(np.float32)
    heads = [torch.from_numpy(logits[:, part].copy()) for part in (slice(5), slice(5, 8))]
    found = _probabilities(*(h.contiguous(memory_format=getattr(torch, memory)) for h in heads)).numpy()
    np.testing.assert_allclose(found[:, :5], softmax(logits[:, :5], 1), atol=1e-6)
    np.testing.assert_allclose(found[:, 5:], softmax(logits[:, 5:], 1), atol=1e-6)


def test_folded_batch_norms_change_nothing(model: Any, tiles: np.ndarray) -> None:
    import torch

    folded = _folded(model.network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    with torch.no_grad():
        batch = model.network.prepare(tiles)
        for ours, theirs in zip(folded(batch), model.network(batch), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.network.modules())  # the model's own stay


def test_an_encoder_that_runs_in_another_order_is_left_as_it_is() -> None:
    import torch
    from torch import nn

    class Unordered(nn.Module):
        """Its norm stands after the first convolution and runs after the second."""

        stride = 32

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.second = nn.Conv2d(8, 8, 3, padding=1)
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            maps = self.norm(self.second(torch.relu(self.first(images))))
            return maps[:, :5], maps[:, 5:]

    network = Unordered().eval()
    batch = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(_folded(network)(batch), network(batch), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_engines_can_be_made_in_several_threads_at_once(model: Any, tiles: np.ndarray) -> None:
    """And while another network runs: the Studio trains in a thread of its own."""
    from concurrent.futures import ThreadPoolExecutor

    def make(_: int) -> np.ndarray:
        return TorchEngine(model, "cpu", "float32").run(tiles)

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(make, range(8))
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-5)


def test_an_engine_is_kept_as_long_as_network_and_weights_are(tiles: np.ndarray, checkpoint: Path) -> None:
    import gc
    import weakref

    import torch

    model = as_model(checkpoint)
    first = choose_engine(model, "cpu", "float32")
    assert choose_engine(model, "cpu", "float32") is first
    before = first.run(tiles)
    with torch.no_grad():
        model.network.semantic_head[0].bias += torch.tensor([0.0, 9.0, 0.0, 0.0, 0.0])
    second = choose_engine(model, "cpu", "float32")
    assert np.abs(second.run(tiles) - before).max() > 0.1, "weights have changed"
    gone = weakref.ref(model.network)
    del model, first, second
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_a_device_that_is_not_there_is_said(stand_in: Any, device: str) -> None:
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(MonusacError, match=device):
        choose_engine(stand_in, device)


def test_the_network_runs_while_tiles_are_blended(stand_in: Any, tissue: np.ndarray) -> None:
    """The network has begun the next tile before the one before it is handed out."""
    begun: list[int] = []
    started = threading.Condition()

    class Spy:
        name, batch_size = "spy", 1

        def run(self, tiles: np.ndarray) -> np.ndarray:
            with started:
                begun.append(len(begun))
                started.notify_all()
            return np.full((len(tiles), 8, *tiles.shape[1:3]), 0.125, np.float32)

    seen: list[bool] = []

    def handed_out(progress: Any) -> None:
        if progress.done < progress.total:
            with started:
                seen.append(started.wait_for(lambda: len(begun) > progress.done, timeout=20))

    predict(tissue, stand_in, um_per_px=0.25, engine=Spy(), tile_px=128, overlap_px=32, progress=handed_out)
    assert len(seen) > 5
    assert all(seen)


def test_a_network_that_fails_is_heard_of(stand_in: Any, tissue: np.ndarray) -> None:
    class Broken:
        name, batch_size = "broken", 1

        def run(self, tiles: np.ndarray) -> np.ndarray:
            raise MemoryError("no room for this tile")

    before = set(threading.enumerate())  # a file that another test read keeps its readers
    with pytest.raises(MemoryError, match="no room"):
        predict(tissue, stand_in, um_per_px=0.25, engine=Broken(), tile_px=128, overlap_px=32)
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("monusac-")]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_answers_that_are_no_numbers_are_no_prediction(value: str) -> None:
    import torch

    heads = torch.zeros(1, 5, 8, 8), torch.zeros(1, 3, 8, 8)
    assert _sound(_probabilities(*heads).numpy()).shape == (1, 8, 8, 8)
    heads[1][0, 1, 3, 3] = float(value)
    with pytest.raises(MonusacError, match="no numbers"):
        _sound(_probabilities(*heads).numpy())


@pytest.mark.parametrize(("has", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_not_timed(model: Any, monkeypatch: pytest.MonkeyPatch, has: bool, precision: str) -> None:
    from dataclasses import replace

    from napari_monusac.infer.engines import choose

    monkeypatch.setattr(choose, "has_bfloat16", lambda device: has and device == "cuda:1")
    monkeypatch.setattr(choose, "_seconds", lambda *_: pytest.fail("timed"))
    monkeypatch.setattr(choose, "_MADE", type(choose._MADE)())
    monkeypatch.setattr(choose, "TorchEngine", lambda model, device, precision: SimpleNamespace(precision=precision))
    fresh = replace(model, metadata=model.metadata.model_copy(update={"device": "", "precision": ""}))
    assert choose.choose_precision(fresh, "cuda:1") == precision
    validated = replace(model, metadata=model.metadata.model_copy(update={"device": "cuda", "precision": "float32"}))
    assert choose.choose_precision(validated, "cuda:1") == "float32", "what validation used comes first"


def test_openvino_comes_without_its_telemetry():
    """In a fresh process: the module that looks up a host and writes into the home folder is not loaded."""
    import subprocess
    import sys

    pytest.importorskip("openvino")
    code = (
        "import sys; from napari_monusac.infer.engines.openvino import quiet_openvino; quiet_openvino().Core(); "
        "print(sys.modules.get('openvino_telemetry'), [m for m in sys.modules if m.startswith('openvino_telemetry.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["None", "[]"]
