"""A slide that is too large to be edited as a whole: one line that says so, and buttons for a region of it."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.editing import Question
from napari_monusac.app.work import error_line
from napari_monusac.core.errors import MonusacError
from napari_monusac.editing.nuclei.frame import Frame
from napari_monusac.plugin.layers import EDITABLE_PX
from napari_monusac.ui.annotate.saving import Saving
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.regions import RECTANGLE, VIEW, chosen_region
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.widgets.basic import calm, row
from napari_monusac.ui.widgets.note import Note

_LARGE = (
    "This slide has {mpx:,.0f} million px. A region of up to {most:.0f} million is edited at a time: zoom to it, or draw a "
    "rectangle (a Shapes layer). The rest of its annotation stays as it is."
)


class EditedRegion(QWidget):
    """Chooses which part of a large slide is edited.

    Parameters
    ----------
    controller : EditingController
        What opens it.
    saving : Saving
        Saves the edits of the region before.
    """

    def __init__(self, controller: EditingController, saving: Saving) -> None:
        super().__init__()
        self.controller, self.saving = controller, saving
        self.note = Note()
        self.view = calm(QPushButton("Edit what the window shows"))
        self.rectangle = calm(QPushButton("Edit the drawn rectangle"))
        self.rectangle.setToolTip("The last shape of the topmost Shapes layer")
        self.trouble = Note(kind="warning")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.note, row(self.view, self.rectangle), self.trouble):
            box.addWidget(widget)
        self.view.clicked.connect(lambda: self.edit(VIEW))
        self.rectangle.clicked.connect(lambda: self.edit(RECTANGLE))
        controller.session_changed.connect(self.show_state)
        self.show_state()

    def show_state(self) -> None:
        """Say what is edited, or that a region is to be chosen; hidden while the whole image is edited."""
        place = self.controller.editing.place
        shown = place is not None and (place.large or place.offset_px is not None)
        self.setVisible(shown)
        self.trouble.say("")
        if place is None or not shown:
            return
        if place.large:
            mpx = place.whole[0] * place.whole[1] / 1e6
            self.note.say(_LARGE.format(mpx=mpx, most=EDITABLE_PX / 1e6))
        else:
            y, x, height, width = place.part
            size = f"{height:,} x {width:,} px at row {y:,}, column {x:,}"
            self.note.say(f"A region of this slide is edited: {size}. Another one:")

    def edit(self, which: str) -> None:
        """Edit what the window shows, or the rectangle (`VIEW`, `RECTANGLE`)."""
        controller = self.controller
        image = canvas.find_layer(controller.viewer, "image")
        if not isinstance(image, Image):
            self.trouble.say("The image of this slide is gone: open it again (Slides).", "warning")
            return
        try:
            y, x, height, width = chosen_region(controller.viewer, image, which)
        except MonusacError as error:
            self.trouble.say(error_line(error), "warning")
            return
        if height * width > EDITABLE_PX:
            mend = "zoom in" if which == VIEW else "draw a smaller one"
            self.trouble.say(
                f"That is {height * width / 1e6:,.0f} million px, {EDITABLE_PX / 1e6:.0f} can be edited at once: {mend}.",
                "warning",
            )
            return
        self._go(Frame(controller.editing.in_slide((y, x)), (height, width)))

    def _go(self, frame: Frame) -> None:
        controller, session = self.controller, self.controller.session
        controller.adopt()
        if session is None or not session.unsaved:
            controller.edit_region(frame)
            return
        answers: tuple[tuple[str, Any], ...] = (
            ("Save and go on", lambda: self.saving.save(lambda: controller.edit_region(frame))),
            ("Stay", lambda: None),
        )
        controller.editing.question = Question("This region has unsaved edits.", answers)
