"""The outlines that came with the file: what lies hidden under an upper nucleus, and comes back when that one goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Box, overlap, window
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane
from napari_monusac.masks.strokes import Stamp, polygon_stamp


def rows_of(annotation: Annotation) -> dict[int, NucleusRow]:
    """Make the rows of an annotation: nuclei are 1..n in file order, Ambiguous regions go on from there."""
    nuclei: list[tuple[int, Nucleus]] = []
    ambiguous: list[tuple[int, Nucleus]] = []
    for index, region in enumerate(annotation.regions):
        if region.is_drawn:
            (ambiguous if region.is_ambiguous else nuclei).append((index, region))
    rows = {}
    for k, (index, region) in enumerate([*nuclei, *ambiguous], start=1):
        class_id = AMBIGUOUS_ID if region.is_ambiguous else int(region.nucleus_class)
        rows[k] = NucleusRow(
            id=k,
            class_id=class_id,
            provenance="file",
            class_provenance="file",
            confidence=region.confidence,
            source=index,
            intact=True,
        )
    return rows


class SourceOutlines:
    """Outlines of the regions that the session began with, drawn when they are asked for.

    Parameters
    ----------
    annotation : Annotation
        What was opened.
    shape : tuple of int
        Height and width of the frame, px.
    """

    def __init__(self, annotation: Annotation, shape: tuple[int, int]) -> None:
        self.annotation, self.shape = annotation, shape
        self._ids: list[int] = []
        self._regions: list[int] = []
        for k, row in rows_of(annotation).items():
            if row.source is not None:
                self._ids.append(k)
                self._regions.append(row.source)
        # An upper region comes later in the file: keep file order, whatever the numbers are.
        order = np.argsort(self._regions, kind="stable")
        self._ids = [self._ids[i] for i in order]
        self._regions = [self._regions[i] for i in order]
        corners = [annotation.regions[i].vertices for i in self._regions]
        self._low = np.array([v.min(0) for v in corners]).reshape(-1, 2)
        self._high = np.array([v.max(0) for v in corners]).reshape(-1, 2)
        self._stamps: dict[int, Stamp] = {}

    def stamp(self, region: int) -> Stamp:
        """Return all pixels of a region of the file, hidden ones included."""
        known = self._stamps.get(region)
        if known is None:
            known = self._stamps[region] = polygon_stamp(self.annotation.regions[region].vertices, self.shape)
        return known

    def covers(self, label: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> bool:
        """Whether all these pixels lie in the outline of the region that became nucleus `label`."""
        if label not in self._ids:
            return False
        out = np.zeros(self.shape, bool)
        stamp = self.stamp(self._regions[self._ids.index(label)])
        out[window(stamp.box)] = stamp.mask
        return bool(out[rows, columns].all())

    def ambiguous_map(self) -> NDArray[np.int32]:
        """Draw the Ambiguous regions by id, a later one over an earlier one, int32 (y, x)."""
        out = np.zeros(self.shape, np.int32)
        for k, region in zip(self._ids, self._regions, strict=True):
            if self.annotation.regions[region].is_ambiguous:
                stamp = self.stamp(region)
                out[window(stamp.box)][stamp.mask] = k
        return out

    def below(
        self, box: Box, plane: Plane, rows: Mapping[int, NucleusRow], without: Collection[int]
    ) -> NDArray[np.int32]:
        """Draw the intact outlines of a plane within a box, in file order, leaving some out: int32, size of the box."""
        out = np.zeros((box[2] - box[0], box[3] - box[1]), np.int32)
        for k, stamp in self._intact_in(box, plane, rows):
            if k in without:
                continue
            shared = overlap(box, stamp.box)
            if shared is not None:
                out[shared[0]][stamp.mask[shared[1]]] = k
        return out

    def covering(self, box: Box, mask: NDArray[np.bool_], plane: Plane, rows: Mapping[int, NucleusRow]) -> set[int]:
        """Return the ids of intact outlines that cover a masked pixel of a box, visible or hidden."""
        found = set()
        for k, stamp in self._intact_in(box, plane, rows):
            shared = overlap(box, stamp.box)
            if shared is not None and (mask[shared[0]] & stamp.mask[shared[1]]).any():
                found.add(k)
        return found

    def _intact_in(self, box: Box, plane: Plane, rows: Mapping[int, NucleusRow]) -> list[tuple[int, Stamp]]:
        near = (self._low[:, 0] < box[2]) & (self._low[:, 1] < box[3])
        near &= (self._high[:, 0] >= box[0]) & (self._high[:, 1] >= box[1])
        found = []
        for i in np.flatnonzero(near):
            row = rows.get(self._ids[i])
            if row is not None and row.intact and row.plane == plane:
                found.append((self._ids[i], self.stamp(self._regions[i])))
        return found
