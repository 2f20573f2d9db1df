"""What a reader does to a crop, as values: each command is one edit, one record of the journal, one undo.

`EditingSession.do` carries them out. A command plans (`EditPlan`): it looks at the parts of the session and changes none; where
it cannot do what was meant it raises `SessionError`, and nothing has changed. Points and paths are (y, x) in px; `ids`
defaults to the selection; classes are a key (0 to 5), a class or a name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_monusac.core.boxes import Box, overlap, union, window
from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.edit import Signature
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane, class_id_of
from napari_monusac.editing.planning import Desk, EditPlan
from napari_monusac.editing.predicted import MAX_COVERED, Found
from napari_monusac.editing.selection import SelectMode
from napari_monusac.masks import edits
from napari_monusac.masks.change import Change
from napari_monusac.masks.edits import Over
from napari_monusac.masks.partition import labels_on_path
from napari_monusac.masks.strokes import Stamp, brush_stamp, polygon_stamp

Point: TypeAlias = tuple[float, float]
ClassLike: TypeAlias = int | str | NucleusClass
Shaping = Literal["grow", "shrink", "smooth", "fill holes"]
_SHAPING = {"grow": edits.grow, "shrink": edits.shrink, "smooth": edits.smooth, "fill holes": edits.fill_holes}

# -- drawing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DrawPolygon:
    """Draw a polygon or lasso: a new nucleus, or more of one.

    Refused where nothing is free there, or `into` does not exist.

    Attributes
    ----------
    vertices : (n, 2)
        Outline, px.
    into : int or None
        Add to this nucleus; None: a new one is made.
    class_ : int, str or None
        Class of the new one; None: the current class.
    over : {"free", "all"}
        Whether other nuclei keep their pixels, or what is drawn wins.
    """

    vertices: ArrayLike
    into: int | None = None
    class_: ClassLike | None = None
    over: Over = "free"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        return _drawn("draw", polygon_stamp(self.vertices, desk.nuclei.shape), self, desk)


@dataclass(frozen=True, slots=True)
class DrawBrush:
    """Draw with a round brush along a path: a new nucleus, or more of one (see `DrawPolygon`)."""

    path: ArrayLike
    diameter_px: float
    into: int | None = None
    class_: ClassLike | None = None
    over: Over = "free"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        return _drawn("brush", brush_stamp(self.path, self.diameter_px, desk.nuclei.shape), self, desk)


@dataclass(frozen=True, slots=True)
class DrawStamp:
    """Draw pixels that a tool has found (the wand): a new nucleus, or more of one (see `DrawPolygon`)."""

    stamp: Stamp
    into: int | None = None
    class_: ClassLike | None = None
    over: Over = "free"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        return _drawn("draw", self.stamp, self, desk)


def _drawn(name: str, stamp: Stamp, drawing: DrawPolygon | DrawBrush | DrawStamp, desk: Desk) -> EditPlan:
    nuclei, into = desk.nuclei, drawing.into
    class_id = desk.selection.current_class if drawing.class_ is None else class_id_of(drawing.class_)
    plane: Plane = "ambiguous" if class_id == AMBIGUOUS_ID else "nuclei"
    if into is not None:
        plane = nuclei.row(into).plane
    label = nuclei.next_id if into is None else into
    change = edits.draw(nuclei.maps.plane(plane), stamp, label, over=drawing.over, one_piece=into is None)
    if not stamp.area_px:
        raise SessionError("this stroke covers nothing of the image", "draw over the tissue")
    if change.is_empty:
        raise SessionError("nothing is free under this stroke", "draw beside the nuclei, or let the stroke win")
    row = NucleusRow(id=label, class_id=class_id, author=desk.by.author, time=desk.by.time)
    return EditPlan(name, [(plane, change)], {label: row} if into is None else {})


@dataclass(frozen=True, slots=True)
class EraseBrush:
    """Rub out along a path: every nucleus, or `ids` alone (what lies hidden below those then shows)."""

    path: ArrayLike
    diameter_px: float
    ids: Collection[int] | None = None
    plane: Plane = "nuclei"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        return _erased(brush_stamp(self.path, self.diameter_px, desk.nuclei.shape), self, desk)


@dataclass(frozen=True, slots=True)
class ErasePolygon:
    """Rub out within a polygon or lasso (see `EraseBrush`)."""

    vertices: ArrayLike
    ids: Collection[int] | None = None
    plane: Plane = "nuclei"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        return _erased(polygon_stamp(self.vertices, desk.nuclei.shape), self, desk)


def _erased(stamp: Stamp, erasing: EraseBrush | ErasePolygon, desk: Desk) -> EditPlan:
    change = edits.erase(desk.nuclei.maps.plane(erasing.plane), stamp, erasing.ids)
    return EditPlan("erase", [(erasing.plane, change)], freed="clear" if erasing.ids is None else "reveal")


@dataclass(frozen=True, slots=True)
class Fill:
    """Fill the closed area under a point (a gap, a hole) as a new nucleus, or as a part of `into`.

    Refused where the area is open, too large, or `into` already.
    """

    point: Point
    into: int | None = None
    plane: Plane = "nuclei"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        label = desk.nuclei.next_id if self.into is None else self.into
        return EditPlan("fill", [(self.plane, edits.fill(desk.nuclei.maps.plane(self.plane), self.point, label))])


@dataclass(frozen=True, slots=True)
class AdoptPaint:
    """Take over what napari's own tools have painted on the map already.

    Refused (the map is then as it was before the painting) where the patches do not fit, or a number belongs to the
    other plane.

    Attributes
    ----------
    box : tuple of int
        (top, left, bottom, right) in px, half-open.
    before, after : int (bottom - top, right - left)
        What was in the box, and what is there now. A number that is new makes a nucleus of the current class.
    plane : {"nuclei", "ambiguous"}
        Which map was painted on.
    """

    box: Box
    before: NDArray[np.integer]
    after: NDArray[np.integer]
    plane: Plane = "nuclei"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it. The paint is taken off the map first: it comes back as the edit."""
        nuclei = desk.nuclei
        change = edits.patch(nuclei.maps.plane(self.plane), self.box, self.before, self.after)
        view = nuclei.maps.plane(self.plane)[window(change.box)]
        view[change.changed] = change.before[change.changed]
        strange = [k for k in change.labels if k in nuclei.rows and nuclei.rows[k].plane != self.plane]
        if strange:
            raise SessionError(
                f"number {strange[0]} belongs to another layer", f"paint with {nuclei.next_id} or above"
            )  # fmt: skip
        return EditPlan("paint", [(self.plane, change)], freed="clear")


