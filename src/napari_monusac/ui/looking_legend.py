"""The legend of each way of looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_monusac.core.classes import DIFFERENCE_COLORS, Rgb
from napari_monusac.ui import comparing
from napari_monusac.ui.looking_maps import difference_counts
from napari_monusac.ui.masks_panel import ternary_colormap

if TYPE_CHECKING:
    from napari_monusac.ui.review_data import CropReview

_LINE: Rgb = (235, 235, 235)
Entry = tuple[str, str, Rgb]


def blink_legend(shows_truth: bool) -> list[Entry]:
    """What is shown just now."""
    return [("now", "truth" if shows_truth else "prediction", _LINE)]


def legend_of(review: CropReview, way: str, map_: str) -> list[Entry]:
    """Lines of the legend: key, text and colour.

    Parameters
    ----------
    review : CropReview
        The comparison.
    way, map_ : str
        The way of looking, and the maps that are compared.
    """
    if way == "difference":
        counts = difference_counts(review)
        kinds = [(name, f"{name}  {counts[name]}", rgb) for name, rgb in DIFFERENCE_COLORS.items()]
        parts = any(f.type.value in ("split", "merged") for f in review.findings)
        return [*kinds, ("parts", "with parts of merged, split", _LINE)] if parts else kinds
    if way == "doubt":
        words = ("some doubt", "great doubt")
        return [(word, word, _rgb(c)) for word, c in zip(words, comparing.DOUBT_COLORS[2:], strict=True)]
    lines = {
        "outlines": ("truth: solid line", "prediction: dashed line" if map_ == "outlines" else "prediction: filled"),
        "swipe": ("left of the curtain: truth", "right of it: prediction"),
        "beside": ("truth",),
    }.get(way, ())
    entries = [(f"{k}", line, _LINE) for k, line in enumerate(lines)]
    # side by side there is little room: the second view has the legend of the maps
    return [*entries, *legend_of_map(map_)] if entries and way != "beside" else entries


def beside_legend(map_: str) -> list[Entry]:
    """Lines of the legend of the second view."""
    return [("now", "prediction", _LINE), *legend_of_map(map_)]


def legend_of_map(map_: str) -> list[Entry]:
    """What the colours of a map mean, where they are not the classes'."""
    if map_ == "ternary":
        colors = ternary_colormap().color_dict
        return [("inside", "inside", _rgb(colors[1])), ("edge", "edge", _rgb(colors[2]))]
    return [("same", "same colour: same nucleus", _LINE)] if map_ == "nuclei" else []


def _rgb(color: object) -> Rgb:
    red, green, blue = (int(255 * float(v)) for v in list(color)[:3])  # type: ignore[call-overload]
    return red, green, blue
