"""Editing of the open crop as state: which session, which tool, what is selected, what waits. No Qt, no napari.

One model a window. The panel, the tools on the canvas and the layers are views on it: whatever becomes of them changes
nothing here.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from psygnal import Signal

from napari_monusac.app.facts import Fact, never
from napari_monusac.app.work import Report, Task, Work, error_line
from napari_monusac.core.errors import MonusacError

if TYPE_CHECKING:
    from napari_monusac.app.place import Place
    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.editing.commands import Command
    from napari_monusac.editing.nuclei.edit import SessionChange
    from napari_monusac.editing.session import EditingSession

    OpenPrediction: TypeAlias = tuple[Prediction, Nuclei]
    #: What is called with a change once it is made.
    Then: TypeAlias = Callable[[SessionChange], object]

_NO_PREDICTION = "Open a stored prediction below, or predict this crop (Predict); then its nuclei can be accepted."


@dataclass(frozen=True, slots=True)
class Question:
    """Something the reader must decide, shown in the panel with one button an answer; nothing waits for it."""

    text: str
    answers: tuple[tuple[str, Callable[[], object]], ...]
    kind: str = "warning"


class LayerFault(Enum):
    """What keeps a layer from showing the crop."""

    GONE = "was deleted"
    HIDDEN = "is hidden"
    MOVED = "was moved off the tissue"


@dataclass(frozen=True, slots=True)
class AstrayLayer:
    """A layer that does not show the crop as it is.

    Attributes
    ----------
    role : str
        What it is to us: "image", "nuclei", "ambiguous".
    name : str
        What it is called in the list of layers.
    fault : LayerFault
    """

    role: str
    name: str
    fault: LayerFault

    def __str__(self) -> str:
        return f"“{self.name}” {self.fault.value}"


class Editing:
    """What is edited in a window, and how.

    Parameters
    ----------
    work : Work
        The window's background work.

    Attributes
    ----------
    place : Place or None
        Which crop is open, and the file that its edits go into (`place_changed`). It is told where a crop comes in, and
        nothing that is done to the layers of the viewer changes it.
    opening : bool
        Its session is being opened (`opening_changed`).
    session : EditingSession or None
        Of the open crop (`session_changed`); see `take` and `leave`.
    tool : str
        Which tool is in hand; empty: one of napari's own that has no name here (`tool_changed`; also where the same is chosen again).
    current_class : int
        Class of new nuclei, its number in a row (`current_class_changed`; also where the same is chosen
        again).
    selected : frozenset of int
        The selected nuclei (`selected_changed`). `do(Select(...))` changes them.
    unsaved : bool
        Whether there are edits that no file has yet (`unsaved_changed`).
    busy : bool
        The session is being saved: commands wait until it is through (`busy_changed`).
    question : Question or None
        A decision that is offered to the reader (`question_changed`).
    min_confidence : float
        Least confidence, 0 to 1, of predicted nuclei that are accepted many at a time (`min_confidence_changed`).

    astray : tuple of AstrayLayer
        Layers that do not show the crop as it is, by what the reader did to them (`astray_changed`).

    Notes
    -----
    Messages that are no state: `acting` (a command is about to be done: who holds paint that the session does not know
    hands it over first), `changed` (a `SessionChange` in the window's thread), `said` (a line for the reader, its kind).
    """

    place_changed = Signal(object)
    opening_changed = Signal(bool)
    session_changed = Signal(object)
    astray_changed = Signal(tuple)
    tool_changed = Signal(str)
    current_class_changed = Signal(int)
    selected_changed = Signal(object)
    unsaved_changed = Signal(bool)
    busy_changed = Signal(bool)
    question_changed = Signal(object)
    min_confidence_changed = Signal(float)

    acting = Signal()
    changed = Signal(object)
    said = Signal(str, str)

    place: Fact[Place | None] = Fact("place_changed", None)
    opening: Fact[bool] = Fact("opening_changed", False, operator.eq)
    astray: Fact[tuple[AstrayLayer, ...]] = Fact("astray_changed", (), operator.eq)
    session: Fact[EditingSession | None] = Fact("session_changed", None)
    tool: Fact[str] = Fact("tool_changed", "pick", never)
    current_class: Fact[int] = Fact("current_class_changed", 1, never)
    selected: Fact[frozenset[int]] = Fact("selected_changed", frozenset(), operator.eq)
    unsaved: Fact[bool] = Fact("unsaved_changed", False, operator.eq)
    busy: Fact[bool] = Fact("busy_changed", False, operator.eq)
    question: Fact[Question | None] = Fact("question_changed", None)
    min_confidence: Fact[float] = Fact("min_confidence_changed", 0.5, operator.eq)

    def __init__(self, work: Work) -> None:
        self._work = work
        self._thread = threading.get_ident()
        self._waiting: list[tuple[Command, Then | None]] = []
        self._late: list[SessionChange] = []
        self._predicted_from: object = None
        self.current_class_changed.connect(self._tell_class)

    # -- which session

    def take(self, session: EditingSession) -> None:
        """Edit the nuclei of this session from now on."""
        self.current_class = session.selection.current_class
        session.listen(self._heard)
        self.session = session
        self._follow()

    def leave(self) -> EditingSession | None:
        """Let go of the session, if there is one, and return it. Commands that wait for it are dropped."""
        session, self.session = self.session, None
        self._waiting.clear()
        self._predicted_from = None
        self._follow()
        return session

    def _follow(self) -> None:
        session = self.session
        self.selected = frozenset() if session is None else session.selection.ids
        self.unsaved = session is not None and session.unsaved

    def _tell_class(self, number: int) -> None:
        if self.session is not None:
            self.session.selection.current_class = number

    def in_slide(self, offset_px: tuple[int, int]) -> tuple[int, int]:
        """Return where a pixel of the image layer lies in the slide, of which the layer may show a part."""
        first = self.place.image_offset_px if self.place is not None else (0, 0)
        return offset_px[0] + first[0], offset_px[1] + first[1]

    # -- changing it

    def do(self, command: Command, then: Then | None = None) -> bool:
        """Do a command now, or after the saving that is under way; False, and a line, where it could not be done.

        `then`: called with what changed, if anything did.
        """
        if self.session is None:
            self.said.emit("Open a crop first (Slides).", "hint")
            return False
        if self.busy:
            self._waiting.append((command, then))
            return True
        self.acting.emit()
        try:
            change = self.session.do(command)
        except MonusacError as error:
            self.said.emit(error_line(error), "warning")
            return False
        self.said.emit("", "hint")
        if change is not None and then is not None:
            then(change)
        return True

    def exclusively(self, work: Callable[[EditingSession], Any], owner: object) -> Task | None:
        """Run something long on the session in the background; commands wait until it is through. Not started yet."""
        session = self.session
        if session is None or self.busy:
            return None
        self.acting.emit()
        self.busy = True

        def in_thread(_: Report) -> Any:
            return work(session)

        task = self._work.task(in_thread, owner)
        task.finished.connect(self._free)
        return task

    def _free(self) -> None:
        self.busy = False
        late, self._late = self._late, []
        for change in late:
            self._tell(change)
        waiting, self._waiting = self._waiting, []
        for command, then in waiting:
            self.do(command, then)

    def _heard(self, change: SessionChange) -> None:
        if threading.get_ident() != self._thread:
            self._late.append(change)  # told by a saving in the background: shown when that is through
        else:
            self._tell(change)

    def _tell(self, change: SessionChange) -> None:
        self._follow()
        self.changed.emit(change)

    # -- what a network found

    def ready_prediction(self, latest: OpenPrediction | None) -> bool:
        """Hand a prediction to the session; False, and a line for the reader, where there is none that fits.

        Parameters
        ----------
        latest : tuple of (Prediction, Nuclei), or None
            The newest of the open crop; it counts from the image layer's first pixel.
        """
        session = self.session
        if session is None:
            return False
        if latest is None:
            self.said.emit(_NO_PREDICTION, "hint")
            return False
        if self._predicted_from is not latest:
            prediction, nuclei = latest
            try:
                session.predicted.set(nuclei.instances, nuclei.table, self.in_slide(prediction.offset_px))
            except MonusacError as error:
                self.said.emit(error_line(error), "warning")
                return False
            self._predicted_from = latest
        return True
