"""Densities and hot spots against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.core.errors import MonusacError
from napari_monusac.scoring.metrics.hotspots import density_map

SHAPE, SCALE = (400, 600), 0.5


def test_each_place_counts_what_lies_in_its_disc():
    rng = np.random.default_rng(3)
    points = rng.uniform((0, 0), SHAPE, (300, 2))
    made = density_map(points, SHAPE, SCALE, 25)
    assert made.radius_px == 50
    for row, column in ((0, 0), (10, 20), (30, 60), (made.numbers.shape[0] - 1, 5)):
        y, x = (row + 0.5) * made.step_px - 0.5, (column + 0.5) * made.step_px - 0.5
        within = np.hypot(*(points - (y, x)).T) <= 50
        assert made.numbers[row, column] == within.sum()
        pixels = np.hypot(*(np.indices(SHAPE).reshape(2, -1).T - (y, x)).T) <= 50
        area_mm2 = pixels.sum() * SCALE**2 / 1e6
        assert made.per_mm2[row, column] == pytest.approx(within.sum() / area_mm2, rel=0.02)


def test_an_even_density_is_even_to_the_edge():
    points = np.stack(np.meshgrid(np.arange(2, 400, 5), np.arange(2, 600, 5), indexing="ij"), -1).reshape(-1, 2)
    made = density_map(points, SHAPE, SCALE, 30)
    true = 1e6 / (5 * 5 * SCALE**2)
    assert np.abs(made.per_mm2 / true - 1).max() < 0.1
    assert np.abs(made.per_mm2 / true - 1).mean() < 0.03


def test_hot_spots_are_where_the_nuclei_are_and_do_not_overlap():
    rng = np.random.default_rng(0)
    crowds = ((100, 120, 40), (300, 450, 25), (120, 500, 10))
    points = np.concatenate([rng.normal((y, x), 8, (n, 2)) for y, x, n in crowds])
    spots = density_map(points, SHAPE, SCALE, 20).hot_spots()
    for spot, (y, x, n) in zip(spots, crowds, strict=False):
        assert np.hypot(spot.y_px - y, spot.x_px - x) < 20
        assert spot.number >= 0.9 * n
    assert [s.per_mm2 for s in spots] == sorted((s.per_mm2 for s in spots), reverse=True)
    places = np.array([(s.y_px, s.x_px) for s in spots])
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(places))
    assert apart.min() >= 2 * 40
    assert len(density_map(points, SHAPE, SCALE, 20).hot_spots(2)) == 2


def test_without_nuclei_there_is_nothing_and_no_radius_is_refused():
    made = density_map(np.zeros((0, 2)), SHAPE, SCALE, 20)
    assert made.numbers.sum() == 0
    assert made.hot_spots() == ()
    with pytest.raises(MonusacError, match="radius"):
        density_map([(1, 1)], SHAPE, SCALE, 0)
    assert density_map([(1, 1)], (3, 3), SCALE, 500).hot_spots()[0].number == 1
