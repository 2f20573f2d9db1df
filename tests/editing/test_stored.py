"""Stored predictions: found by name, read at the crop's scale and place; what does not fit is told in one line."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from napari_monusac.core.errors import StoreError
from napari_monusac.core.prediction import Prediction
from napari_monusac.editing.stored import find_stored, read_stored
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.rescale import ImageFrame
from napari_monusac.io.predictions.store import write_prediction


def two_nuclei(shape):
    """A wide one of 40 x 20 px and a small one of 10 x 10 px, numbered 2 and 5."""
    labels = np.zeros(shape, np.int32)
    labels[10:50, 30:50] = 2
    labels[60:70, 60:70] = 5
    return labels


def stored(path, labels, *, um=0.25, offset=(0, 0), nuclei=True, checkpoint="runs/run-8/best.safetensors"):
    semantic, ternary = np.zeros((5, *labels.shape), np.float32), np.zeros((3, *labels.shape), np.float32)
    semantic[1], semantic[2], semantic[0] = labels == 2, labels == 5, labels == 0
    ternary[1], ternary[0] = labels > 0, labels == 0
    table = pd.DataFrame(
        {
            "label": [2, 5], "class": ["Epithelial", "Lymphocyte"], "class_id": [1, 2], "confidence": [0.9, 0.4],
            "centroid_y": [29.5, 64.5], "centroid_x": [39.5, 64.5], "area_px": [800, 100], "area_um2": [50.0, 6.25],
        }
    )  # fmt: skip
    extra = {"instances": labels, "table": table} if nuclei else {}
    write_prediction(Prediction(semantic, ternary, um, offset, checkpoint=checkpoint), path, **extra)
    return path


def boxes(nuclei):
    found = {}
    for k, name in zip(nuclei.table["label"], nuclei.table["class"], strict=True):
        y, x = np.nonzero(nuclei.instances == k)
        found[name] = (int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1)
    return found


def test_the_same_scale_and_place(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)))
    prediction, nuclei = read_stored(path, (100, 90), 0.25)
    assert boxes(nuclei) == {"Epithelial": (10, 30, 50, 50), "Lymphocyte": (60, 60, 70, 70)}
    assert nuclei.table["label"].tolist() == [1, 2]
    assert (nuclei.class_map == prediction.semantic_map).all()
    assert prediction.offset_px == nuclei.offset_px == (0, 0)


@pytest.mark.parametrize(("um", "factor"), [(0.5, 2.0), (0.125, 0.5), (0.375, 1.5)])
def test_another_scale_lands_on_the_same_micrometres(tmp_path, um, factor):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), um=um)
    shape = round(100 * factor), round(90 * factor)
    prediction, nuclei = read_stored(path, shape, 0.25)
    assert prediction.shape == nuclei.instances.shape == shape
    assert prediction.um_per_px == 0.25
    for name, box in {"Epithelial": (10, 30, 50, 50), "Lymphocyte": (60, 60, 70, 70)}.items():
        assert boxes(nuclei)[name] == pytest.approx([v * factor for v in box], abs=1)
    assert nuclei.table["area_um2"].tolist() == pytest.approx([800 * um**2, 100 * um**2], rel=0.05)
    assert nuclei.table["centroid_y"].tolist() == pytest.approx([30 * factor - 0.5, 65 * factor - 0.5], abs=0.5)
    assert nuclei.table["confidence"].tolist() == [0.9, 0.4]


def test_a_region_predicted_at_another_scale_lands_where_it_was_predicted(tmp_path):
    """A store that knows how its maps lie: 100 x 90 px of the maps are 200 x 180 px of the slide from (500, 301)."""
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), um=0.5, offset=(250, 150))
    store = PredictionStore.open(path, "r+")
    frame = ImageFrame(shape=(200, 180), offset_px=(500, 301), um_per_px=0.25, factor=0.5)
    store.update(store.info.model_copy(update={"frame": frame}))
    prediction, nuclei = read_stored(path, (5000, 6000), 0.25)
    assert prediction.offset_px == nuclei.offset_px == (500, 301)
    assert boxes(nuclei) == {"Epithelial": (20, 60, 100, 100), "Lymphocyte": (120, 120, 140, 140)}
    prediction, part = read_stored(path, (5000, 6000), 0.25, part=(540, 300, 1000, 90))
    assert part.offset_px == (540, 301)
    np.testing.assert_array_equal(part.instances > 0, (nuclei.instances > 0)[40:, :89])
    assert part.table["class"].tolist() == ["Epithelial"]
    np.testing.assert_allclose(prediction.semantic, read_stored(path, (5000, 6000))[0].semantic[:, 40:, :89], atol=1e-6)


def test_resampled_maps_that_end_a_pixel_early_or_late_are_those_of_the_whole_crop(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), um=0.5)
    for shape in ((199, 181), (201, 179)):
        assert read_stored(path, shape, 0.25)[1].instances.shape == shape


def test_a_region_keeps_its_place_and_a_part_of_it_can_be_read(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), offset=(1000, 2000))
    prediction, nuclei = read_stored(path, (5000, 6000), 0.25)
    assert prediction.offset_px == nuclei.offset_px == (1000, 2000)
    prediction, nuclei = read_stored(path, (5000, 6000), 0.25, part=(1030, 1900, 500, 145))
    assert prediction.offset_px == (1030, 2000)
    assert nuclei.instances.shape == (70, 45)
    assert boxes(nuclei) == {"Epithelial": (0, 30, 20, 45)}
    assert nuclei.table["label"].tolist() == [1]
    with pytest.raises(StoreError, match="another part"):
        read_stored(path, (5000, 6000), 0.25, part=(0, 0, 500, 500))


def test_what_does_not_fit_is_said_in_one_line(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)))
    with pytest.raises(
        StoreError, match=r"does not fit this crop: it covers 100 x 90 px, the crop has 80 x 90"
    ) as told:
        read_stored(path, (80, 90), 0.25)
    assert "\n" not in str(told.value)
    with pytest.raises(StoreError, match=r"each 2\.00 px of the crop"):
        read_stored(stored(tmp_path / "b.zarr", two_nuclei((100, 90)), um=0.5), (100, 90), 0.25)
    with pytest.raises(StoreError, match=r"at \(10, 0\)"):
        read_stored(stored(tmp_path / "c.zarr", two_nuclei((100, 90)), offset=(10, 0)), (100, 90), 0.25)


def test_nuclei_that_were_not_separated_yet_are_separated(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), nuclei=False)
    nuclei = read_stored(path, (100, 90), 0.25)[1]
    assert sorted(nuclei.table["class"]) == ["Epithelial", "Lymphocyte"]


def test_they_are_found_by_name_newest_first(tmp_path):
    labels = two_nuclei((100, 90))
    old = stored(tmp_path / "one" / "crop_1.zarr", labels, checkpoint="weights/unet.safetensors")
    new = stored(tmp_path / "all" / "two" / "patient__crop_1.tif.zarr", labels)
    stored(tmp_path / "one" / "crop_2.zarr", labels)
    (tmp_path / "one" / "foreign").mkdir()
    (tmp_path / "all" / "crop_1.zarr").mkdir()
    os.utime(old, (1e9, 1e9))
    os.utime(new, (2e9, 2e9))
    folders = [tmp_path / "one", tmp_path / "all", tmp_path / "nowhere", tmp_path / "one"]
    found = find_stored(folders, ["crop_1", "patient__crop_1.tif"])
    assert [one.path for one in found] == [new, old]
    assert [one.model for one in found] == ["run-8", "unet"]
