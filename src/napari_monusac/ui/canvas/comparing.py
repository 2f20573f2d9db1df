"""Maps that lay prediction over truth, as layers: outlines in two styles, the difference map, the swipe, uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, DirectLabelColormap

from napari_monusac.app.work import Work
from napari_monusac.core.classes import DIFFERENCE_COLORS, N_NUCLEUS_COLORS, PaletteName, class_colors
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.colormaps import ternary_colormap
from napari_monusac.ui.canvas.colors import ClassColormap
from napari_monusac.ui.canvas.outlines import outline, outline_no_more
from napari_monusac.ui.canvas.styles import LineStyle

TRUTH, PREDICTED, DIFFERENCE, SWIPE, UNCERTAINTY = (
    "truth outlines",
    "predicted outlines",
    "difference",
    "swipe",
    "review uncertainty",
)
COMPARED_ROLES = (TRUTH, PREDICTED, DIFFERENCE, SWIPE, UNCERTAINTY)
#: Value of the swipe's edge in a swipe map. No class has it.
SWIPE_EDGE = 253


def swipe_colormap(palette: PaletteName = "imagescope") -> DirectLabelColormap:
    """Class colours, and that of the swipe's edge."""
    colors: dict[int | None, Any] = dict(class_colors(palette).items())
    return DirectLabelColormap(color_dict=colors | {0: "transparent", SWIPE_EDGE: "white", None: "transparent"})


def difference_colormap() -> DirectLabelColormap:
    """Colours of a difference map, whose values are the places in `DIFFERENCE_COLORS`, from 1."""
    colors: dict[int | None, Any] = {
        i + 1: (*(v / 255 for v in rgb), 1.0) for i, rgb in enumerate(DIFFERENCE_COLORS.values())
    }
    return DirectLabelColormap(color_dict={**colors, 0: "transparent", None: "transparent"})


#: Uncertainty from none (nothing is drawn over the tissue) to great.
UNCERTAINTY_COLORS = ((0.0, 0.0, 0.0, 0.0), (0.13, 0.09, 0.35, 0.55), (0.0, 0.62, 0.75, 0.85), (1.0, 0.95, 0.35, 1.0))


def uncertainty_colormap() -> Colormap:
    """The more uncertain, the brighter; where there is no uncertainty the tissue is seen."""
    return Colormap(np.array(UNCERTAINTY_COLORS), name="uncertainty", controls=[0.0, 0.15, 0.5, 1.0])


@dataclass(frozen=True, slots=True)
class LookOf:
    """How a map is drawn: its kind and palette by name, colours, opacity; outlined or not."""

    name: str
    colormap: Any
    opacity: float
    style: LineStyle | None = None


def look_of(kind: str, palette: PaletteName) -> LookOf:
    """How a map of a kind is drawn ("swipe", "semantic", "ternary", "nuclei" or "difference")."""
    colormap, opacity = {
        "difference": (difference_colormap, 0.7),
        "ternary": (_ternary_colormap, 0.6),
        "nuclei": (_nuclei_colormap, 0.6),
    }.get(kind, (lambda: swipe_colormap(palette), 0.5 if kind == "semantic" else 1.0))
    return LookOf(f"{kind} {palette}", colormap(), opacity)


def outlined(classes: Mapping[int, int], palette: PaletteName, style: LineStyle) -> LookOf:
    """How an instance map is drawn as outlines of its nuclei, in the colours of their classes."""
    return LookOf(f"outlines {palette}", ClassColormap.of(dict(classes), palette), 1.0, style)


def _ternary_colormap() -> DirectLabelColormap:
    colors: dict[int | None, Any] = {number: rgba for number, rgba in ternary_colormap().color_dict.items() if number}
    return DirectLabelColormap(color_dict={**colors, SWIPE_EDGE: "white", 0: "transparent", None: "transparent"})


def _nuclei_colormap() -> DirectLabelColormap:
    """Twelve colours that stay apart on pink and purple tissue."""
    hues = [
        hsv_to_rgb(k / N_NUCLEUS_COLORS, 0.9 if k % 2 else 0.55, 0.95 if k % 3 else 0.7)
        for k in range(N_NUCLEUS_COLORS)
    ]
    colors: dict[int | None, Any] = {k + 1: (*rgb, 1.0) for k, rgb in enumerate(hues)}
    return DirectLabelColormap(color_dict={**colors, SWIPE_EDGE: "white", 0: "transparent", None: "transparent"})


