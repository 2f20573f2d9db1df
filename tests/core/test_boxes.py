"""Boxes and regions against masks painted with numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_monusac.core.boxes import Region, grown, overlap, tight_box, union, window

SHAPE = (13, 17)
boxes = st.tuples(st.integers(0, 12), st.integers(0, 16), st.integers(1, 9), st.integers(1, 9)).map(
    lambda v: (v[0], v[1], min(13, v[0] + v[2]), min(17, v[1] + v[3]))
)


def painted(box):
    mask = np.zeros(SHAPE, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


@given(boxes, boxes)
def test_union_and_overlap_are_those_of_the_pixels(first, second):
    both = painted(first) | painted(second)
    assert union(first, second) == tight_box(both)
    shared = painted(first) & painted(second)
    found = overlap(first, second)
    if found is None:
        assert not shared.any()
        return
    ids = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    in_first, in_second = (ids[window(box)][part] for box, part in zip((first, second), found, strict=True))
    np.testing.assert_array_equal(in_first, in_second)
    np.testing.assert_array_equal(in_first.ravel(), ids[shared])


@given(boxes, st.integers(0, 20))
def test_grown_stays_in_the_frame(box, margin):
    y, x = np.indices(SHAPE)
    near = (y >= box[0] - margin) & (y < box[2] + margin) & (x >= box[1] - margin) & (x < box[3] + margin)
    assert grown(box, margin, SHAPE) == tight_box(near)


def test_a_tight_box_and_its_origin():
    assert tight_box(np.zeros((4, 4), bool)) is None
    assert tight_box(painted((2, 3, 5, 9)), (10, 100)) == (12, 103, 15, 109)


def test_a_region_is_cut_by_its_slices():
    image = np.arange(60).reshape(6, 10)
    np.testing.assert_array_equal(image[Region(1, 2, 3, 4).slices], image[1:4, 2:6])
