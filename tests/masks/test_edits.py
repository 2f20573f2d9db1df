"""Edits of an instance map, against masks built by plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import draw as skdraw

from napari_monusac.core.errors import SessionError, ShapeError
from napari_monusac.masks import edits
from napari_monusac.masks.strokes import cut_stamp


def disk(shape, centre, radius, label=1, into=None):
    out = np.zeros(shape, np.int32) if into is None else into
    y, x = np.ogrid[: shape[0], : shape[1]]
    out[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2] = label
    return out


@pytest.fixture
def two():
    """Two discs that touch nothing."""
    return disk((60, 80), (30, 60), 9, 2, disk((60, 80), (30, 20), 10, 1))


@pytest.fixture
def dumbbell():
    frame = disk((60, 80), (30, 48), 11, 7, disk((60, 80), (30, 28), 12, 7))
    return frame


def done(instances, change):
    """The frame after the change, with what every change must hold checked."""
    before = instances.copy()
    out = instances.copy()
    change.apply(out)
    outside = np.ones(out.shape, bool)
    outside[change.box[0] : change.box[2], change.box[1] : change.box[3]] = False
    assert np.array_equal(out[outside], before[outside])
    assert np.array_equal(instances, before), "an edit wrote into the frame it was given"
    back = out.copy()
    change.apply(back, undo=True)
    assert np.array_equal(back, before)
    assert change.labels == set(np.unique(np.concatenate([out[out != before], before[out != before]])).tolist()) - {0}
    return out


# -- strokes ----------------------------------------------------------------------------------------------------------


def test_polygon_is_the_challenges_polygon():
    vertices = np.array([(-3.0, 5.0), (12.5, 30.2), (41.0, 12.0), (18.0, 2.0)])
    expected = np.zeros((40, 50), bool)
    expected[skdraw.polygon(vertices[:, 0], vertices[:, 1], expected.shape)] = True
    stamp = edits.polygon_stamp(vertices, expected.shape)
    got = np.zeros_like(expected)
    got[stamp.box[0] : stamp.box[2], stamp.box[1] : stamp.box[3]] = stamp.mask
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("vertices", [[(200, 200), (210, 200), (210, 220)], [(-9, -9), (-5, -9), (-5, -2)], [(3, 4)]])
def test_polygon_outside_or_of_a_point_is_empty(vertices):
    assert edits.polygon_stamp(vertices, (20, 20)).area_px <= 1


@pytest.mark.parametrize("diameter", [1, 3, 6.5, 11])
def test_brush_marks_what_lies_within_its_radius(diameter):
    path = np.array([(5.0, 6.0), (20.0, 25.5), (38.0, 10.0), (45.0, -4.0)])
    shape = (40, 50)
    stamp = edits.brush_stamp(path, diameter, shape)
    radius = max(diameter / 2, 0.71)
    expected = np.zeros(shape, bool)
    for y in range(shape[0]):
        for x in range(shape[1]):
            p = np.array([y, x], float)
            for a, b in itertools.pairwise(path):
                t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
                expected[y, x] |= np.hypot(*(p - a - t * (b - a))) <= radius
    got = np.zeros(shape, bool)
    got[stamp.box[0] : stamp.box[2], stamp.box[1] : stamp.box[3]] = stamp.mask
    assert np.array_equal(got, expected)


def test_a_click_of_the_smallest_brush_marks_a_pixel():
    assert edits.brush_stamp([(4.5, 4.5)], 1, (10, 10)).area_px >= 1
    assert edits.brush_stamp([(4, 4)], 1, (10, 10)).area_px == 1


@pytest.mark.parametrize("points", [[], [(1, np.nan)], [(1, 2, 3)]])
def test_a_stroke_without_points_is_refused(points):
    with pytest.raises(SessionError, match="cannot be drawn"):
        edits.brush_stamp(points, 3, (10, 10))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 18),
    st.lists(st.tuples(st.integers(1, 18), st.integers(0, 19)), max_size=4),
    st.integers(1, 18),
)
def test_a_cut_parts_eight_neighbours(start, between, end):
    """A stroke from the left edge to the right one, whatever its way: no 8-connected way leads from top to bottom."""
    stamp = cut_stamp([(start, -2), *between, (end, 21)], (20, 20))
    line = np.zeros((20, 20), bool)
    line[stamp.box[0] : stamp.box[2], stamp.box[1] : stamp.box[3]] = stamp.mask
    pieces = ndimage.label(~line, np.ones((3, 3)))[0]
    assert not set(pieces[0].tolist()) & set(pieces[-1].tolist()) - {0}


# -- finding ----------------------------------------------------------------------------------------------------------


def test_a_click_that_slips_by_two_pixels_is_still_a_click(two):
    assert edits.nearest_nucleus(two, (30, 20)) == 1
    assert edits.nearest_nucleus(two, (30, 32)) == 1  # the disc ends at x = 30
    assert edits.nearest_nucleus(two, (30, 33)) == 0
    assert edits.nearest_nucleus(two, (30, 49.2)) == 2
    assert edits.nearest_nucleus(two, (-50, 900)) == 0
    assert edits.nearest_nucleus(two, (19.4, 8.6), tolerance_px=0) == 0


def test_the_nearer_of_two_nuclei_is_meant():
    frame = np.zeros((9, 9), np.int32)
    frame[4, 0:3], frame[4, 6:9] = 1, 2
    assert edits.nearest_nucleus(frame, (4, 3.4)) == 1
    assert edits.nearest_nucleus(frame, (4, 4.6)) == 2


def test_a_box_takes_what_lies_in_it_by_half(two):
    assert edits.labels_inside(two, edits.polygon_stamp([(0, 0), (0, 40), (59, 40), (59, 0)], two.shape)) == (1,)
    assert edits.labels_inside(two, edits.polygon_stamp([(0, 0), (0, 79), (59, 79), (59, 0)], two.shape)) == (1, 2)
    assert edits.labels_inside(two, edits.polygon_stamp([(0, 0), (0, 15), (59, 15), (59, 0)], two.shape)) == ()
    assert edits.labels_inside(two, edits.polygon_stamp([(0, 33), (0, 45), (59, 45), (59, 33)], two.shape)) == ()


# -- drawing ----------------------------------------------------------------------------------------------------------


def test_draw_spares_other_nuclei_unless_told(two):
    stamp = edits.brush_stamp([(30, 5), (30, 75)], 5, two.shape)
    out = done(two, edits.draw(two, stamp, 9))
    assert np.array_equal(out == 1, two == 1)
    assert np.array_equal(out == 2, two == 2)
    assert ndimage.label(out == 9)[1] == 3
    one = done(two, edits.draw(two, stamp, 9, one_piece=True))
    assert ndimage.label(one == 9)[1] == 1
    over = done(two, edits.draw(two, stamp, 9, over="all"))
    assert np.count_nonzero(over == 9) == stamp.area_px


def test_erase_all_or_some(two):
    stamp = edits.brush_stamp([(30, 5), (30, 75)], 5, two.shape)
    some = done(two, edits.erase(two, stamp, [2]))
    assert np.array_equal(some == 1, two == 1)
    assert not (some[28:33] == 2).any()
    every = done(two, edits.erase(two, stamp))
    assert not every[28:33, 5:75].any()


def test_fill_takes_a_closed_gap_and_refuses_tissue(two):
    ring = two.copy()
    disk(two.shape, (30, 20), 6, 0, ring)
    out = done(ring, edits.fill(ring, (30, 20), 1))
    assert np.array_equal(out, two)
    assert np.array_equal(done(two, edits.fill(two, (30, 60), 5)) == 5, two == 2)
    for point, words in [((2, 2), "open"), ((30, 60), "already"), ((99, 2), "outside")]:
        with pytest.raises(SessionError, match=words):
            edits.fill(two, point, 2)


def test_delete(two):
    assert np.array_equal(done(two, edits.delete(two, [1])), np.where(two == 2, 2, 0))
    assert not done(two, edits.delete(two, [1, 2])).any()
    with pytest.raises(SessionError, match="no nucleus 77"):
        edits.delete(two, [77])


def test_grow_and_shrink_equal_scipys_morphology(two):
    cross = ndimage.generate_binary_structure(2, 1)
    out = done(two, edits.grow(two, [1]))
    assert np.array_equal(out == 1, ndimage.binary_dilation(two == 1, cross))
    both = done(two, edits.grow(two, [1, 2]))
    assert np.array_equal(both > 0, ndimage.binary_dilation(two > 0, cross))
    small = done(two, edits.shrink(two, [2]))
    assert np.array_equal(small == 2, ndimage.binary_erosion(two == 2, cross))
    assert np.array_equal(small == 1, two == 1)


def test_grow_keeps_neighbours_and_the_frame():
    frame = np.zeros((5, 6), np.int32)
    frame[:, :3], frame[:, 3:5] = 1, 2
    out = done(frame, edits.grow(frame, [1, 2]))
    assert np.array_equal(out[0], [1, 1, 1, 2, 2, 2])
    shrunk = done(frame, edits.shrink(frame, [1]))
    assert np.array_equal(shrunk[0], [1, 1, 0, 2, 2, 0]), "the image's own edge must not eat the nucleus"
    with pytest.raises(SessionError, match="2 would vanish"):
        edits.shrink(frame, [2])


def test_smooth_takes_spikes_and_keeps_the_disc(two):
    rough = two.copy()
    rough[30, 30:45] = 1
    out = done(rough, edits.smooth(rough, [1]))
    assert np.count_nonzero(out[30, 34:45]) == 0
    overlap = np.count_nonzero((out == 1) & (two == 1)) / np.count_nonzero((out == 1) | (two == 1))
    assert overlap > 0.93
    assert np.array_equal(out == 2, two == 2)


def test_fill_holes_leaves_nuclei_inside_alone(two):
    ring = two.copy()
    disk(two.shape, (30, 20), 6, 0, ring)
    disk(two.shape, (30, 20), 3, 8, ring)
    out = done(ring, edits.fill_holes(ring, [1]))
    assert np.array_equal(out > 0, two > 0)
    assert np.array_equal(out == 8, ring == 8)
    assert edits.fill_holes(two, [1]).is_empty


# -- how many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stroke", [[(10, 38), (50, 38)], [(19, 38.4), (30, 37), (41, 38.2)], [(22, 38), (37, 38)]])
def test_split_by_a_stroke_across(dumbbell, stroke):
    """The last stroke stops inside the neck's edge: it is drawn out."""
    change = edits.split(dumbbell, stroke, 8)
    out = done(dumbbell, change)
    assert np.array_equal(out > 0, dumbbell > 0), "a split gives no pixel away"
    assert set(np.unique(out)) == {0, 7, 8}
    assert change.parents == ((8, 7),)
    assert np.count_nonzero(out == 7) > np.count_nonzero(out == 8), "the larger part keeps the number"
    for k in (7, 8):
        assert ndimage.label(out == k, np.ones((3, 3)))[1] == 1
    assert out[30, 20] == 7
    assert out[30, 55] == 8


