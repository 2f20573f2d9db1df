"""Outlines drawn again by skimage.draw.polygon give back the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import draw, measure

from napari_monusac.core.errors import ShapeError
from napari_monusac.masks.polygons import polygons_from_instances

shapes = st.tuples(st.integers(1, 16), st.integers(1, 16))
maps = hnp.arrays(np.int32, shapes, elements=st.sampled_from([0, 0, 1, 1, 1, 5]))


def redrawn(outline, shape):
    mask = np.zeros(shape, bool)
    mask[draw.polygon(outline[:, 0], outline[:, 1], shape)] = True
    return mask


@given(maps, st.booleans())
@settings(max_examples=300, deadline=None)
def test_all_fragments_come_back_exactly(instances, simplify):
    result = polygons_from_instances(instances, fragments=True, simplify=simplify)
    assert list(result.polygons) == np.unique(instances[instances > 0]).tolist()
    for label, outline in result.polygons.items():
        np.testing.assert_array_equal(redrawn(outline, instances.shape), instances == label)
        assert len(outline) >= 4
        assert (outline[0] == outline[-1]).all()
    assert result.left_out == {}


@given(maps, st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_largest_fragment_comes_back_and_the_rest_is_counted(instances, simplify):
    result = polygons_from_instances(instances, simplify=simplify)
    for label, outline in result.polygons.items():
        drawn = redrawn(outline, instances.shape)
        parts = measure.label(instances == label, connectivity=2)
        sizes = np.bincount(parts.ravel())[1:]
        assert drawn.sum() == sizes.max()
        assert len(np.unique(parts[drawn])) == 1
        assert result.left_out.get(label, 0) == sizes.sum() - sizes.max()


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_smooth_blobs_with_holes(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((60, 60)), 2)
    instances = measure.label(noise > np.median(noise), connectivity=2).astype(np.int32)
    result = polygons_from_instances(instances)
    again = np.zeros_like(instances)
    for label, outline in result.polygons.items():
        again[redrawn(outline, instances.shape)] = label
    np.testing.assert_array_equal(again, instances)


def test_simplifying_saves_vertices_on_straight_sides():
    instances = np.zeros((20, 20), np.int32)
    instances[3:15, 4:18] = 9
    assert len(polygons_from_instances(instances).polygons[9]) == 5
    assert len(polygons_from_instances(instances, simplify=False).polygons[9]) == 49


def test_only_some_labels_and_huge_numbers():
    instances = np.zeros((9, 9), np.int64)
    instances[1:3, 1:3], instances[5:8, 5:8] = 7, 5_000_000_000
    assert list(polygons_from_instances(instances, labels=[7, 8]).polygons) == [7]
    assert list(polygons_from_instances(instances).polygons) == [7, 5_000_000_000]
    assert polygons_from_instances(np.zeros((0, 0), np.int32)).polygons == {}


def test_wrong_maps_are_refused():
    with pytest.raises(ShapeError, match="whole numbers"):
        polygons_from_instances(np.zeros((3, 3)))
    with pytest.raises(ShapeError, match="0 or above"):
        polygons_from_instances(np.full((3, 3), -1))


def test_real_nuclei_come_back_exactly(shared_data):
    from napari_monusac.io.annotations.aperio import read_aperio
    from napari_monusac.masks.rasterize import label_maps

    path = next(shared_data.rglob("*A9K0-01Z-00-DX1_2.xml"))
    instances = label_maps(read_aperio(path), (900, 1000)).instances
    result = polygons_from_instances(instances)
    for label, outline in result.polygons.items():
        low = np.maximum(outline.min(0).astype(int), 0)
        high = outline.max(0).astype(int) + 1
        window = instances[low[0] : high[0], low[1] : high[1]] == label
        drawn = redrawn(outline - low, window.shape)
        assert (drawn <= window).all()
        assert drawn.sum() + result.left_out.get(label, 0) == (instances == label).sum()
