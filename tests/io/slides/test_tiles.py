"""Tiles: put together at any place, decoded once, kept up to a bound that a setting gives."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.settings import environment
from napari_monusac.io.slides.tiles import TILES, TileCache, TileGrid, new_owner

IMAGE = np.random.default_rng(0).integers(0, 256, (130, 170, 3), np.uint8)


def _grid(decoded: list[int]) -> TileGrid:
    def decode(index: int) -> np.ndarray:
        decoded.append(index)
        y, x, height, width = grid.place(index)
        return IMAGE[y : y + height, x : x + width]

    grid = TileGrid((130, 170), (50, 60), decode, new_owner(), 0)
    return grid


def test_regions_at_any_place_are_the_image_and_tiles_are_decoded_once() -> None:
    decoded: list[int] = []
    grid = _grid(decoded)
    rng = np.random.default_rng(1)
    for _ in range(50):
        y, x = int(rng.integers(130)), int(rng.integers(170))
        height, width = int(rng.integers(1, 131 - y)), int(rng.integers(1, 171 - x))
        np.testing.assert_array_equal(grid.read(y, x, height, width), IMAGE[y : y + height, x : x + width])
    assert sorted(decoded) == list(range(9))
    assert grid.indices(49, 59, 2, 2) == [0, 1, 3, 4]
    assert grid.indices(-100, -100, 120, 120) == [0]


def test_the_cache_stays_below_its_bound_and_drops_what_was_not_used_for_longest() -> None:
    cache = TileCache(lambda: 1000)
    for k in range(10):
        cache.keep((0, 0, k), np.zeros(300, np.uint8))
        cache.get((0, 0, 0))
        assert cache.nbytes <= 1000
    assert [k for k in range(10) if cache.get((0, 0, k)) is not None] == [0, 8, 9]
    cache.keep((1, 0, 0), np.zeros(501, np.uint8))
    assert cache.get((1, 0, 0)) is None
    cache.forget(0)
    assert cache.nbytes == 0


def test_the_bound_is_a_setting_and_nonsense_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONUSAC_TILE_CACHE", "16")
    assert environment().tile_cache == 16
    grid = TileGrid((8000, 1000), (1000, 1000), lambda _: np.zeros((1000, 1000, 3), np.uint8), new_owner(), 0)
    for index in range(8):
        grid.tile(index)
    assert TILES.nbytes <= 16 * 2**20
    monkeypatch.setenv("MONUSAC_TILE_CACHE", "much")
    with pytest.raises(MonusacError, match="MONUSAC_TILE_CACHE = 'much'"):
        environment()
