"""Layers by their role, how one lies on another, scale bar and magnification. Only napari's public parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_monusac.ui.canvas.napari_private import held_back

#: Objective magnifications offered as presets. 40x is 0.25 µm a screen pixel, the field's convention.
MAGNIFICATIONS: tuple[int, ...] = (5, 10, 20, 40)
_UM_PER_SCREEN_PX_AT_1X = 10.0
#: What decides where a layer lies.
_PLACE = ("scale", "rotate", "shear", "translate", "affine")


def role(layer: Layer) -> str:
    """Return what a layer is to us ("image", "nuclei" ...), or an empty string for a layer of somebody else."""
    return str(layer.metadata.get("monusac", {}).get("role", ""))


def is_copy(layer: Layer) -> bool:
    """Whether the user made this layer with napari's *Duplicate*: it is theirs, whatever role the first one has."""
    return layer.source.parent is not None


def find_layer(viewer: Any, wanted: str) -> Layer | None:
    """Return the topmost layer with this role, or None (the user may have deleted it). Copies do not count."""
    for layer in reversed(viewer.layers):
        if role(layer) == wanted and not is_copy(layer):
            return layer
    return None


def set_visible(viewer: Any, wanted: str, visible: bool) -> bool:
    """Show or hide the layer with this role; whether that changed anything (it is there, and was not so already)."""
    layer = find_layer(viewer, wanted)
    if layer is None or layer.visible == visible:
        return False
    layer.visible = visible
    return True


def still_shows(viewer: Any, layer: Layer, data: Any) -> bool:
    """Whether a layer shows what it showed when something was begun on it: the next crop comes into the same layers."""
    if layer not in viewer.layers:
        return False
    # of a pyramid the largest level: a plugin's viewer wraps the levels in another proxy each time
    now, then = (levels[0] if layer.multiscale else levels for levels in (layer.data, data))
    return now is then


