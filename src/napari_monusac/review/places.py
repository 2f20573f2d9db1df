"""Where nuclei lie, right or wrong, and small pictures of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass, Rgb
from napari_monusac.io.predictions.find import PredictionFolder
from napari_monusac.masks.outlines import HALO, outline_map
from napari_monusac.scoring.report.folders import FolderPairs

if TYPE_CHECKING:
    import pandas as pd

    from napari_monusac.io.collection.collection import Collection
    from napari_monusac.scoring.errors.finding import Finding, Findings
    from napari_monusac.scoring.matching.pairs import CropPair

#: Side of the tissue around a nucleus in its picture, px.
_LEAST_PX, _MOST_PX = 48, 200


@dataclass(frozen=True, slots=True)
class FindingPlace:
    """Where a nucleus lies, right or wrong.

    Attributes
    ----------
    crop : str
        Name of the crop.
    centre : (float, float)
        (y, x) px of the compared maps.
    box : (int, int, int, int)
        (y0, x0, y1, x1) px.
    truth_id, prediction_id : int or None
        Its numbers in the two maps.
    counted_in : str
        Hash of the instance map that `prediction_id` counts in; empty where that is not known.
    """

    crop: str
    centre: tuple[float, float]
    box: tuple[int, int, int, int]
    truth_id: int | None = None
    prediction_id: int | None = None
    counted_in: str = ""


def places_of(nuclei: pd.DataFrame) -> list[FindingPlace]:
    """The rows of a table of nuclei (`nuclei_table`) as places."""
    places = []
    for r in nuclei.to_dict("records"):
        truth, predicted = (None if r[k] is None or r[k] != r[k] else int(r[k]) for k in ("truth_id", "prediction_id"))
        box = (int(r["y0"]), int(r["x0"]), int(r["y1"]), int(r["x1"]))
        at = float(r["y"]), float(r["x"])
        places.append(FindingPlace(str(r["crop"]), at, box, truth, predicted, str(r.get("counted_in") or "")))
    return places


def error_at(place: FindingPlace, findings: Findings, counted_in: str) -> Finding | None:
    """The error of a comparison that a place shows; None for a nucleus that is right.

    Parameters
    ----------
    place : FindingPlace
        Where.
    findings : Findings
        The errors.
    counted_in : str
        Hash of the instance map of their prediction: numbers of another one say nothing.
    """
    predicted = place.prediction_id if place.counted_in == counted_in else None
    for f in findings:
        if place.truth_id in f.truth_ids or (place.truth_id is None and predicted in f.prediction_ids):
            return f
    return None


def pictures_of(
    places: Sequence[FindingPlace],
    pair: CropPair | None,
    collection: Collection | None,
    predictions: Path | None,
    palette: Mapping[NucleusClass, Rgb],
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Take a picture of each place, crop by crop (in a worker): its number among the places, uint8 (y, x, 3).

    Parameters
    ----------
    places : sequence of FindingPlace
        What is pictured.
    pair : CropPair or None
        Truth and prediction of the open crop, for places that are counted in it.
    collection, predictions : Collection, Path, optional
        Where the other crops are read.
    palette : mapping of NucleusClass to (int, int, int)
        Colours of outlines.
    """
    crops: dict[str, list[int]] = {}
    for at, place in enumerate(places):
        crops.setdefault(place.crop, []).append(at)
    pairs = None
    if collection is not None and predictions is not None:
        pairs = FolderPairs(collection, PredictionFolder(predictions))
    for name, numbers in crops.items():
        here = pair if pair is not None and pair.crop == name else None
        if here is not None and {places[at].counted_in for at in numbers} != {here.nuclei}:
            here = None  # another prediction is open than the one that was scored
        if here is None and pairs is not None:
            crop = pairs.collection.crop(name)
            path = pairs.predictions.find(crop)
            here = pairs.pair(crop, path) if path is not None else None
        if here is None or here.pixels is None:
            continue
        pixels = here.pixels()
        for at in numbers:
            yield at, picture_of(places[at], pixels, here, palette)


def picture_of(
    place: FindingPlace, pixels: NDArray[np.uint8], pair: CropPair, palette: Mapping[NucleusClass, Rgb]
) -> NDArray[np.uint8]:
    """The tissue around a nucleus, truth outlined with a solid, prediction with a dashed line; uint8 (y, x, 3)."""
    y0, x0, y1, x1 = place.box
    side = int(np.clip(1.6 * max(y1 - y0, x1 - x0), _LEAST_PX, _MOST_PX))
    height, width = pixels.shape[:2]
    top = int(np.clip((y0 + y1 - side) // 2, 0, max(0, height - side)))
    left = int(np.clip((x0 + x1 - side) // 2, 0, max(0, width - side)))
    part = slice(top, top + side), slice(left, left + side)
    picture = np.ascontiguousarray(pixels[part][..., :3])
    sides: tuple[tuple[int | None, Any, Mapping[int, int], Literal["solid", "dashed"]], ...] = (
        (place.truth_id, pair.truth, pair.truth_classes, "solid"),
        (place.prediction_id, pair.prediction, pair.prediction_classes, "dashed"),
    )
    for label, instances, classes, style in sides:
        if label is None or (style == "dashed" and place.counted_in != pair.nuclei):
            continue
        mask = (np.asarray(instances[part]) == label).astype(np.int32)
        number = int(classes.get(label, NucleusClass.UNCLASSIFIED))
        lines = outline_map(mask, {1: number}, style=style, width_px=1 if side < 80 else 2, halo_px=1)
        picture[lines == HALO] = picture[lines == HALO] // 2
        picture[lines == number] = palette[NucleusClass(number)]
    return picture
