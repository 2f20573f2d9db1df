"""Classes, notes, and paint from outside: edits of what is known about nuclei, and of pixels that napari painted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_monusac.core.boxes import Box, window
from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.history import SessionChange, now
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane, class_id_of
from napari_monusac.editing.selection import Selecting
from napari_monusac.masks import edits
from napari_monusac.masks.change import Change


class Relabelling(Selecting):
    """Class, note, and adoption of paint. `ids` defaults to the selection."""

    def set_class(self, class_: int | str | NucleusClass, ids: Iterable[int] | None = None) -> SessionChange | None:
        """Set the class of nuclei: key 0 to 4, or 5 = make them Ambiguous regions (and back).

        An outline of the file stays the file's own when its class changes, unless it becomes an Ambiguous region.

        Raises
        ------
        SessionError
            It is no class, or a nucleus lies wholly hidden and cannot change planes.
        """
        class_id = class_id_of(class_)
        target: Plane = "ambiguous" if class_id == AMBIGUOUS_ID else "nuclei"
        time = now()
        update = {"class_id": class_id, "class_provenance": "human", "author": self.author, "time": time}
        rows: dict[int, NucleusRow | None] = {}
        movers = []
        for k in self._meant(ids):
            row = self.row(k)
            if row.class_id != class_id:
                moves = row.plane != target
                rows[k] = row.model_copy(update=update | ({"intact": False} if moves else {}))
                movers += [k] if moves else []
        return self._do("class", self._moved(movers, target) if movers else [], rows)

    def _moved(self, ids: list[int], target: Plane) -> list[tuple[Plane, Change]]:
        """Plan the move of nuclei to the plane of Ambiguous regions, or back (there they take free pixels only)."""
        source: Plane = "nuclei" if target == "ambiguous" else "ambiguous"
        stamps = [self.maps.stamp(source, k) for k in ids]
        hidden = [k for k, stamp in zip(ids, stamps, strict=True) if not stamp.area_px]
        if hidden:
            raise SessionError(f"nucleus {hidden[0]} lies hidden under others", "move or delete those first")
        box = self._window_of(ids)
        frame = self.maps.plane(target)
        after = np.array(frame[window(box)])
        for k, stamp in zip(ids, stamps, strict=True):
            view = after[stamp.box[0] - box[0] : stamp.box[2] - box[0], stamp.box[1] - box[1] : stamp.box[3] - box[1]]
            take = stamp.mask if target == "ambiguous" else stamp.mask & (view == 0)
            if not take.any():
                raise SessionError(f"region {k} lies wholly over nuclei", "delete it, or those nuclei")
            view[take] = k
        gone = edits.delete(self.maps.plane(source), ids, window=box)
        return [(source, gone), (target, edits.changed(frame, box, after))]

    def set_note(self, text: str, ids: Iterable[int] | None = None) -> SessionChange | None:
        """Write a note on nuclei."""
        rows = {
            k: self.row(k).model_copy(update={"note": text, "author": self.author, "time": now()})
            for k in self._meant(ids)
        }
        return self._do("note", [], rows)

    def adopt(
        self, box: Box, before: NDArray[np.integer], after: NDArray[np.integer], *, plane: Plane = "nuclei"
    ) -> SessionChange | None:
        """Make a command of what napari's own brush has painted on the map already.

        Parameters
        ----------
        box : tuple of int
            (top, left, bottom, right) in px, half-open.
        before, after : int (bottom - top, right - left)
            What was in the box, and what is there now. A number that is new makes a nucleus of `current_class`.
        plane : {"nuclei", "ambiguous"}
            Which map was painted on.

        Raises
        ------
        ShapeError, SessionError
            The patches do not fit, or the journal cannot be written: the map is then as it was before the painting.
        """
        change = edits.patch(self.maps.plane(plane), box, before, after)
        self._restore_pixels(plane, change)
        strange = [k for k in change.labels if k in self._rows and self._rows[k].plane != plane]
        if strange:
            raise SessionError(f"number {strange[0]} belongs to another layer", f"paint with {self.next_id} or above")
        return self._do("paint", [(plane, change)], freed="clear")

    def adopt_strokes(
        self, strokes: Sequence[tuple[tuple[NDArray[np.intp], ...], ArrayLike, ArrayLike]], *, plane: Plane = "nuclei"
    ) -> SessionChange | None:
        """Make one command of napari's paint events: ((rows, columns), old values, new value) one after the other.

        Raises
        ------
        ShapeError, SessionError
            As `adopt`.
        """
        cells = [(np.asarray(i[0]), np.asarray(i[1])) for i, _, _ in strokes]
        if not sum(len(rows) for rows, _ in cells):
            return None
        rows, columns = (np.concatenate(c) for c in zip(*cells, strict=True))
        box = int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
        after = np.array(self.maps.plane(plane)[box[0] : box[2], box[1] : box[3]])
        before = after.copy()
        for (r, c), (_, old, _new) in reversed(list(zip(cells, strokes, strict=True))):
            before[r - box[0], c - box[1]] = old
        return self.adopt(box, before, after, plane=plane)
