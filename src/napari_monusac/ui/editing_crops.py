"""Which crop is open, and its session: opened in the background, left without losing anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from napari.layers import Image, Labels
from qtpy.QtCore import QTimer, Signal

from napari_monusac.session.frame import Frame
from napari_monusac.ui import canvas
from napari_monusac.ui.editing_colors import Look
from napari_monusac.ui.editing_layers import SessionLayers
from napari_monusac.ui.editing_marks import Marks
from napari_monusac.ui.editing_opening import Place, SessionOpener, arrays_of, how_it_opened, place_of
from napari_monusac.ui.editing_paint import Paint
from napari_monusac.ui.editing_ready import PAINTED, VIEWS, Ready
from napari_monusac.ui.editing_running import Question, Running
from napari_monusac.ui.model import StudioModel, studio_model
from napari_monusac.ui.work import error_line


class Crops(Running):
    """What opens and leaves the sessions of one viewer. `EditingController` is one.

    Signals
    -------
    session_changed() : another session, or none; or its layers came or went.
    asked(Question or None) : a decision to offer, or to take back.
    said, busy_changed : see `Running`.
    """

    session_changed = Signal()
    asked = Signal(object)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.model: StudioModel = studio_model(viewer)
        self.place: Place | None = None
        self.layers: SessionLayers | None = None
        self.marks: Marks | None = None
        self.look = Look(self.model.palette)
        self.prediction_set = False
        self.closed = False
        self._refused: Place | None = None
        self._opener = SessionOpener(self._opened, self._not_opened)
        self._looking = self._timer(0, self._look)
        self._paint = Paint(self)

    def _timer(self, ms: int, call: Callable[[], object]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(ms)
        timer.timeout.connect(call)
        return timer

    def _tell_settled(self) -> None:
        """Say that tables and counts are up to date."""
        raise NotImplementedError

    def _stop_settling(self) -> None:
        """Do not bring tables up to date: the session is left."""
        raise NotImplementedError

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
            around = [(0, 0), (0, width), (height, width), (height, 0), (0, 0)]
            self.marks.show("region", [[(y - 0.5, x - 0.5) for y, x in around]])

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
        """Return where a pixel of the image layer lies in the slide: of a huge one, only the middle may be shown."""
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
        self.session = session
        session.listen(self.heard)
        self.layers = SessionLayers(self.viewer, made, self.look)
        image = canvas.find_layer(self.viewer, "image")
        if canvas.find_layer(self.viewer, "nuclei") is None:
            self.layers.show_missing(image if isinstance(image, Image) else None)
        self.layers.set_new_class(session.current_class)
        self._paint.watch()
        self._new_marks()
        self.prediction_set = False
        self._tell_settled()
        words, kind = how_it_opened(place, session)
        self.said.emit(words, kind)
        if session.restored is not None or session.in_use:
            self.model.tell(f"{place.name}: {words}", kind)  # the reader may be looking at another panel
        self.session_changed.emit()

    def _not_opened(self, place: Place, error: Exception) -> None:
        self._refused = place
        self._let_paint(True)
        from napari_monusac.core.errors import SessionError
        from napari_monusac.session.frame import OtherRegion

        aside = ("Put them aside", lambda: self.open_again("discard"))
        if isinstance(error, OtherRegion) and place.offset_px is not None and error.frame.region:
            there = error.frame
            text = f"Unsaved edits wait in another region of {place.name}."
            self.asked.emit(Question(text, (("Go to that region", lambda: self.edit_region(there)), aside)))
        elif isinstance(error, SessionError):
            answers = (("Bring the edits back", lambda: self.open_again("base")), aside)
            self.asked.emit(Question(error_line(error), answers))
        else:
            self.said.emit(error_line(error), "error")
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
        self._stop_settling()
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
