"""Boxes and ellipses from corner to corner, by their areas."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.masks.strokes import ellipse, polygon_stamp, rectangle


@pytest.mark.parametrize(("first", "last"), [((5, 7), (25, 47)), ((25, 47), (5, 7)), ((5, 47), (25, 7))])
def test_a_rectangle_is_the_box_whichever_corner_came_first(first, last):
    stamp = polygon_stamp(rectangle(first, last), (60, 60))
    assert stamp.mask.all()
    rows, columns = (sorted({5, 25}), sorted({7, 47}))
    assert abs(stamp.area_px - (rows[1] - rows[0] + 0.5) * (columns[1] - columns[0] + 0.5)) <= 61
    assert stamp.box[0] in (5, 6)
    assert stamp.box[1] in (7, 8)


def test_an_ellipse_fills_its_box():
    points = np.array(ellipse((10.0, 20.0), (50.0, 40.0)))
    assert points.min(0) == pytest.approx([10, 20], abs=0.05)
    assert points.max(0) == pytest.approx([50, 40], abs=0.05)
    assert ((points[:, 0] - 30) / 20) ** 2 + ((points[:, 1] - 30) / 10) ** 2 == pytest.approx(np.ones(72))
    assert polygon_stamp(points, (80, 80)).area_px == pytest.approx(np.pi * 20 * 10, rel=0.02)
