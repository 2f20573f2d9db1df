"""The editing of one viewer: follows which crop is open, and lets its layers and marks show the session of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.app.editing import Editing, Question
from napari_monusac.app.opening import SessionOpener, WantedSession
from napari_monusac.app.place import Place, how_it_opened
from napari_monusac.app.work import Task, error_line
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.nuclei.frame import Frame, OtherRegion
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.colors import Look
from napari_monusac.ui.editing.layers import SessionLayers
from napari_monusac.ui.editing.marking import SessionMarks
from napari_monusac.ui.editing.paint import Paint
from napari_monusac.ui.editing.ready import PAINTED, VIEWS, Ready, ready
from napari_monusac.ui.editing.shown import NEEDED, CropLayers, place_shown
from napari_monusac.ui.model import StudioModel, studio_model
from napari_monusac.ui.widgets import settings as annotate_settings

if TYPE_CHECKING:
    from napari_monusac.app.editing import Then
    from napari_monusac.editing.commands import Command
    from napari_monusac.editing.disk.restoring import RestorePolicy
    from napari_monusac.editing.nuclei.edit import SessionChange
    from napari_monusac.editing.session import EditingSession


#: Counts and tables follow an edit after this long: a burst of edits updates them once.
_SETTLE_MS = 120


class EditingController(QObject):
    """Shows the session of one viewer: its layers and marks are a projection of the model, and of nothing else.

    It tells the model which crop came into the viewer, and opens and leaves sessions. Panels and tools talk to it; it
    knows none of them.

    Attributes
    ----------
    editing : Editing
        The model: which crop, its session, tool, class, selection, what waits.
    layers : SessionLayers or None
        The maps of the session.
    marking : SessionMarks
        What is marked on them.
    shown : CropLayers
        What the reader did to the layers of the crop.
    paint : Paint
        What napari's own tools paint.

    Signals
    -------
    session_changed() : another session is shown, or none; or its layers came or went.
    look_changed() : nuclei are shown in another way.
    settled() : tables and counts are up to date (a moment after the last edit).
    """

    session_changed = Signal()
    look_changed = Signal()
    settled = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.model: StudioModel = studio_model(viewer)
        self.editing: Editing = self.model.editing
        self.said = self.editing.said
        self.layers: SessionLayers | None = None
        self.closed = False
        #: how many panels share this controller, and the tools of the one that has the mouse
        self.users = 0
        self.toolbox: Any = None
        self.marking = SessionMarks(viewer, self.editing, self)
        self.shown = CropLayers(viewer, self.model, self)
        self.paint = Paint(self.editing, self)
        self.adopt = self.paint.adopt
        self._refused: Place | None = None
        self._opener = SessionOpener[Ready](self.model.work, self, self._opened, self._not_opened)
        self._looking = self._timer(0, self._look)
        self._settling = self._timer(_SETTLE_MS, self.settle)
        self.model.palette = annotate_settings.palette()
        #: how nuclei are shown, in this crop and the next
        self.look = Look(self.model.palette)
        for signal, call in self._heard():
            signal.connect(call)
        self._looking.start()

    def _heard(self) -> tuple[tuple[Any, Callable[..., object]], ...]:
        """What is listened to, by whom."""
        layers, model, editing = self.viewer.layers.events, self.model, self.editing
        return (
            (layers.inserted, self._inserted), (layers.removed, self._removed), (model.crop_leaving, self.leave),
            (model.crop_changed, self._look_now), (editing.changed, self.follow),
            (editing.acting, self.paint.hand_over), (editing.busy_changed, self._freed),
            (editing.current_class_changed, self._new_class),
        )  # fmt: skip

    def _timer(self, ms: int, call: Callable[[], object]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(ms)
        timer.timeout.connect(call)
        return timer

    @property
    def session(self) -> EditingSession | None:
        """The session of the open crop."""
        return self.editing.session

    @property
    def busy(self) -> bool:
        """Whether commands wait while the session is being saved."""
        return self.editing.busy

    def do(self, command: Command, then: Then | None = None) -> bool:
        """Do a command: see `Editing.do`."""
        return self.editing.do(command, then)

    def exclusively(self, work: Callable[[EditingSession], Any]) -> Task | None:
        """Run something long on the session in the background: see `Editing.exclusively`. Not started yet."""
        self.adopt()
        return self.editing.exclusively(work, self)

    def ready_prediction(self) -> bool:
        """Hand the newest prediction to the session; False, and a line for the reader, where there is none that fits."""
        return self.editing.ready_prediction(self.model.last_prediction)

    def release(self) -> None:
        """Let go of the session when the last of the panels that share it is gone."""
        self.users -= 1
        if self.users <= 0:
            self.close()

    def close(self) -> None:
        """The panels or the window close: nothing is lost, what was not saved comes back. The crop stays the open one."""
        if self.closed:
            return
        self.closed = True
        self._end_session()
        self.shown.close()
        for signal, call in self._heard():
            signal.disconnect(call)
        self.deleteLater()  # what is connected to our signals is let go of

    # -- which crop

    def _inserted(self, event: Any) -> None:
        layer = event.value
        if canvas.role(layer) not in NEEDED:
            return
        if not canvas.is_copy(layer):
            if not self.closed:
                self._looking.start()
        elif self.session is not None and isinstance(layer, Labels):
            words = f"{layer.name} is a copy of yours: what is painted on it is not saved with the crop."
            self.model.tell(words, "hint")

    def _removed(self, _: object) -> None:
        if self.session is not None and self.layers is not None and self.layers.get("nuclei") is None:
            if canvas.find_layer(self.viewer, "nuclei") is not None:
                self._looking.start()  # the file was opened twice: the other layer shows the nuclei from now on
            self.session_changed.emit()

    def _look_now(self, _: object) -> None:
        # the Studio has put all layers of another crop in: no edit may go to the former one
        self._looking.stop()
        self._look()

    def _look(self) -> None:
        """Layers came in: of another crop than the one that is open, or of the same one."""
        if self.model.holding:
            return
        place, now = place_shown(self.viewer), self.editing.place
        if place is None:
            if not canvas.our_layers(self.viewer) and now is not None and self.session is None:
                self.leave()  # the panels were away when it was closed
        elif now is None or now.image != place.image:
            self.leave()
            self._begin(place)
        else:
            self._take_over_again()
        self.shown.follow()

    def _begin(self, place: Place) -> None:
        """Open the session of a crop, or of a part of it."""
        self.editing.place = place
        self._let_paint(False)  # until its session is there to keep what is painted
        if self._has_nuclei(place):
            self._open(place)
        self.session_changed.emit()

    def _has_nuclei(self, place: Place) -> bool:
        return not place.large and (isinstance(self._find("nuclei"), Labels) or place.path.exists())

    def _find(self, name: str) -> Layer | None:
        return canvas.find_layer(self.viewer, name)

    def _take_over_again(self) -> None:
        """The layers of the same crop were put in anew (the user opened it again), or nuclei came to a bare image."""
        place = self.editing.place
        if self.session is None:
            wanted = place is not None and place is not self._refused and not self.editing.opening
            if wanted and place is not None and self._has_nuclei(place):
                self._open(place)
                self.session_changed.emit()
        elif self.layers is not None and self.layers.take_over():
            self.watch_layers()

    def _open(self, place: Place, restore: RestorePolicy = "auto") -> None:
        """Open the session of a place in the background; layers that show the same already are not drawn again."""
        found = {name: self._find(name) for name in VIEWS}
        arrays = {name: layer.data for name, layer in found.items() if isinstance(layer, Labels)}
        self.editing.opening = True
        self._opener.ask(WantedSession(place, annotate_settings.reader(), partial(ready, shown=arrays), restore))

    def open_again(self, restore: RestorePolicy = "auto") -> None:
        """Close the session (unsaved edits wait in its journal) and open it again."""
        place = self.editing.place
        self._end_session()
        if place is not None and not place.large:
            self._open(place, restore)
        self.session_changed.emit()

    def begin(self) -> None:
        """Start a session on a crop that nobody has labelled."""
        place = self.editing.place
        if self.session is None and place is not None and not place.large and not self.editing.opening:
            self._open(place)

    def edit_region(self, frame: Frame) -> None:
        """Edit a part of the slide that is open; its layers take the place of those of another part."""
        place = self.editing.place
        if place is None:
            return
        self._end_session()
        self.shown.forget()
        for name in VIEWS:
            while (layer := self._find(name)) is not None:
                self.viewer.layers.remove(layer)
        self._looking.stop()
        self.editing.place = replace(place, offset_px=frame.offset_px, shape=frame.shape)
        self._open(self.editing.place)
        self.session_changed.emit()

    def _let_paint(self, may: bool) -> None:
        for name in PAINTED:
            layer = self._find(name)
            if isinstance(layer, Labels):
                layer.editable = may

    # -- a session begins and ends

    def _opened(self, place: Place, session: EditingSession, made: Ready) -> None:
        if self.closed or place is not self.editing.place:
            session.close()
            return
        self.editing.opening = False
        self.editing.take(session)
        self.layers = SessionLayers(self.viewer, made, self.look)
        if self._find("nuclei") is None:
            self._show_missing(VIEWS)
        self.layers.set_new_class(session.selection.current_class)
        nuclei = self.layers.get("nuclei")
        if nuclei is not None:
            # napari's brush begins a nucleus, not one of the former crop's number
            nuclei.selected_label = session.nuclei.next_id
        self._tell_settled()
        words, kind = how_it_opened(place, session)
        self.said.emit(words, kind)
        if session.restored is not None or session.file.in_use:
            self.model.tell(f"{place.name}: {words}", kind)  # the reader may be looking at another panel
        self.watch_layers()

    def _not_opened(self, place: Place, error: Exception) -> None:
        self._refused = place
        self.editing.opening = False
        self._let_paint(True)
        aside = ("Put them aside", lambda: self.open_again("discard"))
        if isinstance(error, OtherRegion) and place.offset_px is not None and error.frame.region:
            there = error.frame
            text = f"Unsaved edits wait in another region of {place.name}."
            self.editing.question = Question(text, (("Go to that region", lambda: self.edit_region(there)), aside))
        elif isinstance(error, SessionError):
            answers = (("Bring the edits back", lambda: self.open_again("base")), aside)
            self.editing.question = Question(error_line(error), answers)
        else:
            self.said.emit(error_line(error), "error")
        self.session_changed.emit()

    def _end_session(self) -> None:
        """End the session; edits that no file has stay in the journal and come back."""
        self._opener.ask(None)
        self.editing.opening = False
        session, place = self.session, self.editing.place
        if session is not None:
            self.adopt()
        self.paint.unwatch()
        self._settling.stop()
        self.layers = None
        if session is not None:
            if session.unsaved and place is not None and not self.closed:
                self.model.tell(f"Unsaved edits of {place.name} are kept and come back when it is opened.", "hint")
            self.editing.leave()
            session.close()
        self.marking.end(gone=self.closed)

    def leave(self) -> None:
        """The crop is left: another one is to be opened, or none."""
        if self.editing.place is None and self.session is None:
            return
        self._end_session()
        self.shown.forget()
        self.editing.place = None
        self.session_changed.emit()

    # -- following

    def follow(self, change: SessionChange) -> None:
        """Show a change of the session."""
        if change.kind in ("edit", "undo", "redo"):
            self.model.hidden = False  # what is edited is seen
        if self.layers is not None and change.kind in ("edit", "undo", "redo", "boundary"):
            self.layers.follow(change.box, change.ids)
            self._settling.start()
        if change.kind != "boundary":
            self.marking.mark_selection()

    def flash(self, ids: Iterable[int]) -> None:
        """Draw rings around nuclei for a moment: a key has meant these."""
        self.marking.flash(ids)

    def settle(self) -> None:
        """Bring counts and tables up to date now."""
        self._settling.stop()
        if self.layers is not None and self.session is not None:
            self.layers.update_tables()
            self._tell_settled()
            if self.viewer.mouse_over_canvas:
                self.viewer.update_status_from_cursor()  # napari's line names what is under the pointer, as it is now

    def _tell_settled(self) -> None:
        if self.session is not None:
            self.model.layers_changed.emit()
            self.settled.emit()

    def _new_class(self, number: int) -> None:
        if self.layers is not None:
            self.layers.set_new_class(number)

    def set_look(self, **changed: Any) -> None:
        """Show nuclei in another way: values of `Look`."""
        look = replace(self.look, **changed)
        if look != self.look:
            self.look = look
            if self.layers is not None:
                self.layers.set_look(look)
            self.look_changed.emit()

    def fill(self, classes: Iterable[int]) -> None:
        """Fill these classes if any of them is an outline only; else show them as outlines."""
        wanted = frozenset(classes)
        filled = self.look.filled
        self.set_look(filled=filled - wanted if wanted <= filled else filled | wanted)

    def bring_back(self) -> None:
        """Show again what the reader has deleted, hidden or moved; it comes back as it was."""
        self.shown.bring_back()
        if self.layers is not None:
            self.layers.take_over()
            self._show_missing(PAINTED)
            self.watch_layers()

    def _show_missing(self, names: Iterable[str]) -> None:
        image = self._find("image")
        if self.layers is not None and any(self.layers.get(name) is None for name in names):
            self.layers.show_missing(image if isinstance(image, Image) else None, names)

    def watch_layers(self) -> None:
        """Layers of the session were shown, perhaps again: follow what is painted on them, and draw the marks on them."""
        if self.layers is not None:
            self.paint.watch(self.layers)
            self.marking.begin(self.layers.get("nuclei"))
            self.marking.mark_selection()
        self.shown.follow()
        self.session_changed.emit()

    def _freed(self, busy: bool) -> None:
        """Let napari's tools paint, or not."""
        if self.layers is not None:
            self.layers.set_editable(not busy)


def controller_of(viewer: Any) -> EditingController:
    """Return the controller that all panels of this viewer share, made on first use."""
    model = studio_model(viewer)
    found = model.editor
    if not isinstance(found, EditingController) or found.closed:
        found = model.editor = EditingController(viewer)
    return found