def test_a_stroke_across_three_nuclei_splits_each(two):
    disk(two.shape, (30, 40), 6, 3, two)
    out = done(two, edits.split(two, [(30, 2), (30, 78)], 4))
    assert len(np.unique(out)) == 7
    only = done(two, edits.split(two, [(30, 2), (30, 78)], 4, label=3))
    assert np.array_equal(only == 1, two == 1)
    assert set(np.unique(only)) == {0, 1, 2, 3, 4}


def test_a_stroke_that_splits_nothing_is_refused(two):
    with pytest.raises(SessionError, match="does not cross nucleus 1"):
        edits.split(two, [(30, 15), (30, 18)], 3)
    with pytest.raises(SessionError, match="meets no nucleus"):
        edits.split(two, [(2, 2), (2, 50)], 3)


def test_a_fragment_elsewhere_is_no_part(dumbbell):
    dumbbell[2:5, 70:75] = 7
    with pytest.raises(SessionError, match="does not cross"):
        edits.split(dumbbell, [(30, 20), (30, 22)], 8)
    out = done(dumbbell, edits.split(dumbbell, [(10, 38), (50, 38)], 8))
    assert (out[2:5, 70:75] == 7).all()


def test_merge_touching_keeps_every_pixel_and_the_first_number(dumbbell):
    parted = done(dumbbell, edits.split(dumbbell, [(10, 38), (50, 38)], 8))
    assert np.array_equal(done(parted, edits.merge(parted, [(30, 22), (30, 54)])), dumbbell)
    assert np.array_equal(done(parted, edits.merge(parted, [(30, 54), (30, 22)])), np.where(dumbbell, 8, 0))


