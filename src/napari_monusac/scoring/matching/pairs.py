"""One crop with its truth and its prediction: what a score compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import ShapeError
from napari_monusac.core.training_crops import SeenAs


@dataclass(frozen=True, slots=True, eq=False)
class CropPair:
    """Truth and prediction of one crop.

    Attributes
    ----------
    crop, patient : str
        Names; patients are the unit of the intervals.
    truth, prediction : integers (y, x)
        Instance maps, 0 is background.
    truth_classes, prediction_classes : mapping
        Class number by nucleus id; a nucleus that is not in it is unclassified.
    ignore : bool (y, x) or None
        Ambiguous regions.
    confidence : mapping
        0 to 1 by prediction id.
    um_per_px : float or None
        Micrometres per pixel.
    organ : str
        For the table by organ; empty means: taken from the patient's TCGA code.
    semantic, ternary : uint8 (y, x) or None
        Predicted maps for the pixel scores; without them they are made from the predicted nuclei.
    boundary_width : int or None
        Width of the boundary in `ternary`, px; None: not known, or there is no such map.
    seen_as : SeenAs
        What the crop is to the model that made the prediction; training crops are not scored unless asked for.
    truth_file, prediction_file : Path or None
        Where the two came from; the report writes their hashes.
    offset_px : tuple of int
        (y, x) of the maps' first pixel in the crop, where a part of it was predicted.
    pixels : callable or None
        Returns the image, uint8 (y, x, 3), for pictures in the report.
    fingerprint, checkpoint : str
        Of the recipe, and where the weights came from, as far as the prediction says so.
    nuclei : str
        Hash of the prediction's whole instance map (`napari_monusac.io.predictions.identity.nuclei_digest`): its ids count in that
        map and in no other. Empty where the pair was made by hand.
    """

    crop: str
    patient: str
    truth: NDArray[Any]
    truth_classes: Mapping[int, int]
    prediction: NDArray[Any]
    prediction_classes: Mapping[int, int]
    ignore: NDArray[np.bool_] | None = None
    confidence: Mapping[int, float] = field(default_factory=dict)
    um_per_px: float | None = None
    organ: str = ""
    semantic: NDArray[np.uint8] | None = None
    ternary: NDArray[np.uint8] | None = None
    boundary_width: int | None = None
    seen_as: SeenAs = SeenAs.NOT_ASKED
    truth_file: Path | None = None
    prediction_file: Path | None = None
    offset_px: tuple[int, int] = (0, 0)
    pixels: Callable[[], NDArray[np.uint8]] | None = None
    fingerprint: str = ""
    checkpoint: str = ""
    nuclei: str = ""

    def __post_init__(self) -> None:
        for name in ("prediction", "ignore", "semantic", "ternary"):
            array = getattr(self, name)
            if array is not None and array.shape != self.truth.shape:
                raise ShapeError(
                    f"{self.crop}: {name} {array.shape} does not fit truth {self.truth.shape}"
                    f" ({self.prediction_file or 'prediction'} against {self.truth_file or 'truth'})",
                    "predict this crop again at its own size",
                )