# -- how many ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SplitByStroke:
    """Cut the nuclei that a stroke crosses (or `label` alone) in two; the parts keep the class.

    Refused where the stroke crosses none from edge to edge.
    """

    path: ArrayLike
    label: int | None = None
    plane: Plane = "nuclei"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        nuclei = desk.nuclei
        plane = nuclei.row(self.label).plane if self.label is not None else self.plane
        maps = nuclei.maps
        change = edits.split(maps.plane(plane), self.path, nuclei.next_id, label=self.label, boxes=maps.boxes)
        return EditPlan("split", [(plane, change)])


def suggested_split(nuclei: CropNuclei, label: int) -> Change | None:
    """Return how a clump would be split by its shape; None where it looks like one nucleus.

    Raises
    ------
    SessionError
        There is no such nucleus.
    """
    plane = nuclei.row(label).plane
    return edits.suggest_split(nuclei.maps.plane(plane), label, nuclei.next_id, box=nuclei.maps.boxes.get(label))


@dataclass(frozen=True, slots=True)
class SplitAsSuggested:
    """SplitByStroke a clump as `suggested_split` shows. Refused where it looks like one nucleus."""

    label: int

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        change = suggested_split(desk.nuclei, self.label)
        if change is None:
            raise SessionError(f"nucleus {self.label} has no neck to split it at", "draw a stroke across it")
        return EditPlan("split", [(desk.nuclei.row(self.label).plane, change)])


