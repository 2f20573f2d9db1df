"""The editing of one viewer: the session of the open crop, its layers, and what keeps them in step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.app.editing import Editing, Question
from napari_monusac.app.work import Task, error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.editing.commands import AdoptPaint
from napari_monusac.editing.nuclei.frame import Frame
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.colors import Look
from napari_monusac.ui.canvas.marks import Marks, around, outlines_of
from napari_monusac.ui.editing.layers import SessionLayers
from napari_monusac.ui.editing.opening import Place, SessionOpener, arrays_of, how_it_opened, place_of
from napari_monusac.ui.editing.ready import PAINTED, VIEWS, Ready
from napari_monusac.ui.model import StudioModel, studio_model
from napari_monusac.ui.widgets import settings as annotate_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_monusac.app.editing import Then
    from napari_monusac.editing.commands import Command
    from napari_monusac.editing.nuclei.edit import SessionChange
    from napari_monusac.editing.nuclei.rows import Plane
    from napari_monusac.editing.session import EditingSession


#: Counts and tables follow an edit after this long: a burst of edits updates them once.
_SETTLE_MS = 120
#: What a key has meant flashes so long, with a ring so far outside.
_FLASH_MS, _RING_PX = 350, 4.0
#: The outlines of so many selected nuclei are drawn, not more.
_MOST_OUTLINED = 300


class EditingController(QObject):
    """Shows the session of one viewer: its layers and marks are a projection of the model, and of nothing else.

    It follows which crop is in the viewer, opens and leaves sessions, and takes over what napari's own tools paint. Panels
    and tools talk to it; it knows none of them.

    Attributes
    ----------
    editing : Editing
        The model: session, tool, class, selection, what waits.

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
        self.place: Place | None = None
        self.layers: SessionLayers | None = None
        self.marks: Marks | None = None
        self.closed = False
        #: how many panels share this controller, and the tools of the one that has the mouse
        self.users = 0
        self.toolbox: Any = None
        self._refused: Place | None = None
        self._opener = SessionOpener(self.model.work, self, self._opened, self._not_opened)
        self._looking = self._timer(0, self._look)
        self._settling = self._timer(_SETTLE_MS, self.settle)
        self._flashing = self._timer(_FLASH_MS, self._end_flash)
        # what a flash marks may take as long as the flash: it lasts from when it is seen
        self._flash_seen = self._timer(0, self._flashing.start)
        self._paint = Paint(self)
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
            (editing.acting, self._hand_over), (editing.busy_changed, self._freed),
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
        for signal, call in self._heard():
            signal.disconnect(call)
        self.deleteLater()  # what is connected to our signals is let go of

    # -- which crop

    def _inserted(self, event: Any) -> None:
        layer = event.value
        if canvas.role(layer) not in ("image", *PAINTED):
            return
        if not canvas.is_copy(layer):
            self._look_soon()
        elif self.session is not None and isinstance(layer, Labels):
            words = f"{layer.name} is a copy of yours: what is painted on it is not saved with the crop."
            self.model.tell(words, "hint")

    def _removed(self, _: object) -> None:
        if self.session is not None and self.layers is not None and self.layers.get("nuclei") is None:
            self.session_changed.emit()
            if canvas.find_layer(self.viewer, "nuclei") is not None:
                self._look_soon()  # the file was opened twice: the other layer shows the nuclei from now on

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
        now = self.place
        if now is not None and now.offset_px is not None:
            # a region that is edited stays that region, whatever comes and goes
            shown = [layer.metadata.get("monusac", {}).get("image") for layer in (image, nuclei) if layer is not None]
            if now.image in shown:
                return now
        return place_of(
            image if isinstance(image, Image) else None,
            nuclei if isinstance(nuclei, Labels) else None,
            ternary if isinstance(ternary, Labels) else None,
        )

    def _look(self) -> None:
        """See which crop is open now; another one than before gets its own session."""
        if self.model.holding:
            return
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
        self._let_paint(False)  # until its session is there to keep what is painted
        if not place.large and (isinstance(nuclei, Labels) or place.path.exists()):
            self._opener.ask(place, shown=arrays_of(self.viewer))
        self.session_changed.emit()

    def _take_over_again(self, nuclei: Labels) -> None:
        """The layers of the same crop were put in anew (the user opened it again), or nuclei came to a bare image."""
        missing = self.session is None and not self._opener.busy and self._refused is not self.place
        missing = missing and not (self.place is not None and self.place.large)
        if missing or (self.layers is not None and self.layers.get("nuclei") is not nuclei):
            self.open_again()

    def open_again(self, restore: Any = "auto") -> None:
        """Close the session (unsaved edits wait in its journal) and open it again."""
        place = self._found_place() or self.place
        self.leave()
        self.place = place
        if place is not None and not place.large:
            self._opener.ask(place, restore, arrays_of(self.viewer))

    def begin(self) -> None:
        """Start a session on a crop that nobody has labelled."""
        if self.session is None and self.place is not None and not self.place.large and not self._opener.busy:
            self._opener.ask(self.place)

    def _let_paint(self, may: bool) -> None:
        for name in PAINTED:
            layer = canvas.find_layer(self.viewer, name)
            if isinstance(layer, Labels):
                layer.editable = may

    def _new_marks(self) -> None:
        """Draw marks on the nuclei's layer; of a slide, the edge of the region that is edited is one."""
        nuclei = self.layers.get("nuclei") if self.layers is not None else None
        if self.marks is not None:
            self.marks.close()
        self.marks = Marks(self.viewer, nuclei) if nuclei is not None else None
        if self.marks is not None and self.place is not None and self.place.offset_px is not None:
            height, width = self.place.shape
            edge = [(0, 0), (0, width), (height, width), (height, 0), (0, 0)]
            self.marks.show("region", [[(y - 0.5, x - 0.5) for y, x in edge]])

    # -- a region of a slide that is too large to be edited as a whole

    def edit_region(self, frame: Frame) -> None:
        """Edit a part of the slide that is open; its layers take the place of those of another part."""
        place = self.place
        if place is None:
            return
        self.leave()
        for name in VIEWS:
            layer = canvas.find_layer(self.viewer, name)
            while layer is not None:
                self.viewer.layers.remove(layer)
                layer = canvas.find_layer(self.viewer, name)
        self._looking.stop()
        self.place = replace(place, offset_px=frame.offset_px, shape=frame.shape)
        self._opener.ask(self.place)
        self.session_changed.emit()

    def in_slide(self, offset_px: tuple[int, int]) -> tuple[int, int]:
        """Return where a pixel of the image layer lies in the slide, of which the layer may show a part."""
        first = self.place.image_offset_px if self.place is not None else (0, 0)
        return offset_px[0] + first[0], offset_px[1] + first[1]

    @property
    def opening(self) -> bool:
        """Whether a session is being opened."""
        return self._opener.busy

    def _opened(self, place: Place, made: Ready) -> None:
        session = made.session
        if self.closed or place is not self.place:
            session.close()
            return
        self.editing.take(session)
        self.layers = SessionLayers(self.viewer, made, self.look)
        image = canvas.find_layer(self.viewer, "image")
        if canvas.find_layer(self.viewer, "nuclei") is None:
            self.layers.show_missing(image if isinstance(image, Image) else None)
        self.layers.set_new_class(session.selection.current_class)
        nuclei = self.layers.get("nuclei")
        if nuclei is not None:
            nuclei.selected_label = (
                session.nuclei.next_id
            )  # napari's brush begins a nucleus, not one of the former crop's number
        self._paint.watch()
        self._new_marks()
        self._tell_settled()
        words, kind = how_it_opened(place, session)
        self.said.emit(words, kind)
        if session.restored is not None or session.file.in_use:
            self.model.tell(f"{place.name}: {words}", kind)  # the reader may be looking at another panel
        self.session_changed.emit()

    def _not_opened(self, place: Place, error: Exception) -> None:
        self._refused = place
        self._let_paint(True)
        from napari_monusac.core.errors import SessionError
        from napari_monusac.editing.nuclei.frame import OtherRegion

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

    # -- the end of a session

    def leave(self) -> None:
        """End the session; edits that no file has stay in the journal and come back."""
        self._opener.ask(None)
        session = self.session
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
        if session.unsaved and self.place is not None and not self.closed:
            self.model.tell(f"Unsaved edits of {self.place.name} are kept and come back when it is opened.", "hint")
        self.editing.leave()
        session.close()
        self.place = None
        if not self.closed:
            if marks is not None:
                marks.close()
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
            self.mark_selection()

    def mark_selection(self) -> None:
        """Draw the outlines of the selected nuclei."""
        session, marks = self.session, self.marks
        if session is not None and marks is not None:
            some = sorted(session.selection.ids)[:_MOST_OUTLINED]
            marks.show("selection", outlines_of(session.maps.stamp(session.rows[k].plane, k) for k in some))

    def flash(self, ids: Iterable[int]) -> None:
        """Draw rings around nuclei for a moment: a key has meant these."""
        session, marks = self.session, self.marks
        if session is not None and marks is not None:
            some = [k for k in ids if k in session.maps.boxes][:_MOST_OUTLINED]
            outlines = outlines_of(session.maps.stamp(session.rows[k].plane, k) for k in some)
            marks.show("flash", [ring for path in outlines for ring in (path, around(path, _RING_PX))])
            self._flashing.stop()
            self._flash_seen.start()

    def _end_flash(self) -> None:
        if self.marks is not None:
            self.marks.show("flash", [])

    def settle(self) -> None:
        """Bring counts and tables up to date now."""
        self._settling.stop()
        if self.layers is not None and self.session is not None:
            self.layers.update_tables()
            self._tell_settled()

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

    def watch_layers(self) -> None:
        """Layers were shown again: follow what is painted on them, and draw the marks on them."""
        self._paint.watch()
        self._new_marks()
        self.session_changed.emit()

    def adopt(self) -> None:
        """Make commands of what napari's own tools have painted; it looks at every pixel."""
        self._paint.adopt()

    def _hand_over(self) -> None:
        """A command is about to be done: what napari has told of comes first."""
        if self._paint.pending:
            self._paint.adopt()

    def _freed(self, busy: bool) -> None:
        """Let napari's tools paint, or not."""
        if self.layers is not None:
            self.layers.set_editable(not busy)

    def ready_prediction(self) -> bool:
        """Hand the newest prediction to the session; False, and a line for the reader, where there is none that fits."""
        return self.editing.ready_prediction(self.model.last_prediction, self.in_slide((0, 0)))


