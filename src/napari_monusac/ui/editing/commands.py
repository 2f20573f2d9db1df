"""What keys, buttons and clicks mean: which nucleus, which command. One place for all three."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_monusac.app.actions import ACCEPT, CLICK_INSTEAD, TOOL
from napari_monusac.app.aim import Aim, Meant, Why
from napari_monusac.app.answers import Refused
from napari_monusac.app.outlining import Outliner
from napari_monusac.app.work import error_line
from napari_monusac.core.boxes import overlap
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.commands import (
    Accept,
    AcceptAll,
    AcceptInPlace,
    Command,
    Delete,
    Merge,
    Point,
    Redo,
    Reshape,
    Select,
    SetClass,
    Shaping,
    SplitAsSuggested,
    Undo,
    suggested_split,
)
from napari_monusac.editing.nuclei.rows import class_id_of, class_name
from napari_monusac.editing.predicted import MAX_COVERED
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.marks import boundary_of, outlines_of
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.editing.pixels import SlidePixels
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets import settings as annotate_settings

if TYPE_CHECKING:
    from napari_monusac.editing.nuclei.edit import SessionChange
    from napari_monusac.editing.session import EditingSession

#: Edits that draw a new nucleus.
_DRAWING = ("draw", "brush", "paint")
#: More predicted nuclei than these are accepted in the background.
_AT_ONCE = 200


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
        model = controller.model
        self.outliner = Outliner(model.work, controller.editing, model.prediction)
        self._described: tuple[object, ...] = ()
        self._cut: tuple[int, int, Any] = (0, -1, None)
        #: which tool a key without a nucleus chooses
        self.choose_tool: Callable[[str], None] = lambda _: None
        hear(controller, controller.editing.changed, self._changed)
        controller.session_changed.connect(self.aim.forget)

    def _changed(self, change: SessionChange) -> None:
        """What was just drawn is not meant by the next key, nor is what was selected before it."""
        if change.kind == "edit" and change.name in _DRAWING and change.created:
            self.aim.drew(change.created)
            if self.session is not None:
                self.session.do(Select([]))

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
        return self.session.nuclei.pick(at, self.tolerance())

    def predicted_under(self, point: Point | None = None) -> int:
        """Return the predicted nucleus at a point, by default under the pointer; 0 for none."""
        at = self.pointer if point is None else point
        if self.session is None or at is None or self.controller.model.last_prediction is None:
            return 0
        if not self.controller.ready_prediction():
            return 0
        return self.session.predicted.pick(at, self.tolerance())

    def meant(self) -> Meant:
        """Return what a key is for."""
        if self.session is None:
            return Meant((), Why.NOTHING)
        return self.aim.meant(self.session.selection.ids, self.under(), self._seen())

    def selected_in_view(self) -> list[int]:
        """Return the selected nuclei of which something is seen."""
        return sorted(filter(self._seen(), self.session.selection.ids)) if self.session is not None else []

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

    def _act(self, command: Callable[[list[int]], Command]) -> None:
        """Do a command to the nuclei meant, which flash; say so where there are none."""
        meant = self.meant()
        if not meant.ids:
            line = meant.line(self.words, self.under()) or "Nothing is selected, and no nucleus lies under the pointer"
            self.controller.said.emit(f"{line}.", "hint")
            return
        ids = list(meant.ids)
        self.controller.flash(ids)
        self.controller.do(command(ids))

    def class_meant(self) -> int:
        """Return the class of the nucleus under the pointer, else the one that new nuclei get (its number in a row)."""
        session = self.session
        here = self.aim.pointed(self.under())
        if session is None:
            return 1
        return session.rows[here].class_id if here else self.controller.editing.current_class

    # -- commands

    def set_class(self, key: int, ids: Iterable[int] | None = None) -> None:
        """Set the class (key 0 to 5) of the nuclei meant; new ones get it too."""
        session = self.session
        if session is None:
            return
        wanted = list(self.meant().ids if ids is None else ids)
        if wanted:
            self.controller.flash(wanted)
            self.controller.do(SetClass(key, wanted))
        self.controller.editing.current_class = class_id_of(key)

    def delete(self) -> None:
        """Delete the nuclei meant."""
        self._act(Delete)

    def shape(self, how: Shaping) -> None:
        """Grow, shrink, smooth the nuclei meant, or fill their holes ("grow", "shrink", "smooth", "fill holes")."""
        self._act(lambda ids: Reshape(how, ids))

    def split(self) -> None:
        """Split the nucleus meant where its shape suggests it; without one, or without a neck: the split tool."""
        ids = self.meant().ids
        if len(ids) == 1 and self.suggestion(ids[0]) is not None:
            self._act(lambda these: SplitAsSuggested(these[0]))
            return
        self.choose_tool("split")
        why = "This nucleus has no neck" if len(ids) == 1 else "No single nucleus is meant"
        self.controller.said.emit(
            f"{why}: draw a stroke across the one to split ({TOOL['split'].text} is in hand).", "hint"
        )

    def merge(self) -> None:
        """Merge the selected nuclei; with fewer than two: the merge tool."""
        ids = self.selected_in_view()
        if len(ids) > 1:
            self.controller.flash(ids)
            self.controller.do(Merge(ids=ids))
        else:
            self.choose_tool("merge")
            words = f"Fewer than two are selected: draw a stroke through those that are one ({TOOL['merge'].text} is in hand)."
            self.controller.said.emit(words, "hint")

    def accept(self, point: Point | None = None, *, replace: bool = False) -> None:
        """Accept the predicted nucleus at a point, by default under the pointer; without a prediction the model looks there."""
        at = self.pointer if point is None else point
        if self.session is not None and self.controller.model.last_prediction is None:
            self._outline(at, in_place=replace)
            return
        if self.session is None or not self.controller.ready_prediction():
            return
        label = self.predicted_under(point)
        if not label:
            self.controller.said.emit("There is no predicted nucleus here.", "hint")
            return
        self.controller.do(AcceptInPlace([label]) if replace else Accept(label))

    def _outline(self, at: Point | None, *, in_place: bool) -> None:
        """Take over the nucleus at a point as the model outlines it, in a crop that nobody has predicted."""
        pixels, said = SlidePixels.under(self.controller), self.controller.said
        if at is None:
            said.emit("Point at a nucleus: the model outlines it.", "hint")
        elif pixels is None:
            said.emit("The model needs the colour image of the slide: open it in Slides.", "warning")
        else:
            answer = self.outliner.outline(
                at, pixels.level, pixels.first_px, image=pixels.image, in_place=in_place, tolerance_px=self.tolerance()
            )  # fmt: skip
            if isinstance(answer, Refused):
                said.emit(answer.why, "hint")

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
        change = self.suggestion(label)
        lines = [] if change is None else boundary_of(change.after)
        self.controller.marking.show("cut", [p + np.array(change.box[:2]) for p in lines])

    def show_predicted(self, label: int) -> None:
        """Draw the outline of a predicted nucleus (0: take it away)."""
        session = self.session
        if session is not None:
            self.controller.marking.show("cut", outlines_of([session.predicted.found[label].stamp] if label else []))

    def describe(self) -> str | None:
        """Return what keys act on in words; None where nothing has changed since the last time."""
        session = self.session
        if session is None:
            return None
        meant, under = self.meant(), self.under()
        now = (meant, under, session.history.state, id(session))
        if now == self._described:
            return None
        self._described = now
        return meant.line(self.words, under)

    def words_predicted(self, label: int) -> str:
        """Return a predicted nucleus in words, and whether it can come in."""
        session = self.session
        if session is None or label not in session.predicted.found:
            return ""
        found = session.predicted.found[label]
        sure = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
        there = session.predicted.covered(label) > MAX_COVERED
        what = f"outlined already ({CLICK_INSTEAD}: in its place)" if there else f"click, or {ACCEPT.key}: accept it"
        return f"Predicted {class_name(found.class_id).lower()}{sure}: {what}"

    def words(self, label: int) -> str:
        """Return a nucleus in words: class, area, confidence, who outlined it."""
        session = self.session
        if session is None:
            return ""
        return str(session.nuclei.facts(label)) if label in session.rows else ""