@dataclass(frozen=True, slots=True)
class Merge:
    """Make one nucleus of those that a stroke runs through, or of `ids`; the first keeps its number and class.

    Refused where there are fewer than two, or they lie too far apart.
    """

    path: ArrayLike = ()
    ids: Collection[int] | None = None
    plane: Plane = "nuclei"

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        nuclei, plane = desk.nuclei, self.plane
        if self.ids is not None:
            planes = {nuclei.row(k).plane for k in self.ids}
            if len(planes) > 1:
                raise SessionError("a nucleus and an Ambiguous region cannot become one", "choose one kind")
            plane = planes.pop() if planes else plane
        frame = nuclei.maps.plane(plane)
        found = list(self.ids) if self.ids is not None else list(labels_on_path(frame, self.path))
        where = nuclei.window_of(found) if len(found) > 1 else None
        return EditPlan("merge", [(plane, edits.merge(frame, self.path, labels=found, window=where))])


@dataclass(frozen=True, slots=True)
class Separate:
    """Make the further pieces of a nucleus nuclei of their own; crumbs go."""

    label: int

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        nuclei = desk.nuclei
        plane, box = nuclei.row(self.label).plane, nuclei.maps.boxes.get(self.label)
        change = edits.split_fragments(nuclei.maps.plane(plane), self.label, nuclei.next_id, box=box)
        return EditPlan("separate", [(plane, change)])


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete nuclei; what lies hidden below them comes back."""

    ids: Collection[int] | None = None

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        nuclei, wanted = desk.nuclei, desk.selection.meant(self.ids)
        seen = [k for k in wanted if k in nuclei.maps.boxes]
        changes = [
            (plane, edits.delete(nuclei.maps.plane(plane), some, window=nuclei.window_of(some)))
            for plane, some in desk.selection.by_plane(seen)
        ]
        return EditPlan("delete", changes, dict.fromkeys(wanted))


# -- shape ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reshape:
    """Grow nuclei by 1 px into the background, take 1 px off their edge, round their edges, or fill their holes.

    Refused where one of them would vanish.
    """

    how: Shaping
    ids: Collection[int] | None = None

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        nuclei, shape = desk.nuclei, _SHAPING[self.how]
        changes = [
            (plane, shape(nuclei.maps.plane(plane), some, window=nuclei.window_of(some)))
            for plane, some in desk.selection.by_plane(desk.selection.meant(self.ids))
        ]
        return EditPlan(self.how, changes)


@dataclass(frozen=True, slots=True)
class Move:
    """Move nuclei by whole px; where others lie, or the image ends, they are cut.

    Refused where one of them would have no free pixel.
    """

    down_px: int
    right_px: int
    ids: Collection[int] | None = None

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        groups = desk.selection.by_plane(desk.selection.meant(self.ids))
        return EditPlan("move", [(plane, self._change(desk.nuclei, plane, ids)) for plane, ids in groups])

    def _change(self, nuclei: CropNuclei, plane: Plane, ids: list[int]) -> Change:
        frame, box, (height, width) = nuclei.maps.plane(plane), nuclei.window_of(ids), nuclei.shape
        there = box[0] + self.down_px, box[1] + self.right_px, box[2] + self.down_px, box[3] + self.right_px
        shared = overlap(there, (0, 0, height, width))
        if shared is None:
            raise SessionError("it would lie outside of the image", "move it less far")
        rows, columns = shared[1]
        whole = union(box, (rows.start, columns.start, rows.stop, columns.stop))
        after = np.array(frame[window(whole)])
        after[np.isin(after, ids)] = 0
        for k in ids:
            self._put(after, whole, nuclei.maps.stamp(plane, k), k)
        return edits.changed(frame, whole, after)

    def _put(self, after: NDArray[np.int32], whole: Box, stamp: Stamp, label: int) -> None:
        """Put a nucleus into its new place, on what is free there."""
        top, left, bottom, right = stamp.box
        there = top + self.down_px, left + self.right_px, bottom + self.down_px, right + self.right_px
        shared = overlap(there, whole)
        free = None if shared is None else stamp.mask[shared[0]] & (after[shared[1]] == 0)
        if shared is None or free is None or not free.any():
            raise SessionError(f"nothing is free for nucleus {label} there", "move it elsewhere")
        after[shared[1]][edits.largest_piece(free)] = label


# -- what is known about nuclei ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetClass:
    """Set the class of nuclei; 5 makes them Ambiguous regions, another class makes those nuclei again.

    An outline of the file stays the file's own when its class changes, unless it becomes an Ambiguous region. Refused
    where a nucleus that changes planes lies wholly hidden.
    """

    class_: ClassLike
    ids: Collection[int] | None = None

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        class_id = class_id_of(self.class_)
        target: Plane = "ambiguous" if class_id == AMBIGUOUS_ID else "nuclei"
        update = {"class_id": class_id, "class_provenance": "human", "author": desk.by.author, "time": desk.by.time}
        rows: dict[int, NucleusRow | None] = {}
        movers = []
        for k in desk.selection.meant(self.ids):
            row = desk.nuclei.row(k)
            if row.class_id != class_id:
                moves = row.plane != target
                rows[k] = row.model_copy(update=update | ({"intact": False} if moves else {}))
                movers += [k] if moves else []
        return EditPlan("class", _moved(desk.nuclei, movers, target) if movers else [], rows)


def _moved(nuclei: CropNuclei, ids: list[int], target: Plane) -> list[tuple[Plane, Change]]:
    """EditPlan the move of nuclei to the plane of Ambiguous regions, or back (there they take free pixels only)."""
    source: Plane = "nuclei" if target == "ambiguous" else "ambiguous"
    stamps = [nuclei.maps.stamp(source, k) for k in ids]
    box = nuclei.window_of(ids)
    frame = nuclei.maps.plane(target)
    after = np.array(frame[window(box)])
    for k, stamp in zip(ids, stamps, strict=True):
        view = after[stamp.box[0] - box[0] : stamp.box[2] - box[0], stamp.box[1] - box[1] : stamp.box[3] - box[1]]
        take = stamp.mask if target == "ambiguous" else stamp.mask & (view == 0)
        if not take.any():
            raise SessionError(f"region {k} lies wholly over nuclei", "delete it, or those nuclei")
        view[take] = k
    gone = edits.delete(nuclei.maps.plane(source), ids, window=box)
    return [(source, gone), (target, edits.changed(frame, box, after))]


@dataclass(frozen=True, slots=True)
class SetNote:
    """Write a note on nuclei."""

    text: str
    ids: Collection[int] | None = None

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        update = {"note": self.text, "author": desk.by.author, "time": desk.by.time}
        return EditPlan(
            "note", rows={k: desk.nuclei.row(k).model_copy(update=update) for k in desk.selection.meant(self.ids)}
        )  # fmt: skip


# -- what a network found ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept one predicted nucleus, clipped to free pixels. Refused where it is there already."""

    label: int

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        return _accept(desk.predicted.nucleus(self.label), desk)