def view_corners(viewer: Any, layer: Layer) -> NDArray[np.float64]:
    """Return the corners (4, 2) of what the window shows, (y, x) in px of a layer: all four, for it may be turned."""
    zoom = viewer.scene.camera.zoom
    center = np.asarray(viewer.scene.camera.center[-2:])
    half = np.asarray(viewer.canvas.size) / zoom / 2
    corners = [center + half * sign for sign in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
    return np.array([layer.world_to_data(corner) for corner in corners])[:, -2:]


def our_layers(viewer: Any) -> list[Layer]:
    """All layers that this plugin made."""
    return [layer for layer in viewer.layers if role(layer)]


@contextmanager
def undrawn(layer: Layer) -> Iterator[None]:
    """Several things of a layer are changed, and it is drawn once, by the `refresh` after: napari draws after each."""
    before = getattr(layer.data, "shape", None)
    with held_back(layer):
        yield
        if getattr(layer.data, "shape", None) != before:
            # a hidden layer is not drawn, and would keep the extent of what it showed before: *Fit* goes by it
            layer.translate = layer.translate


def placing(layer: Layer, first_px: Sequence[float] = (0, 0), step: float = 1.0) -> dict[str, Any]:
    """How a map is laid on a layer that may be turned, sheared or placed by an affine.

    Parameters
    ----------
    layer : Layer
        Its last two axes count.
    first_px : (y, x)
        Where the centre of the map's first pixel lies, px of the layer.
    step : float
        Side of the map's pixels, px of the layer.
    """
    shear = np.asarray(layer.shear)
    first = (*(0,) * (layer.ndim - 2), *first_px)
    corner = np.asarray(layer.affine.inverse(layer.data_to_world(first)))  # the layer's affine comes last
    return {
        "scale": np.asarray(layer.scale)[-2:] * step,
        "rotate": np.asarray(layer.rotate)[-2:, -2:],
        "shear": shear[-2:, -2:] if shear.ndim == 2 else shear[-1:],
        "translate": corner[-2:],
        "affine": np.asarray(layer.affine.affine_matrix)[-3:, -3:],
        "units": layer.units[-2:],
    }


def lies(layer: Layer, placed: Mapping[str, Any]) -> bool:
    """Whether a two-dimensional layer lies as `placing` says."""
    now = placing(layer)
    return all(np.allclose(now[name], placed[name]) for name in _PLACE)


def lay(layer: Layer, placed: Mapping[str, Any]) -> None:
    """Let a two-dimensional layer lie as `placing` says; one that does is left alone (napari would draw it anew)."""
    if not lies(layer, placed):
        for name in _PLACE:
            setattr(layer, name, placed[name])


def um_per_px(layer: Layer) -> float | None:
    """Micrometres per pixel of a layer: what its file said, or else its own scale where that is in units of length."""
    value = layer.metadata.get("monusac", {}).get("um_per_px")
    return _um_of_scale(layer) if value is None else float(value)


def _um_of_scale(layer: Layer) -> float | None:
    """Micrometres per pixel by scale and units, which other readers set; None for pixels that are not square."""
    units: Any = layer.units[-2:]
    if not all(unit.is_compatible_with("um") for unit in units):
        return None
    um = np.array([(1.0 * unit).to("um").magnitude for unit in units])
    steps = np.vstack([np.zeros(layer.ndim), np.eye(layer.ndim)[-2:]])
    origin, down, right = (np.asarray(layer.data_to_world(s))[-2:] * um for s in steps)  # an affine may scale, too
    sides = np.linalg.norm([down - origin, right - origin], axis=1)
    return float(sides.mean()) if np.ptp(sides) <= 1e-3 * sides.max() else None


def magnification(viewer: Any) -> float | None:
    """The magnification of the current view as a microscope would have it, or None without a scale in µm."""
    image = find_layer(viewer, "image")
    if image is None or um_per_px(image) is None:
        return None
    return float(viewer.scene.camera.zoom) * _UM_PER_SCREEN_PX_AT_1X


def set_magnification(viewer: Any, times: float) -> None:
    """Zoom such that a screen pixel shows 10 / `times` micrometres."""
    viewer.scene.camera.zoom = times / _UM_PER_SCREEN_PX_AT_1X


def center_on(viewer: Any, layer: Layer, y_px: float, x_px: float, times: float | None = None) -> None:
    """Move the camera to a pixel of a layer, and to a magnification if one is given."""
    world = layer.data_to_world((*(0,) * (layer.ndim - 2), y_px, x_px))
    center = tuple(viewer.scene.camera.center)
    viewer.scene.camera.center = (*center[:-2], world[-2], world[-1])
    if times is not None and um_per_px(layer) is not None:
        set_magnification(viewer, times)


def show_scale(viewer: Any) -> None:
    """Show the scale bar, in the units of the image."""
    bar = viewer.canvas.overlays.scale_bar
    bar.visible = True
    bar.box = True
    bar.font_size = 11


def show_magnification(viewer: Any) -> None:
    """Write the current magnification on the canvas; follows the camera."""
    overlay = viewer.canvas.overlays.text
    overlay.position = "bottom_left"
    overlay.font_size = 11
    overlay.box = True

    def update(_: object = None) -> None:
        times = magnification(viewer)
        overlay.text = "" if times is None else f"{times:.3g}x"
        overlay.visible = times is not None

    viewer.scene.camera.events.zoom.connect(update)
    viewer.layers.events.inserted.connect(update)
    viewer.layers.events.removed.connect(update)
    update()


def image_layer(viewer: Any) -> Image | None:
    """The H&E image of the open crop: ours, or else the topmost RGB image."""
    ours = find_layer(viewer, "image")
    if isinstance(ours, Image):
        return ours
    for layer in reversed(viewer.layers):
        if isinstance(layer, Image) and layer.rgb:
            return layer
    return None


def plain(layer: Any) -> Any:
    """Return a layer itself: what a plugin's viewer hands out is a proxy, which is not the layer in its list."""
    return getattr(layer, "__wrapped__", layer)
