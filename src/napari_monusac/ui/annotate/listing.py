"""The nuclei of the crop as a table: searched, sorted, selected many at a time, in step with the canvas."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_monusac.app.actions import NOTE, SELECT_ALL
from napari_monusac.app.nucleus_list import WHO, By, ListedNucleus, NucleusList
from napari_monusac.editing.commands import Select
from napari_monusac.ui.editing.commands import Commands
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import Column, RowTable

_ROWS_HIGH = 8


def _area(one: ListedNucleus) -> str:
    return f"{one.area:.0f}" if one.area_px else "hidden"


def _sure(one: ListedNucleus) -> str:
    return "" if one.row.confidence is None else f"{one.row.confidence:.2f}"


def _tip(one: ListedNucleus) -> str:
    row = one.row
    by = f" ({row.author})" if row.author else ""
    return f"{row.class_name} {row.id}, outline: {WHO[row.provenance]}{by}{f'. {row.note}' if row.note else ''}"


_COLUMNS: tuple[Column[ListedNucleus], ...] = (
    Column(By.NUMBER, lambda one: str(one.id), "Its number", 44, right=True),
    Column(By.CLASS, lambda one: one.row.class_name, "Class", 84),
    Column(By.AREA, _area, "Visible area in µm² (px where the scale is unknown)", 54, right=True),
    Column(By.CONFIDENCE, _sure, "How sure the model was of it", 46, right=True),
    Column(By.NOTE, lambda one: one.row.note, f"Note ({NOTE.key} writes one)"),
)


class NucleusTable(QWidget):
    """Search, table and what they say; it works out nothing while it is folded away.

    Parameters
    ----------
    controller : EditingController
        Whose session is listed.
    commands : Commands
        The reader's.

    Signals
    -------
    gone_to(int) : the reader went to a nucleus of the table.
    menu_asked(QPoint) : where on the screen the menu of the selected is asked for.
    """

    gone_to = Signal(int)
    menu_asked = Signal(QPoint)

    def __init__(self, controller: EditingController, commands: Commands) -> None:
        super().__init__()
        self.controller, self.commands = controller, commands
        self.nuclei = NucleusList(controller.editing)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search: lymph   <20   conf<0.6   a note")
        self.search.setToolTip(
            "Words of class, note, number or reader; <20 and >150 bound the area (µm²), conf<0.6 the confidence"
        )
        self.search.setClearButtonEnabled(True)
        self.table: RowTable[ListedNucleus] = RowTable(_COLUMNS, _tip, _ROWS_HIGH, many=True)
        self.table.setAccessibleName("Nuclei of this crop")
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.words = Note()
        self._at: dict[int, int] = {}
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.search, self.table, self.words):
            box.addWidget(widget)
        self.table.sort_with(self._sort)
        self.table.several.connect(self._selected_here)
        self.table.customContextMenuRequested.connect(
            lambda at: self.menu_asked.emit(self.table.viewport().mapToGlobal(at))
        )
        self.search.textChanged.connect(self._search)
        hear(self, controller.editing.changed, self.nuclei.follow)
        hear(self, self.nuclei.query_changed, self.refresh)
        hear(self, self.nuclei.order_changed, self.refresh)
        hear(self, controller.editing.selected_changed, self._selected_there)
        controller.settled.connect(self.refresh)
        controller.session_changed.connect(self.refresh)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """It is unfolded: list what is there now."""
        super().showEvent(event)
        self.refresh()

    def _search(self, text: str) -> None:
        self.nuclei.query = text

    def _sort(self, column: int, backwards: bool) -> None:
        self.nuclei.order = tuple(By)[column], backwards

    def refresh(self, _: object = None) -> None:
        """List the nuclei anew, if the list is seen."""
        if not self.isVisible():
            return
        shown = self.nuclei.shown()
        self._at = {one.id: k for k, one in enumerate(shown)}
        self.table.show_values(shown)
        self._selected_there(self.controller.editing.selected)

    def _selected_there(self, ids: frozenset[int]) -> None:
        """Show what is selected on the canvas."""
        if self.isVisible():
            rows = sorted(self._at[k] for k in ids if k in self._at)
            self.table.select(rows)
            self._say(len(ids), len(rows))

    def _say(self, selected: int, seen: int) -> None:
        number = len(self.table.rows)
        found = f"{number} found" if self.nuclei.query.strip() else f"{number} nuclei and regions"
        away = f" ({selected - seen} of them not listed)" if selected > seen else ""
        chosen = f", {selected} selected{away}" if selected else f". {SELECT_ALL.key}: select them"
        self.words.say(f"{found}{chosen}." if number or selected else "No nucleus is like that.")

    def _selected_here(self, values: list[ListedNucleus]) -> None:
        """The reader selected rows: the canvas follows, and goes to the one that was clicked."""
        ids = [one.id for one in values]
        if frozenset(ids) == self.controller.editing.selected:
            return
        at = self.table.currentIndex().row()
        self.controller.do(Select(ids))
        if ids and 0 <= at < len(self.table.rows) and self.table.rows[at].id in ids:
            self.gone_to.emit(self.table.rows[at].id)

    def select_all(self) -> None:
        """Select every nucleus that the search finds; where the list is folded away, all of the crop."""
        ids = [one.id for one in (self.nuclei.shown() if self.isVisible() else self.nuclei.all())]
        self.controller.do(Select(ids))
        if not ids:
            self.controller.said.emit("There is nothing to select.", "hint")
