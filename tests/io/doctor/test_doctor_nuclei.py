from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import shapely

from napari_monusac.core.geometry import self_crossing
from napari_monusac.core.nuclei import Nucleus
from napari_monusac.io.doctor.nuclei import overlapping_pairs, polygons_of


def crosses(vertices: np.ndarray) -> bool:
    """Ask shapely about every pair of edges: do they cross in a point inside of both?"""
    ring = np.concatenate([vertices, vertices[:1]])
    edges = [shapely.LineString(ring[k : k + 2]) for k in range(len(ring) - 1) if (ring[k] != ring[k + 1]).any()]
    return any(a.crosses(b) for a, b in combinations(edges, 2))


def test_self_crossing_equals_shapely_edge_by_edge() -> None:
    rng = np.random.default_rng(0)
    found = []
    for k in range(300):
        vertices = rng.integers(0, 12, (int(rng.integers(3, 9)), 2)).astype(float)
        want = crosses(vertices)
        spot = self_crossing(vertices)
        assert (spot is not None) == want, vertices
        found.append(want)
        if spot is not None:
            ring = shapely.LineString(np.concatenate([vertices, vertices[:1]]))
            assert ring.distance(shapely.Point(spot)) < 1e-9, k
    assert 50 < sum(found) < 250


@pytest.mark.parametrize("vertices", [
    [(0, 0), (0, 9), (9, 9), (9, 0)],
    [(0, 0), (0, 9), (9, 9), (9, 0), (0, 0), (0, 0)],  # closed, and closed again
    [(0, 0), (0, 9), (0, 4), (9, 9), (9, 0)],  # a way walked twice
    [(0, 0), (4, 4), (0, 9), (9, 9), (4, 4), (9, 0)],  # touches itself in a vertex
    [(0, 0), (1, 1)], [(3, 3)], [],
])  # fmt: skip
def test_what_is_no_crossing(vertices: list[tuple[float, float]]) -> None:
    assert self_crossing(np.array(vertices, float).reshape(-1, 2)) is None


def test_where_the_crossing_is_also_with_many_edges() -> None:
    assert self_crossing(np.array([(0, 0), (10, 10), (0, 10), (10, 0.0)])) == (5.0, 5.0)
    angle = np.linspace(0, 2 * np.pi, 1500, endpoint=False)
    circle = 100 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    assert self_crossing(circle) is None
    circle[[1000, 1001]] = circle[[1001, 1000]]
    assert self_crossing(circle) is not None


def test_pairs_that_overlap() -> None:
    square = np.array([(0, 0), (0, 10), (10, 10), (10, 0.0)])
    nuclei = [Nucleus(square), Nucleus(square + 5), Nucleus(square + np.array([0, 10])), Nucleus(square + 50)]
    i, j, shared = overlapping_pairs(polygons_of(nuclei))
    assert sorted(zip(i, j, shared, strict=True)) == [(0, 1, 25.0), (1, 2, 25.0)]
