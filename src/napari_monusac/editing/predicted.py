"""What a network found in the crop: which nuclei could come in, and which are there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_monusac.core.boxes import overlap, window
from napari_monusac.core.errors import SessionError, ShapeError
from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.rows import class_id_of
from napari_monusac.masks import edits
from napari_monusac.masks.strokes import Stamp, polygon_stamp

if TYPE_CHECKING:
    import pandas as pd

#: A predicted nucleus is there already when nuclei cover more than this share of it.
MAX_COVERED = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A nucleus that a network found."""

    label: int
    class_id: int
    confidence: float | None
    stamp: Stamp


class FoundNuclei:
    """What a network found in a crop, against the nuclei that are there.

    The rule: a predicted nucleus of which existing ones cover half or less comes in, clipped to free pixels (its
    largest piece); one that is covered by more is there already. Accepting it in their place first deletes the existing
    nuclei that share more than half of their own pixels, or of its pixels, with it.

    Parameters
    ----------
    nuclei : CropNuclei
        The nuclei that are there.

    Attributes
    ----------
    found : mapping of int to Found
        All nuclei that the network found, by their number in its map.
    """

    def __init__(self, nuclei: CropNuclei) -> None:
        self._nuclei = nuclei
        self.found: Mapping[int, Found] = MappingProxyType({})

    def set(self, instances: NDArray[np.integer] | None, table: pd.DataFrame | None = None,
            offset_px: tuple[int, int] = (0, 0)) -> None:  # fmt: skip
        """Set the nuclei that can be accepted.

        Parameters
        ----------
        instances : int (y, x) or None
            Predicted instance map; None takes the prediction away.
        table : pandas.DataFrame
            One row a nucleus: ``label``, ``class_id`` or ``class``, ``confidence``. Missing ones are unclassified.
        offset_px : tuple of int
            (y, x) of the map's first pixel in the image. Of a slide whose part is edited, that part is taken.

        Raises
        ------
        ShapeError
            The map is no (y, x) map, or reaches out of the image.
        """
        self.found = MappingProxyType({})
        if instances is None:
            return
        if instances.ndim == 2 and self._nuclei.frame.region:
            instances, offset_px = self._in_frame(instances, offset_px)
            if not instances.size:
                return
        y, x = offset_px
        if instances.ndim != 2 or y < 0 or x < 0 or (
            y + instances.shape[0] > self._nuclei.shape[0] or x + instances.shape[1] > self._nuclei.shape[1]
        ):  # fmt: skip
            raise ShapeError(
                f"prediction {instances.shape} at {offset_px} does not fit the image {self._nuclei.shape}",
                "choose the prediction of this crop",
            )
        facts = facts_of(table)
        nuclei = {}
        for label, found in enumerate(ndimage.find_objects(np.asarray(instances, np.int32)), start=1):
            if found is not None:
                box = found[0].start + y, found[1].start + x, found[0].stop + y, found[1].stop + x
                class_id, confidence = facts.get(label, (255, None))
                mask = np.asarray(instances[found] == label)
                nuclei[label] = Found(label, class_id, confidence, Stamp(box, mask))
        self.found = MappingProxyType(nuclei)

    def _in_frame(
        self, instances: NDArray[np.integer], offset_px: tuple[int, int]
    ) -> tuple[NDArray[np.integer], tuple[int, int]]:
        """Cut a map of the slide to the part that is edited; return it and its place there."""
        low = [max(0, f - o) for f, o in zip(self._nuclei.frame.offset_px, offset_px, strict=True)]
        high = [f + n - o for f, n, o in zip(self._nuclei.frame.offset_px, self._nuclei.shape, offset_px, strict=True)]
        place = [max(0, o - f) for f, o in zip(self._nuclei.frame.offset_px, offset_px, strict=True)]
        return instances[low[0] : max(0, high[0]), low[1] : max(0, high[1])], (place[0], place[1])

    def nucleus(self, label: int) -> Found:
        """Return a predicted nucleus.

        Raises
        ------
        SessionError
            There is none of this number.
        """
        try:
            return self.found[label]
        except KeyError:
            raise SessionError(f"there is no predicted nucleus {label}", "predict this crop first") from None

    def covered(self, label: int) -> float:
        """Return the share of a predicted nucleus, 0 to 1, that existing nuclei cover: above 0.5 it is there already.

        Raises
        ------
        SessionError
            There is no such predicted nucleus.
        """
        stamp = self.nucleus(label).stamp
        return int(np.count_nonzero(self._nuclei.maps.instances[window(stamp.box)][stamp.mask])) / max(1, stamp.area_px)

    def candidates(self, min_confidence: float = 0.0, region: ArrayLike | None = None) -> tuple[int, ...]:
        """Return the predicted nuclei that could be accepted, the most confident first.

        Parameters
        ----------
        min_confidence : float
            0 to 1; those without a confidence count as 0.
        region : (n, 2), optional
            A polygon or lasso (y, x), px, that must hold half of their pixels or more; the whole frame by default.
        """
        frame = None if region is None else polygon_stamp(region, self._nuclei.shape)
        good = [
            f for f in self.found.values()
            if (f.confidence or 0.0) >= min_confidence
            and (frame is None or _share_inside(f.stamp, frame) >= 0.5)
            and self.covered(f.label) <= MAX_COVERED
        ]  # fmt: skip
        return tuple(f.label for f in sorted(good, key=lambda f: (-(f.confidence or 0.0), f.label)))

    def pick(self, point: tuple[float, float], tolerance_px: float = edits.CLICK_TOLERANCE_PX) -> int:
        """Return the predicted nucleus that a click at (y, x) means, the nearest within the tolerance; 0 for none."""
        best, nearest = 0, np.inf
        for f in self.found.values():
            top, left, bottom, right = f.stamp.box
            near = top - tolerance_px <= point[0] < bottom + tolerance_px
            if near and left - tolerance_px <= point[1] < right + tolerance_px:
                rows, columns = np.nonzero(f.stamp.mask)
                distance = float(np.hypot(rows + top - point[0], columns + left - point[1]).min())
                if distance < nearest:
                    best, nearest = f.label, distance
        # under the pointer means within the pixel whose corner is 0.71 px away from its centre
        return best if nearest <= max(tolerance_px, 0.71) else 0

    def rivals(self, stamp: Stamp) -> list[int]:
        """Return existing nuclei that share more than half of their own pixels, or of the stamp's, with it."""
        under = self._nuclei.maps.instances[window(stamp.box)][stamp.mask]
        labels, counts = np.unique(under[under > 0], return_counts=True)
        return [
            k for k, n in zip(labels.tolist(), counts.tolist(), strict=True)
            if n > 0.5 * stamp.area_px or n > 0.5 * self._nuclei.maps.stamp("nuclei", k).area_px
        ]  # fmt: skip


def _share_inside(stamp: Stamp, frame: Stamp) -> float:
    shared = overlap(stamp.box, frame.box)
    if shared is None or not stamp.area_px:
        return 0.0
    return int(np.count_nonzero(stamp.mask[shared[0]] & frame.mask[shared[1]])) / stamp.area_px


def facts_of(table: Any) -> dict[int, tuple[int, float | None]]:
    """Return class and confidence of predicted nuclei by their label."""
    if table is None:
        return {}
    facts = {}
    for row in table.to_dict("records"):
        named = row.get("class_id", row.get("class", 255))
        confidence = row.get("confidence")
        known = confidence is not None and np.isfinite(confidence)
        facts[int(row["label"])] = class_id_of(named), float(confidence) if known else None
    return facts
