"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from napari_monusac.learn._triton import guard_triton

# the same examples each time: what passed here passes elsewhere. New ones are searched on purpose
# (`make search`), and what they find becomes a test of its own
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("same")
guard_triton()  # whichever test imports torch first, and whichever opens a window first
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # several processes share the cores: OpenMP's threads would only wait for each other
    _workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real slides with labels (or skip)."""
    folder = Path(os.environ.get("MONUSAC_DATA", SHARED / "data"))
    if not (folder / "monusac").is_dir():
        pytest.skip(f"real data not at {folder}: set MONUSAC_DATA")
    return folder


@pytest.fixture(scope="session")
def encoder_weights() -> Path:
    """Real ImageNet weights of a small encoder (or skip)."""
    path = SHARED / "weights" / "tf_efficientnet_lite0.imagenet.safetensors"
    if not path.is_file():
        pytest.skip(f"encoder weights not at {path}")
    return path


@pytest.fixture(scope="session")
def example_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic collection in MoNuSAC's layout: four patients, one crop of 160 x 192 px each."""
    from napari_monusac.synth.collection import write_collection

    return write_collection(tmp_path_factory.mktemp("example") / "Grüne Schnitte", 4, 1, seed=2, shape=(160, 192))


@pytest.fixture(scope="session")
def example_run(example_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the checkpoint of a tiny network that knows nothing (or the folder in MONUSAC_EXAMPLE_RUN)."""
    given = os.environ.get("MONUSAC_EXAMPLE_RUN")
    if given:
        return Path(given)
    from napari_monusac.core.events import RunEnded
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import make_split
    from napari_monusac.learn.loop import train

    recipe = load_recipe("quick").with_values(
        encoder="tu-test_efficientnet", decoder_channels=(16, 16, 16, 16, 16), epochs=1,
        steps_per_epoch=3, patch_size=64, batch_size=2,
        schedule="constant", warmup_epochs=0, precision="float32",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("example-run") / "run"
    run = RunFolder.create(folder, data=example_data, split=make_split(open_collection(example_data)), recipe=recipe)
    *_, end = train(recipe, run, device="cpu")
    assert isinstance(end, RunEnded)
    assert end.reason == "completed", end.message
    return folder
