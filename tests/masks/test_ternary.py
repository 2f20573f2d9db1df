"""ternary_map against scikit-image and OpenCV, as the source of the nine runs wrote it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.segmentation import find_boundaries

from napari_monusac.core.errors import RecipeError, ShapeError
from napari_monusac.masks.ternary import ternary_map, update_ternary

shapes = st.tuples(st.integers(1, 20), st.integers(1, 20))
maps = hnp.arrays(np.int32, shapes, elements=st.integers(0, 3), fill=st.just(0))
widths = st.sampled_from([1, 3, 5, 7])


def reference(instances, width):
    boundary = find_boundaries(instances, connectivity=1, mode="inner").astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    for _ in range((width - 1) // 2):
        boundary = cv2.dilate(boundary, kernel)
    ternary = (instances > 0).astype(np.uint8)
    ternary[boundary > 0] = 2
    return ternary


@given(maps, widths)
@settings(max_examples=300, deadline=None)
def test_equals_the_definition(instances, width):
    result = ternary_map(instances, width)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, reference(instances, width))


@given(maps, widths)
@settings(max_examples=100, deadline=None)
def test_second_reference_without_opencv(instances, width):
    boundary = find_boundaries(instances, connectivity=1, mode="inner")
    reach = (width - 1) // 2
    if reach:
        boundary = ndimage.binary_dilation(boundary, ndimage.generate_binary_structure(2, 1), iterations=reach)
    np.testing.assert_array_equal(ternary_map(instances, width) == 2, boundary)


@given(st.data(), widths)
@settings(max_examples=300, deadline=None)
def test_local_update_equals_a_full_one(data, width):
    before = data.draw(maps)
    height, wide = before.shape
    y0, x0 = data.draw(st.integers(-3, height + 3)), data.draw(st.integers(-3, wide + 3))
    y1, x1 = y0 + data.draw(st.integers(0, 8)), x0 + data.draw(st.integers(0, 8))
    after = before.copy()
    part = after[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    part[...] = data.draw(hnp.arrays(np.int32, part.shape, elements=st.integers(0, 4)))
    ternary = ternary_map(before, width)
    wy0, wx0, wy1, wx1 = update_ternary(ternary, after, (y0, x0, y1, x1), width)
    np.testing.assert_array_equal(ternary, ternary_map(after, width))
    untouched = np.ones(ternary.shape, bool)
    untouched[wy0:wy1, wx0:wx1] = False
    np.testing.assert_array_equal(ternary[untouched], ternary_map(before, width)[untouched])


def test_default_is_three_pixels_wide_and_the_image_edge_is_no_boundary():
    instances = np.ones((9, 9), np.int64)
    assert (ternary_map(instances) == 1).all()
    instances[:, 5:] = 2
    # one inner pixel on either side, and one more by the dilation
    assert (ternary_map(instances)[4] == 2).tolist() == [False] * 3 + [True] * 4 + [False] * 2


@pytest.mark.parametrize("width", [0, 2, -1, 3.0, True, None, 101, "3"])
def test_wrong_widths_are_refused(width):
    with pytest.raises(RecipeError, match="odd"):
        ternary_map(np.zeros((3, 3), np.int32), width)


def test_wrong_maps_are_refused():
    with pytest.raises(ShapeError, match="whole numbers"):
        ternary_map(np.zeros((3, 3)))
    with pytest.raises(ShapeError, match="whole numbers"):
        ternary_map(np.zeros((3, 3, 3), np.int32))
    with pytest.raises(ShapeError, match="do not fit"):
        update_ternary(np.zeros((3, 3), np.uint8), np.zeros((3, 4), np.int32), (0, 0, 1, 1))
