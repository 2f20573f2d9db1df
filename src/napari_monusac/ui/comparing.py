"""Maps that lay prediction over truth, as layers: outlines in two styles, the difference map, the swipe, doubt."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, DirectLabelColormap

from napari_monusac.core.classes import DIFFERENCE_COLORS, NucleusClass, PaletteName, class_colors
from napari_monusac.masks.outlines import HALO
from napari_monusac.ui import canvas

TRUTH, PREDICTED, DIFFERENCE, SWIPE, DOUBT = "truth outlines", "predicted outlines", "difference", "swipe", "doubt"
ROLES = (TRUTH, PREDICTED, DIFFERENCE, SWIPE, DOUBT)
#: Value of the curtain's edge in a swipe map. No class has it.
CURTAIN = 253


def classes_of(layer: Labels) -> dict[int, int]:
    """Class number by label, from a nuclei layer's table."""
    return classes_in(layer.features)


def classes_in(features: Any) -> dict[int, int]:
    """Class number by label, from a table with the columns ``index`` and ``class``."""
    if "index" not in features or "class" not in features:
        return {}
    known: dict[str, int] = {}
    numbers = {}
    for label, name in zip(features["index"].tolist(), features["class"].astype(str).tolist(), strict=True):
        if name not in known:
            known[name] = int(NucleusClass.from_label(name) or NucleusClass.UNCLASSIFIED)
        if int(label):
            numbers[int(label)] = known[name]
    return numbers


def outline_colormap(palette: PaletteName = "imagescope") -> DirectLabelColormap:
    """Class colours for lines, the dark halo beside them, and the curtain's edge."""
    colors: dict[int | None, Any] = dict(class_colors(palette).items())
    colors |= {0: "transparent", HALO: (0.05, 0.05, 0.08, 0.55), CURTAIN: "white", None: "transparent"}
    return DirectLabelColormap(color_dict=colors)


def difference_colormap() -> DirectLabelColormap:
    """Colours of a difference map, whose values are the places in `DIFFERENCE_COLORS`, from 1."""
    colors: dict[int | None, Any] = {
        i + 1: (*(v / 255 for v in rgb), 1.0) for i, rgb in enumerate(DIFFERENCE_COLORS.values())
    }
    return DirectLabelColormap(color_dict={**colors, 0: "transparent", None: "transparent"})


#: Doubt from none (nothing is drawn over the tissue) to great.
DOUBT_COLORS = ((0.0, 0.0, 0.0, 0.0), (0.13, 0.09, 0.35, 0.55), (0.0, 0.62, 0.75, 0.85), (1.0, 0.95, 0.35, 1.0))


def doubt_colormap() -> Colormap:
    """The more doubtful, the brighter; where there is no doubt the tissue is seen."""
    return Colormap(np.array(DOUBT_COLORS), name="doubt", controls=[0.0, 0.15, 0.5, 1.0])


def put_labels(
    viewer: Any, role: str, data: Any, image: Layer, offset_px: tuple[int, int], colormap: Any, opacity: float
) -> Labels:
    """Show a map over an image, in place of an earlier one of the same role. The active layer stays active."""
    old = canvas.find_layer(viewer, role)
    if isinstance(old, Labels) and old.data.shape == data.shape:
        old.data = data
        old.visible = True
        return old
    active = viewer.layers.selection.active
    if old is not None:
        viewer.layers.remove(old)
    layer: Labels = viewer.add_labels(
        data, name=role, colormap=colormap, opacity=opacity, **_placed(role, image, offset_px)
    )
    layer.editable = False
    if active in viewer.layers:
        viewer.layers.selection.active = active
    return layer


def put_doubt(viewer: Any, data: Any, image: Layer, offset_px: tuple[int, int]) -> Image:
    """Show a doubt map (float32, 0 to 1) over an image, in place of an earlier one."""
    hide(viewer, DOUBT)
    active = viewer.layers.selection.active
    layer: Image = viewer.add_image(
        data, name=DOUBT, colormap=doubt_colormap(), contrast_limits=(0, 1), blending="translucent", opacity=0.9,
        **_placed(DOUBT, image, offset_px),
    )  # fmt: skip
    if active in viewer.layers:
        viewer.layers.selection.active = active
    return layer


def _placed(role: str, image: Layer, offset_px: tuple[int, int]) -> dict[str, Any]:
    corner = np.asarray(image.data_to_world(offset_px))[-2:]
    about = {**image.metadata.get("monusac", {}), "role": role, "offset_px": offset_px}
    return {
        "scale": image.scale[-2:],
        "translate": corner,
        "units": image.units[-2:],
        "metadata": {"monusac": about},
    }


def hide(viewer: Any, *roles: str) -> None:
    """Take comparison layers away."""
    for role in roles:
        layer = canvas.find_layer(viewer, role)
        if layer is not None:
            viewer.layers.remove(layer)
