"""Which part of the image is meant: all of it, what the window shows, or a drawn shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Layer, Shapes
from numpy.typing import NDArray

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import MonusacError
from napari_monusac.plugin.layers import REGIONS_ROLE
from napari_monusac.ui.canvas import canvas

WHOLE, VIEW, RECTANGLE = REGIONS = ("Whole image", "What the window shows", "Drawn rectangle")
_SMALLEST_PX = 16
REGION_ROLE = "region"
#: Corners of the polygon that an ellipse is taken as: its area is then right to 0.01 %.
_ELLIPSE_CORNERS = 256


@dataclass(frozen=True, slots=True, eq=False)
class DrawnOutline:
    """A drawn shape that has an area.

    Attributes
    ----------
    name : str
        Which one, for people.
    world : float (n, 2)
        Its corners (y, x) in the viewer's world.
    """

    name: str
    world: NDArray[np.float64]

    def on(self, layer: Layer) -> NDArray[np.float64]:
        """Corners (y, x) in px of a layer."""
        return np.array([layer.world_to_data(corner)[-2:] for corner in self.world])


def last_outline(viewer: Any) -> DrawnOutline | None:
    """The rectangle, ellipse or polygon drawn last in the topmost Shapes layer that has one; lines have no area."""
    for shapes in reversed(viewer.layers):
        if isinstance(shapes, Shapes) and canvas.role(shapes) != REGIONS_ROLE:
            for i in reversed(range(len(shapes.data))):
                corners, kind = np.asarray(shapes.data[i], float), str(shapes.shape_type[i])
                world = np.array([shapes.data_to_world(c)[-2:] for c in corners])
                if kind in ("rectangle", "ellipse", "polygon") and _area(world) > 0:
                    name = f"{shapes.name}: {kind} {i + 1}"
                    return DrawnOutline(name, _ellipse(world) if kind == "ellipse" else world)
    return None


def draw_rectangle(viewer: Any, image: Image) -> Shapes:
    """Make ready for a rectangle to be dragged over an image: a layer of its own, through which tissue is seen."""
    layer = next((la for la in viewer.layers if isinstance(la, Shapes) and canvas.role(la) == REGION_ROLE), None)
    if layer is None:
        layer = viewer.add_shapes(
            ndim=2, name=REGION_ROLE, metadata={"monusac": {"role": REGION_ROLE}}, face_color="transparent", edge_color="yellow",
            **canvas.placing(image),
        )  # fmt: skip
        # as thick on the screen at any scale: 3 screen px as the window stands now
        layer.current_edge_width = 3 / viewer.scene.camera.zoom / float(image.scale[-1])
    viewer.layers.selection.active = layer
    layer.mode = "add_rectangle"
    return layer


def _area(corners: NDArray[np.float64]) -> float:
    y, x = (corners - corners.mean(0)).T
    return float(abs(y @ np.roll(x, 1) - x @ np.roll(y, 1)) / 2)


def _ellipse(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ellipse in a box of four corners (a parallelogram, where a layer is sheared)."""
    turn = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)[:, None]
    return np.asarray(box.mean(0) + np.cos(turn) * (box[1] - box[0]) / 2 + np.sin(turn) * (box[3] - box[0]) / 2)


def chosen_region(viewer: Any, layer: Image, region: str) -> Region:
    """Return the region in level-0 pixels of `layer`, clipped to the image.

    Raises
    ------
    MonusacError
        No rectangle is drawn, or the region is smaller than 16 px or outside the image.
    """
    base = layer.data[0] if layer.multiscale else layer.data
    height, width = (int(n) for n in base.shape[:2])
    if region == WHOLE:
        return Region(0, 0, height, width)
    corners = canvas.view_corners(viewer, layer) if region == VIEW else _drawn_corners(viewer, layer)
    low = np.clip(np.floor(corners.min(0)), 0, (height, width)).astype(int)
    high = np.clip(np.ceil(corners.max(0)), 0, (height, width)).astype(int)
    size = high - low
    if (size < min(_SMALLEST_PX, height, width)).any():
        raise MonusacError(
            f"the region is {max(0, size[0])} x {max(0, size[1])} px of the image",
            "choose at least 16 x 16 px inside the image",
        )
    return Region(int(low[0]), int(low[1]), int(size[0]), int(size[1]))


def _drawn_corners(viewer: Any, layer: Image) -> NDArray[np.float64]:
    outline = last_outline(viewer)
    if outline is None:
        raise MonusacError("no rectangle is drawn", "press Draw it, drag over the image, then predict again")
    return outline.on(layer)
