"""The menu of nuclei: what keys do, where the hand is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import get_args

from qtpy.QtCore import QObject, QPoint, Qt, Signal
from qtpy.QtGui import QAction, QFont
from qtpy.QtWidgets import QMenu, QWidget

from napari_monusac.app.actions import CLASS, DELETE, MERGE, NOTE, SHAPES, SPLIT, Action, Annotating
from napari_monusac.app.nucleus_list import NucleusList
from napari_monusac.editing.commands import (
    Command,
    Delete,
    Merge,
    Reshape,
    Select,
    Separate,
    SetClass,
    Shaping,
    SplitAsSuggested,
    suggested_split,
)
from napari_monusac.editing.nuclei.rows import class_id_of
from napari_monusac.ui.annotate.parts import color_icon, rgb_of
from napari_monusac.ui.editing.commands import Commands
from napari_monusac.ui.editing.controller import EditingController


class NucleusMenu(QObject):
    """Makes the menu of some nuclei; an entry acts on just those, in view or not, and says how many in its title.

    Parameters
    ----------
    controller : EditingController
        Whose session is meant.
    commands : Commands
        The reader's.
    nuclei : NucleusList
        Finds those that are like one.

    Signals
    -------
    note_asked(object) : a note is to be written on these.
    """

    note_asked = Signal(object)

    def __init__(self, controller: EditingController, commands: Commands, nuclei: NucleusList, panel: QWidget) -> None:
        super().__init__(panel)
        self.controller, self.commands, self.nuclei, self._panel = controller, commands, nuclei, panel

    def of_pointer(self) -> Collection[int]:
        """Return the nuclei that a right click means: the selected if it is on one of them, else the one there."""
        selected, under = self.controller.editing.selected, self.commands.under()
        return selected if under in selected else [under] if under else []

    def open(self, ids: Collection[int], at: QPoint) -> QMenu | None:
        """Open it at a place of the screen; None where there is nothing to act on."""
        menu = self.make(sorted(ids))
        if menu is not None:
            menu.popup(at)
        return menu

    def make(self, ids: list[int]) -> QMenu | None:
        """Make the menu of some nuclei."""
        session = self.controller.session
        if session is None or not ids:
            return None
        first = session.rows[ids[0]]
        menu = QMenu(f"{first.class_name} {first.id}" if len(ids) == 1 else f"{len(ids)} nuclei", self._panel)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(menu.title()).setEnabled(False)
        menu.addSeparator()
        palette = self.controller.look.palette
        classes = {session.rows[k].class_id for k in ids}
        for key, action in CLASS.items():
            entry = self._add(menu, action, self._doing(SetClass(key, ids)))
            entry.setIcon(color_icon(rgb_of(class_id_of(key), palette)))
            entry.setCheckable(True)
            entry.setChecked(classes == {class_id_of(key)})
            entry.setFont(_bold(entry.font(), entry.isChecked()))  # a tick is not seen beside a colour
        menu.addSeparator()
        self._add(menu, NOTE, lambda: self.note_asked.emit(ids))
        if len(ids) > 1:
            self._add(menu, MERGE, self._doing(Merge(ids=ids)))
        else:
            self._of_one(menu, ids[0])
        shapes = menu.addMenu("Outline")
        for how, action in zip(get_args(Shaping), SHAPES, strict=True):
            self._add(shapes, action, self._doing(Reshape(how, ids)))
        menu.addSeparator()
        self._add(menu, DELETE, self._doing(Delete(ids)))
        return menu

    def _of_one(self, menu: QMenu, label: int) -> None:
        """What makes sense of a single one: to split it, and to select those that are like it."""
        session = self.controller.session
        if session is None:
            return
        name = session.rows[label].class_name
        entry = self._add(menu, SPLIT, self._doing(SplitAsSuggested(label)))
        entry.setEnabled(label in session.maps.boxes and suggested_split(session.nuclei, label) is not None)
        _add_words(menu, "Make its pieces nuclei", self._doing(Separate(label)))
        like = menu.addMenu("Select like this")
        for words, what in (
            (f"All: {name}", "class"), ("This one and all smaller", "smaller"), ("This one and all larger", "larger"),
        ):  # fmt: skip
            _add_words(like, words, self._doing(Select(self.nuclei.like(label, what))))

    def _doing(self, command: Command) -> Callable[[], object]:
        return lambda: self.controller.do(command)

    def _add(self, menu: QMenu, action: Action[Annotating], do: Callable[[], object]) -> QAction:
        keys = f"\t{action.key}" if action.keys else ""
        return _add_words(menu, f"{action.text}{keys}", do)


def _bold(font: QFont, bold: bool) -> QFont:
    font.setBold(bold)
    return font


def _add_words(menu: QMenu, words: str, do: Callable[[], object]) -> QAction:
    entry = menu.addAction(words)
    entry.triggered.connect(lambda _=False: do())
    return entry
