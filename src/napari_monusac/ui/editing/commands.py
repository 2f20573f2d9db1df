"""What keys, buttons and clicks mean: which nucleus, which command. One place for all three."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_monusac.app.actions import ACCEPT, CLICK_INSTEAD
from napari_monusac.app.aim import Aim, Meant, Why
from napari_monusac.app.work import error_line
from napari_monusac.core.boxes import overlap
from napari_monusac.core.errors import MonusacError, SessionError
from napari_monusac.editing.nuclei.rows import class_name
from napari_monusac.editing.predicted import MAX_COVERED
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.marks import boundary_of, outlines_of
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.widgets import settings as annotate_settings

if TYPE_CHECKING:
    from napari_monusac.editing.history import SessionChange
    from napari_monusac.editing.session import EditingSession

Point = tuple[float, float]
_SHAPING = ("grow", "shrink", "smooth", "fill_holes")
#: Edits that draw a new nucleus.
_DRAWING = ("draw", "brush", "paint")
#: More predicted nuclei than these are accepted in the background.
_AT_ONCE = 200
_WHO = {"file": "from the file", "model": "found by the model"}


class Commands:
    """Commands of the reader on the session of a controller.

    What a key acts on is the rule of `app.aim`: the selected nuclei in view, else the one under the pointer.

    Parameters
    ----------
    controller : EditingController
        Whose session is meant.
    """

    def __init__(self, controller: EditingController) -> None:
        self.controller = controller
        self.pointer: Point | None = None
        self.aim = Aim()
        self._described: tuple[object, ...] = ()
        self._cut: tuple[int, int, Any] = (0, -1, None)
        #: least confidence (0 to 1) of predicted nuclei that are accepted in bulk
        self.min_confidence = 0.5
        #: which tool a key without a nucleus chooses
        self.choose_tool: Callable[[str], None] = lambda _: None
        controller.changed.connect(self._changed)
        controller.session_changed.connect(self.aim.forget)

    def _changed(self, change: SessionChange) -> None:
        """What was just drawn is not meant by the next key, nor is what was selected before it."""
        if change.kind == "edit" and change.name in _DRAWING and change.created:
            self.aim.drew(change.created)
            if self.session is not None:
                self.session.select([])

    @property
    def session(self) -> EditingSession | None:
        """The session, if a crop is open."""
        return self.controller.session

    # -- what is meant

    def tolerance(self) -> float:
        """By how many image px a click may miss, at the present zoom."""
        layers = self.controller.layers
        layer = layers.get("nuclei") if layers is not None else None
        scale = float(layer.scale[-1]) if layer is not None else 1.0
        zoom = max(1e-6, float(self.controller.viewer.scene.camera.zoom) * scale)
        return min(12.0, max(0.71, annotate_settings.tolerance_px() / zoom))

    def moved(self, point: Point) -> None:
        """The pointer is here now."""
        self.pointer = point
        self.aim.moved(self.under())

    def left(self) -> None:
        """The pointer is off the canvas, or the crop is another one: keys mean the selection alone."""
        self.pointer = None
        self.aim.rested()

    def stepped(self) -> None:
        """The reader stepped to a nucleus: the pointer means nothing until it moves."""
        self.aim.rested()

    def under(self, point: Point | None = None) -> int:
        """Return the nucleus or region at a point, by default under the pointer; 0 for none."""
        at = self.pointer if point is None else point
        if self.session is None or at is None:
            return 0
        return self.session.pick(at, self.tolerance())

    def predicted_under(self, point: Point | None = None) -> int:
        """Return the predicted nucleus at a point, by default under the pointer; 0 for none."""
        at = self.pointer if point is None else point
        if self.session is None or at is None or self.controller.model.last_prediction is None:
            return 0
        if not self.controller.ready_prediction():
            return 0
        return self.session.pick_predicted(at, self.tolerance())

    def meant(self) -> Meant:
        """Return what a key is for."""
        if self.session is None:
            return Meant((), Why.NOTHING)
        return self.aim.meant(self.session.selected, self.under(), self._seen())

    def selected_in_view(self) -> list[int]:
        """Return the selected nuclei of which something is seen."""
        return sorted(filter(self._seen(), self.session.selected)) if self.session is not None else []

    def _seen(self) -> Callable[[int], bool]:
        """Return what tells whether some of a nucleus is seen in the window."""
        session, layers = self.session, self.controller.layers
        layer = layers.get("nuclei") if layers is not None else None
        if session is None or layer is None:
            return lambda _: True
        corners, boxes = canvas.view_corners(self.controller.viewer, layer), session.maps.boxes
        (top, left), (bottom, right) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        view = int(top), int(left), int(bottom), int(right)
        return lambda label: label in boxes and overlap(boxes[label], view) is not None

    def _act(self, command: Callable[[EditingSession, list[int]], object]) -> None:
        """Run a command on the nuclei meant, which flash; say so where there are none."""
        meant = self.meant()
        if not meant.ids:
            line = meant.line(self.words, self.under()) or "Nothing is selected, and no nucleus lies under the pointer"
            self.controller.said.emit(f"{line}.", "hint")
            return
        ids = list(meant.ids)
        self.controller.flash(ids)
        self.controller.run(lambda s: command(s, ids))

    def class_meant(self) -> int:
        """Return the class of the nucleus under the pointer, else the one that new nuclei get (its number in a row)."""
        session = self.session
        here = self.aim.pointed(self.under())
        if session is None:
            return 1
        return session.rows[here].class_id if here else session.current_class

    # -- commands

    def set_class(self, key: int, ids: Iterable[int] | None = None) -> None:
        """Set the class (key 0 to 5) of the nuclei meant; new ones get it too."""
        session = self.session
        if session is None:
            return
        wanted = list(self.meant().ids if ids is None else ids)
        if wanted:
            self.controller.flash(wanted)
            self.controller.run(lambda s: s.set_class(key, wanted))
        session.current_class = key
        if self.controller.layers is not None:
            self.controller.layers.set_new_class(session.current_class)
        self.controller.class_changed.emit()

    def delete(self) -> None:
        """Delete the nuclei meant."""
        self._act(lambda s, ids: s.delete(ids))

    def shape(self, how: str) -> None:
        """Grow, shrink, smooth the nuclei meant, or fill their holes ("grow", "shrink", "smooth", "fill_holes")."""
        if how in _SHAPING:
            self._act(lambda s, ids: getattr(s, how)(ids))

    def split(self) -> None:
        """Split the nucleus meant where its shape suggests it; without one, or without a neck: the split tool."""
        ids = self.meant().ids
        if len(ids) == 1 and self.suggestion(ids[0]) is not None:
            self._act(lambda s, these: s.split_as_suggested(these[0]))
        else:
            self.choose_tool("split")

    def merge(self) -> None:
        """Merge the selected nuclei; with fewer than two: the merge tool."""
        ids = self.selected_in_view()
        if len(ids) > 1:
            self.controller.flash(ids)
            self.controller.run(lambda s: s.merge(ids=ids))
        else:
            self.choose_tool("merge")

    def accept(self, point: Point | None = None, *, replace: bool = False) -> None:
        """Accept the predicted nucleus at a point, by default under the pointer."""
        if self.session is None or not self.controller.ready_prediction():
            return
        label = self.predicted_under(point)
        if not label:
            self.controller.said.emit("There is no predicted nucleus here.", "hint")
            return
        self.controller.run(lambda s: s.accept(label, replace=replace))

    def accept_all(self, region: Any = None) -> None:
        """Accept all predicted nuclei above the confidence, in a polygon (y, x) or everywhere; many in a worker."""
        session, controller = self.session, self.controller
        if session is None or not controller.ready_prediction():
            return
        least, before = self.min_confidence, len(session.rows)
        if len(session.predicted) <= _AT_ONCE or controller.busy:
            if controller.run(lambda s: s.accept_all(least, region)) and not controller.busy:
                self._say_accepted(len(session.rows) - before)
            return
        task = controller.exclusively(lambda s: s.accept_all(least, region))
        if task is not None:
            controller.said.emit("Accepting…", "hint")
            task.failed.connect(lambda error: controller.said.emit(error_line(error), "error"))
            task.done.connect(lambda _: self._say_accepted(len(session.rows) - before))
            task.start()

    def _say_accepted(self, number: int) -> None:
        words = f"{number} predicted nuclei accepted." if number else "Nothing left to accept here."
        words = "One predicted nucleus accepted." if number == 1 else words
        self.controller.said.emit(words, "good" if number else "hint")

    def undo(self) -> None:
        """Take the last edit back."""
        self.controller.run(lambda s: s.undo() if s.can_undo else None)

    def redo(self) -> None:
        """Bring the last undone edit back."""
        self.controller.run(lambda s: s.redo() if s.can_redo else None)

    # -- seeing

    def suggestion(self, label: int) -> Any:
        """Return the suggested split of a nucleus, remembered until the next edit; None for none."""
        session = self.session
        if session is None or not label:
            return None
        if self._cut[:2] != (label, session.state):
            try:
                change = session.suggested_split(label)
            except SessionError:
                change = None
            self._cut = (label, session.state, change)
        return self._cut[2]

    def show_cut(self, label: int) -> None:
        """Draw where a nucleus would be split (0: take the line away)."""
        marks, change = self.controller.marks, self.suggestion(label)
        if marks is not None:
            lines = [] if change is None else boundary_of(change.after)
            marks.show("cut", [p + np.array(change.box[:2]) for p in lines])

    def show_predicted(self, label: int) -> None:
        """Draw the outline of a predicted nucleus (0: take it away)."""
        marks, session = self.controller.marks, self.session
        if marks is not None and session is not None:
            marks.show("cut", outlines_of([session.predicted[label].stamp] if label else []))

    def describe(self) -> str | None:
        """Return what keys act on in words; None where nothing has changed since the last time."""
        session = self.session
        if session is None:
            return None
        meant, under = self.meant(), self.under()
        now = (meant, under, session.state, id(session))
        if now == self._described:
            return None
        self._described = now
        return meant.line(self.words, under)

    def words_predicted(self, label: int) -> str:
        """Return a predicted nucleus in words, and whether it can come in."""
        session = self.session
        if session is None or label not in session.predicted:
            return ""
        found = session.predicted[label]
        sure = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
        there = session.covered(label) > MAX_COVERED
        what = f"outlined already ({CLICK_INSTEAD}: in its place)" if there else f"click, or {ACCEPT.key}: accept it"
        return f"Predicted {class_name(found.class_id).lower()}{sure}: {what}"

    def words(self, label: int) -> str:
        """Return a nucleus in words: class, area, confidence, who outlined it."""
        session = self.session
        if session is None:
            return ""
        try:
            facts = session.facts(label)
        except MonusacError:
            return ""
        row = facts.row
        area = f"{facts.area_px} px" if facts.area_um2 is None else f"{facts.area_um2:.0f} µm²"
        who = _WHO.get(row.provenance) or (f"outlined by {row.author}" if row.author else "outlined by hand")
        if row.class_provenance != row.provenance and row.class_provenance == "human":
            who += f", classified by {row.author}" if row.author else ", classified by hand"
        sure = [] if row.confidence is None else [f"confidence {row.confidence:.2f}"]
        note = [f"note: {row.note}"] if row.note else []
        return ", ".join([f"{row.class_name} {label}", area, *sure, who, *note])
