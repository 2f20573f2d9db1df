"""What keys, buttons and clicks mean: which nucleus, which command. One place for all three."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_monusac.app.work import error_line
from napari_monusac.core.errors import MonusacError, SessionError
from napari_monusac.editing.nuclei.rows import class_name
from napari_monusac.editing.predicted import MAX_COVERED
from napari_monusac.ui.canvas.marks import boundary_of, outlines_of
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.widgets import settings as annotate_settings

if TYPE_CHECKING:
    from napari_monusac.editing.session import EditingSession

Point = tuple[float, float]
_SHAPING = ("grow", "shrink", "smooth", "fill_holes")
#: More predicted nuclei than these are accepted in the background.
_AT_ONCE = 200
_WHO = {"file": "from the file", "model": "found by the model"}


class Commands:
    """Commands of the reader on the session of a controller.

    A key acts on the selected nuclei if several are selected, else on what was pointed at last: the nucleus under the
    pointer, or the one that was stepped to.

    Parameters
    ----------
    controller : EditingController
        Whose session is meant.
    """

    def __init__(self, controller: EditingController) -> None:
        self.controller = controller
        self.pointer: Point | None = None
        self._moved = False
        self._described: tuple[object, ...] = ()
        self._cut: tuple[int, int, Any] = (0, -1, None)
        #: least confidence (0 to 1) of predicted nuclei that are accepted in bulk
        self.min_confidence = 0.5
        #: which tool a key without a nucleus chooses
        self.choose_tool: Callable[[str], None] = lambda _: None

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
        self.pointer, self._moved = point, True

    def left(self) -> None:
        """The pointer is off the canvas, or the crop is another one: keys mean the selection alone."""
        self.pointer, self._moved = None, False

    def stepped(self) -> None:
        """The reader stepped to a nucleus: keys mean that one until the pointer moves."""
        self._moved = False

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

    def meant(self) -> list[int]:
        """Return the nuclei that a key is for."""
        if self.session is None:
            return []
        selected = sorted(self.session.selected)
        if selected and (len(selected) > 1 or not self._moved):
            return selected
        here = self.under()
        return [here] if here else selected

    def class_meant(self) -> int:
        """Return the class of the nucleus under the pointer, else the one that new nuclei get (its number in a row)."""
        session = self.session
        here = self.under() if self._moved else 0
        if session is None:
            return 1
        return session.rows[here].class_id if here else session.current_class

    # -- commands

    def set_class(self, key: int, ids: Iterable[int] | None = None) -> None:
        """Set the class (key 0 to 5) of the nuclei meant; new ones get it too."""
        session = self.session
        if session is None:
            return
        wanted = self.meant() if ids is None else list(ids)
        if wanted:
            self.controller.run(lambda s: s.set_class(key, wanted))
        session.current_class = key
        if self.controller.layers is not None:
            self.controller.layers.set_new_class(session.current_class)
        self.controller.class_changed.emit()

    def delete(self) -> None:
        """Delete the nuclei meant."""
        ids = self.meant()
        self.controller.run(lambda s: s.delete(ids))

    def shape(self, how: str) -> None:
        """Grow, shrink, smooth the nuclei meant, or fill their holes ("grow", "shrink", "smooth", "fill_holes")."""
        if how in _SHAPING:
            ids = self.meant()
            self.controller.run(lambda s: getattr(s, how)(ids))

    def split(self) -> None:
        """Split the nucleus meant where its shape suggests it; without one, or without a neck: the split tool."""
        ids = self.meant()
        if len(ids) == 1 and self.suggestion(ids[0]) is not None:
            self.controller.run(lambda s: s.split_as_suggested(ids[0]))
        else:
            self.choose_tool("split")

    def merge(self) -> None:
        """Merge the selected nuclei; with fewer than two: the merge tool."""
        session = self.session
        ids = sorted(session.selected) if session is not None else []
        if len(ids) > 1:
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
        """Return what was pointed at or stepped to in words; None where nothing has changed since the last time."""
        session = self.session
        if session is None:
            return None
        label = self.under() if self._moved else min(session.selected, default=0)
        now = (label, session.state, id(session))
        if now == self._described:
            return None
        self._described = now
        return self.words(label) if label else ""

    def words_predicted(self, label: int) -> str:
        """Return a predicted nucleus in words, and whether it can come in."""
        session = self.session
        if session is None or label not in session.predicted:
            return ""
        found = session.predicted[label]
        sure = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
        there = session.covered(label) > MAX_COVERED
        what = "outlined already (Shift+click: in its place)" if there else "click, or A: accept it"
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