def put_labels(
    viewer: Any,
    role: str,
    data: Any,
    image: Layer,
    offset_px: tuple[int, int],
    look: LookOf,
    work: Work,
    *,
    show: bool = True,
    window: Any = None,
) -> Labels:
    """Show a map over an image, in the layer of an earlier one of the same role. The active layer stays active.

    With ``show=False`` a layer that is there takes the map, and stays as hidden or shown as it is. A viewer in a window
    that is not napari's own (`napari.qt.QtViewer`) is passed with it.
    """
    old = canvas.find_layer(viewer, role)
    placed = _placed(role, image, offset_px)
    kind = look.name.split()[0]
    name = role if kind == "difference" else role.replace("outlines", kind)
    if isinstance(old, Labels):
        _change(old, data, placed, look, name)
        old.visible = old.visible or show
        _outline(window or viewer, old, look, work)
        return old
    active = viewer.layers.selection.active
    layer: Labels = viewer.add_labels(data, name=name, colormap=look.colormap, opacity=look.opacity, **placed)
    layer.metadata["monusac"]["look"] = look.name
    layer.editable = False
    _outline(window or viewer, layer, look, work)
    _frames_on_top(viewer)
    if active in viewer.layers:
        viewer.layers.selection.active = active
    return layer


def _outline(viewer: Any, layer: Labels, look: LookOf, work: Work) -> None:
    if look.style is None:
        outline_no_more(viewer, layer)
    else:
        outline(viewer, layer, work, look.style)


def _change(layer: Labels, data: Any, placed: dict[str, Any], look: LookOf, name: str) -> None:
    """Another map in a layer that is there: napari needs 20 ms for that, half a second for another layer."""
    about = {**placed["metadata"]["monusac"], "look": look.name}
    same = look.name == layer.metadata["monusac"].get("look") and (
        look.style is None or look.colormap.shows_the_same_as(layer.colormap)
    )
    layer.metadata = {"monusac": about}
    if same and canvas.lies(layer, placed) and layer.data is data:
        return
    with canvas.undrawn(layer):
        if not same:
            layer.colormap, layer.opacity, layer.name = look.colormap, look.opacity, name
        canvas.lay(layer, placed)
        if layer.data is not data:
            layer.data = data
    layer.refresh()


def put_above(viewer: Any, role: str, below: str) -> None:
    """See that the layer of one role lies over that of another."""
    upper, lower = canvas.find_layer(viewer, role), canvas.find_layer(viewer, below)
    if upper is not None and lower is not None and viewer.layers.index(upper) < viewer.layers.index(lower):
        viewer.layers.move(viewer.layers.index(upper), viewer.layers.index(lower) + 1)


def put_uncertainty(viewer: Any, data: Any, image: Layer, offset_px: tuple[int, int]) -> Image:
    """Show an uncertainty map (float32, 0 to 1) over an image, in the layer of an earlier one."""
    placed, old = _placed(UNCERTAINTY, image, offset_px), canvas.find_layer(viewer, UNCERTAINTY)
    if isinstance(old, Image):
        old.metadata = placed["metadata"]
        canvas.lay(old, placed)
        if old.data is not data:
            old.data = data
        old.visible = True
        return old
    active = viewer.layers.selection.active
    layer: Image = viewer.add_image(
        data,
        name=UNCERTAINTY,
        colormap=uncertainty_colormap(),
        contrast_limits=(0, 1),
        blending="translucent",
        opacity=0.9,
        **placed,
    )
    _frames_on_top(viewer)
    if active in viewer.layers:
        viewer.layers.selection.active = active
    return layer


def _frames_on_top(viewer: Any) -> None:
    """The frame around the nucleus that is judged lies over every map."""
    frames = canvas.find_layer(viewer, "frames")
    if frames is not None and viewer.layers[-1] is not frames:
        viewer.layers.move(viewer.layers.index(frames), len(viewer.layers))


def _placed(role: str, image: Layer, offset_px: tuple[int, int]) -> dict[str, Any]:
    about = {**image.metadata.get("monusac", {}), "role": role, "offset_px": offset_px}
    return {**canvas.placing(image, offset_px), "metadata": {"monusac": about}}


def hide(viewer: Any, *roles: str) -> None:
    """Hide comparison layers: they come back faster than new ones are made."""
    for role in roles:
        layer = canvas.find_layer(viewer, role)
        if layer is not None and layer.visible:
            layer.visible = False


def remove(viewer: Any, *roles: str) -> None:
    """Take comparison layers away."""
    for role in roles:
        layer = canvas.find_layer(viewer, role)
        if layer is not None:
            viewer.layers.remove(layer)
