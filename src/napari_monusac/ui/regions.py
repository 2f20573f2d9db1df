"""Which part of the image is meant: all of it, what the window shows, or a drawn rectangle."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image, Shapes

from napari_monusac.core.errors import MonusacError

WHOLE, VIEW, RECTANGLE = REGIONS = ("Whole image", "What the window shows", "Drawn rectangle")
_SMALLEST_PX = 16


def chosen_region(viewer: Any, layer: Image, region: str) -> tuple[int, int, int, int]:
    """Return the region in level-0 pixels of `layer`: (y, x, height, width), clipped to the image.

    Raises
    ------
    MonusacError
        No rectangle is drawn, or the region is smaller than 16 px or outside the image.
    """
    base = layer.data[0] if layer.multiscale else layer.data
    height, width = (int(n) for n in base.shape[:2])
    if region == WHOLE:
        return 0, 0, height, width
    corners = _view_corners(viewer, layer) if region == VIEW else _rectangle_corners(viewer, layer)
    low = np.clip(np.floor(corners.min(0)), 0, (height, width)).astype(int)
    high = np.clip(np.ceil(corners.max(0)), 0, (height, width)).astype(int)
    size = high - low
    if (size < min(_SMALLEST_PX, height, width)).any():
        raise MonusacError(
            f"the region is {max(0, size[0])} x {max(0, size[1])} px of the image",
            "choose at least 16 x 16 px inside the image",
        )
    return int(low[0]), int(low[1]), int(size[0]), int(size[1])


def _view_corners(viewer: Any, layer: Image) -> np.ndarray:
    """Corners of what the canvas shows, in level-0 pixels."""
    zoom = viewer.scene.camera.zoom
    center = np.asarray(viewer.scene.camera.center[-2:])
    half = np.asarray(viewer.canvas.size) / zoom / 2
    return np.array([layer.world_to_data(center - half), layer.world_to_data(center + half)])[:, -2:]


def _rectangle_corners(viewer: Any, layer: Image) -> np.ndarray:
    for shapes in reversed(viewer.layers):
        if isinstance(shapes, Shapes) and len(shapes.data):
            world = np.array([shapes.data_to_world(p)[-2:] for p in shapes.data[-1]])
            return np.array([layer.world_to_data(w) for w in world])[:, -2:]
    raise MonusacError(
        "no rectangle is drawn", "add a Shapes layer, draw a rectangle over the image, then predict again"
    )
