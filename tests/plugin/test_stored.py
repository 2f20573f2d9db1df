"""A stored prediction dropped on napari: on its image, in um, read as it is looked at."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Layer

from napari_monusac.core.errors import StoreError
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.identity import ImageIdentity
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.rescale import ImageFrame
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.predictions.store_info import PredictionIdentity, StoreInfo
from napari_monusac.io.slides.slide import open_slide
from napari_monusac.jobs.exports import from_prediction
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.uncertainty import disagreement_map, entropy_map
from napari_monusac.plugin.reader import get_reader, read


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two nuclei on an image whose file is there."""
    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "Schnitt ä.tif", rng.integers(120, 255, (60, 80, 3), np.uint8), photometric="rgb")
    semantic, ternary = np.zeros((5, 60, 80), np.float32), np.zeros((3, 60, 80), np.float32)
    semantic[0] = ternary[0] = 1
    for kind, (y, x) in ((1, (10, 10)), (2, (30, 50))):
        part = (slice(y, y + 15), slice(x, x + 15))
        semantic[(0, *part)], semantic[(kind, *part)] = 0.2, 0.8
        ternary[(0, *part)], ternary[(1, *part)] = 0.1, 0.9
    prediction = Prediction(semantic, ternary, um_per_px=0.5, boundary_width=1)
    nuclei = instances_from_maps(semantic, ternary, boundary_width=1, um_per_px=0.5)
    return write_prediction(
        prediction, tmp_path / "p.zarr", instances=nuclei.instances, table=nuclei.table,
        image=str(tmp_path / "Schnitt ä.tif"),
    )  # fmt: skip


def test_our_store_is_ours_and_no_other(store: Path, tmp_path: Path) -> None:
    import zarr

    zarr.create_group(tmp_path / "other.zarr")
    (tmp_path / "empty.zarr").mkdir()
    assert get_reader(str(store)) is not None
    assert get_reader(str(tmp_path / "other.zarr")) is None
    assert get_reader(str(tmp_path / "empty.zarr")) is None


def test_an_image_that_has_become_another_is_not_shown_under_it(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "Schnitt ä.tif"
    with open_slide(path) as slide:
        image = ImageIdentity.of(slide)
    identity = PredictionIdentity(
        image=image.sample, pixels=image.whole, weights="w", region=(0, 0, 60, 80), um_per_px=0.5, flips=False
    )
    opened = PredictionStore.open(store, "r+")
    opened.update(opened.info.model_copy(update={"identity": identity}))
    assert "image" in [look["name"] for _, look, _ in read(str(store))]
    pixels = tifffile.imread(path)
    tifffile.imwrite(path, pixels[::-1], photometric="rgb")
    with pytest.warns(UserWarning, match=r"p\.zarr: was made of other pixels"):
        names = [look["name"] for _, look, _ in read(str(store))]
    assert names == ["stored uncertainty", "stored ternary", "stored nuclei", "stored classes"]
    with pytest.raises(StoreError, match=r"p\.zarr: was made of other pixels"):
        from_prediction(store)


def test_layers_lie_on_the_image(store: Path) -> None:
    layers = {look["name"]: (data, look, kind) for data, look, kind in read(str(store))}
    assert list(layers) == ["image", "stored uncertainty", "stored ternary", "stored nuclei", "stored classes"]
    viewer = ViewerModel()
    for entry in layers.values():
        viewer.add_layer(Layer.create(*entry))
    extents = [layer.extent.world[:, :2] for layer in viewer.layers]
    for extent in extents:
        np.testing.assert_allclose(extent, extents[0])
    np.testing.assert_allclose(extents[0][1], np.array([59, 79]) * 0.5)
    assert isinstance(layers["stored classes"][0], da.Array)
    opened = PredictionStore.open(store)
    np.testing.assert_array_equal(layers["stored classes"][0].compute(), opened.labels("classes")[:])
    maps = opened.read_maps()
    expected = np.maximum(disagreement_map(maps[:5], maps[5:], 1), entropy_map(maps[:5]))
    np.testing.assert_allclose(layers["stored uncertainty"][0].compute(), expected, atol=1e-6)
    assert viewer.layers["stored nuclei"].features["class"].tolist() == ["Epithelial", "Lymphocyte"]
    epithelial = viewer.layers["stored classes"].colormap.map(1)
    assert epithelial[0] > 0.5 > epithelial[2], "red, as ImageScope shows it"


def test_without_its_image_and_at_another_scale(tmp_path: Path) -> None:
    frame = ImageFrame(shape=(30, 40), offset_px=(100, 200), um_per_px=1.0, factor=2.0)
    PredictionStore.create(tmp_path / "p.zarr", (60, 80), StoreInfo(um_per_px=0.5, frame=frame, image="/gone.svs"))
    layers = read(str(tmp_path / "p.zarr"))
    assert [look["name"] for _, look, _ in layers] == ["stored uncertainty", "stored ternary"]
    for _, look, _ in layers:
        assert look["scale"] == (0.5, 0.5)
        assert look["translate"] == pytest.approx((99.75, 199.75))


def test_a_damaged_store_is_one_line(store: Path) -> None:
    import shutil

    shutil.rmtree(store / "data")
    with pytest.raises(StoreError, match=r"p\.zarr"):
        read(str(store))
