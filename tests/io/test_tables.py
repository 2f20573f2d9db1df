"""Measurements of nuclei against scikit-image and geometry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from skimage import color, draw, measure

from napari_monusac.core.errors import AnnotationError, ShapeError
from napari_monusac.io.tables import COLUMNS, haematoxylin_od, nuclei_table, write_table


@pytest.fixture
def instances():
    labels = np.zeros((80, 90), np.int32)
    labels[draw.disk((25, 25), 12)] = 3
    labels[draw.ellipse(55, 60, 8, 20)] = 7
    labels[70, 80] = 9
    return labels


def test_columns_and_values(instances):
    image = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    table = nuclei_table(instances, {3: 1, 7: 4}, confidence={3: 0.5}, um_per_px=0.25, image=image)
    assert tuple(table.columns) == COLUMNS
    assert table["label"].tolist() == [3, 7, 9]
    assert table["class"].tolist() == ["Epithelial", "Macrophage", "Unclassified"]
    assert table["class_id"].tolist() == [1, 4, 255]
    np.testing.assert_array_equal(table["confidence"], [0.5, np.nan, np.nan])
    for row, props in zip(table.itertuples(), measure.regionprops(instances), strict=True):
        assert (row.centroid_y, row.centroid_x) == pytest.approx(props.centroid)
        assert row.area_px == props.area == (instances == row.label).sum()
        assert row.area_um2 == pytest.approx(props.area / 16)
        assert (row.perimeter_px, row.perimeter_um) == pytest.approx((props.perimeter, props.perimeter / 4))
        assert (row.major_axis_um, row.minor_axis_um) == pytest.approx(
            (props.axis_major_length / 4, props.axis_minor_length / 4)
        )
        assert (row.eccentricity, row.solidity) == pytest.approx((props.eccentricity, props.solidity))
    # scikit-image's own separation, in its unit: natural logarithms over -ln(1e-6)
    stains = color.separate_stains(np.maximum(image, 1) / 255.0, color.hed_from_rgb)[..., 0] * 6
    density = haematoxylin_od(image)
    np.testing.assert_allclose(np.maximum(density, 0), stains, atol=1e-9)
    expected = [density[instances == k].mean() for k in (3, 7, 9)]
    np.testing.assert_allclose(table["mean_haematoxylin_od"], expected)


def test_a_disk_is_round_and_an_ellipse_is_not(instances):
    table = nuclei_table(instances, {}, um_per_px=1).set_index("label")
    assert table.area_um2[3] == pytest.approx(np.pi * 12**2, rel=0.05)
    assert table.perimeter_um[3] == pytest.approx(2 * np.pi * 12, rel=0.05)
    assert table.eccentricity[3] < 0.1 < 0.8 < table.eccentricity[7]
    assert table.major_axis_um[7] == pytest.approx(40, rel=0.05)


def test_without_size_of_a_pixel_or_image(instances):
    table = nuclei_table(instances, {})
    assert table[["area_um2", "perimeter_um", "mean_haematoxylin_od"]].isna().all(axis=None)
    assert table["area_px"].gt(0).all()


def test_classes_by_majority_of_a_semantic_map(instances):
    semantic = np.where(instances == 3, 2, 0).astype(np.uint8)
    semantic[instances == 7] = 255
    semantic[55, 45:70] = 3
    table = nuclei_table(instances, semantic)
    # 9 lies on background only: no class; background never wins
    assert table["class_id"].tolist() == [2, 255, 255]


def test_no_nucleus():
    table = nuclei_table(np.zeros((5, 5), np.int32), np.zeros((5, 5), np.uint8), image=np.zeros((5, 5, 3), np.uint8))
    assert len(table) == 0
    assert tuple(table.columns) == COLUMNS


def test_csv(instances, tmp_path):
    table = nuclei_table(instances, {3: 1}, um_per_px=0.25)
    write_table(table, tmp_path / "o.csv")
    back = pd.read_csv(tmp_path / "o.csv")
    pd.testing.assert_frame_equal(back, table, check_dtype=False, rtol=1e-5)
    with pytest.raises(AnnotationError, match="cannot be written"):
        write_table(table, tmp_path / "none" / "o.csv")


def test_wrong_shapes(instances):
    with pytest.raises(ShapeError, match="whole numbers"):
        nuclei_table(np.zeros((3, 3)), {})
    with pytest.raises(ShapeError, match="semantic"):
        nuclei_table(instances, np.zeros((3, 3), np.uint8))
    with pytest.raises(ShapeError, match="image"):
        nuclei_table(instances, {}, image=np.zeros((80, 90), np.uint8))


def test_labels_of_any_size_are_measured_and_those_below_0_refused() -> None:
    """Label ids of other programs may be 7e10: a list that long fits into no memory."""
    small = np.zeros((40, 50), np.int64)
    small[5:15, 5:15], small[20:30, 20:44] = 1, 2
    large = np.where(small == 2, 70_000_000_000, small * 5)
    table, same = (nuclei_table(m, {}) for m in (large, small))
    assert table["label"].tolist() == [5, 70_000_000_000]
    pd.testing.assert_frame_equal(table.drop(columns="label"), same.drop(columns="label"))
    assert nuclei_table(np.zeros((9, 9), np.uint8), {}).empty
    with pytest.raises(ShapeError, match="from -3 to 2"):
        nuclei_table(np.where(small == 1, -3, small), {})
