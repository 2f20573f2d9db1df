"""Maps of another scale at the pixels of their image."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_monusac.io.predictions.rescale import ImageFrame, maps_on_image, nuclei_on_image


@pytest.mark.parametrize("factor", [0.4, 0.9, 2.0, 3.3])
def test_a_straight_slope_stays_one(factor: float) -> None:
    """Values that rise linearly over the image come back exactly where neither edge is near."""
    frame = ImageFrame(shape=(50, 70), factor=factor, origin=(0.3, -0.2))
    size = [round(n * factor) + 1 for n in frame.shape]
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    # the same slope in px of the image
    maps = np.stack([((v + 0.5 - o) / factor - 0.5) for v, o in ((y, 0.3), (x, -0.2))]).astype(np.float32)
    back = maps_on_image(maps, frame)
    wanted = np.mgrid[:50, :70]
    np.testing.assert_allclose(back[:, 4:-4, 4:-4], wanted[:, 4:-4, 4:-4], atol=1e-4)


def test_equal_scale_changes_nothing() -> None:
    maps = np.random.default_rng(0).random((8, 20, 30)).astype(np.float32)
    np.testing.assert_allclose(maps_on_image(maps, ImageFrame(shape=(20, 30))), maps, atol=1e-6)


def test_no_nucleus_is_lost_for_its_size() -> None:
    """Four times as coarse: a nucleus of one px between the centres keeps a pixel, its neighbours theirs."""
    instances = np.zeros((80, 80), np.int32)
    instances[8:24, 8:24], instances[40, 40] = 1, 2
    table = pd.DataFrame(
        {
            "label": np.int32([1, 2]), "class": ["Lymphocyte"] * 2, "class_id": np.uint8([2, 2]),
            "centroid_y": [15.5, 40.0], "centroid_x": [15.5, 40.0], "area_px": [256, 1], "area_um2": [16.0, 0.0625],
        }
    )  # fmt: skip
    back, rows = nuclei_on_image(instances, table, ImageFrame(shape=(20, 20), um_per_px=1.0, factor=4.0))
    assert (back == 1).sum() == 16
    assert back[2:6, 2:6].all()
    assert (back == 2).sum() == 1
    assert rows["area_px"].tolist() == [16, 1]
    assert rows["area_um2"].tolist() == [16.0, 1.0]
    assert rows["centroid_y"].tolist() == pytest.approx([3.5, 9.625])
    assert table["area_px"].tolist() == [256, 1]  # what was passed stays as it was
