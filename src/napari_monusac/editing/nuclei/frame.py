"""The part of an image that a session edits: all of it, or a region of a slide. What lies outside is never touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import window
from napari_monusac.core.errors import SessionError
from napari_monusac.core.geometry import Outline
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.nuclei.rows import NucleusRow
from napari_monusac.editing.nuclei.source import rows_of
from napari_monusac.masks.polygons import polygons_from_instances
from napari_monusac.masks.strokes import polygon_stamp


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of an image.

    Attributes
    ----------
    offset_px : tuple of int
        (y, x) of its first pixel in the image.
    shape : tuple of int
        Height and width, px.
    region : bool
        Whether the image goes on outside it.
    """

    offset_px: tuple[int, int]
    shape: tuple[int, int]
    region: bool = True

    @classmethod
    def of(cls, shape: tuple[int, int], offset_px: tuple[int, int] | None) -> Frame:
        """Return the whole image (no offset), or a part of it."""
        return cls(offset_px or (0, 0), shape, offset_px is not None)

    def split(self, annotation: Annotation) -> tuple[Annotation, dict[int, NucleusRow], frozenset[int]]:
        """Take what of an annotation is to be seen in the frame.

        Returns
        -------
        Annotation
            The regions that reach into the frame, in px of the frame. Of a whole image: all of them, as they are.
        dict
            Their rows by id; `source` is their place in the whole annotation.
        frozenset of int
            Places of the regions that stay outside.
        """
        if not self.region:
            return annotation, rows_of(annotation), frozenset()
        inside = [i for i, r in enumerate(annotation.regions) if self.reaches_into(r.vertices)]
        dy, dx = self.offset_px
        local = replace(annotation, regions=tuple(annotation.regions[i].moved(-dy, -dx) for i in inside))
        rows = {
            k: row.model_copy(update={"source": inside[row.source]})
            for k, row in rows_of(local).items()
            if row.source is not None
        }
        return local, rows, frozenset(range(len(annotation.regions))) - set(inside)

    def reaches_into(self, vertices: NDArray[np.float64]) -> bool:
        """Whether an outline (y, x), px of the image, may have pixels in the frame (its bounding box meets it)."""
        if len(vertices) < 3:
            return False
        low, high = vertices.min(0) - self.offset_px, vertices.max(0) - self.offset_px
        return bool((high >= 0).all() and (low <= np.array(self.shape) - 1).all())

    def reaches_out(self, vertices: NDArray[np.float64]) -> bool:
        """Whether an outline (y, x), px of the image, goes on outside the frame."""
        low, high = vertices.min(0) - self.offset_px, vertices.max(0) - self.offset_px
        return bool((low < 0).any() or (high > np.array(self.shape) - 1).any())


class OtherRegion(SessionError):
    """Unsaved edits in a journal were made on another part of the image.

    Attributes
    ----------
    frame : Frame
        That part.
    """

    def __init__(self, message: str, hint: str, frame: Frame) -> None:
        super().__init__(message, hint)
        self.frame = frame


def crossing(annotation: Annotation, rows: Mapping[int, NucleusRow], frame: Frame) -> frozenset[int]:
    """Return the ids of nuclei that go on outside the frame; none where it is the whole image."""
    if not frame.region:
        return frozenset()
    return frozenset(
        k for k, row in rows.items()
        if row.source is not None and frame.reaches_out(annotation.regions[row.source].vertices)
    )  # fmt: skip


def outline_beyond(vertices: NDArray[np.float64], seen: NDArray[np.bool_], frame: Frame) -> Outline | None:
    """Return the outline of a nucleus that goes on outside the frame: there as it was, inside as its pixels are now.

    Parameters
    ----------
    vertices : (n, 2)
        As the file has it, (y, x), px of the image.
    seen : bool (y, x)
        Its pixels in the frame now.
    frame : Frame
        The frame.

    Returns
    -------
    Outline or None
        In px of the image; None where nothing is left.
    """
    y, x = frame.offset_px
    # the canvas holds the outline and what was drawn, not all of the frame
    low, high = np.floor(vertices.min(0)).astype(int), (np.floor(vertices.max(0)) + 2).astype(int)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if rows.size:
        low = np.minimum(low, [rows[0] + y, columns[0] + x])
        high = np.maximum(high, [rows[-1] + 1 + y, columns[-1] + 1 + x])
    canvas = np.zeros(tuple(high - low), np.uint8)
    stamp = polygon_stamp(vertices - low, canvas.shape)
    canvas[window(stamp.box)][stamp.mask] = 1
    top, left = max(0, y - low[0]), max(0, x - low[1])
    bottom = min(canvas.shape[0], y + frame.shape[0] - low[0])
    right = min(canvas.shape[1], x + frame.shape[1] - low[1])
    if bottom > top and right > left:
        first = top + low[0] - y, left + low[1] - x
        canvas[top:bottom, left:right] = seen[first[0] : first[0] + bottom - top, first[1] : first[1] + right - left]
    found = polygons_from_instances(canvas, labels=[1], fragments=True).polygons
    return found[1] + low if 1 in found else None
