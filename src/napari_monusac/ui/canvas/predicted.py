"""Layers of a prediction as they look beside what a person outlined: dashed, in the chosen class colours."""

from __future__ import annotations

from typing import Any

from napari.layers import Labels

from napari_monusac.core.classes import PaletteName
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.canvas import plain
from napari_monusac.ui.canvas.colors import ClassColormap, semantic_colormap
from napari_monusac.ui.canvas.help import plain_status
from napari_monusac.ui.canvas.outlines import outline
from napari_monusac.ui.canvas.styles import PREDICTION
from napari_monusac.ui.model import studio_model


def dress_predicted(viewer: Any, layer: Any, palette: PaletteName) -> None:
    """Give a layer of a prediction the class colours that were chosen, and dashes; other layers are left alone."""
    layer = plain(layer)
    if canvas.role(layer) == "predicted semantic" and palette != "imagescope":
        layer.colormap = semantic_colormap(palette)
    elif canvas.role(layer) == "predicted nuclei" and isinstance(layer, Labels) and "class_id" in layer.features:
        table = layer.features
        classes = dict(zip(table["index"].tolist(), table["class_id"].tolist(), strict=True))
        colormap = ClassColormap.of({int(k): int(v) for k, v in classes.items()}, palette)
        if not colormap.shows_the_same_as(layer.colormap):
            layer.colormap = colormap
        plain_status(layer)
        outline(viewer, layer, studio_model(viewer).work, PREDICTION)