def test_merge_closes_a_gap_but_takes_no_other_nucleus(two):
    frame = disk(two.shape, (30, 42), 10, 2, disk(two.shape, (30, 20), 10, 1))
    out = done(frame, edits.merge(frame, [(30, 20), (30, 42)]))
    assert set(np.unique(out)) == {0, 1}
    assert ndimage.label(out)[1] == 1
    assert np.count_nonzero(out) < np.count_nonzero(frame) + 60
    far = done(two, edits.merge(two, [(30, 20), (30, 60)]))
    assert ndimage.label(far == 1)[1] == 1, "a wider gap is bridged under the stroke"
    with pytest.raises(SessionError, match="too far apart"):
        edits.merge(two, labels=[1, 2])
    with pytest.raises(SessionError, match="needs two"):
        edits.merge(two, [(30, 20), (30, 22)])


def test_fragments_become_nuclei_or_go(two):
    two[5:12, 5:12] = 1
    two[50, 5:8] = 1
    change = edits.split_fragments(two, 1, 3)
    out = done(two, change)
    assert (out[5:12, 5:12] == 3).all()
    assert not out[50].any()
    assert change.parents == ((3, 1),)
    assert edits.split_fragments(two, 2, 3).is_empty


def test_suggested_split_finds_the_neck(dumbbell, two):
    change = edits.suggest_split(dumbbell, 7, 8)
    assert change is not None
    out = done(dumbbell, change)
    assert np.array_equal(out > 0, dumbbell > 0)
    assert set(np.unique(out)) == {0, 7, 8}
    assert (out[:, :34][dumbbell[:, :34] > 0] == 7).all()
    assert (out[:, 42:][dumbbell[:, 42:] > 0] == 8).all()
    assert edits.suggest_split(two, 1, 3) is None


