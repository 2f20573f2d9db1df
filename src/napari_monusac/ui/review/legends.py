"""The ways of looking at truth and prediction, the maps that they compare, and what their colours mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_monusac.app.actions import BLINK, SWIPE
from napari_monusac.core.classes import DIFFERENCE_COLORS, Rgb
from napari_monusac.ui.canvas.colormaps import ternary_colormap
from napari_monusac.ui.canvas.legend import uncertainty_entries

if TYPE_CHECKING:
    from napari_monusac.review.comparison import Comparison


_LINE: Rgb = (235, 235, 235)
Entry = tuple[str, str, Rgb]


def blink_legend(shows_truth: bool) -> list[Entry]:
    """What is shown just now."""
    return [("now", "truth" if shows_truth else "prediction", _LINE)]


def legend_of(comparison: Comparison, way: str, map_: str) -> list[Entry]:
    """Lines of the legend: key, text and colour.

    Parameters
    ----------
    comparison : Comparison
        What came out.
    way, map_ : str
        The way of looking, and the maps that are compared.
    """
    if way == "difference":
        from napari_monusac.review.comparison import difference_counts

        counts = difference_counts(comparison)
        kinds = [(name, f"{name}  {counts[name]}", rgb) for name, rgb in DIFFERENCE_COLORS.items()]
        parts = any(f.type.value in ("split", "merged") for f in comparison.findings)
        return [*kinds, ("parts", "with parts of merged, split", _LINE)] if parts else kinds
    if way == "uncertainty":
        return uncertainty_entries()
    lines = {
        "outlines": ("truth: solid line", "prediction: dashed line" if map_ == "outlines" else "prediction: filled"),
        "swipe": ("left of the swipe: truth", "right of it: prediction"),
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


#: The ways: name, word on the button, what it shows.
WAYS: tuple[tuple[str, str, str], ...] = (
    ("layers", "Layers", f"The layers as they are; hold {BLINK.key} to blink truth and prediction in turn"),
    ("outlines", "Outlines", "Both on the tissue: truth with solid lines, prediction with dashed ones"),
    ("difference", "Difference", "Pixels by what became of their nucleus. The further nuclei of a merge count "
     "as missed, the further pieces of a split as spurious"),
    ("swipe", SWIPE.label, SWIPE.tip),
    ("beside", "Side by side", "Truth in this view, prediction in a second one; both move together"),
    ("uncertainty", "Uncertainty", "Where the model is uncertain: its two heads contradict each other, or the class wavers"),
)  # fmt: skip
#: What blink, swipe and side by side compare: name, words, what it is.
MAPS: tuple[tuple[str, str, str], ...] = (
    ("outlines", "Outlines", "Truth with solid lines, prediction with dashed ones, in class colours"),
    ("semantic", "Classes", "Semantic maps. Every pixel's class: of the truth, and as the network's class head says"),
    ("ternary", "Inside and edge", "Ternary maps. Of the truth, and as the network's second head says"),
    ("nuclei", "Nuclei", "Instance maps. Each nucleus in a colour; the same colour on both sides is the same nucleus"),
)
