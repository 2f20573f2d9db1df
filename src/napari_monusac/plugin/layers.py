"""A crop as napari's LayerData: image, nuclei, semantic, ternary, ambiguous. No Qt and no napari in here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import AMBIGUOUS_COLOR, TERNARY_COLORS, NucleusClass, class_colors
from napari_monusac.core.nuclei import Annotation
from napari_monusac.io.slides.growing import LARGE_PX

if TYPE_CHECKING:
    import pandas as pd

    from napari_monusac.io.collection.collection import Crop
    from napari_monusac.io.slides.slide import Slide

LayerData = tuple[Any, dict[str, Any], str]
Colors = dict[int | None, tuple[float, float, float, float]]

#: Role and name of the layer that shows regions of interest.
REGIONS_ROLE = "regions of interest"
#: Images up to this many pixels are read whole; larger ones stay lazy.
EDITABLE_PX = LARGE_PX
#: Of the ternary map that is shown first, px; the panel Masks makes others.
_TERNARY_WIDTH = 3
_CLEAR = (0.0, 0.0, 0.0, 0.0)


def crop_layers(
    slide: Slide,
    annotation: Annotation | None = None,
    crop: Crop | None = None,
    *,
    collection_root: str | Path | None = None,
) -> list[LayerData]:
    """Make the layers of one crop.

    Parameters
    ----------
    slide : Slide
        The open image. It must stay open while a lazy image is shown (more than 64 million px); a smaller one is read.
    annotation : Annotation, optional
        Its nuclei; without it only the image comes back.
    crop : Crop, optional
        Where the image stands in its collection.
    collection_root : str or Path, optional
        Folder of the collection; travels in the layers' metadata.

    Returns
    -------
    list of LayerData
        *image* (uint8 RGB), and with an annotation *nuclei* (int32, one row a nucleus in `features`), *semantic*,
        *ternary* and *ambiguous* (uint8); *regions of interest* (Shapes) where there are any. All lie on each other in um, or in px where the scale is unknown.

    Raises
    ------
    SlideError
        The image is damaged.
    """
    common = _common(slide, annotation, crop, collection_root)
    layers = [_image_layer(slide, common)]
    if annotation is not None:
        layers += _label_layers(slide, annotation, common)
    return layers


def nuclei_colors(annotation: Annotation) -> Colors:
    """Colour of every instance by its class (RGBA in 0 to 1); labels that are not in the annotation are grey."""
    colors = class_colors()
    table: Colors = {0: _CLEAR, None: colors[int(NucleusClass.UNCLASSIFIED)]}
    for label, nucleus in enumerate(annotation.nuclei, start=1):
        table[label] = colors[int(nucleus.nucleus_class)]
    return table


def nuclei_features(annotation: Annotation, areas_px: NDArray[np.int64]) -> pd.DataFrame:
    """One row a nucleus: ``index`` (its label), ``class``, ``class_id``, ``region_id`` of the file, ``area_px``.

    Parameters
    ----------
    annotation : Annotation
        The nuclei; instance k is ``annotation.nuclei[k - 1]``.
    areas_px : int64 (n + 1,)
        Pixels of each label that no later nucleus covers.
    """
    import pandas as pd

    nuclei = annotation.nuclei
    return pd.DataFrame(
        {
            "index": np.arange(1, len(nuclei) + 1),
            "class": [n.nucleus_class.label for n in nuclei],
            "class_id": [int(n.nucleus_class) for n in nuclei],
            "region_id": [n.region_id for n in nuclei],
            "area_px": areas_px[1 : len(nuclei) + 1],
        }
    )


def _common(slide: Slide, annotation: Annotation | None, crop: Crop | None, root: str | Path | None) -> dict[str, Any]:
    """Scale, units and metadata that all layers share."""
    scale = slide.um_per_px or 1.0
    source = crop.annotation if crop is not None else (annotation.source if annotation is not None else None)
    about = {
        "image": str(slide.path),
        "annotation": str(source) if source is not None else None,
        "collection": str(root) if root is not None else None,
        "crop": crop.name if crop is not None else slide.name,
        "patient": crop.patient if crop is not None else None,
        "um_per_px": slide.um_per_px,
        "um_per_px_guessed": slide.scale.guessed,
        "origin_px": slide.origin_px,
        "channels_swapped": slide.channels_swapped,
        "notes": (*slide.notes, *(annotation.notes if annotation is not None else ())),
    }
    unit = "um" if slide.um_per_px else "pixel"
    return {"scale": (scale, scale), "units": (unit, unit), "axis_labels": ("y", "x"), "about": about}


def _attributes(common: dict[str, Any], role: str, offset_px: tuple[int, int] = (0, 0), **more: Any) -> dict[str, Any]:
    scale = common["scale"][0]
    about = {**common["about"], "role": role, "offset_px": offset_px, **more.pop("about", {})}
    return {
        "name": role,
        "scale": common["scale"],
        "translate": (offset_px[0] * scale, offset_px[1] * scale),
        "units": common["units"],
        "axis_labels": common["axis_labels"],
        "metadata": {"monusac": about},
        **more,
    }


def _image_layer(slide: Slide, common: dict[str, Any]) -> LayerData:
    height, width = slide.shape
    if height * width <= EDITABLE_PX:
        return slide.read(0, 0, height, width), _attributes(common, "image", rgb=True, multiscale=False), "image"
    about = {}
    if slide.growing is not None:
        slide.growing.start()
        if not slide.growing.done:
            about = {"notes": (*common["about"]["notes"], "the file has no smaller levels: they are made now, once")}
    # what was decoded is kept in our own cache, which has a bound
    several = len(slide.level_shapes) > 1
    attributes = _attributes(common, "image", rgb=True, multiscale=several, cache=False, about=about)
    return slide.levels if several else slide.levels[0], attributes, "image"


def _label_layers(slide: Slide, annotation: Annotation, common: dict[str, Any]) -> list[LayerData]:
    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.masks.ternary import ternary_map

    offset, shape = _labelled_part(slide, annotation)
    if offset != (0, 0):
        moved = tuple(r.moved(-offset[0], -offset[1]) for r in annotation.regions)
        maps = label_maps(replace(annotation, regions=moved), shape)
    else:
        maps = label_maps(annotation, shape)
    ternary = ternary_map(maps.instances, boundary_width=_TERNARY_WIDTH)
    areas = np.bincount(maps.instances.ravel(), minlength=len(annotation.nuclei) + 1)
    semantic_colors: Colors = {None: _CLEAR}
    semantic_colors.update(class_colors().items())
    borders = _region_layers(annotation, common, offset)
    r, g, b = AMBIGUOUS_COLOR
    ambiguous_colors: Colors = {0: _CLEAR, None: (r / 255, g / 255, b / 255, 1.0)}
    half = {"opacity": 0.5}
    looks: list[tuple[str, NDArray[Any], dict[str, Any]]] = [
        ("semantic", maps.semantic, {**half, "colormap": semantic_colors, "visible": False}),
        ("ternary", ternary, {**half, "colormap": ternary_colors(), "visible": False}),
        ("ambiguous", maps.ignore.astype(np.uint8), {**half, "colormap": ambiguous_colors}),
        ("nuclei", maps.instances, {**half, "colormap": nuclei_colors(annotation)}),
    ]
    looks[1][2]["about"] = {"boundary_width": _TERNARY_WIDTH}
    looks[2][2]["about"] = {"regions": len(annotation.ambiguous)}
    looks[3][2]["features"] = nuclei_features(annotation, areas)
    return [*borders, *((data, _attributes(common, role, offset, **look), "labels") for role, data, look in looks)]


def _region_layers(annotation: Annotation, common: dict[str, Any], offset_px: tuple[int, int]) -> list[LayerData]:
    """Outlines of the regions of interest, where there are any: beneath the nuclei, nothing filled."""
    regions = annotation.regions_of_interest
    if not regions:
        return []
    look: dict[str, Any] = {
        "shape_type": "polygon",
        "face_color": "transparent",
        "edge_color": "yellow",
        "edge_width": 3,
        "features": {"class": [r.label for r in regions], "region_id": [r.region_id for r in regions]},
        "about": {"regions": len(regions)},
    }
    outlines = [r.vertices - np.array(offset_px, np.float64) for r in regions]
    return [(outlines, _attributes(common, REGIONS_ROLE, offset_px, **look), "shapes")]


def ternary_colors() -> Colors:
    """Colours of a ternary map (RGBA in 0 to 1); background is clear."""
    colors: Colors = {0: _CLEAR, None: _CLEAR}
    for number, (r, g, b) in TERNARY_COLORS.items():
        colors[int(number)] = (r / 255, g / 255, b / 255, 1.0)
    return colors


def _labelled_part(slide: Slide, annotation: Annotation) -> tuple[tuple[int, int], tuple[int, int]]:
    """Offset and shape of the label maps: the whole crop, or of a huge slide the part where something is annotated."""
    height, width = slide.shape
    outlines = [r.vertices for r in annotation.regions if len(r.vertices) >= 3]
    if height * width <= EDITABLE_PX or not outlines:
        return (0, 0), (height, width) if height * width <= EDITABLE_PX else (1, 1)
    points = np.concatenate(outlines)
    top, left = (max(0, int(v) - 8) for v in points.min(0))
    bottom, right = min(height, int(points[:, 0].max()) + 9), min(width, int(points[:, 1].max()) + 9)
    side = int(EDITABLE_PX**0.5)
    if (bottom - top) * (right - left) > EDITABLE_PX:
        bottom, right = min(bottom, top + side), min(right, left + side)
    return (top, left), (max(1, bottom - top), max(1, right - left))