def test_suggested_split_of_three():
    frame = disk((60, 90), (30, 20), 10, 4)
    disk(frame.shape, (30, 37), 10, 4, frame)
    disk(frame.shape, (30, 54), 10, 4, frame)
    change = edits.suggest_split(frame, 4, 5)
    assert change is not None
    assert change.parents == ((5, 4), (6, 4))


# -- another map's nuclei, and the hand's paint ------------------------------------------------------------------------


def test_paste_clips_and_refuses_what_is_there(two):
    half = edits.brush_stamp([(30, 32)], 12, two.shape)
    out = done(two, edits.paste(two, half, 3))
    assert np.array_equal(out == 1, two == 1)
    assert ndimage.label(out == 3)[1] == 1
    with pytest.raises(SessionError, match="taken by nucleus 1"):
        edits.paste(two, edits.brush_stamp([(30, 22)], 12, two.shape), 3)


def test_patch_is_what_was_painted(two):
    box = (20, 10, 40, 30)
    before = two[20:40, 10:30].copy()
    two[25, 12:18] = 5
    change = edits.patch(two, box, before, two[20:40, 10:30])
    assert change.box == (25, 12, 26, 18)
    assert change.labels == {1, 5}
    with pytest.raises(ShapeError, match="do not fit box"):
        edits.patch(two, box, before[1:], two[20:40, 10:30])
    with pytest.raises(ShapeError):
        edits.patch(two, (50, 70, 70, 90), before, before)
    with pytest.raises(SessionError, match="negative"):
        edits.patch(two, box, before, before - 1)


def test_a_change_refuses_other_pixels(two):
    change = edits.delete(two, [1])
    two[30, 20] = 2
    with pytest.raises(SessionError, match="have changed"):
        change.apply(two)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_window_hints_change_nothing(seed):
    """With the box known, every edit gives what the search of the whole frame gives."""
    rng = np.random.default_rng(seed)
    frame = np.zeros((50, 50), np.int32)
    for k in range(1, 6):
        disk(frame.shape, rng.integers(0, 50, 2), int(rng.integers(3, 9)), k, frame)
    labels = [int(k) for k in np.unique(frame)[1:]]
    some = labels[: int(rng.integers(1, len(labels) + 1))]
    box = edits.box_of(frame, some)
    for tool in (edits.delete, edits.grow, edits.smooth, edits.fill_holes):
        assert np.array_equal(done(frame, tool(frame, some)), done(frame, tool(frame, some, window=box)))
