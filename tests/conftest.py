"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import settings

from napari_monusac.network._triton import guard_triton

# the same examples each time: what passed here passes elsewhere. New ones are searched on purpose
# (`make search`), and what they find becomes a test of its own
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("same")
guard_triton()  # whichever test imports torch first, and whichever opens a window first
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
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


@pytest.fixture(scope="session")
def device() -> str:
    """The GPU where there is one, else the CPU: what runs on both is tested on either."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# ---------------------------------------------------------------------- a tiny collection, and recipes small enough for a test

NAMES = ("Epithelial", "Lymphocyte", "Neutrophil", "Macrophage")


def _ellipse(y: float, x: float, ry: float, rx: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([y + ry * np.sin(t), x + rx * np.cos(t)], 1).round()


def _xml(regions: list[tuple[str, np.ndarray]]) -> str:
    layers = []
    for k, name in enumerate((*NAMES, "Ambiguous"), 1):
        own = [v for n, v in regions if n == name]
        text = "".join(
            f'<Region Id="{i}"><Vertices>'
            + "".join(f'<Vertex X="{int(x)}" Y="{int(y)}" Z="0"/>' for y, x in v)
            + "</Vertices></Region>"
            for i, v in enumerate(own, 1)
        )
        layers.append(
            f'<Annotation Id="{k}"><Attributes><Attribute Name="{name}" Id="0" Value=""/></Attributes>'
            f"<Regions><RegionAttributeHeaders/>{text}</Regions></Annotation>"
        )
    return f'<?xml version="1.0"?>\n<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>\n'


def write_tiny_crop(stem: Path, shape: tuple[int, int], seed: int, *, ambiguous: bool = False) -> None:
    """Purple ellipses on pink, with their outlines as ImageScope XML."""
    rng = np.random.default_rng(seed)
    image = np.empty((*shape, 3), np.float64)
    image[:] = (235, 200, 225)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    regions = []
    spots = [(y, x) for y in range(14, shape[0] - 10, 24) for x in range(14, shape[1] - 10, 24)]
    for i, (y, x) in enumerate(spots):
        ry, rx = rng.uniform(6, 10, 2)
        inside = ((yy - y) / ry) ** 2 + ((xx - x) / rx) ** 2 <= 1
        kind = i % 4 if i % 8 >= 4 else i % 2
        image[inside] = ((110, 60, 140), (70, 40, 120), (140, 60, 120), (150, 100, 170))[kind]
        regions.append((NAMES[kind], _ellipse(y, x, ry, rx)))
    if ambiguous:
        regions.append(("Ambiguous", np.array([[0, 0], [0, 30], [30, 30], [30, 0]], float)))
    image += rng.normal(0, 6, image.shape)
    tifffile.imwrite(stem.with_suffix(".tif"), image.clip(0, 255).astype(np.uint8), photometric="rgb")
    stem.with_suffix(".xml").write_text(_xml(regions))


@pytest.fixture(scope="session")
def make_collection() -> Callable[[Path], Path]:
    """Write four patients with five crops, one of them smaller than a patch, into a folder."""

    def make(root: Path) -> Path:
        shapes = {"AA": [(96, 112)], "BB": [(110, 80), (40, 44)], "CC": [(96, 96)], "DD": [(100, 72)]}
        for k, (patient, sizes) in enumerate(shapes.items()):
            name = f"TCGA-{patient}-0001-01Z-00-DX1"
            (root / name).mkdir(parents=True)
            for i, shape in enumerate(sizes, 1):
                write_tiny_crop(root / name / f"{name}_{i}", shape, 10 * k + i, ambiguous=patient == "CC")
        return root

    return make


@pytest.fixture(scope="session")
def collection_folder(make_collection: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny collection that no test changes."""
    return make_collection(tmp_path_factory.mktemp("tiny") / "data set")


@pytest.fixture(scope="session")
def tiny_recipe():
    """A recipe whose steps take milliseconds."""
    from napari_monusac.core.recipe import load_recipe

    return load_recipe("run-8").with_values(
        name="tiny",
        encoder="tu-test_efficientnet",
        encoder_weights="none",
        decoder_channels=(16, 16, 8, 8, 8),
        patch_size=64,
        batch_size=2,
        epochs=2,
        steps_per_epoch=3,
        precision="float32",
        lr=1e-3,
    )


@pytest.fixture(scope="session")
def new_run(collection_folder: Path):
    """Make a run folder: ``new_run(path, recipe, data=...)``."""
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import make_split

    def make(path: Path, recipe, data: Path | None = None) -> RunFolder:
        folder = data or collection_folder
        split = make_split(open_collection(folder), seed=0)
        return RunFolder.create(path, data=folder, split=split, recipe=recipe)

    return make


@pytest.fixture
def make_run(new_run, tmp_path: Path):
    """Make a run folder in the test's own folder: ``make_run(recipe, name="run", data=...)``."""
    return lambda recipe, name="run", data=None: new_run(tmp_path / name, recipe, data)
