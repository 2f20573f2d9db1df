"""What the Studio puts on the canvas: class legend, scale bar in µm, magnification. Only napari's public overlays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_monusac.core.classes import AMBIGUOUS, AMBIGUOUS_COLOR, CLASSES, PALETTES, NucleusClass, PaletteName, Rgb
from napari_monusac.ui.canvas.napari_private import held_back

#: Objective magnifications offered as presets. 40x is 0.25 µm a screen pixel, the field's convention.
MAGNIFICATIONS: tuple[int, ...] = (5, 10, 20, 40)
_UM_PER_SCREEN_PX_AT_1X = 10.0
_OURS = "monusac_"
#: What decides where a layer lies.
_PLACE = ("scale", "rotate", "shear", "translate", "affine")
_LEGEND = f"{_OURS}legend_"
#: Points of a legend's letters; the smaller ones on a canvas that is narrower than so many px.
_FONT, _SMALL_FONT, _NARROW_PX = 11, 8, 500
_DARK_BOX = (0.08, 0.08, 0.1, 0.85)
_NEUTRAL: Rgb = (235, 235, 235)


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


def legend_entries(counts: Mapping[int, int], palette: PaletteName) -> list[tuple[str, str, Rgb]]:
    """Lines of the class legend: key, text and colour. Classes always; unclassified and ambiguous where there are any.

    Parameters
    ----------
    counts : mapping of int to int
        Nuclei by class number; -1 stands for ambiguous regions.
    palette : {"imagescope", "colour-blind"}
        Which colours.
    """
    # whose numbers these are: a prediction in the window has others
    lines = [("TITLE", "labels", _NEUTRAL)]
    lines += [(c.name, f"{c.label}  {counts.get(int(c), 0)}", PALETTES[palette][c]) for c in CLASSES]
    if counts.get(int(NucleusClass.UNCLASSIFIED)):
        number = counts[int(NucleusClass.UNCLASSIFIED)]
        lines.append(("UNCLASSIFIED", f"Unclassified  {number}", PALETTES[palette][NucleusClass.UNCLASSIFIED]))
    if counts.get(-1):
        lines.append(("AMBIGUOUS", f"{AMBIGUOUS}  {counts[-1]}", AMBIGUOUS_COLOR))
    return lines


def show_legend(
    viewer: Any,
    entries: list[tuple[str, str, Rgb]],
    *,
    legend: str = _LEGEND,
    position: str = "top_left",
    keep: bool = False,
) -> None:
    """Show lines in a corner of the canvas, black or white on their colour; an empty list takes the legend away.

    napari's overlay has one colour for its text and one for the box behind it: blue letters cannot be read on a dark box,
    white ones on a blue box can. Greys (text that stands for no colour) are written in their own on a dark box.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    entries : list of (key, text, colour)
        The lines.
    legend : str
        Which legend: each has a name of its own.
    position : str
        Corner, as napari names it.
    keep : bool
        Only hide lines that are not wanted: of a legend that comes and goes, napari need not make them anew (10 ms each).
    """
    overlays = viewer.canvas.overlays
    setattr(viewer.canvas.overlay_tiling, position, "vertical")
    wanted = {legend + key for key, _, _ in entries}
    for name in [n for n in overlays if n.startswith(legend) and n not in wanted]:
        if keep:
            overlays[name].visible = False
        else:
            del overlays[name]
    for key, text, rgb in entries:
        name = legend + key
        if name not in overlays:
            overlays[name] = _line(viewer, text, rgb, position)
            continue
        overlay = overlays[name]
        if overlay.text != f" {text} ":
            overlay.text = f" {text} "
        box, color = chip_colors(rgb)
        if not np.allclose(overlay.box_color, box):
            overlay.box_color, overlay.color = box, color
        overlay.visible = True
    viewer.canvas.events.size.connect(_resized)


def shown_legend(viewer: Any) -> list[tuple[str, Rgb | None]]:
    """Return the lines of the legends that are seen: words, and the colour that they stand for (None: a title)."""
    found: list[tuple[str, Rgb | None]] = []
    for name, overlay in viewer.canvas.overlays.items():
        if name.startswith(_OURS) and isinstance(overlay, TextOverlay) and overlay.visible and overlay.text.strip():
            r, g, b = (round(255 * float(v)) for v in np.asarray(overlay.box_color)[:3])
            dark = np.allclose(np.asarray(overlay.box_color)[:3], _DARK_BOX[:3], atol=0.02)
            found.append((overlay.text.strip(), None if dark else (r, g, b)))
    return found


def _line(viewer: Any, text: str, rgb: Rgb, position: str) -> TextOverlay:
    box, color = chip_colors(rgb)
    return TextOverlay(
        position=position, text=f" {text} ", box=True, visible=True, box_color=box, color=color,
        font_size=_font_size(viewer.canvas),
    )  # fmt: skip


def chip_colors(rgb: Rgb) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the colours (RGBA, 0 to 1) of a line's box and of its text, which can be read on it."""
    red, green, blue = (v / 255 for v in rgb)
    if max(rgb) - min(rgb) < 20 and max(rgb) > 200:
        return _DARK_BOX, (red, green, blue, 1.0)
    # relative luminance as WCAG has it: black has the stronger contrast above 0.18
    light = sum(w * v**2.2 for w, v in zip((0.2126, 0.7152, 0.0722), (red, green, blue), strict=True))
    shade = 0.0 if light > 0.18 else 1.0
    return (red, green, blue, 0.9), (shade, shade, shade, 1.0)


def _font_size(canvas: Any) -> int:
    return _SMALL_FONT if canvas.size[1] < _NARROW_PX else _FONT


def _resized(event: Any) -> None:
    """The canvas has another size: legends are smaller where there is little room."""
    canvas = event.source
    for name, overlay in canvas.overlays.items():
        if name.startswith(_OURS):
            overlay.font_size = _font_size(canvas)


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
