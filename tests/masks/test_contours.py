"""Smooth outlines lie along the edges of the pixels: held against shapely's union of the pixels as squares."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from skimage.draw import ellipse

from napari_monusac.masks.contours import Contours, contours_of


def squares(mask):
    """The pixels of a mask as one shape: pixel (y, x) reaches half a pixel around its centre."""
    ys, xs = np.nonzero(mask)
    return shapely.union_all(shapely.box(xs - 0.5, ys - 0.5, xs + 0.5, ys + 0.5))


@pytest.fixture
def nuclei():
    rng = np.random.default_rng(4)
    labels = np.zeros((160, 160), np.int32)
    for k in range(16):
        y, x = 20 + 38 * (k // 4), 20 + 38 * (k % 4)
        rows, columns = ellipse(y, x, *rng.uniform(3, 24, 2), shape=labels.shape, rotation=rng.uniform(0, 3))
        labels[rows, columns] = 10 * (k + 1)  # the larger ones cover parts of others
    return labels


def lines_of(found: Contours, label: int):
    return [ring for of, ring in found if of == label]


def test_no_line_is_half_a_pixel_from_the_pixels_edge(nuclei):
    found = contours_of(nuclei)
    assert set(found.labels.tolist()) == set(np.unique(nuclei).tolist()) - {0}
    for label, ring in found:
        edge = squares(nuclei == label).boundary
        line = shapely.LinearRing(ring[:, ::-1])
        far = shapely.distance(edge, shapely.points(np.array(line.segmentize(0.1).coords)))
        assert far.max() <= 0.5, label


def test_lines_enclose_what_the_pixels_cover(nuclei):
    for label in np.unique(nuclei)[1:]:
        mask = nuclei == label
        drawn = shapely.Polygon()
        for ring in lines_of(contours_of(nuclei), label):
            drawn = drawn.symmetric_difference(shapely.Polygon(ring[:, ::-1]).buffer(0))
        area = squares(mask)
        assert shapely.area(drawn.intersection(area)) / shapely.area(drawn.union(area)) > 0.9, label


def test_a_slanting_edge_is_straight():
    """A staircase of single steps: half a pixel of it would be seen at high magnification."""
    labels = np.tril(np.ones((60, 60), np.int32), -1)
    (ring,) = lines_of(contours_of(labels), 1)
    middle = ring[(ring[:, 0] > 15) & (ring[:, 0] < 45) & (ring[:, 1] > 12) & (ring[:, 1] < ring[:, 0] + 3)]
    off = (middle[:, 0] - middle[:, 1]) / np.sqrt(2)
    assert np.ptp(off) < 0.1
    assert abs(off.mean() - 0.5 / np.sqrt(2)) < 0.15, "between the pixels of the two sides"


def test_holes_and_parts_have_lines_of_their_own():
    labels = np.zeros((40, 60), np.int64)
    labels[5:30, 5:30] = 7
    labels[12:20, 12:20] = 0
    labels[5:15, 40:50] = 7
    found = contours_of(labels)
    assert found.labels.tolist() == [7, 7, 7]
    assert found.boxes() == {7: (5, 5, 30, 50)}


def test_one_pixel_has_a_line_around_it():
    labels = np.zeros((9, 9), np.uint16)
    labels[4, 6] = 3
    ((label, ring),) = contours_of(labels)
    assert label == 3
    assert np.allclose(ring.mean(0), (4, 6), atol=0.05)
    assert 0.15 < np.hypot(*(ring - (4, 6)).T).min() < 0.75


def test_some_nuclei_alone_are_drawn_as_with_all_others(nuclei):
    every = contours_of(nuclei)
    some = contours_of(nuclei, [(30, (0, 0, 160, 160)), (999, (0, 0, 50, 50))])
    assert set(some.labels.tolist()) == {30}
    for one, other in zip(lines_of(some, 30), lines_of(every, 30), strict=True):
        assert np.allclose(one, other)


def test_nothing_has_no_lines():
    found = contours_of(np.zeros((5, 5), np.int32))
    assert len(found.points) == 0
    assert found.boxes() == {}
