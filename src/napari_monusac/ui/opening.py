"""Opening crops in the viewer: read in the background, shown in one go, the former crop's layers put away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer

from napari_monusac.core.classes import NucleusClass
from napari_monusac.ui import canvas
from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.work import Report, Task

if TYPE_CHECKING:
    from napari_monusac.io.collection import Collection, Crop


def opening_task(collection: Collection, crop: Crop) -> Task:
    """Return a task (not started) that reads a crop; its result is a list of LayerData."""

    def read(report: Report) -> list[Any]:
        from napari_monusac.plugin.layers import crop_layers

        report(None, f"Opening {crop.name}")
        slide = collection.open(crop)
        annotation = collection.annotation(crop) if crop.annotation is not None else None
        return list(crop_layers(slide, annotation, crop, collection_root=collection.root))

    return Task(read)


def replace_crop(viewer: Any, model: StudioModel, crop: Crop, layer_data: list[Any]) -> None:
    """Put away the layers of the former crop and show these; layers of other plugins stay."""
    for layer in canvas.our_layers(viewer):
        viewer.layers.remove(layer)
    for data, attributes, kind in layer_data:
        show_outlines(viewer.add_layer(Layer.create(data, attributes, kind)))
    viewer.reset_view()
    nuclei = canvas.find_layer(viewer, "nuclei")
    if nuclei is not None:
        viewer.layers.selection.active = nuclei
    model.set_crop(crop)
    model.crop_shown(crop)


def show_outlines(layer: Layer) -> None:
    """Draw a nuclei layer as outlines, as its metadata ask (a reader cannot: LayerData has no `contour`)."""
    width = layer.metadata.get("monusac", {}).get("contour")
    if width and isinstance(layer, Labels):
        layer.contour = width
        layer.opacity = 0.9


def class_counts(viewer: Any) -> dict[int, int]:
    """Nuclei by class number, from the table of the layer *nuclei*; ambiguous regions as -1."""
    layer = canvas.find_layer(viewer, "nuclei")
    if not isinstance(layer, Labels) or "class" not in layer.features:
        return {}
    counts: dict[int, int] = {}
    for name, number in layer.features["class"].value_counts().items():
        member = NucleusClass.from_label(str(name))
        if member is not None and member is not NucleusClass.BACKGROUND and number:
            counts[int(member)] = counts.get(int(member), 0) + int(number)
    background = int((layer.features["index"] == 0).sum()) if "index" in layer.features else 0
    unclassified = int(NucleusClass.UNCLASSIFIED)
    if background and counts.get(unclassified):
        # the table's row for label 0 has no class
        blank = layer.features.loc[layer.features["index"] == 0, "class"].astype(str)
        counts[unclassified] -= int(sum(NucleusClass.from_label(b) is NucleusClass.UNCLASSIFIED for b in blank))
    ambiguous = canvas.find_layer(viewer, "ambiguous")
    regions = (
        0 if ambiguous is None else int(ambiguous.metadata["monusac"].get("regions", bool(np.any(ambiguous.data))))
    )
    return counts | ({-1: regions} if regions else {})
