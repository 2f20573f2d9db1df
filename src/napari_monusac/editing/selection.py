"""The selection, and the class that new nuclei get. Neither is an edit: undo leaves them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.rows import Plane, class_id_of

SelectMode = Literal["replace", "add", "remove", "toggle"]


class Selection:
    """Selected nuclei and regions of a crop.

    Parameters
    ----------
    nuclei : CropNuclei
        What is selected from.
    """

    def __init__(self, nuclei: CropNuclei) -> None:
        self._nuclei = nuclei
        self._ids: frozenset[int] = frozenset()
        self._current_class = int(NucleusClass.EPITHELIAL)

    @property
    def ids(self) -> frozenset[int]:
        """Selected nuclei and regions that exist."""
        return self._ids & self._nuclei.rows.keys()

    @property
    def current_class(self) -> int:
        """Class of new nuclei: 1 to 4, 255 = unclassified, 5 = Ambiguous region."""
        return self._current_class

    @current_class.setter
    def current_class(self, value: int | str) -> None:
        self._current_class = class_id_of(value)

    def change(self, ids: Iterable[int], mode: SelectMode = "replace") -> frozenset[int]:
        """Change the selection; return those that came or went.

        Raises
        ------
        SessionError
            One of them does not exist.
        """
        these, old = frozenset(ids), self.ids
        for k in these:
            self._nuclei.row(k)
        self._ids = {"replace": these, "add": old | these, "remove": old - these, "toggle": old ^ these}[mode]
        return self._ids ^ old

    def meant(self, ids: Collection[int] | None) -> list[int]:
        """Return the ids that a command is for: those given, or the selection.

        Raises
        ------
        SessionError
            There is none, or one of them does not exist.
        """
        wanted = sorted(self.ids) if ids is None else list(dict.fromkeys(ids))
        if not wanted:
            raise SessionError("no nucleus is chosen", "click one, or draw a box or lasso around some")
        for k in wanted:
            self._nuclei.row(k)
        return wanted

    def by_plane(self, ids: Iterable[int]) -> list[tuple[Plane, list[int]]]:
        """Sort ids into nuclei and Ambiguous regions."""
        planes: dict[Plane, list[int]] = {}
        for k in ids:
            planes.setdefault(self._nuclei.rows[k].plane, []).append(k)
        return list(planes.items())
