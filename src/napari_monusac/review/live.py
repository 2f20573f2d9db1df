"""Truth and prediction of the open crop as a pair: labels as they are edited, and the prediction as it is in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SessionError
from napari_monusac.core.prediction import WHOLE_PX
from napari_monusac.core.training_crops import SeenAs
from napari_monusac.io.predictions.identity import nuclei_digest
from napari_monusac.io.training_crops import crops_of_checkpoint, seen_as
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.scoring.matching.pairs import CropPair

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.editing.session import EditingSession
    from napari_monusac.io.collection.collection import Collection, Crop
    from napari_monusac.io.slides.slide import Slide

Offset = tuple[int, int]
Part = tuple[slice, slice]
#: Maps up to this many pixels are copied (a few ms) before a worker reads them: edits go on meanwhile.
_COPIED_PX = 8 * 10**6


@dataclass(frozen=True, slots=True, eq=False)
class LiveTruth:
    """The labels of the open crop.

    Attributes
    ----------
    instances, ambiguous : integers (y, x)
        Nuclei, and Ambiguous regions, by number; 0 is background.
    classes : mapping
        Class number by nucleus.
    offset_px : (y, x)
        Where the maps begin in the image that is shown.
    image_px : (y, x)
        Where that image begins in its slide.
    """

    instances: NDArray[Any]
    ambiguous: NDArray[Any]
    classes: Mapping[int, int]
    offset_px: Offset = (0, 0)
    image_px: Offset = (0, 0)

    @classmethod
    def of(cls, session: EditingSession, image_px: Offset = (0, 0)) -> LiveTruth:
        """Take the labels of a session as they are now."""
        maps, (y, x) = session.maps, session.nuclei.frame.offset_px
        small = maps.instances.size <= _COPIED_PX
        instances, ambiguous = (m.copy() if small else m for m in (maps.instances, maps.ambiguous))
        classes = {k: int(row.class_id) for k, row in session.rows.items() if row.plane == "nuclei"}
        return cls(instances, ambiguous, classes, (y - image_px[0], x - image_px[1]), image_px)


def truth_of_file(collection: Collection, crop: Crop) -> LiveTruth:
    """Read the labels of a crop that no session is open on.

    Raises
    ------
    MonusacError
        A file is damaged, or the image is too large to be compared as a whole.
    """
    annotation = collection.annotation(crop)
    with collection.open(crop) as slide:
        if slide.shape[0] * slide.shape[1] > WHOLE_PX:
            raise SessionError(f"{crop.name}: is too large to be compared as a whole", "choose a region in Annotate")
        maps = label_maps(annotation, slide.shape)
    classes = {k: int(n.nucleus_class) for k, n in enumerate(annotation.nuclei, 1)}
    return LiveTruth(maps.instances, maps.ignore, classes)


def common_part(first: Offset, shape: Offset, second: Offset, other: Offset) -> tuple[Part, Part, Part]:
    """The part of an image that two maps both cover.

    Parameters
    ----------
    first, shape : (y, x)
        Where the one begins in the image, and its size, px.
    second, other : (y, x)
        The same of the other one.

    Returns
    -------
    slices
        In px of the image, of the one, and of the other.
    """
    low = [max(first[k], second[k]) for k in (0, 1)]
    high = [max(low[k], min(first[k] + shape[k], second[k] + other[k])) for k in (0, 1)]

    def seen_from(y: int, x: int) -> Part:
        return slice(low[0] - y, high[0] - y), slice(low[1] - x, high[1] - x)

    return seen_from(0, 0), seen_from(*first), seen_from(*second)


def live_pair(
    truth: LiveTruth,
    prediction: Prediction,
    nuclei: Nuclei,
    *,
    crop: str = "",
    patient: str = "",
    slide: Callable[[], Slide] | None = None,
    seen_as: SeenAs = SeenAs.NOT_ASKED,
) -> CropPair:
    """Pair the labels of a crop with its prediction, where both are.

    Parameters
    ----------
    truth : LiveTruth
        The labels.
    prediction, nuclei : Prediction, Nuclei
        Its maps, and what was separated in them.
    crop, patient : str
        Names.
    slide : callable, optional
        Opens the image, for pictures.
    seen_as : SeenAs
        What the crop is to the model.
    """
    at, here = (int(prediction.offset_px[0]), int(prediction.offset_px[1])), nuclei.instances.shape
    shape = truth.instances.shape
    part, mine, theirs = common_part(truth.offset_px, (shape[0], shape[1]), at, (here[0], here[1]))
    ignore = np.asarray(truth.ambiguous[mine]) > 0
    table = nuclei.table
    numbers = table["label"].astype(int).tolist()
    sure = table["confidence"].astype(float).tolist() if "confidence" in table else None
    return CropPair(
        crop=crop,
        patient=patient,
        truth=truth.instances[mine],
        truth_classes=truth.classes,
        prediction=nuclei.instances[theirs],
        prediction_classes=dict(zip(numbers, table["class_id"].astype(int).tolist(), strict=True)),
        ignore=ignore if ignore.any() else None,
        confidence=dict(zip(numbers, sure, strict=True)) if sure is not None else {},
        um_per_px=prediction.um_per_px,
        semantic=prediction.semantic_map[theirs],
        ternary=prediction.ternary_map[theirs],
        offset_px=(part[0].start, part[1].start),
        seen_as=seen_as,
        pixels=None if slide is None else partial(_pixels, slide, part, truth.image_px),
        fingerprint=prediction.fingerprint,
        checkpoint=prediction.checkpoint,
        nuclei=nuclei_digest(nuclei.instances),
    )


def _pixels(opened: Callable[[], Slide], part: Part, first: Offset) -> NDArray[np.uint8]:
    y, x = part
    with opened() as slide:
        return slide.read(first[0] + y.start, first[1] + x.start, y.stop - y.start, x.stop - x.start)[..., :3]


def seen_by_model(prediction: Prediction, collection: Collection | None, crop: Crop | None) -> SeenAs:
    """Say what a crop is to the model that predicted it: one that it was trained or validated on, or new to it."""
    known = prediction.trained_on
    if known is None and prediction.checkpoint:
        known = crops_of_checkpoint(prediction.checkpoint)
    if known is None:
        return SeenAs.UNKNOWN if prediction.checkpoint else SeenAs.NOT_ASKED
    if crop is None:
        return SeenAs.NOT_ASKED
    return known.seen_as(crop.name, crop.patient, "") if collection is None else seen_as(collection, crop, known)
