"""The editing of one viewer: the session of the open crop, its layers, and what keeps them in step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_monusac.core.errors import MonusacError
from napari_monusac.ui import annotate_settings
from napari_monusac.ui.editing_colors import Look
from napari_monusac.ui.editing_crops import Crops
from napari_monusac.ui.editing_marks import outlines_of
from napari_monusac.ui.model import studio_model
from napari_monusac.ui.work import error_line

if TYPE_CHECKING:
    from napari_monusac.session.history import SessionChange

#: Counts and tables follow an edit after this long: a burst of edits updates them once.
_SETTLE_MS = 120
_NO_PREDICTION = "Open a stored prediction below, or predict this crop (Predict); then its nuclei can be accepted."
#: The outlines of so many selected nuclei are drawn, not more.
_MOST_OUTLINED = 300


class EditingController(Crops):
    """Keeps session, layers and marks of one viewer in step. Panels and tools talk to it; it knows none of them.

    Signals
    -------
    class_changed() : new nuclei get another class.
    look_changed() : nuclei are shown in another way.
    changed(SessionChange) : after each change of the session.
    settled() : tables and counts are up to date (a moment after the last edit).
    session_changed, asked, said, busy_changed : see `Crops` and `Running`.
    """

    class_changed = Signal()
    look_changed = Signal()
    changed = Signal(object)
    settled = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        #: how many panels share this controller, and the tools of the one that has the mouse
        self.users = 0
        self.toolbox: Any = None
        self._settling = self._timer(_SETTLE_MS, self.settle)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        self.model.crop_leaving.connect(self.leave)
        self.model.crop_changed.connect(self._look_now)
        self.model.predicted.connect(self._predicted)
        self.model.palette = annotate_settings.palette()
        #: how nuclei are shown, in this crop and the next
        self.look = Look(self.model.palette)
        self._looking.start()

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
        self.model.crop_leaving.disconnect(self.leave)
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
            self._tell_settled()

    def _tell_settled(self) -> None:
        if self.session is not None:
            self.model.set_unsaved(self.session.unsaved)
            self.model.layers_changed.emit()
            self.settled.emit()

    def _predicted(self, _: object) -> None:
        self.prediction_set = False

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

    def _stop_settling(self) -> None:
        self._settling.stop()

    def watch_layers(self) -> None:
        """Layers were shown again: follow what is painted on them, and draw the marks on them."""
        self._paint.watch()
        self._new_marks()
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
        """Hand the newest prediction to the session; False, and a line for the reader, where there is none that fits."""
        session, latest = self.session, self.model.last_prediction
        if session is None or latest is None:
            if session is not None:
                self.said.emit(_NO_PREDICTION, "hint")
            return False
        if not self.prediction_set:
            prediction, nuclei = latest
            try:
                session.set_prediction(nuclei.instances, nuclei.table, self.in_slide(prediction.offset_px))
            except MonusacError as error:
                self.said.emit(error_line(error), "warning")
                return False
            self.prediction_set = True
        return True


def controller_of(viewer: Any) -> EditingController:
    """Return the controller that all panels of this viewer share, made on first use."""
    model = studio_model(viewer)
    if model.editing is None or model.editing.closed:
        model.editing = EditingController(viewer)
    found: EditingController = model.editing
    return found
