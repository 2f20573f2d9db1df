"""The state of a session: rows and maps, and how edits are written into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Box, window
from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.disk.records import Edit
from napari_monusac.editing.nuclei.frame import Frame, crossing
from napari_monusac.editing.nuclei.maps import LiveMaps
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane, class_name
from napari_monusac.editing.nuclei.source import SourceOutlines
from napari_monusac.masks.change import Change
from napari_monusac.masks.rasterize import label_maps

if TYPE_CHECKING:
    import pandas as pd


class SessionState:
    """Rows and maps of one crop.

    Attributes
    ----------
    source : Annotation
        What was opened.
    author : str
        Whose name stands on the edits from now on.
    um_per_px : float or None
        Micrometres per px.
    frame : Frame
        The part of the image that is edited: maps and boxes are in its px.
    outside : frozenset of int
        Places of those regions of `source` that are not in the frame: they stay as they are.
    maps : LiveMaps
        The four arrays, changed in place.
    """

    def __init__(
        self, annotation: Annotation, shape: tuple[int, int], *, author: str = "", boundary_width: int = 3,
        offset_px: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        self.source, self.author = annotation, author
        self.um_per_px = annotation.um_per_px
        self.frame = Frame.of(shape, offset_px)
        local, self._rows, self.outside = self.frame.split(annotation)
        self._beyond = crossing(annotation, self._rows, self.frame)
        self._outlines = SourceOutlines(local, shape)
        instances = label_maps(local, shape).instances
        classes = {k: r.class_id for k, r in self._rows.items() if r.plane == "nuclei"}
        self.maps = LiveMaps(instances, self._outlines.ambiguous_map(), classes, boundary_width)
        self._next_id = max(self._rows, default=0) + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frame, px."""
        return self.maps.shape

    @property
    def rows(self) -> Mapping[int, NucleusRow]:
        """All nuclei and Ambiguous regions by id (a view that follows)."""
        return MappingProxyType(self._rows)

    @property
    def next_id(self) -> int:
        """The id that the next new nucleus gets."""
        return self._next_id

    def counts(self) -> dict[int, int]:
        """Return how many nuclei each class has: {1 to 4, 255, 5 = Ambiguous regions: number}."""
        return dict(Counter(r.class_id for r in self._rows.values()))

    def row(self, label: int) -> NucleusRow:
        """Return what is known about a nucleus.

        Raises
        ------
        SessionError
            There is none of this id.
        """
        try:
            return self._rows[label]
        except KeyError:
            raise SessionError(f"there is no nucleus {label}", "choose one on the canvas") from None

    def covers(self, label: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> bool:
        """Whether all these pixels lie in the outline that the file has of a nucleus."""
        return self._outlines.covers(label, rows, columns)

    def features(self, plane: Plane = "nuclei") -> pd.DataFrame:
        """Return the rows of a plane as napari wants the features of a Labels layer.

        Columns: ``index`` (the label), ``class``, ``class_id``, ``provenance``, ``class_provenance``, ``confidence``
        (NaN where there is none), ``note``, ``author``, ``time``; by rising index.
        """
        import pandas as pd

        names = ("id", "class_id", "provenance", "class_provenance", "confidence", "note", "author", "time")
        # looking through the instances' own dicts: a property of a pydantic model costs a microsecond each
        rows = [
            vars(row) for _, row in sorted(self._rows.items()) if (row.class_id == AMBIGUOUS_ID) == (plane != "nuclei")
        ]
        columns: dict[str, list[object]] = {n: [row[n] for row in rows] for n in names}
        classes = {k: class_name(k) for k in {row["class_id"] for row in rows}}
        columns = {"index": columns.pop("id"), "class": [classes[row["class_id"]] for row in rows], **columns}
        table = pd.DataFrame(columns)
        return table.astype({"index": "int64", "class_id": "int64", "confidence": "float64"})

    def same_as(self, other: SessionState) -> bool:
        """Whether rows and all four maps are equal, pixel for pixel."""
        mine, theirs = self.maps, other.maps
        names = ("instances", "ambiguous", "semantic", "ternary")
        return dict(self._rows) == dict(other._rows) and all(
            np.array_equal(getattr(mine, n), getattr(theirs, n)) for n in names
        )

    def _write(self, edit: Edit, *, undo: bool, follow: bool = True) -> list[Box]:
        for patch in reversed(edit.patches) if undo else edit.patches:
            mask, old, new = patch.unpack()
            if undo:
                old, new = new, old
            self.maps.write(patch.plane, patch.box, mask, old, new)
            if follow:
                labels = (set(np.unique(old).tolist()) | set(np.unique(new).tolist())) - {0}
                self.maps.follow(patch.plane, patch.box, mask, labels)
        return [p.box for p in edit.patches]

    def _set_rows(self, rows: Mapping[int, NucleusRow | None]) -> None:
        for k, row in rows.items():
            if row is None:
                self._rows.pop(k, None)
            else:
                self._rows[k] = row
        self._next_id = max([self._next_id, *(k + 1 for k in rows)])
        self.maps.set_classes({k: None if r is None or r.plane == "ambiguous" else r.class_id for k, r in rows.items()})

    def _restore_pixels(self, plane: Plane, change: Change) -> None:
        """Put back what was there before somebody painted on the map itself."""
        view = self.maps.plane(plane)[window(change.box)]
        view[change.changed] = change.before[change.changed]
