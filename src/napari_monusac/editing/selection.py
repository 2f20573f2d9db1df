"""Picking and selecting: what is under the pointer, in a box, in a lasso. A selection is no edit: undo leaves it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from napari_monusac.core.boxes import Box, grown, union
from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.history import EditHistory, SessionChange
from napari_monusac.editing.nuclei.rows import NucleusRow, Plane, class_id_of
from napari_monusac.masks import edits
from napari_monusac.masks.strokes import Stamp, polygon_stamp

SelectMode = Literal["replace", "add", "remove", "toggle"]


@dataclass(frozen=True, slots=True)
class NucleusFacts:
    """A nucleus in figures, for the status line.

    Attributes
    ----------
    row : NucleusRow
        Class, provenance, confidence, note.
    area_px : int
        Visible pixels.
    area_um2 : float or None
        The same in square micrometres; None where the scale is unknown.
    box : tuple of int or None
        Where it lies, px; None where it is all hidden.
    """

    row: NucleusRow
    area_px: int
    area_um2: float | None
    box: Box | None

    def __str__(self) -> str:
        area = f"{self.area_px} px" if self.area_um2 is None else f"{self.area_um2:.0f} um2"
        who = {"file": "from the file", "human": f"by {self.row.author or 'hand'}", "model": "found by the model"}
        sure = "" if self.row.confidence is None else f", confidence {self.row.confidence:.2f}"
        note = f", note: {self.row.note}" if self.row.note else ""
        return f"{self.row.class_name} {self.row.id}, {area}, {who[self.row.provenance]}{sure}{note}"


class Selecting(EditHistory):
    """Selection and the class that new nuclei get."""

    _selected: frozenset[int] = frozenset()
    _current_class: int = int(NucleusClass.EPITHELIAL)

    @property
    def current_class(self) -> int:
        """Class of new nuclei: 1 to 4, 255 = unclassified, 5 = Ambiguous region."""
        return self._current_class

    @current_class.setter
    def current_class(self, value: int | str) -> None:
        self._current_class = class_id_of(value)

    def _class_for_new(self) -> int:
        return self._current_class

    @property
    def selected(self) -> frozenset[int]:
        """Selected nuclei and regions that exist."""
        return self._selected & self._rows.keys()

    def select(self, ids: Iterable[int], mode: SelectMode = "replace") -> frozenset[int]:
        """Change the selection and return it.

        Raises
        ------
        SessionError
            One of them does not exist.
        """
        these = frozenset(ids)
        for k in these:
            self.row(k)
        old = self.selected
        self._selected = {
            "replace": these, "add": old | these, "remove": old - these, "toggle": old ^ these
        }[mode]  # fmt: skip
        if self._selected != old:
            self.tell(SessionChange("selection", ids=self._selected ^ old))
        return self._selected

    def select_box(self, box: Box, mode: SelectMode = "replace", plane: Plane = "nuclei") -> frozenset[int]:
        """Select the nuclei that lie in a box (top, left, bottom, right in px) by half of their pixels or more."""
        top, left, bottom, right = grown(box, 0, self.shape)
        whole = Stamp((top, left, bottom, right), np.ones((max(0, bottom - top), max(0, right - left)), bool))
        return self._select_within(whole, mode, plane)

    def select_lasso(
        self, vertices: ArrayLike, mode: SelectMode = "replace", plane: Plane = "nuclei"
    ) -> frozenset[int]:
        """Select the nuclei that lie in a lasso by half of their pixels or more."""
        return self._select_within(polygon_stamp(vertices, self.shape), mode, plane)

    def _select_within(self, stamp: Stamp, mode: SelectMode, plane: Plane) -> frozenset[int]:
        return self.select(edits.labels_inside(self.maps.plane(plane), stamp, boxes=self.maps.boxes), mode)

    def pick(self, point: tuple[float, float], tolerance_px: float = edits.CLICK_TOLERANCE_PX) -> int:
        """Return the nucleus that a click at (y, x) means, else the Ambiguous region there; 0 where there is none."""
        found = edits.nearest_nucleus(self.maps.instances, point, tolerance_px)
        return found or edits.nearest_nucleus(self.maps.ambiguous, point, 0)

    def facts(self, label: int) -> NucleusFacts:
        """Return what the status line says about a nucleus.

        Raises
        ------
        SessionError
            There is none of this id.
        """
        row = self.row(label)
        area = self.maps.stamp(row.plane, label).area_px
        scale = self.um_per_px
        return NucleusFacts(row, area, None if scale is None else area * scale**2, self.maps.boxes.get(label))

    def _meant(self, ids: Iterable[int] | None) -> list[int]:
        """Return the ids that a tool is for: those given, or the selection."""
        wanted = sorted(self.selected) if ids is None else list(dict.fromkeys(ids))
        if not wanted:
            raise SessionError("no nucleus is chosen", "click one, or draw a box or lasso around some")
        for k in wanted:
            self.row(k)
        return wanted

    def _by_plane(self, ids: Iterable[int]) -> list[tuple[Plane, list[int]]]:
        planes: dict[Plane, list[int]] = {}
        for k in ids:
            planes.setdefault(self._rows[k].plane, []).append(k)
        return list(planes.items())

    def _window_of(self, ids: Iterable[int]) -> Box:
        """Return the box that holds all of `ids`."""
        box: Box | None = None
        for k in ids:
            own = self.maps.boxes.get(k)
            if own is None:
                raise SessionError(f"nucleus {k} lies hidden under others", "move or delete those first")
            box = own if box is None else union(box, own)
        if box is None:
            raise SessionError("no nucleus is chosen", "click one, or draw a box or lasso around some")
        return box
