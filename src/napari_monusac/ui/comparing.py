"""Layers that lay prediction over truth: outlines in two styles, and the difference map."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_monusac.core.classes import DIFFERENCE_COLORS, NucleusClass, class_colors
from napari_monusac.masks.outlines import HALO, outline_map
from napari_monusac.ui import canvas

TRUTH, PREDICTED, DIFFERENCE = "truth outlines", "predicted outlines", "difference"


def classes_of(layer: Labels) -> dict[int, int]:
    """Class number by label, from a nuclei layer's table."""
    features = layer.features
    if "index" not in features or "class" not in features:
        return {}
    numbers = {}
    for label, name in zip(features["index"], features["class"], strict=True):
        if int(label):
            numbers[int(label)] = int(NucleusClass.from_label(str(name)) or NucleusClass.UNCLASSIFIED)
    return numbers


def outline_colormap() -> DirectLabelColormap:
    """Class colours for lines, and the dark halo beside them."""
    colors: dict[int | None, Any] = dict(class_colors().items())
    colors |= {0: "transparent", HALO: (0.05, 0.05, 0.08, 0.55), None: "transparent"}
    return DirectLabelColormap(color_dict=colors)


def show_outlines(viewer: Any, truth: Labels, predicted: Labels) -> tuple[Labels, Labels]:
    """Show both sets of nuclei as outlines: truth solid, prediction dashed. The filled layers are hidden."""
    active = viewer.layers.selection.active
    solid = outline_map(np.asarray(truth.data), classes_of(truth), style="solid")
    dashed = outline_map(np.asarray(predicted.data), classes_of(predicted), style="dashed")
    made = [
        _put(viewer, TRUTH, solid, truth, outline_colormap(), 1.0),
        _put(viewer, PREDICTED, dashed, predicted, outline_colormap(), 1.0),
    ]
    truth.visible = predicted.visible = False
    if active in viewer.layers:
        viewer.layers.selection.active = active
    return made[0], made[1]


def show_difference(viewer: Any, difference: Any, like: Labels) -> Labels:
    """Show the difference map; the values are the places in `DIFFERENCE_COLORS`, from 1."""
    colors: dict[int | None, Any] = {
        i + 1: (*(v / 255 for v in rgb), 1.0) for i, rgb in enumerate(DIFFERENCE_COLORS.values())
    }
    colormap = DirectLabelColormap(color_dict={**colors, 0: "transparent", None: "transparent"})
    return _put(viewer, DIFFERENCE, difference, like, colormap, 0.7)


def hide(viewer: Any, *roles: str) -> None:
    """Take comparison layers away."""
    for role in roles:
        layer = canvas.find_layer(viewer, role)
        if layer is not None:
            viewer.layers.remove(layer)


def _put(viewer: Any, name: str, data: Any, like: Labels, colormap: DirectLabelColormap, opacity: float) -> Labels:
    old = canvas.find_layer(viewer, name)
    if isinstance(old, Labels) and old.data.shape == data.shape:
        old.data = data
        old.visible = True
        return old
    if old is not None:
        viewer.layers.remove(old)
    metadata = {"monusac": {**like.metadata.get("monusac", {}), "role": name}}
    layer: Labels = viewer.add_labels(
        data,
        name=name,
        colormap=colormap,
        opacity=opacity,
        scale=like.scale,
        translate=like.translate,
        units=like.units,
        metadata=metadata,
    )
    layer.editable = False
    return layer
