"""The editing of one viewer: the session of the open crop, its layers, and what keeps them in step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QTimer, Signal

from napari_monusac.ui import annotate_settings, canvas
from napari_monusac.ui.editing_layers import PAINTED, SessionLayers
from napari_monusac.ui.editing_marks import Marks, outlines_of
from napari_monusac.ui.editing_opening import Place, SessionOpener, how_it_opened, place_of
from napari_monusac.ui.editing_paint import Paint
from napari_monusac.ui.editing_running import Question, Running
from napari_monusac.ui.model import StudioModel, studio_model
from napari_monusac.ui.work import error_line

if TYPE_CHECKING:
    from napari_monusac.session.history import SessionChange
    from napari_monusac.session.session import EditingSession

#: Counts and tables follow an edit after this long: a burst of edits updates them once.
_SETTLE_MS = 120
#: The outlines of so many selected nuclei are drawn, not more.
_MOST_OUTLINED = 300


class EditingController(Running):
    """Keeps session, layers and marks of one viewer in step. Panels and tools talk to it; it knows none of them.

    Signals
    -------
    session_changed() : another session, or none; or its layers came or went.
    class_changed() : new nuclei get another class.
    changed(SessionChange) : after each change of the session.
    settled() : tables and counts are up to date (a moment after the last edit).
    asked(Question or None) : a decision to offer, or to take back.
    said, busy_changed : see `Running`.
    """

    session_changed = Signal()
    class_changed = Signal()
    changed = Signal(object)
    settled = Signal()
    asked = Signal(object)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.model: StudioModel = studio_model(viewer)
        self.place: Place | None = None
        self.layers: SessionLayers | None = None
        self.marks: Marks | None = None
        self.prediction_set = False
        self._refused: Place | None = None
        self._opener = SessionOpener(self._opened, self._not_opened)
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
        session.listen(self.heard)
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
        words, kind = how_it_opened(place, session)
        self.said.emit(words, kind)
        if session.restored is not None or session.in_use:
            self.model.tell(f"{place.name}: {words}", kind)  # the reader may be looking at another panel
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
        self.forget_waiting()
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

    def heard(self, change: SessionChange) -> None:
        """Show a change of the session."""
        if self.put_off(change):
            return  # a saving in the background: shown when it is through
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

    def adopt(self, *, only_if_told: bool = False) -> None:
        """Make commands of what napari's own tools have painted; by default it looks at every pixel."""
        if self._paint.pending or not only_if_told:
            self._paint.adopt()

    def freed(self) -> None:
        """Let napari's tools paint, or not, as `busy` says."""
        if self.layers is not None:
            self.layers.set_editable(not self.busy)

    # -- prediction

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
