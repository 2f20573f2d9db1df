"""The editing of one viewer: the session of the open crop, its layers, and what keeps them in step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QThread, QTimer, Signal

from napari_monusac.core.errors import MonusacError
from napari_monusac.ui import annotate_settings, canvas
from napari_monusac.ui.editing_layers import PAINTED, SessionLayers
from napari_monusac.ui.editing_marks import Marks, outlines_of
from napari_monusac.ui.editing_opening import Place, SessionOpener, how_it_opened, place_of
from napari_monusac.ui.editing_paint import Paint
from napari_monusac.ui.model import StudioModel, studio_model
from napari_monusac.ui.work import Report, Task, error_line

if TYPE_CHECKING:
    from napari_monusac.session.history import SessionChange
    from napari_monusac.session.session import EditingSession

#: Counts and tables follow an edit after this long: a burst of edits updates them once.
_SETTLE_MS = 120
#: The outlines of so many selected nuclei are drawn, not more.
_MOST_OUTLINED = 300


@dataclass(frozen=True, slots=True)
class Question:
    """Something the reader must decide, shown in the panel with one button an answer; nothing waits for it."""

    text: str
    answers: tuple[tuple[str, Callable[[], object]], ...]
    kind: str = "warning"


class EditingController(QObject):
    """Keeps session, layers and marks of one viewer in step. Panels and tools talk to it; it knows none of them.

    Signals
    -------
    session_changed() : another session, or none; or its layers came or went.
    class_changed() : new nuclei get another class.
    changed(SessionChange) : after each change of the session.
    settled() : tables and counts are up to date (a moment after the last edit).
    said(str, str) : a line for the reader, and its kind.
    asked(Question or None) : a decision to offer, or to take back.
    busy_changed(bool) : edits wait while the session is being saved.
    """

    session_changed = Signal()
    class_changed = Signal()
    changed = Signal(object)
    settled = Signal()
    said = Signal(str, str)
    asked = Signal(object)
    busy_changed = Signal(bool)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.model: StudioModel = studio_model(viewer)
        self.session: EditingSession | None = None
        self.place: Place | None = None
        self.layers: SessionLayers | None = None
        self.marks: Marks | None = None
        self.busy = False
        self.prediction_set = False
        self._refused: Place | None = None
        self._opener = SessionOpener(self._opened, self._not_opened)
        self._waiting: list[Callable[[], object]] = []
        self._late: list[SessionChange] = []
        self.closed = False
        #: how many panels share this controller, and the tools of the one that has the mouse
        self.users = 0
        self.toolbox: Any = None
        self._looking = self._timer(0, self._look)
        self._settling = self._timer(_SETTLE_MS, self.settle)
        self._paint = Paint(self)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        self.model.crop_changed.connect(self._look_now)
        self.model.predicted.connect(self._predicted)
        self.model.palette = annotate_settings.palette()
        self._looking.start()

    def _timer(self, ms: int, call: Callable[[], object]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(ms)
        timer.timeout.connect(call)
        return timer

    # -- which crop

    def _inserted(self, event: Any) -> None:
        if canvas.role(event.value) in ("image", *PAINTED):
            self._look_soon()

    def _removed(self, _: object) -> None:
        if self.session is not None and self.layers is not None and self.layers.get("nuclei") is None:
            self.session_changed.emit()

    def _look_soon(self) -> None:
        if not self.closed:
            self._looking.start()

    def _look_now(self, _: object) -> None:
        # the Studio has put all layers of another crop in: no edit may go to the former one
        self._looking.stop()
        self._look()

    def _found_place(self) -> Place | None:
        image, nuclei = canvas.find_layer(self.viewer, "image"), canvas.find_layer(self.viewer, "nuclei")
        ternary = canvas.find_layer(self.viewer, "ternary")
        return place_of(
            image if isinstance(image, Image) else None,
            nuclei if isinstance(nuclei, Labels) else None,
            ternary if isinstance(ternary, Labels) else None,
        )

    def _look(self) -> None:
        """See which crop is open now; another one than before gets its own session."""
        place = self._found_place()
        if place is None:
            self.leave()
            return
        nuclei = canvas.find_layer(self.viewer, "nuclei")
        if self.place is not None and self.place.image == place.image:
            if isinstance(nuclei, Labels):
                self._take_over_again(nuclei)
            return
        self.leave()
        self.place = place
        if isinstance(nuclei, Labels) or place.path.exists():
            if isinstance(nuclei, Labels):
                nuclei.editable = False  # until its session is there to keep what is painted
            self._opener.ask(place, annotate_settings.reader())
        self.session_changed.emit()

    def _take_over_again(self, nuclei: Labels) -> None:
        """The layers of the same crop were put in anew (the user opened it again), or nuclei came to a bare image."""
        missing = self.session is None and not self._opener.busy and self._refused is not self.place
        if missing or (self.layers is not None and self.layers.get("nuclei") is not nuclei):
            self.open_again()

    def open_again(self, restore: Any = "auto") -> None:
        """Close the session (unsaved edits wait in its journal) and open it again."""
        place = self._found_place() or self.place
        self.leave()
        self.place = place
        if place is not None:
            self._opener.ask(place, annotate_settings.reader(), restore)

    def begin(self) -> None:
        """Start a session on a crop that nobody has labelled."""
        if self.session is None and self.place is not None and not self._opener.busy:
            self._opener.ask(self.place, annotate_settings.reader())

    @property
    def opening(self) -> bool:
        """Whether a session is being opened."""
        return self._opener.busy

    def _opened(self, place: Place, session: EditingSession) -> None:
        if self.closed or place is not self.place:
            session.close()
            return
        self.session = session
        session.listen(self._heard)
        self.layers = SessionLayers(self.viewer, session, self.model.palette)
        image = canvas.find_layer(self.viewer, "image")
        if canvas.find_layer(self.viewer, "nuclei") is None:
            self.layers.show_missing(image if isinstance(image, Image) else None)
        self.layers.set_new_class(session.current_class)
        self._paint.watch()
        nuclei = self.layers.get("nuclei")
        self.marks = Marks(self.viewer, nuclei) if nuclei is not None else None
        self.prediction_set = False
        self.settle()
        self.said.emit(*how_it_opened(place, session))
        self.session_changed.emit()

    def _not_opened(self, place: Place, error: Exception) -> None:
        self._refused = place
        nuclei = canvas.find_layer(self.viewer, "nuclei")
        if isinstance(nuclei, Labels):
            nuclei.editable = True
        from napari_monusac.core.errors import SessionError

        if not isinstance(error, SessionError):
            self.said.emit(error_line(error), "error")
        else:
            answers = (
                ("Bring the edits back", lambda: self.open_again("base")),
                ("Put them aside", lambda: self.open_again("discard")),
            )
            self.asked.emit(Question(error_line(error), answers))
        self.session_changed.emit()

    # -- the end of a session

    def leave(self) -> None:
        """End the session; edits that no file has stay in the journal and come back."""
        self._opener.ask(None)
        session, self.session = self.session, None
        layers, self.layers = self.layers, None
        marks, self.marks = self.marks, None
        if session is None:
            if self.place is not None and not self.closed:
                self.place = None
                self.session_changed.emit()
            return
        if layers is not None and not self.busy:
            self._paint.adopt_from(session, layers)
        self._paint.unwatch()
        self._settling.stop()
        self._waiting.clear()
        if session.unsaved and self.place is not None and not self.closed:
            self.model.tell(f"Unsaved edits of {self.place.name} are kept and come back when it is opened.", "hint")
        session.close()
        self.place = None
        if not self.closed:
            if marks is not None:
                marks.close()
            self.model.set_unsaved(False)
            self.session_changed.emit()

    def release(self) -> None:
        """Let go of the session when the last of the panels that share it is gone."""
        self.users -= 1
        if self.users <= 0:
            self.close()

    def close(self) -> None:
        """The window closes: nothing is lost, what was not saved comes back next time. Nobody is told any more."""
        if self.closed:
            return
        self.closed = True
        self.leave()
        self.viewer.layers.events.inserted.disconnect(self._inserted)
        self.viewer.layers.events.removed.disconnect(self._removed)
        self.model.crop_changed.disconnect(self._look_now)
        self.model.predicted.disconnect(self._predicted)
        self.deleteLater()  # what is connected to our signals is let go of

    # -- following

    def _heard(self, change: SessionChange) -> None:
        if QThread.currentThread() is not self.thread():
            self._late.append(change)  # a saving in the background: shown when it is through
            return
        if self.layers is not None and change.kind in ("edit", "undo", "redo", "boundary"):
            self.layers.follow(change.box, change.ids)
            self._settling.start()
        if change.kind != "boundary":
            self.mark_selection()
        if self.session is not None:
            self.model.set_unsaved(self.session.unsaved)
        self.changed.emit(change)

    def mark_selection(self) -> None:
        """Draw the outlines of the selected nuclei."""
        session, marks = self.session, self.marks
        if session is not None and marks is not None:
            some = sorted(session.selected)[:_MOST_OUTLINED]
            marks.show("selection", outlines_of(session.maps.stamp(session.rows[k].plane, k) for k in some))

    def settle(self) -> None:
        """Bring counts and tables up to date now."""
        self._settling.stop()
        if self.layers is not None and self.session is not None:
            self.layers.update_tables()
            self.model.set_unsaved(self.session.unsaved)
            self.model.layers_changed.emit()
            self.settled.emit()

    def _predicted(self, _: object) -> None:
        self.prediction_set = False

    def watch_layers(self) -> None:
        """Layers were shown again: follow what is painted on them, and draw the marks on them."""
        self._paint.watch()
        nuclei = self.layers.get("nuclei") if self.layers is not None else None
        if nuclei is not None:
            if self.marks is not None:
                self.marks.close()
            self.marks = Marks(self.viewer, nuclei)
        self.session_changed.emit()

    def adopt(self) -> None:
        """Make commands of what napari's own tools have painted."""
        self._paint.adopt()

    # -- commands

    def run(self, command: Callable[[EditingSession], object]) -> bool:
        """Run a command on the session now, or after the saving that is under way; False where it could not be done."""
        if self.session is None:
            self.said.emit("Open a crop first (Slides).", "hint")
            return False
        if self.busy:
            session = self.session
            self._waiting.append(lambda: self.run(command) if self.session is session else None)
            return True
        self.adopt()
        try:
            command(self.session)
        except MonusacError as error:
            self.said.emit(error_line(error), "warning")
            return False
        self.said.emit("", "hint")
        return True

    def exclusively(self, work: Callable[[EditingSession], Any]) -> Task | None:
        """Run something long on the session in the background; edits wait until it is through. Not started yet."""
        session = self.session
        if session is None or self.busy:
            return None
        self.adopt()
        self._set_busy(True)

        def in_thread(_: Report) -> Any:
            return work(session)

        task = Task(in_thread)
        task.finished.connect(self._free)
        return task

    def _free(self) -> None:
        self._set_busy(False)
        late, self._late = self._late, []
        for change in late:
            self._heard(change)
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            command()

    def _set_busy(self, busy: bool) -> None:
        self.busy = busy
        if self.layers is not None:
            self.layers.set_editable(not busy)
        self.busy_changed.emit(busy)

    def ready_prediction(self) -> bool:
        """Hand the newest prediction to the session; False where there is none."""
        session, latest = self.session, self.model.last_prediction
        if session is None or latest is None:
            return False
        if not self.prediction_set:
            prediction, nuclei = latest
            session.set_prediction(nuclei.instances, nuclei.table, prediction.offset_px)
            self.prediction_set = True
        return True


def controller_of(viewer: Any) -> EditingController:
    """Return the controller that all panels of this viewer share, made on first use."""
    model = studio_model(viewer)
    if model.editing is None or model.editing.closed:
        model.editing = EditingController(viewer)
    found: EditingController = model.editing
    return found
