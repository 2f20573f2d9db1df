from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import dilation, erosion

from napari_monusac.masks.outlines import HALO, outline_map


@pytest.fixture
def three():
    """A square, one that touches it, and one at the image's edge."""
    labels = np.zeros((40, 60), np.int32)
    labels[8:24, 8:24], labels[8:24, 24:40], labels[30:40, 50:60] = 1, 2, 9
    return labels


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_line_lies_inside_and_has_its_width(three, width):
    drawn = outline_map(three, {1: 1, 2: 2, 9: 4}, width_px=width, halo_px=0)
    square = np.ones((2 * width + 1,) * 2, bool)
    rim = (three > 0) & ((erosion(three, square) != three) | (dilation(three, square) != three))
    classes = np.array([0, 1, 2, 0, 0, 0, 0, 0, 0, 4])
    assert (drawn == np.where(rim, classes[three], 0)).all()


def test_touching_nuclei_keep_a_line_between_them(three):
    drawn = outline_map(three, {1: 1, 2: 2}, width_px=1, halo_px=0)
    assert (drawn[12:20, 23] == 1).all()
    assert (drawn[12:20, 24] == 2).all()


def test_a_nucleus_without_a_class_is_drawn_as_unclassified(three):
    assert set(np.unique(outline_map(three, {}, halo_px=0))) == {0, 255}


@pytest.mark.parametrize("style", ["solid", "dashed"])
def test_the_halo_stands_beside_the_line_and_never_on_it(three, style):
    bare = outline_map(three, {1: 1, 2: 2, 9: 3}, style=style, halo_px=0)
    drawn = outline_map(three, {1: 1, 2: 2, 9: 3}, style=style, halo_px=1)
    assert (drawn[bare > 0] == bare[bare > 0]).all()
    near = dilation(bare > 0, np.ones((3, 3), bool))
    assert ((drawn == HALO) == (near & (bare == 0))).all()


def test_dashes_cut_lines_of_every_direction():
    """On each side of a rotated square some of the line is drawn and some is not."""
    y, x = np.mgrid[:80, :80]
    for labels in (
        ((abs(y - 40) < 25) & (abs(x - 40) < 25)).astype(np.int32),
        (abs(y - 40) + abs(x - 40) < 30).astype(np.int32),
    ):
        solid = outline_map(labels, {1: 1}, width_px=1, halo_px=0) > 0
        dashed = outline_map(labels, {1: 1}, width_px=1, halo_px=0, style="dashed") > 0
        for part in (np.s_[:40, :40], np.s_[:40, 40:], np.s_[40:, :40], np.s_[40:, 40:]):
            share = dashed[part].sum() / solid[part].sum()
            assert 0.3 < share < 0.7


def test_an_empty_map_stays_empty():
    assert not outline_map(np.zeros((5, 5), np.int32), {}).any()