@dataclass(frozen=True, slots=True)
class AcceptInPlace:
    """Accept predicted nuclei in place of those that are there; with `class_`, as nuclei of that class.

    Refused where one of them has no free pixel even then.
    """

    labels: Collection[int]
    class_: ClassLike | None = None

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        chosen = [desk.predicted.nucleus(k) for k in self.labels]
        return _in_place(chosen, self.class_, desk) if chosen else EditPlan("replace")


@dataclass(frozen=True, slots=True)
class AcceptFound:
    """Accept a nucleus that a network has just found at one place (see `Accept`, and `AcceptInPlace`)."""

    found: Found
    in_place: bool = False

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        return _in_place([self.found], None, desk) if self.in_place else _accept(self.found, desk)


def _accept(found: Found, desk: Desk) -> EditPlan:
    new = desk.nuclei.next_id
    change = edits.paste(desk.nuclei.maps.instances, found.stamp, new, max_overlap=MAX_COVERED)
    return EditPlan("accept", [("nuclei", change)], {new: _accepted(found, new, desk.by)})


def _in_place(chosen: list[Found], class_: ClassLike | None, desk: Desk) -> EditPlan:
    maps = desk.nuclei.maps
    rivals = [k for found in chosen for k in desk.predicted.rivals(found.stamp)]
    box = _around([*(found.stamp.box for found in chosen), *(maps.boxes[k] for k in rivals)])
    after = np.array(maps.instances[window(box)])
    after[np.isin(after, rivals)] = 0
    rows: dict[int, NucleusRow | None] = {}
    for new, found in enumerate(chosen, start=desk.nuclei.next_id):
        if not _paste(after, box, found.stamp, new):
            raise SessionError(f"predicted nucleus {found.label} has no free pixel", "delete the nuclei there first")
        row = _accepted(found, new, desk.by)
        if class_ is not None:
            row = row.model_copy(update={"class_id": class_id_of(class_), "class_provenance": "human"})
        rows[new] = row
    return EditPlan("replace", [("nuclei", edits.changed(maps.instances, box, after))], rows)


