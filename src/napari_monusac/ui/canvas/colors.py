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
#: What is inside an outline has the place of its class and this; the halo beside an outline, twice this.
INNER = len(PLACES)
_N_SHADES = 3 * INNER + 1
#: Halos of dark colours and of light ones: a thin line in red drowns in tissue that eosin stained, yellow in white.
_LIGHT_HALO, _DARK_HALO = (1.0, 1.0, 1.0, 0.5), (0.05, 0.05, 0.08, 0.5)
_CLEAR = (0.0, 0.0, 0.0, 0.0)
#: Classes that can be shown filled, in the order of their keys.
FILLABLE: tuple[int, ...] = tuple(PLACES)


def halo_of(color: tuple[float, ...]) -> tuple[float, ...]:
    """Return the colour (RGBA, 0 to 1) that lets an outline of this colour stand out from any tissue."""
    light = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), color[:3], strict=True))
    return _DARK_HALO if light > 0.5 else _LIGHT_HALO


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
    brush is drawing them) have the class that new nuclei get. What is inside an outline has a colour of its own (see
    `napari_monusac.ui.canvas.drawing`): to fill a class is to change that one colour.
    """

    _new: int = PrivateAttr(default=PLACES[_UNCLASSIFIED])
    _shades: NDArray[np.float32] = PrivateAttr(default_factory=lambda: np.zeros((_N_SHADES, 4), np.float32))

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
        shown = set(PLACES) if look.only is None else {*look.only, AMBIGUOUS_ID}
        colors = {**class_colors(look.palette), AMBIGUOUS_ID: (*(v / 255 for v in AMBIGUOUS_COLOR), 1.0)}
        for number, place in PLACES.items():
            color = colors[number] if number in shown else _CLEAR
            self._shades[place] = color
            self._shades[place + 2 * INNER] = halo_of(color) if number in shown and number != AMBIGUOUS_ID else _CLEAR
            self._shades[place + INNER] = (*color[:3], color[3] * look.strength) if number in look.filled else _CLEAR

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
        )


def semantic_colormap(palette: PaletteName) -> DirectLabelColormap:
    """Colours of a semantic map."""
    colors: dict[int | None, Any] = dict(class_colors(palette).items())
    return DirectLabelColormap(color_dict=colors | {0: "transparent", None: "transparent"})
