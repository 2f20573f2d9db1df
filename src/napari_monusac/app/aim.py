"""Which nuclei a key acts on. One rule: the selected ones that are in view; else the one under the pointer. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum


class Why(Enum):
    """Why a nucleus is meant."""

    SELECTED = "selected"
    POINTER = "under the pointer"
    #: nothing is meant: what was just drawn lies under the pointer, or nothing does
    DRAWN = "just drawn"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Meant:
    """What keys act on now.

    Attributes
    ----------
    ids : tuple of int
        The nuclei; none where nothing is meant.
    why : Why
        Why these.
    selected : int
        How many are selected, in view or not.
    """

    ids: tuple[int, ...]
    why: Why
    selected: int = 0

    def line(self, words: Callable[[int], str], under: int = 0) -> str:
        """Return what the top line says; `words` tells of one nucleus, `under` lies under the pointer."""
        n, one = self.selected, len(self.ids) == 1
        if self.why is Why.SELECTED:
            if len(self.ids) < n:
                return f"{n} selected, {len(self.ids)} in view: keys act on {'that one' if one else 'those'}"
            return f"1 selected: {words(self.ids[0])}" if one else f"{n} selected"
        away = f"{n} selected, out of view" if n else ""
        if self.why is Why.POINTER:
            return ". ".join(part for part in (words(self.ids[0]), away) if part)
        if self.why is Why.DRAWN:
            return f"Just drawn: {words(under)}. A click selects it for keys"
        return f"{away}: keys leave {'it' if n == 1 else 'them'} alone" if away else ""


class Aim:
    """What the pointer and the last stroke say about which nucleus is meant.

    The pointer counts from its first move after a step to a nucleus. What was just drawn lies under the pointer by
    necessity, and is not meant until the pointer has left it, or it is selected.
    """

    def __init__(self) -> None:
        self._counts = False
        self._fresh: frozenset[int] = frozenset()
        #: the nucleus that was drawn last, 0 for none: more can be added to it
        self.drawn_last = 0

    def moved(self, under: int) -> None:
        """The pointer has moved, and lies on this nucleus (0 for none) now."""
        self._counts = True
        if under not in self._fresh:
            self._fresh = frozenset()

    def rested(self) -> None:
        """The pointer does not count: it is off the canvas, or the reader stepped to a nucleus by a key."""
        self._counts, self._fresh = False, frozenset()

    def forget(self) -> None:
        """Another crop is open."""
        self.rested()
        self.drawn_last = 0

    def drew(self, ids: Iterable[int]) -> None:
        """These nuclei were just drawn."""
        self._fresh = frozenset(ids)
        self.drawn_last = max(self._fresh, default=0)

    def pointed(self, under: int) -> int:
        """Return the nucleus under the pointer if it counts, else 0."""
        return under if self._counts and under not in self._fresh else 0

    def meant(self, selected: Collection[int], under: int, in_view: Callable[[int], bool]) -> Meant:
        """Return what keys act on.

        Parameters
        ----------
        selected : collection of int
            The selected nuclei.
        under : int
            The nucleus under the pointer, 0 for none.
        in_view : callable
            Whether some of a nucleus is seen in the window.
        """
        seen = tuple(k for k in sorted(selected) if in_view(k))
        if seen:
            return Meant(seen, Why.SELECTED, len(selected))
        here = self.pointed(under)
        if here:
            return Meant((here,), Why.POINTER, len(selected))
        return Meant((), Why.DRAWN if under in self._fresh else Why.NOTHING, len(selected))