class Paint:
    """Watches the layers that napari paints on.

    Parameters
    ----------
    controller : EditingController
        Whose session takes the paint over.
    """

    def __init__(self, controller: EditingController) -> None:
        self._controller = controller
        self._layers: list[Labels] = []
        self._timer = QTimer(controller)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self.adopt)

    def watch(self) -> None:
        """Watch the layers of the controller's session."""
        self.unwatch()
        layers = self._controller.layers
        for name in PAINTED:
            layer = layers.get(name) if layers is not None else None
            if layer is not None:
                layer.events.paint.connect(self._soon)
                layer.events.set_data.connect(self._soon)
                self._layers.append(layer)

    def unwatch(self) -> None:
        """Watch no layer any more."""
        self._timer.stop()
        for layer in self._layers:
            layer.events.paint.disconnect(self._soon)
            layer.events.set_data.disconnect(self._soon)
        self._layers.clear()

    @property
    def pending(self) -> bool:
        """Whether napari has told of paint that is not taken over yet."""
        return bool(self._timer.isActive())

    def _soon(self, _: object = None) -> None:
        # napari tells of a polygon before it has painted it: look when it is through
        self._timer.start()

    def adopt(self) -> None:
        """Make commands of what has been painted."""
        self._timer.stop()
        controller = self._controller
        if controller.session is not None and controller.layers is not None and not controller.busy:
            self.adopt_from(controller.session, controller.layers)

    def adopt_from(self, session: EditingSession, layers: SessionLayers) -> None:
        """Make commands of what has been painted on these layers."""
        for name in PAINTED:
            found = layers.painted(name)
            if found is not None:
                plane: Plane = "nuclei" if name == "nuclei" else "ambiguous"
                box, before, after = found
                _number(session, plane, before, after)
                try:
                    session.do(AdoptPaint(box, before, after, plane))
                except MonusacError as error:
                    layers.take_back(name, box)
                    self._controller.said.emit(error_line(error), "error")
            layers.restore_array(name)


def _number(session: EditingSession, plane: Plane, before: NDArray[Any], after: NDArray[Any]) -> None:
    """Give new nuclei the session's next numbers: the one in napari's box may be taken, or huge."""
    new, fresh = after != before, session.nuclei.next_id
    for label in sorted({int(v) for v in after[new].tolist()} - {0}):
        if label not in session.rows or session.rows[label].plane != plane:
            after[(after == label) & new] = fresh
            fresh += 1


def controller_of(viewer: Any) -> EditingController:
    """Return the controller that all panels of this viewer share, made on first use."""
    model = studio_model(viewer)
    found = model.editor
    if not isinstance(found, EditingController) or found.closed:
        found = model.editor = EditingController(viewer)
    return found
