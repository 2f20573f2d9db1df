"""The nuclei of one crop: rows and maps, and how edits are written into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Box, union
from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.nuclei.edit import Edit, SessionChange
from napari_monusac.editing.nuclei.frame import Frame, crossing
from napari_monusac.editing.nuclei.maps import LiveMaps
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane, class_name
from napari_monusac.editing.nuclei.source import SourceOutlines
from napari_monusac.masks import edits
from napari_monusac.masks.rasterize import label_maps

if TYPE_CHECKING:
    import pandas as pd


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
        row = self.row
        area = f"{self.area_px} px" if self.area_um2 is None else f"{self.area_um2:.0f} µm²"
        who = {"file": "from the file", "model": "found by the model"}.get(row.provenance) or (
            f"outlined by {row.author or 'hand'}"
        )
        if row.class_provenance != row.provenance and row.class_provenance == "human":
            who += f", classified by {row.author or 'hand'}"
        sure = [] if row.confidence is None else [f"confidence {row.confidence:.2f}"]
        note = [f"note: {row.note}"] if row.note else []
        return ", ".join([f"{row.class_name} {row.id}", area, *sure, who, *note])


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What the nuclei of a crop were at one moment: copies, for work in the background while edits go on."""

    instances: NDArray[np.int32]
    ternary: NDArray[np.uint8]
    boundary_width: int
    boxes: Mapping[int, Box]
    rows: Mapping[int, NucleusRow]
    next_id: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return int(self.instances.shape[0]), int(self.instances.shape[1])


class CropNuclei:
    """Rows and maps of the nuclei of one crop.

    Attributes
    ----------
    source : Annotation
        What was opened.
    um_per_px : float or None
        Micrometres per px.
    frame : Frame
        The part of the image that is edited: maps and boxes are in its px.
    outside : frozenset of int
        Places of those regions of `source` that are not in the frame: they stay as they are.
    beyond : frozenset of int
        Ids of nuclei that go on outside the frame.
    outlines : SourceOutlines
        The outlines of `source`, in px of the frame.
    maps : LiveMaps
        The four arrays, changed in place.
    next_id : int
        The id that the next new nucleus gets.
    """

    def __init__(
        self, annotation: Annotation, shape: tuple[int, int], *, boundary_width: int = 3,
        offset_px: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        self.source, self.um_per_px = annotation, annotation.um_per_px
        self.frame = Frame.of(shape, offset_px)
        local, self._rows, self.outside = self.frame.split(annotation)
        self.beyond = crossing(annotation, self._rows, self.frame)
        self.outlines = SourceOutlines(local, shape)
        instances = label_maps(local, shape).instances
        classes = {k: r.class_id for k, r in self._rows.items() if r.plane == "nuclei"}
        self.maps = LiveMaps(instances, self.outlines.ambiguous_map(), classes, boundary_width)
        self.next_id = max(self._rows, default=0) + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frame, px."""
        return self.maps.shape

    @property
    def rows(self) -> Mapping[int, NucleusRow]:
        """All nuclei and Ambiguous regions by id (a view that follows)."""
        return MappingProxyType(self._rows)

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

    def facts(self, label: int) -> NucleusFacts:
        """Return a nucleus in figures and words.

        Raises
        ------
        SessionError
            There is none of this id.
        """
        row, scale = self.row(label), self.um_per_px
        area = self.maps.stamp(row.plane, label).area_px
        return NucleusFacts(row, area, None if scale is None else area * scale**2, self.maps.boxes.get(label))

    def pick(self, point: tuple[float, float], tolerance_px: float = edits.CLICK_TOLERANCE_PX) -> int:
        """Return the nucleus that a click at (y, x) means, else the Ambiguous region there; 0 where there is none."""
        found = edits.nearest_nucleus(self.maps.instances, point, tolerance_px)
        return found or edits.nearest_nucleus(self.maps.ambiguous, point, 0)

    def window_of(self, ids: Iterable[int]) -> Box:
        """Return the box that holds all of some nuclei.

        Raises
        ------
        SessionError
            One lies wholly hidden, or there is none.
        """
        box: Box | None = None
        for k in ids:
            own = self.maps.boxes.get(k)
            if own is None:
                raise SessionError(f"nucleus {k} lies hidden under others", "move or delete those first")
            box = own if box is None else union(box, own)
        if box is None:
            raise SessionError("no nucleus is chosen", "click one, or draw a box or lasso around some")
        return box

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

    def snapshot(self) -> Snapshot:
        """Copy what the audit looks at."""
        maps = self.maps
        return Snapshot(
            maps.instances.copy(), maps.ternary.copy(), maps.boundary_width, dict(maps.boxes), dict(self._rows), self.next_id
        )  # fmt: skip

    def same_as(self, other: CropNuclei) -> bool:
        """Whether rows and all four maps are equal, pixel for pixel."""
        mine, theirs = self.maps, other.maps
        names = ("instances", "ambiguous", "semantic", "ternary")
        return dict(self._rows) == dict(other._rows) and all(
            np.array_equal(getattr(mine, n), getattr(theirs, n)) for n in names
        )

    # -- changing

    def carry_out(self, edit: Edit, kind: Literal["edit", "undo", "redo"]) -> SessionChange:
        """Carry an edit out, or take it back; return what is told of it.

        Raises
        ------
        SessionError
            The pixels are not those that the edit was made for.
        """
        rows, gone = (edit.before, edit.after) if kind == "undo" else (edit.after, edit.before)
        created = tuple(k for k, row in rows.items() if row is not None and gone.get(k) is None)
        self.write(edit, undo=kind == "undo")
        boxes = [p.box for p in edit.patches] + [self.maps.boxes[k] for k in rows if k in self.maps.boxes]
        box = None
        for each in boxes:
            box = each if box is None else union(box, each)
        if box is not None:
            box = self.maps.refresh(box)
        return SessionChange(kind, edit.name, box, edit.ids, created)

    def write(self, edit: Edit, *, undo: bool, follow: bool = True) -> None:
        """Write pixels and rows of an edit. Without `follow`, boxes are worked out later: `LiveMaps.refresh_all`.

        Raises
        ------
        SessionError
            The pixels are not those that the edit was made for.
        """
        for patch in reversed(edit.patches) if undo else edit.patches:
            mask, old, new = patch.unpack()
            if undo:
                old, new = new, old
            self.maps.write(patch.plane, patch.box, mask, old, new)
            if follow:
                labels = (set(np.unique(old).tolist()) | set(np.unique(new).tolist())) - {0}
                self.maps.follow(patch.plane, patch.box, mask, labels)
        self.set_rows(edit.before if undo else edit.after)

    def set_rows(self, rows: Mapping[int, NucleusRow | None]) -> None:
        """Set rows by id (None: it is gone), and the colours of their pixels with the next refresh."""
        for k, row in rows.items():
            if row is None:
                self._rows.pop(k, None)
            else:
                self._rows[k] = row
        self.next_id = max([self.next_id, *(k + 1 for k in rows)])
        self.maps.set_classes({k: None if r is None or r.plane == "ambiguous" else r.class_id for k, r in rows.items()})
