"""Frames around nuclei, drawn with dashes that are as many for every frame."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.marks import Marks, eighths, frame_of


def test_dashes_lie_end_to_end_around_the_box():
    segments = eighths([frame_of((1, 2, 11, 42)), frame_of((0, 0, 8, 8))])
    assert segments.shape == (64, 2, 2)
    first = segments[:32]
    assert np.allclose(first[:, 0] + first[:, 1], np.roll(first[:, 0], -1, axis=0)), "closed"
    assert np.allclose(np.abs(first[:, 1]).sum(), 2 * (10 + 40)), "all the way around, and no further"
    assert first[:, 0].min(0).tolist() == [1, 2]
    assert first[:, 0].max(0).tolist() == [11, 42]
    assert eighths([]).shape == (0, 2, 2)


def test_a_frame_moves_and_stays_deleted():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((50, 60, 3), np.uint8), scale=(0.25, 0.25), rgb=True)
    frames = Marks(viewer, image, "frames", eighths)

    def show(what, *boxes):
        frames.show(what, [frame_of(box, 3) for box in boxes])

    show("error", (5, 6, 15, 26))
    layer = canvas.find_layer(viewer, "frames")
    assert viewer.layers.selection.active is image
    assert layer.extent.world[0].tolist() == [0.5, 0.75]  # 3 px of room, a quarter of a um each
    colors = layer.edge_color.copy()
    show("error", (24, 22, 34, 32))
    assert layer.data[:, 0].min(0).tolist() == [21, 19]
    assert np.array_equal(layer.edge_color, colors)
    assert len(np.unique(colors, axis=0)) == 2, "dark and light dashes take turns"
    show("cell", (0, 0, 9, 9), (30, 30, 40, 40))
    assert len(layer.data) == 96
    show("cell")
    assert len(layer.data) == 32
    viewer.layers.remove(layer)
    show("error", (1, 1, 2, 2))
    assert canvas.find_layer(viewer, "frames") is None
    frames.close()
