"""The legend on the canvas: what the colours mean of what is seen just now, in a corner, or nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Labels, Layer
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer

from napari_monusac.core.classes import (
    AMBIGUOUS,
    AMBIGUOUS_COLOR,
    CLASSES,
    PALETTES,
    TERNARY_COLORS,
    NucleusClass,
    PaletteName,
    Rgb,
    TernaryClass,
)
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.colors import classes_in
from napari_monusac.ui.canvas.comparing import PREDICTED, TRUTH, UNCERTAINTY_COLORS
from napari_monusac.ui.canvas.opening import class_counts
from napari_monusac.ui.model import hear

if TYPE_CHECKING:
    from napari_monusac.app.studio import StudioModel

_OURS = "monusac_"
_LEGEND = f"{_OURS}legend_"
#: Points of a legend's letters; the smaller ones on a canvas that is narrower than so many px.
_FONT, _SMALL_FONT, _NARROW_PX = 11, 8, 500
_DARK_BOX = (0.08, 0.08, 0.1, 0.85)
_NEUTRAL: Rgb = (235, 235, 235)
#: Roles of layers in whose colours the legend has lines.
_TRUTH, _PREDICTION = ("nuclei", TRUTH), ("predicted nuclei", PREDICTED)
_CLASSES = ("semantic", "predicted semantic", "stored classes")
_TERNARY = ("ternary", "predicted ternary", "stored ternary", "ternary preview", "predicting")
_UNCERTAINTY = ("predicted uncertainty", "stored uncertainty")
#: Classes that have a line always, and those that have one where there are any.
_LINES: tuple[tuple[int, str], ...] = tuple((int(c), c.label) for c in CLASSES)
_RARE: tuple[tuple[int, str], ...] = ((int(NucleusClass.UNCLASSIFIED), "Unclassified"), (-1, AMBIGUOUS))


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen on the canvas, whose colours mean something.

    Attributes
    ----------
    nuclei : mapping of str to (mapping of int to int)
        Whose nuclei ("labels", "prediction"), and how many by class number; -1 stands for ambiguous regions.
    classes, ternary, uncertainty : bool
        Whether a map of classes, of inside and edge, of uncertainty is seen.
    """

    nuclei: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    classes: bool = False
    ternary: bool = False
    uncertainty: bool = False


def legend_entries(seen: Seen, palette: PaletteName) -> list[tuple[str, str, Rgb]]:
    """Lines of the legend: key, text and colour. Unclassified and ambiguous where there are any."""
    lines: list[tuple[str, str, Rgb]] = []
    if seen.nuclei or seen.classes:
        # whose numbers these are: truth and prediction have others
        lines.append(("TITLE", " / ".join(seen.nuclei) or "classes", _NEUTRAL))
        rare = [r for r in _RARE if any(counts.get(r[0]) for counts in seen.nuclei.values())]
        for number, words in (*_LINES, *rare):
            counts = " / ".join(str(found.get(number, 0)) for found in seen.nuclei.values())
            color = AMBIGUOUS_COLOR if number < 0 else PALETTES[palette][NucleusClass(number)]
            lines.append((f"CLASS {number}", f"{words}  {counts}".strip(), color))
    if seen.ternary:
        lines.append(("INSIDE", "inside", TERNARY_COLORS[TernaryClass.INSIDE]))
        lines.append(("EDGE", "edge", TERNARY_COLORS[TernaryClass.BOUNDARY]))
    if seen.uncertainty:
        lines += uncertainty_entries()
    return lines


def uncertainty_entries() -> list[tuple[str, str, Rgb]]:
    """Lines of the legend of an uncertainty map."""
    colors = [tuple(int(255 * v) for v in color[:3]) for color in UNCERTAINTY_COLORS[2:]]
    words = ("some uncertainty", "high uncertainty")
    return [(word, word, (r, g, b)) for word, (r, g, b) in zip(words, colors, strict=True)]


def seen_on(viewer: Any) -> Seen:
    """Return what is seen on a viewer's canvas, whose colours mean something."""
    visible = {canvas.role(layer) for layer in viewer.layers if layer.visible and layer.opacity > 0}
    nuclei: dict[str, Mapping[int, int]] = {}
    if visible.intersection(_TRUTH):
        nuclei["labels"] = class_counts(viewer)
    if visible.intersection(_PREDICTION):
        nuclei["prediction"] = _predicted_counts(viewer)
    return Seen(nuclei, *(bool(visible.intersection(roles)) for roles in (_CLASSES, _TERNARY, _UNCERTAINTY)))


def _predicted_counts(viewer: Any) -> dict[int, int]:
    layer = canvas.find_layer(viewer, "predicted nuclei")
    if not isinstance(layer, Labels):
        return {}
    numbers, counts = np.unique([*classes_in(layer.features).values()], return_counts=True)
    return {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}


class Legend(QObject):
    """Keeps the legend of a viewer as `StudioModel.legend` says, and of what is seen.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose canvas.
    model : StudioModel
        Says in which corner it stands.
    parent : QObject
        Whose end is the end of it.
    """

    def __init__(self, viewer: Any, model: StudioModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._model = viewer, model
        self._soon = QTimer(self)  # many layers are shown and hidden at once
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self.refresh)
        for signal in (model.layers_changed, model.palette_changed, model.legend_changed, model.crop_changed):
            hear(self, signal, lambda *_: self.refresh())
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._changed)
        self._listen(viewer.layers)
        self.refresh()

    def refresh(self) -> None:
        """Write what is seen now."""
        self._soon.stop()
        corner = self._model.legend
        entries = legend_entries(seen_on(self._viewer), self._model.palette) if corner != "off" else []
        show_legend(self._viewer, entries, position=corner if corner != "off" else "top_left", keep=bool(entries))

    def _inserted(self, event: Any) -> None:
        self._listen([event.value])
        self._changed()

    def _listen(self, layers: Iterable[Layer]) -> None:
        for layer in layers:
            for event in (layer.events.visible, layer.events.features if isinstance(layer, Labels) else None):
                if event is not None:
                    event.connect(self._changed)

    def _changed(self, _: object = None) -> None:
        if isalive(self):  # the Studio may be gone, and the layers still there
            self._soon.start()


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
        if overlay.position != position:
            overlay.position = position
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
