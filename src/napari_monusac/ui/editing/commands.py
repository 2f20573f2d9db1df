"""What keys, buttons and clicks mean: which nucleus, which command. One place for all three."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_monusac.app.work import error_line
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.commands import (
    Accept,
    AcceptAll,
    AcceptInPlace,
    Delete,
    Merge,
    Redo,
    Reshape,
    SetClass,
    Shaping,
    SplitAsSuggested,
    Undo,
    suggested_split,
)
from napari_monusac.editing.nuclei.rows import class_id_of, class_name
from napari_monusac.editing.predicted import MAX_COVERED
from napari_monusac.ui.canvas.marks import boundary_of, outlines_of
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.widgets import settings as annotate_settings

if TYPE_CHECKING:
    from napari_monusac.editing.session import EditingSession

Point = tuple[float, float]
#: More predicted nuclei than these are accepted in the background.
_AT_ONCE = 200


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
        return self.session.nuclei.pick(at, self.tolerance())

    def predicted_under(self, point: Point | None = None) -> int:
        """Return the predicted nucleus at a point, by default under the pointer; 0 for none."""
        at = self.pointer if point is None else point
        if self.session is None or at is None or self.controller.model.last_prediction is None:
            return 0
        if not self.controller.ready_prediction():
            return 0
        return self.session.predicted.pick(at, self.tolerance())

    def meant(self) -> list[int]:
        """Return the nuclei that a key is for."""
        if self.session is None:
            return []
        selected = sorted(self.session.selection.ids)
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
        return session.rows[here].class_id if here else self.controller.editing.current_class

    # -- commands

    def set_class(self, key: int, ids: Iterable[int] | None = None) -> None:
        """Set the class (key 0 to 5) of the nuclei meant; new ones get it too."""
        session = self.session
        if session is None:
            return
        wanted = self.meant() if ids is None else list(ids)
        if wanted:
            self.controller.do(SetClass(key, wanted))
        self.controller.editing.current_class = class_id_of(key)

    def delete(self) -> None:
        """Delete the nuclei meant."""
        ids = self.meant()
        self.controller.do(Delete(ids))

    def shape(self, how: Shaping) -> None:
        """Grow, shrink, smooth the nuclei meant, or fill their holes ("grow", "shrink", "smooth", "fill holes")."""
        self.controller.do(Reshape(how, self.meant()))

    def split(self) -> None:
        """Split the nucleus meant where its shape suggests it; without one, or without a neck: the split tool."""
        ids = self.meant()
        if len(ids) == 1 and self.suggestion(ids[0]) is not None:
            self.controller.do(SplitAsSuggested(ids[0]))
        else:
            self.choose_tool("split")

    def merge(self) -> None:
        """Merge the selected nuclei; with fewer than two: the merge tool."""
        session = self.session
        ids = sorted(session.selection.ids) if session is not None else []
        if len(ids) > 1:
            self.controller.do(Merge(ids=ids))
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
        self.controller.do(AcceptInPlace([label]) if replace else Accept(label))

    def accept_all(self, region: Any = None) -> None:
        """Accept all predicted nuclei above the confidence, in a polygon (y, x) or everywhere; many in a worker."""
        session, controller = self.session, self.controller
        if session is None or not controller.ready_prediction():
            return
        least, before = controller.editing.min_confidence, len(session.rows)
        if len(session.predicted.found) <= _AT_ONCE or controller.busy:
            if controller.do(AcceptAll(least, region)) and not controller.busy:
                self._say_accepted(len(session.rows) - before)
            return
        task = controller.exclusively(lambda s: s.do(AcceptAll(least, region)))
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
        self.controller.do(Undo())

    def redo(self) -> None:
        """Bring the last undone edit back."""
        self.controller.do(Redo())

    # -- seeing

    def suggestion(self, label: int) -> Any:
        """Return the suggested split of a nucleus, remembered until the next edit; None for none."""
        session = self.session
        if session is None or not label:
            return None
        if self._cut[:2] != (label, session.history.state):
            try:
                change = suggested_split(session.nuclei, label)
            except SessionError:
                change = None
            self._cut = (label, session.history.state, change)
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
            marks.show("cut", outlines_of([session.predicted.found[label].stamp] if label else []))

    def describe(self) -> str | None:
        """Return what was pointed at or stepped to in words; None where nothing has changed since the last time."""
        session = self.session
        if session is None:
            return None
        label = self.under() if self._moved else min(session.selection.ids, default=0)
        now = (label, session.history.state, id(session))
        if now == self._described:
            return None
        self._described = now
        return self.words(label) if label else ""

    def words_predicted(self, label: int) -> str:
        """Return a predicted nucleus in words, and whether it can come in."""
        session = self.session
        if session is None or label not in session.predicted.found:
            return ""
        found = session.predicted.found[label]
        sure = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
        there = session.predicted.covered(label) > MAX_COVERED
        what = "outlined already (Shift+click: in its place)" if there else "click, or A: accept it"
        return f"Predicted {class_name(found.class_id).lower()}{sure}: {what}"

    def words(self, label: int) -> str:
        """Return a nucleus in words: class, area, confidence, who outlined it."""
        session = self.session
        if session is None:
            return ""
        return str(session.nuclei.facts(label)) if label in session.rows else ""
