"""What the keys of Annotate do, bound on our layers while it is shown; undo and redo hold in each panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_monusac.app.actions import ANNOTATE, REDO, UNDO, Panel
from napari_monusac.ui.canvas.keys import LayerKeys, keys_of

if TYPE_CHECKING:
    from napari_monusac.ui.annotate.listing import NucleusTable
    from napari_monusac.ui.annotate.noting import Noting
    from napari_monusac.ui.annotate.saving import Saving
    from napari_monusac.ui.annotate.seeing import Seeing
    from napari_monusac.ui.annotate.stepping import Stepping
    from napari_monusac.ui.annotate.tools import Toolbox
    from napari_monusac.ui.editing.commands import Commands


class AnnotateActions:
    """What the actions of Annotate act on (`app.actions.Annotating` and `Edits`): each goes to the part that knows how.

    Parameters
    ----------
    commands, toolbox, stepping, seeing, saving, listing, noting
        The parts.
    """

    def __init__(
        self, commands: Commands, toolbox: Toolbox, stepping: Stepping, seeing: Seeing, saving: Saving,
        listing: NucleusTable, noting: Noting,
    ) -> None:  # fmt: skip
        self.commands, self.toolbox, self.seeing = commands, toolbox, seeing
        self.set_class, self.split, self.merge = commands.set_class, commands.split, commands.merge
        self.delete, self.shape, self.undo, self.redo = commands.delete, commands.shape, commands.undo, commands.redo
        self.choose_tool, self.give_up, self.end_polygon = toolbox.set_tool, toolbox.give_up, toolbox.end_polygon
        self.step, self.mend, self.toggle_fill = stepping.step, stepping.mend, seeing.toggle_fill
        self.done, self.save_now = saving.done, saving.save_now
        self.select_all, self.note, self.menu = listing.select_all, noting.note, noting.open_menu

    def accept(self, *, replace: bool) -> None:
        """Accept the nucleus under the pointer as the model outlines it."""
        self.commands.accept(replace=replace)

    def toggle_fill_of(self) -> None:
        """The class of the nucleus under the pointer, else the chosen one, as outlines or filled."""
        self.seeing.toggle_fill_of(self.commands.class_meant())

    def pan(self, *, on: bool) -> None:
        """Let the mouse move the slide, or the tool in hand work again."""
        self.toolbox.pan(on=on)


class Keys:
    """The keys of Annotate on our layers.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    actions : AnnotateActions
        What they do.
    """

    def __init__(self, viewer: Any, actions: AnnotateActions) -> None:
        edits = keys_of((UNDO, REDO), actions)
        self.shown = LayerKeys(viewer, [*keys_of(ANNOTATE, actions), *edits], Panel.ANNOTATE)
        self.elsewhere = LayerKeys(viewer, edits)
        self.pressed, self.released = self.shown.pressed, self.shown.released

    def bind(self, *, shown: bool) -> None:
        """Bind all keys; only undo and redo while Annotate is not shown."""
        (self.elsewhere if shown else self.shown).unbind()
        (self.shown if shown else self.elsewhere).bind()
