"""Colours of nuclei by class, through a small table: thousands of nuclei, and a change of class costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from pydantic import PrivateAttr

from napari_monusac.core.classes import AMBIGUOUS_COLOR, CLASSES, NucleusClass, PaletteName, class_colors
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID
from napari_monusac.ui.canvas.napari_private import TableColormap

_UNCLASSIFIED = int(NucleusClass.UNCLASSIFIED)
#: Place of each class in the table of colours; 0 is background.
PLACES: Mapping[int, int] = {
    **{int(c): int(c) for c in CLASSES}, _UNCLASSIFIED: len(CLASSES) + 1, AMBIGUOUS_ID: len(CLASSES) + 2,
}  # fmt: skip
_N_SHADES = len(PLACES) + 1
_CLEAR = (0.0, 0.0, 0.0, 0.0)
#: Classes that can be shown filled, in the order of their keys.
FILLABLE: tuple[int, ...] = tuple(PLACES)


@dataclass(frozen=True, slots=True)
class Look:
    """How nuclei are shown.

    Attributes
    ----------
    palette : {"imagescope", "colour-blind"}
        Class colours.
    only : frozenset of int or None
        Classes that are shown; None for all.
    filled : frozenset of int
        Classes that are filled, within their outlines (`AMBIGUOUS_ID` for regions).
    strength : float
        How strong a filling is, 0 to 1, compared with the outline.
    """

    palette: PaletteName = "imagescope"
    only: frozenset[int] | None = None
    filled: frozenset[int] = frozenset([AMBIGUOUS_ID])
    strength: float = 0.4


class ClassColormap(TableColormap):
    """A colormap that knows the class of each label, and a colour for each class.

    napari's own `DirectLabelColormap` holds a colour for each label: with 3,000 nuclei it takes 50 ms to make one, and
    the whole layer is coloured anew each time. Here a label is looked up in an array of small numbers, which is changed
    in place; only the pixels that an edit touched are sent to the screen again. Labels that nobody has named yet (the
    brush is drawing them) have the class that new nuclei get. Pixels have the colour of the filling, which is clear until
    the class is filled; outlines (`napari_monusac.ui.canvas.outlines`) that of the class.
    """

    _new: int = PrivateAttr(default=PLACES[_UNCLASSIFIED])
    _shades: NDArray[np.float32] = PrivateAttr(default_factory=lambda: np.zeros((_N_SHADES, 4), np.float32))
    _lines: NDArray[np.float32] = PrivateAttr(default_factory=lambda: np.zeros((_N_SHADES, 4), np.float32))
    _look: Look = PrivateAttr(default_factory=Look)
    #: whether there are no outlines but napari's own, which have the colour of the filling
    _alone: bool = PrivateAttr(default=False)

    @classmethod
    def of(cls, classes: Mapping[int, int | None], palette: PaletteName = "imagescope") -> ClassColormap:
        """Make the colormap of labels with these classes."""
        # napari asks for a colour of "None" and of the background; they play no part below
        made = cls(color_dict={0: "transparent", None: (0.8, 0.8, 0.8, 1.0)})
        made.set_look(Look(palette))
        made.set_new_class(_UNCLASSIFIED)
        made.set_classes(classes)
        return made

    # -- what is shown

    def set_look(self, look: Look) -> None:
        """Take other colours, hide classes, fill some. Tell the layer with `events.colormap()`; no pixel is computed."""
        self._look = look
        shown = set(PLACES) if look.only is None else {*look.only, AMBIGUOUS_ID}
        colors = {**class_colors(look.palette), AMBIGUOUS_ID: (*(v / 255 for v in AMBIGUOUS_COLOR), 1.0)}
        for number, place in PLACES.items():
            color = colors[number] if number in shown else _CLEAR
            self._lines[place] = color
            strength = 1.0 if self._alone else look.strength if number in look.filled else 0.0
            self._shades[place] = (*color[:3], color[3] * strength) if strength else _CLEAR

    def stand_alone(self) -> None:
        """Colour all pixels of nuclei: outlines cannot be drawn here, napari's own have the colours of the pixels."""
        self._alone = True
        self.set_look(self._look)

    def map(self, values: Any) -> Any:
        """Return the colours (RGBA 0 to 1) of labels' classes, an array of one more axis of 4, however they are filled."""
        colors: NDArray[np.float32] = self._lines[self.places(values)]
        if self.use_selection:
            colors = np.where(np.asarray(values == self.selection)[..., None], colors, 0)
        return colors

    def set_classes(self, classes: Mapping[int, int | None]) -> None:
        """Set the class of some labels; None or an unknown one makes it a new label again."""
        top = max(classes, default=0)
        # the last place is nobody's: all larger numbers share it
        if top >= len(self._table) - 1:
            grown = np.full(max(top + 2, 2 * len(self._table)), self._new, np.uint8)
            grown[: len(self._table)] = self._table
            self._table = grown
        table, new = self._table, self._new  # each look at an attribute of a pydantic model takes microseconds
        for label, number in classes.items():
            if label > 0:
                table[label] = new if number is None else PLACES.get(number, new)

    def set_new_class(self, number: int, used: Iterable[int] = ()) -> None:
        """Show labels that nobody has named yet in the colour of this class; `used` are those with a name."""
        self._new = PLACES.get(number, PLACES[_UNCLASSIFIED])
        free = np.ones(len(self._table), bool)
        free[[k for k in used if k < len(free)]] = False
        self._table[free] = self._new
        self._table[0] = 0

    def shows_the_same_as(self, other: Any) -> bool:
        """Whether another colormap gives each label the same colour."""
        return (
            isinstance(other, ClassColormap)
            and np.array_equal(self._table, other._table)
            and np.array_equal(self._shades, other._shades)
            and np.array_equal(self._lines, other._lines)
        )


def classes_in(features: Any) -> dict[int, int]:
    """Class number by label, from a table with the columns ``index`` and ``class``."""
    if "index" not in features or "class" not in features:
        return {}
    known: dict[str, int] = {}
    numbers = {}
    for label, name in zip(features["index"].tolist(), features["class"].astype(str).tolist(), strict=True):
        if name not in known:
            known[name] = int(NucleusClass.from_label(name) or NucleusClass.UNCLASSIFIED)
        if int(label):
            numbers[int(label)] = known[name]
    return numbers


def semantic_colormap(palette: PaletteName) -> DirectLabelColormap:
    """Colours of a semantic map."""
    colors: dict[int | None, Any] = dict(class_colors(palette).items())
    return DirectLabelColormap(color_dict=colors | {0: "transparent", None: "transparent"})