@dataclass(frozen=True, slots=True)
class AcceptMany:
    """Accept predicted nuclei, in this order; those that are there already stay out."""

    labels: Collection[int]

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        maps, chosen = desk.nuclei.maps, [desk.predicted.nucleus(k) for k in self.labels]
        if not chosen:
            return EditPlan("accept all")
        box = _around([found.stamp.box for found in chosen])
        after = np.array(maps.instances[window(box)])
        rows: dict[int, NucleusRow | None] = {}
        label = desk.nuclei.next_id
        for found in chosen:
            if _paste(after, box, found.stamp, label, MAX_COVERED):
                rows[label] = _accepted(found, label, desk.by)
                label += 1
        return EditPlan("accept all", [("nuclei", edits.changed(maps.instances, box, after))], rows)


@dataclass(frozen=True, slots=True)
class AcceptAll:
    """Accept all `FoundNuclei.candidates` of a region above a confidence, the most confident first."""

    min_confidence: float = 0.5
    region: ArrayLike | None = None

    def plan(self, desk: Desk) -> EditPlan:
        """Plan it."""
        return AcceptMany(desk.predicted.candidates(self.min_confidence, self.region)).plan(desk)


def _around(boxes: list[Box]) -> Box:
    box = boxes[0]
    for each in boxes[1:]:
        box = union(box, each)
    return box


def _accepted(found: Found, label: int, by: Signature) -> NucleusRow:
    return NucleusRow(
        id=label, class_id=found.class_id, provenance="model", class_provenance="model", confidence=found.confidence,
        author=by.author, time=by.time,
    )  # fmt: skip


def _paste(view: NDArray[np.int32], box: Box, stamp: Stamp, label: int, max_covered: float = 1.0) -> bool:
    """Put a nucleus into a part of the map, as `edits.paste` does; False where it is there already."""
    here = stamp.box[0] - box[0], stamp.box[1] - box[1], stamp.box[2] - box[0], stamp.box[3] - box[1]
    part = view[window(here)]
    covered = int(np.count_nonzero(part[stamp.mask]))
    free = edits.largest_piece(stamp.mask & (part == 0))
    if covered > max_covered * stamp.area_px or not free.any():
        return False
    part[free] = label
    return True


#: What makes an edit.
EditCommand: TypeAlias = (
    DrawPolygon | DrawBrush | DrawStamp | EraseBrush | ErasePolygon | Fill | AdoptPaint
    | SplitByStroke | SplitAsSuggested | Merge | Separate | Delete | Reshape | Move
    | SetClass | SetNote | Accept | AcceptInPlace | AcceptFound | AcceptMany | AcceptAll
)  # fmt: skip

# -- what is no edit --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Undo:
    """Take the last edit back; nothing where there is none."""


@dataclass(frozen=True, slots=True)
class Redo:
    """Bring the last undone edit back; nothing where there is none."""


@dataclass(frozen=True, slots=True)
class Select:
    """Select nuclei."""

    ids: Collection[int]
    mode: SelectMode = "replace"


@dataclass(frozen=True, slots=True)
class SelectWithin:
    """Select the nuclei that lie in a polygon or lasso by half of their pixels or more."""

    vertices: ArrayLike
    mode: SelectMode = "replace"
    plane: Plane = "nuclei"


@dataclass(frozen=True, slots=True)
class RebuildBoundary:
    """Draw the boundary of the ternary map anew in a box: it follows from the nuclei, and is no edit."""

    box: Box
    ids: frozenset[int]


#: All that a reader can do to a session.
Command: TypeAlias = EditCommand | Undo | Redo | Select | SelectWithin | RebuildBoundary
