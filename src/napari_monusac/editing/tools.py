"""The tools of a session: each makes one command out of a function of `masks.edits`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from numpy.typing import ArrayLike

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.history import SessionChange, now
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane, class_id_of
from napari_monusac.editing.relabel import Relabelling
from napari_monusac.masks import edits
from napari_monusac.masks.change import Change
from napari_monusac.masks.edits import Over
from napari_monusac.masks.partition import labels_on_path
from napari_monusac.masks.strokes import Stamp, brush_stamp, polygon_stamp

Point = tuple[float, float]


class Tools(Relabelling):
    """Tools, each an undoable command. Points and paths are (y, x) in px; `ids` defaults to the selection.

    A tool returns what changed, or None where nothing did; it raises `SessionError` where it cannot do what was meant,
    and then nothing has changed.
    """

    # -- drawing ------------------------------------------------------------------------------------------------------

    def draw_polygon(
        self, vertices: ArrayLike, *, into: int | None = None, class_: int | str | None = None, over: Over = "free"
    ) -> SessionChange | None:
        """Draw a polygon or lasso: a new nucleus, or more of nucleus `into`.

        Parameters
        ----------
        vertices : (n, 2)
            Outline, px.
        into : int, optional
            Add to this nucleus; by default a new one is made.
        class_ : int or str, optional
            Class of the new one (key 0 to 5 or name); by default `current_class`.
        over : {"free", "all"}
            Whether other nuclei keep their pixels, or what is drawn wins.

        Raises
        ------
        SessionError
            Nothing is free there, or `into` does not exist.
        """
        return self._draw("draw", polygon_stamp(vertices, self.shape), into, class_, over)

    def draw_brush(
        self,
        path: ArrayLike,
        diameter_px: float,
        *,
        into: int | None = None,
        class_: int | str | None = None,
        over: Over = "free",
    ) -> SessionChange | None:
        """Draw with a round brush along a path: a new nucleus, or more of nucleus `into` (see `draw_polygon`).

        Raises
        ------
        SessionError
            Nothing is free there, or `into` does not exist.
        """
        return self._draw("brush", brush_stamp(path, diameter_px, self.shape), into, class_, over)

    def _draw(
        self, name: str, stamp: Stamp, into: int | None, class_: int | str | None, over: Over
    ) -> SessionChange | None:
        class_id = self._class_for_new() if class_ is None else class_id_of(class_)
        plane: Plane = "ambiguous" if class_id == AMBIGUOUS_ID else "nuclei"
        if into is not None:
            plane = self.row(into).plane
        label = self.next_id if into is None else into
        change = edits.draw(self.maps.plane(plane), stamp, label, over=over, one_piece=into is None)
        if change.is_empty:
            raise SessionError("nothing is free under this stroke", "draw beside the nuclei, or let the stroke win")
        rows = (
            {} if into is not None else {label: NucleusRow(id=label, class_id=class_id, author=self.author, time=now())}
        )
        return self._do(name, [(plane, change)], rows)

    def erase_brush(
        self, path: ArrayLike, diameter_px: float, *, ids: Iterable[int] | None = None, plane: Plane = "nuclei"
    ) -> SessionChange | None:
        """Rub out along a path: every nucleus, or `ids` alone (what lies hidden below those then shows)."""
        return self._erase(brush_stamp(path, diameter_px, self.shape), ids, plane)

    def erase_polygon(
        self, vertices: ArrayLike, *, ids: Iterable[int] | None = None, plane: Plane = "nuclei"
    ) -> SessionChange | None:
        """Rub out within a polygon or lasso (see `erase_brush`)."""
        return self._erase(polygon_stamp(vertices, self.shape), ids, plane)

    def _erase(self, stamp: Stamp, ids: Iterable[int] | None, plane: Plane) -> SessionChange | None:
        some = None if ids is None else list(ids)
        change = edits.erase(self.maps.plane(plane), stamp, some)
        return self._do("erase", [(plane, change)], freed="clear" if some is None else "reveal")

    def fill(self, point: Point, *, into: int | None = None, plane: Plane = "nuclei") -> SessionChange | None:
        """Fill the closed area under a point (a gap, a hole) as a new nucleus, or as a part of `into`.

        Raises
        ------
        SessionError
            The area is open, too large, or `into` already.
        """
        frame = self.maps.plane(plane)
        return self._do("fill", [(plane, edits.fill(frame, point, self.next_id if into is None else into))])

    # -- how many -----------------------------------------------------------------------------------------------------

    def split(self, path: ArrayLike, *, label: int | None = None, plane: Plane = "nuclei") -> SessionChange | None:
        """Cut the nuclei that a stroke crosses (or `label` alone) in two; the parts keep the class.

        Raises
        ------
        SessionError
            The stroke crosses none from edge to edge.
        """
        where = self.row(label).plane if label is not None else plane
        change = edits.split(self.maps.plane(where), path, self.next_id, label=label, boxes=self.maps.boxes)
        return self._do("split", [(where, change)])

    def merge(
        self, path: ArrayLike = (), *, ids: Sequence[int] | None = None, plane: Plane = "nuclei"
    ) -> SessionChange | None:
        """Make one nucleus of those that a stroke runs through, or of `ids`; the first keeps its number and class.

        Raises
        ------
        SessionError
            There are fewer than two, or they lie too far apart.
        """
        if ids is not None:
            planes = {self.row(k).plane for k in ids}
            if len(planes) > 1:
                raise SessionError("a nucleus and an Ambiguous region cannot become one", "choose one kind")
            plane = planes.pop() if planes else plane
        frame = self.maps.plane(plane)
        found = list(ids) if ids is not None else list(labels_on_path(frame, path))
        where = self._window_of(found) if len(found) > 1 else None
        return self._do("merge", [(plane, edits.merge(frame, path, labels=found, window=where))])

    def separate(self, label: int) -> SessionChange | None:
        """Make the further pieces of a nucleus nuclei of their own; crumbs go."""
        plane = self.row(label).plane
        change = edits.split_fragments(self.maps.plane(plane), label, self.next_id, box=self.maps.boxes.get(label))
        return self._do("separate", [(plane, change)])

    def suggested_split(self, label: int) -> Change | None:
        """Show how a clump would be split by its shape, without doing it; None where it looks like one nucleus."""
        plane = self.row(label).plane
        return edits.suggest_split(self.maps.plane(plane), label, self.next_id, box=self.maps.boxes.get(label))

    def split_as_suggested(self, label: int) -> SessionChange | None:
        """Split a clump as `suggested_split` shows.

        Raises
        ------
        SessionError
            It looks like one nucleus.
        """
        change = self.suggested_split(label)
        if change is None:
            raise SessionError(f"nucleus {label} has no neck to split it at", "draw a stroke across it")
        return self._do("split", [(self.row(label).plane, change)])

    def delete(self, ids: Iterable[int] | None = None) -> SessionChange | None:
        """Delete nuclei; what lies hidden below them comes back."""
        wanted = self._meant(ids)
        seen = [(p, edits.delete(self.maps.plane(p), some, window=self._window_of(some)))
                for p, some in self._by_plane(k for k in wanted if k in self.maps.boxes)]  # fmt: skip
        return self._do("delete", seen, dict.fromkeys(wanted))

    # -- shape --------------------------------------------------------------------------------------------------------

    def grow(self, ids: Iterable[int] | None = None) -> SessionChange | None:
        """Grow nuclei by 1 px into the background."""
        return self._shape("grow", ids)

    def shrink(self, ids: Iterable[int] | None = None) -> SessionChange | None:
        """Take 1 px off the edge of nuclei.

        Raises
        ------
        SessionError
            One of them would vanish.
        """
        return self._shape("shrink", ids)

    def smooth(self, ids: Iterable[int] | None = None) -> SessionChange | None:
        """Round the edges of nuclei."""
        return self._shape("smooth", ids)

    def fill_holes(self, ids: Iterable[int] | None = None) -> SessionChange | None:
        """Fill the background that nuclei enclose."""
        return self._shape("fill holes", ids)

    def _shape(self, name: str, ids: Iterable[int] | None) -> SessionChange | None:
        tools = {"grow": edits.grow, "shrink": edits.shrink, "smooth": edits.smooth, "fill holes": edits.fill_holes}
        planned = [
            (plane, tools[name](self.maps.plane(plane), some, window=self._window_of(some)))
            for plane, some in self._by_plane(self._meant(ids))
        ]
        return self._do(name, planned)
