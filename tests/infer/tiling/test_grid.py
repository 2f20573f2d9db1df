"""Geometry and blending of tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import ShapeError
from napari_monusac.infer.tiling.grid import Blender, Grid, plan_axis


@given(
    st.integers(1, 3000),
    st.sampled_from([(64, 0), (64, 16), (128, 32), (512, 64), (512, 256)]),
    st.sampled_from([0, 64, 256]),
)
@settings(max_examples=200, deadline=None)
def test_tiles_cover_and_weights_add_up_to_one(size: int, shape: tuple[int, int], smallest: int) -> None:
    axis = plan_axis(size, *shape, 32, smallest)
    assert axis.tile >= min(smallest, shape[0])
    assert axis.before == ((axis.tile - size + 1) // 2 if axis.count == 1 else 0)
    assert axis.tile % 32 == 0
    assert axis.tile <= shape[0]
    length = (axis.count - 1) * axis.stride + axis.tile
    assert length >= size
    assert length - axis.stride < size or axis.count == 1  # no tile more than needed
    assert axis.count == 1 or axis.tile >= 2 * axis.overlap  # no three tiles on one pixel
    total = np.zeros(length)
    for k in range(axis.count):
        total[k * axis.stride : k * axis.stride + axis.tile] += axis.weights(k)
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(100, 70), (333, 500), (64, 900), (900, 64)])
def test_blending_parts_equals_blending_on_the_whole_frame(shape: tuple[int, int]) -> None:
    grid = Grid.over(shape, tile=128, overlap=32)
    rng = np.random.default_rng(0)
    tiles = rng.random((len(grid), 8, *grid.tile_shape)).astype(np.float32)
    frame = np.zeros((8, 2000, 2000))
    weight = np.zeros((2000, 2000))
    for k in grid:
        row, column = grid.position(k)
        w = grid.rows.weights(row)[:, None] * grid.columns.weights(column)
        box = grid.box(k)
        part = np.s_[:, max(0, -box.y) :, max(0, -box.x) :]
        box = Region(max(0, box.y), max(0, box.x), box.height + min(0, box.y), box.width + min(0, box.x))
        frame[(slice(None), *box.slices)] += (tiles[k] * w)[part]
        weight[box.slices] += w[part[1:]]
    blender = Blender(grid)
    seen = np.zeros(shape, int)
    for k in grid:
        box, values = blender.add(k, tiles[k].copy())
        seen[box.slices] += 1
        np.testing.assert_allclose(values, frame[(slice(None), *box.slices)], atol=1e-6)
    assert (seen == 1).all()
    np.testing.assert_allclose(weight[: shape[0], : shape[1]], 1, atol=1e-6)


def test_adding_a_tile_again_after_a_crash_does_no_harm() -> None:
    grid = Grid.over((300, 300), tile=128, overlap=32)
    tiles = np.random.default_rng(0).random((len(grid), 8, *grid.tile_shape)).astype(np.float32)
    clean = Blender(grid)
    expected = [clean.add(k, tiles[k].copy())[1].copy() for k in grid]
    memory = np.zeros(Blender.below_shape(grid), np.float32)
    right = None
    for k in grid:
        lost = Blender(grid, below=memory, right=None if right is None else right.copy())
        lost.add(k, tiles[k].copy())  # the process dies here: only `memory` remembers
        again = Blender(grid, below=memory, right=right)
        _, values = again.add(k, tiles[k].copy())
        np.testing.assert_array_equal(values, expected[k])
        right = again.right


@pytest.mark.parametrize("wrong", [(0, 64, 16, 32), (100, 50, 0, 32), (100, 64, 40, 32), (100, 64, -1, 32)])
def test_impossible_tiles_are_refused(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(ShapeError):
        plan_axis(*wrong)
