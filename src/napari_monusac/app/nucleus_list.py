"""The nuclei of the open crop as a list: searched, sorted, in step with the edits. No Qt, no napari."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_monusac.app.facts import Fact
from napari_monusac.editing.nuclei.rows import NucleusRow

if TYPE_CHECKING:
    from napari_monusac.app.editing import Editing
    from napari_monusac.editing.nuclei.edit import SessionChange
    from napari_monusac.editing.session import EditingSession

#: Who drew an outline, as the list says it and the search finds it.
WHO = {"file": "file", "human": "by hand", "model": "model"}
_BOUND = re.compile(r"(area|conf(?:idence)?)?([<>])(\d+(?:[.,]\d+)?)")


class By(StrEnum):
    """What the list is sorted by: the titles of its columns."""

    NUMBER = "No."
    CLASS = "Class"
    AREA = "Area"
    CONFIDENCE = "Conf."
    NOTE = "Note"


@dataclass(frozen=True, slots=True)
class ListedNucleus:
    """One nucleus (or Ambiguous region) of the list.

    Attributes
    ----------
    row : NucleusRow
        Class, who drew it, confidence, note.
    area_px : int
        Visible pixels; 0 where it lies wholly hidden.
    area : float
        The same in µm², or in px where the scale is unknown.
    """

    row: NucleusRow
    area_px: int
    area: float

    @property
    def id(self) -> int:
        """Its number."""
        return self.row.id

    @property
    def words(self) -> str:
        """What a search looks through, in lower case."""
        row = self.row
        return f"{row.id} {row.class_name} {WHO[row.provenance]} {row.author} {row.note}".casefold()


def areas_px(session: EditingSession, ids: Iterable[int] | None = None) -> dict[int, int]:
    """Return the visible pixels of some nuclei, by default of all; 0 of those that are hidden or gone."""
    maps, rows = session.maps, session.rows
    if ids is not None:
        return {k: maps.stamp(rows[k].plane, k).area_px if k in rows else 0 for k in ids}
    counts = {plane: np.bincount(maps.plane(plane).ravel()) for plane in ("nuclei", "ambiguous")}
    return {k: int(c[k]) if k < len(c := counts[row.plane]) else 0 for k, row in rows.items()}


def finder(query: str) -> Callable[[ListedNucleus], bool]:
    """Return what tells whether a nucleus is meant by a search.

    All words must be in it (class, note, number, who drew it); ``<20`` and ``>150`` are bounds of its area, ``conf<0.6`` of
    its confidence (those without one never match).
    """
    tests: list[Callable[[ListedNucleus], bool]] = []
    for word in query.casefold().split():
        bound = _BOUND.fullmatch(word)
        if bound is None:
            tests.append(lambda one, word=word: word in one.words)  # type: ignore[misc]
            continue
        what, sign, number = bound.groups()
        compare = operator.lt if sign == "<" else operator.gt
        limit = float(number.replace(",", "."))
        if what and what.startswith("conf"):
            tests.append(
                lambda one, c=compare, n=limit: one.row.confidence is not None and c(one.row.confidence, n)  # type: ignore[misc]
            )
        else:
            tests.append(lambda one, c=compare, n=limit: c(one.area, n))  # type: ignore[misc]
    return lambda one: all(test(one) for test in tests)


_KEYS: dict[By, Callable[[ListedNucleus], Any]] = {
    By.NUMBER: lambda one: one.id,
    By.CLASS: lambda one: one.row.class_name,
    By.AREA: lambda one: one.area,
    By.CONFIDENCE: lambda one: one.row.confidence or 0.0,
    By.NOTE: lambda one: one.row.note.casefold(),
}


def ordered(nuclei: Iterable[ListedNucleus], by: By, *, backwards: bool = False) -> list[ListedNucleus]:
    """Sort nuclei; equal ones by number. Those without a confidence or a note come last, whichever way."""
    found = sorted(nuclei, key=lambda one: one.id)
    found.sort(key=_KEYS[by], reverse=backwards)
    if by is By.CONFIDENCE:
        found.sort(key=lambda one: one.row.confidence is None)
    elif by is By.NOTE:
        found.sort(key=lambda one: not one.row.note)
    return found


class NucleusList:
    """The list of the session that is edited.

    Parameters
    ----------
    editing : Editing
        Whose session. `follow` and `begin` are called by who hears of its events.

    Attributes
    ----------
    query : str
        What is searched for, as `finder` reads it (`query_changed`).
    order : tuple of (By, bool)
        What it is sorted by, and whether backwards (`order_changed`).
    """

    query_changed = Signal(str)
    order_changed = Signal(object)

    query: Fact[str] = Fact("query_changed", "", operator.eq)
    order: Fact[tuple[By, bool]] = Fact("order_changed", (By.NUMBER, False), operator.eq)

    def __init__(self, editing: Editing) -> None:
        self._editing = editing
        self._areas: dict[int, int] | None = None
        self._stale: set[int] = set()
        self._of: EditingSession | None = None

    def follow(self, change: SessionChange) -> None:
        """An edit was made: those nuclei are measured anew when the list is asked for."""
        if change.kind in ("edit", "undo", "redo"):
            self._stale |= set(change.ids)

    def all(self) -> list[ListedNucleus]:
        """Return every nucleus and Ambiguous region of the crop."""
        session = self._editing.session
        if session is None:
            self._areas = self._of = None
            return []
        if self._areas is None or self._of is not session:
            self._areas, self._of = areas_px(session), session
        elif self._stale:
            self._areas |= areas_px(session, self._stale)
        self._stale.clear()
        scale = session.nuclei.um_per_px
        times, areas = 1.0 if scale is None else scale**2, self._areas
        return [ListedNucleus(row, areas.get(k, 0), areas.get(k, 0) * times) for k, row in session.rows.items()]

    def shown(self) -> list[ListedNucleus]:
        """Return what the search finds, in order."""
        by, backwards = self.order
        return ordered(filter(finder(self.query), self.all()), by, backwards=backwards)

    def like(self, label: int, what: str) -> list[int]:
        """Return the nuclei like one: of its ``"class"``, or ``"smaller"`` or ``"larger"`` than it; itself among them."""
        nuclei: Sequence[ListedNucleus] = self.all()
        one = next((n for n in nuclei if n.id == label), None)
        if one is None:
            return []
        if what == "class":
            return [n.id for n in nuclei if n.row.class_id == one.row.class_id]
        same = [n for n in nuclei if n.row.plane == one.row.plane and n.area_px]
        return [n.id for n in same if (n.area_px <= one.area_px if what == "smaller" else n.area_px >= one.area_px)]
