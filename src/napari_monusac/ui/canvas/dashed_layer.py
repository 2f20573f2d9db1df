"""A Vectors layer of black and white dashes that follows the zoom: the ground of marks and frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Layer

from napari_monusac.ui.canvas import canvas

#: Width of a line on the screen, px.
LINE_PX = 2.0
DARK, LIGHT = (0.05, 0.05, 0.08, 1.0), (1.0, 1.0, 1.0, 1.0)


class DashedLayer:
    """One Vectors layer, made when there is something to draw. If the user deletes it, it stays away.

    Parameters
    ----------
    viewer : napari.Viewer
        Where it is drawn.
    like : Layer
        The layer whose pixels the lines are given in.
    role : str
        Its name, and what it is to us.
    zoomed : callable
        Draws anew, or only the width, when the zoom has changed.
    """

    def __init__(self, viewer: Any, like: Layer, role: str, zoomed: Callable[[object], None]) -> None:
        self.viewer, self._like, self._role = viewer, like, role
        self._layer: Any = None
        self._deleted = False
        self._on_zoom = zoomed
        viewer.scene.camera.events.zoom.connect(zoomed)

    def close(self) -> None:
        """Take the layer away."""
        self.viewer.scene.camera.events.zoom.disconnect(self._on_zoom)
        if self._layer is not None and self._layer in self.viewer.layers:
            self.viewer.layers.remove(self._layer)
        self._layer = None

    def _screen_px(self, length: float) -> float:
        """What is this long on the screen, px, in px of the image."""
        return length / max(1e-6, float(self.viewer.scene.camera.zoom) * float(self._like.scale[-1]))

    def _ready(self) -> Any:
        """The layer, or None where it was deleted or has nothing to lie on."""
        if self._layer is not None and self._layer not in self.viewer.layers:
            self._layer, self._deleted = None, True
        if self._deleted or self._like not in self.viewer.layers:
            return None
        if self._layer is None:
            active = self.viewer.layers.selection.active
            about = {**self._like.metadata.get("monusac", {}), "role": self._role}
            made = self.viewer.add_vectors(
                np.zeros((0, 2, 2)), name=self._role, vector_style="line", edge_width=1.0, opacity=1.0,
                metadata={"monusac": about}, **canvas.placing(self._like),
            )  # fmt: skip
            # a plugin's viewer hands out a proxy
            self._layer = getattr(made, "__wrapped__", made)
            self.viewer.layers.selection.active = active
        return self._layer
