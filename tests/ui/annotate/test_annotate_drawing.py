"""Outlines, insides and halos of a labels layer, whole and in parts; no window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from napari_monusac.ui.canvas.colors import INNER, ClassColormap, Look
from napari_monusac.ui.canvas.drawing import OUTLINE_PX, Drawing


@pytest.fixture
def layer():
    labels = np.zeros((40, 40), np.int32)
    labels[5:15, 5:15] = 1
    labels[5:15, 15:25] = 2  # touches the first
    labels[16:30, 4:12] = 3  # a px below the first
    made = Labels(labels, colormap=ClassColormap.of({1: 1, 2: 3, 3: 4}))
    made.contour = OUTLINE_PX
    return made


def test_a_halo_lies_beside_each_outline_and_has_its_class(layer):
    out = Drawing(layer).displayed(layer.data)
    assert out[5, 8] == out[6, 8] == 1
    assert out[7, 8] == 1 + INNER
    assert out[4, 8] == 1 + 2 * INNER
    assert out[3, 8] == 0, "the halo is a px wide"
    assert out[10, 15] == 3, "touching nuclei have outlines, no halo between them"
    assert out[10, 25] == 3 + 2 * INNER
    assert out[15, 6] == 4 + 2 * INNER


@pytest.mark.parametrize("dashed", [False, True])
def test_parts_are_drawn_as_the_whole_is(layer, dashed):
    drawing = Drawing(layer, dashed=dashed)
    whole = drawing.displayed(layer.data)
    for y in range(0, 40, 5):
        for x in range(0, 40, 7):
            part = np.s_[y : y + 5, x : x + 7]
            assert np.array_equal(drawing.displayed(layer.data, part), whole[part])


def test_a_hidden_class_has_no_halo(layer):
    layer.colormap.set_look(Look(only=frozenset([1])))
    shades = layer.colormap._shades
    assert shades[1 + 2 * INNER][3] > 0
    assert shades[3 + 2 * INNER][3] == 0


def test_dark_colours_have_light_halos_and_light_ones_dark(layer):
    shades = layer.colormap._shades
    red, yellow = shades[1 + 2 * INNER], shades[2 + 2 * INNER]
    assert min(red[:3]) > 0.9
    assert max(yellow[:3]) < 0.1
