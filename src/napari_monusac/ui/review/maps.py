"""The maps that are compared: outlines, classes, inside and edge, nuclei; uncertainty, and what became of each nucleus."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.app.actions import BLINK, SWIPE
from napari_monusac.core.classes import DIFFERENCE_COLORS, Rgb
from napari_monusac.ui.canvas import comparing
from napari_monusac.ui.canvas.colormaps import N_COLORS, ternary_colormap

if TYPE_CHECKING:
    from napari_monusac.ui.review.data import CropReview


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
    if way == "uncertainty":
        words = ("some uncertainty", "high uncertainty")
        return [(word, word, _rgb(c)) for word, c in zip(words, comparing.UNCERTAINTY_COLORS[2:], strict=True)]
    lines = {
        "outlines": ("truth: solid line", "prediction: dashed line" if map_ == "outlines" else "prediction: filled"),
        "swipe": ("left of the line: truth", "right of it: prediction"),
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
    ("outlines", "Outlines of the nuclei", "Truth with solid lines, prediction with dashed ones, in class colours"),
    ("semantic", "Classes (semantic map)", "Every pixel's class: of the truth, and as the network's class head says"),
    ("ternary", "Inside and edge (ternary map)", "Of the truth, and as the network's second head says"),
    ("nuclei", "Nuclei (instance map)", "Each nucleus in a colour; the same colour on both sides is the same nucleus"),
)

Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def maps_of(review: CropReview, kind: str, boundary_width: int = 3) -> Maps:
    """Truth and prediction as maps for the screen, uint8 (y, x) each (in a worker).

    Parameters
    ----------
    review : CropReview
        The comparison.
    kind : str
        A name of `MAPS`.
    boundary_width : int
        Width of the boundary in the ternary map of the truth, px.
    """
    if kind == "semantic":
        return _semantic(review)
    if kind == "ternary":
        return _ternary(review, boundary_width)
    return _numbers(review) if kind == "nuclei" else (review.solid, review.dashed)


def _semantic(review: CropReview) -> Maps:
    from napari_monusac.masks.lookup import paint

    pair = review.pair

    def of(instances: Any, classes: Any) -> NDArray[np.uint8]:
        ids = np.array(sorted(classes), np.int64)
        return paint(instances, ids, np.array([classes[int(k)] for k in ids], np.uint8), other=255)

    predicted = pair.semantic if pair.semantic is not None else of(pair.prediction, pair.prediction_classes)
    return of(pair.truth, pair.truth_classes), np.asarray(predicted, np.uint8)


def _ternary(review: CropReview, boundary_width: int) -> Maps:
    from napari_monusac.masks.ternary import ternary_map

    truth, predicted, given = review.pair.truth, review.pair.prediction, review.pair.ternary
    of = ternary_map(predicted.astype(np.int32), boundary_width) if given is None else np.asarray(given, np.uint8)
    return ternary_map(truth.astype(np.int32), boundary_width), of


def _numbers(review: CropReview) -> Maps:
    """Nuclei that are matched have the same number, 1 to `N_COLORS`, in both maps."""
    from napari_monusac.masks.lookup import paint

    pair, table = review.pair, review.nuclei
    matched = table[table["truth_id"].notna() & table["prediction_id"].notna()]
    partner = dict(zip(matched["prediction_id"].astype(int), matched["truth_id"].astype(int), strict=True))

    def of(instances: Any, same: dict[int, int]) -> NDArray[np.uint8]:
        ids = np.unique(instances)
        ids = ids[ids > 0].astype(np.int64)
        values = [same.get(int(k), int(k)) % N_COLORS + 1 for k in ids]
        return paint(instances, ids, np.array(values, np.uint8))

    return of(pair.truth, {}), of(pair.prediction, partner)


def difference_counts(review: CropReview) -> Counter[str]:
    """Nuclei by what became of them, in the words of the difference map."""
    counts: Counter[str] = Counter({"right": len(review.findings.right)})
    for f in review.findings:
        kind = f.type.value
        if kind in ("split", "merged"):
            counts["spurious" if kind == "split" else "missed"] += max(len(f.prediction_ids), len(f.truth_ids)) - 1
            counts["loose edge"] += 1
        else:
            counts[kind] += 1
    return counts


def uncertainty_of(review: CropReview, latest: Any) -> Any:
    """Uncertainty of each pixel, float32 (y, x), 0 to 1: of the two heads where their probabilities are at hand, else of each
    predicted nucleus as a whole (1 - confidence)."""  # fmt: skip
    from napari_monusac.masks.lookup import paint
    from napari_monusac.masks.uncertainty import disagreement_map, entropy_map

    pair = review.pair
    if latest is not None and tuple(latest[0].offset_px) == pair.offset_px and latest[0].shape == pair.truth.shape:
        p = latest[0]
        return np.maximum(disagreement_map(p.semantic, p.ternary, p.boundary_width), entropy_map(p.semantic))
    ids = np.array(sorted(pair.confidence), np.int64)
    uncertainties = np.array([1 - pair.confidence[int(k)] for k in ids], np.float32)
    return paint(pair.prediction, ids, uncertainties)
