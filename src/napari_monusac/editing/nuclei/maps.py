"""The maps of a session: nuclei and Ambiguous regions, and the semantic and ternary maps that follow them locally."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_monusac.core.boxes import Box, tight_box, union, window
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.nuclei.rows import Plane
from napari_monusac.masks.strokes import Stamp
from napari_monusac.masks.ternary import ternary_map, update_ternary


class LiveMaps:
    """Arrays that are changed in place, never replaced: a view may hold on to them.

    Attributes
    ----------
    instances : int32 (y, x)
        Nuclei by id.
    ambiguous : int32 (y, x)
        Ambiguous regions by id.
    semantic : uint8 (y, x)
        Class of the nucleus: 0 background, 1 to 4, 255 unclassified.
    ternary : uint8 (y, x)
        0 background, 1 inside, 2 boundary.
    boundary_width : int
        Width of the boundary, px.
    """

    def __init__(
        self,
        instances: NDArray[np.int32],
        ambiguous: NDArray[np.int32],
        classes: Mapping[int, int],
        boundary_width: int = 3,
    ) -> None:
        self.instances, self.ambiguous = instances, ambiguous
        self.semantic = np.zeros(instances.shape, np.uint8)
        self.ternary = np.zeros(instances.shape, np.uint8)
        self.boundary_width = boundary_width
        self._lut = np.zeros(256, np.uint8)
        self.boxes: dict[int, Box] = {}
        self.set_classes(classes)
        self.refresh_all()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return int(self.instances.shape[0]), int(self.instances.shape[1])

    def plane(self, name: Plane) -> NDArray[np.int32]:
        """Return the map of nuclei or of Ambiguous regions."""
        return self.instances if name == "nuclei" else self.ambiguous

    def refresh_all(self) -> None:
        """Work out everything that follows from the two maps, over the whole frame."""
        self.boxes = {}
        for plane in (self.instances, self.ambiguous):
            for k, found in enumerate(ndimage.find_objects(plane), start=1):
                if found is not None:
                    self.boxes[k] = (found[0].start, found[1].start, found[0].stop, found[1].stop)
        np.take(self._lut, self.instances, out=self.semantic)
        self.ternary[:] = ternary_map(self.instances, self.boundary_width)

    def rebuild_boundary(self, box: Box) -> Box:
        """Work the ternary map out again from the nuclei of a box; return the box that was written."""
        return update_ternary(self.ternary, self.instances, box, self.boundary_width)

    def set_classes(self, classes: Mapping[int, int | None]) -> None:
        """Set the classes of some ids; None frees an id. The semantic map follows with `refresh`."""
        if not classes:
            return
        top = max(classes)
        if top >= self._lut.size:
            self._lut = np.pad(self._lut, (0, max(top + 1, 2 * self._lut.size) - self._lut.size))
        for k, value in classes.items():
            self._lut[k] = value or 0

    def write(
        self, plane: Plane, box: Box, mask: NDArray[np.bool_], old: NDArray[np.int32], new: NDArray[np.int32]
    ) -> None:
        """Write labels into the masked pixels of a box; the derived maps follow with `refresh`.

        Raises
        ------
        SessionError
            The pixels do not hold `old`: nothing is written.
        """
        view = self.plane(plane)[window(box)]
        if view.shape != mask.shape or not np.array_equal(view[mask], old):
            raise SessionError(
                f"the pixels in {box} are not those that this edit was made for", "undo later edits first, or reopen"
            )
        view[mask] = new

    def refresh(self, box: Box) -> Box:
        """Bring the semantic and ternary maps up to date after a change in `box`; return the box that was written."""
        if box[0] >= box[2] or box[1] >= box[3]:
            return box
        cut = window(box)
        self.semantic[cut] = self._lut[self.instances[cut]]
        written = update_ternary(self.ternary, self.instances, box, self.boundary_width)
        return union(box, written)

    def follow(self, plane: Plane, box: Box, mask: NDArray[np.bool_], labels: Iterable[int]) -> None:
        """Bring the boxes of `labels` up to date after pixels of `box` changed."""
        frame = self.plane(plane)
        view = frame[window(box)]
        known = sorted(labels)
        if not known:
            return
        # number them densely, so that one pass over the patch finds where each is now
        dense = np.zeros(known[-1] + 1, np.int32)
        dense[known] = np.arange(1, len(known) + 1)
        seen = np.where(mask, view, 0)
        found = ndimage.find_objects(np.where(seen <= known[-1], dense[np.minimum(seen, known[-1])], 0), len(known))
        for k, gained in zip(known, found, strict=True):
            loose = self.boxes.pop(k, None)
            if gained is not None:
                here = (
                    gained[0].start + box[0], gained[1].start + box[1], gained[0].stop + box[0], gained[1].stop + box[1]
                )  # fmt: skip
                loose = here if loose is None else union(loose, here)
            if loose is not None:
                tight = tight_box(frame[window(loose)] == k, (loose[0], loose[1]))
                if tight is not None:
                    self.boxes[k] = tight

    def stamp(self, plane: Plane, label: int) -> Stamp:
        """Return the visible pixels of a nucleus or region (none where it is all hidden)."""
        box = self.boxes.get(label)
        if box is None:
            return Stamp((0, 0, 0, 0), np.zeros((0, 0), bool))
        return Stamp(box, np.asarray(self.plane(plane)[window(box)] == label))
