"""Colours of nuclei by class, through a small table: thousands of nuclei, and a change of class costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from pydantic import PrivateAttr

from napari_monusac.core.classes import CLASSES, PALETTES, NucleusClass, PaletteName, class_colors

_UNCLASSIFIED = int(NucleusClass.UNCLASSIFIED)
#: Place of each class in the table of colours; 0 is background.
_PLACES: Mapping[int, int] = {**{int(c): int(c) for c in CLASSES}, _UNCLASSIFIED: len(CLASSES) + 1}
_CLEAR = (0.0, 0.0, 0.0, 0.0)


class ClassColormap(DirectLabelColormap):
    """A colormap that knows the class of each label, and a colour for each class.

    napari's own `DirectLabelColormap` holds a colour for each label: with 3,000 nuclei it takes 50 ms to make one, and
    the whole layer is coloured anew each time. Here a label is looked up in an array of small numbers, which is changed
    in place; only the pixels that an edit touched are sent to the screen again. Labels that nobody has named yet (the
    brush is drawing them) have the class that new nuclei get.
    """

    _table: NDArray[np.uint8] = PrivateAttr(default_factory=lambda: np.zeros(256, np.uint8))
    _new: int = PrivateAttr(default=_PLACES[_UNCLASSIFIED])
    _shades: NDArray[np.float32] = PrivateAttr(default_factory=lambda: np.zeros((len(_PLACES) + 1, 4), np.float32))

    @classmethod
    def of(cls, classes: Mapping[int, int | None], palette: PaletteName = "imagescope") -> ClassColormap:
        """Make the colormap of labels with these classes."""
        # napari asks for a colour of "None" and of the background; they play no part below
        made = cls(color_dict={0: "transparent", None: (0.8, 0.8, 0.8, 1.0)})
        made.set_palette(palette)
        made.set_new_class(_UNCLASSIFIED)
        made.set_classes(classes)
        return made

    # -- what is shown

    def set_palette(self, palette: PaletteName, only: Iterable[int] | None = None) -> None:
        """Take other colours; with `only`, other classes become invisible. Tell the layer with `events.colormap()`."""
        shown = set(_PLACES) if only is None else set(only)
        colors = class_colors(palette)
        for number, place in _PLACES.items():
            self._shades[place] = colors[number] if number in shown else _CLEAR

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
                table[label] = new if number is None else _PLACES.get(number, new)

    def set_new_class(self, number: int, used: Iterable[int] = ()) -> None:
        """Show labels that nobody has named yet in the colour of this class; `used` are those with a name."""
        self._new = _PLACES.get(number, _PLACES[_UNCLASSIFIED])
        free = np.ones(len(self._table), bool)
        free[[k for k in used if k < len(free)]] = False
        self._table[free] = self._new
        self._table[0] = 0

    # -- what napari asks

    def _data_to_texture(self, values: Any) -> Any:
        if self.use_selection:
            return np.asarray(values == self.selection).astype(np.uint8)[()]
        return np.take(self._table, values, mode="clip")

    def _selection_as_minimum_dtype(self, dtype: Any) -> int:
        return int(self._data_to_texture(dtype.type(self.selection)))

    def _values_mapping_to_minimum_values_set(
        self, apply_selection: bool = True
    ) -> tuple[dict[int | None, int], dict[int, Any]]:
        if self.use_selection and apply_selection:
            return {self.selection: 1, None: 0}, {0: np.zeros(4), 1: self._shade(self.selection)}
        return {}, dict(enumerate(self._shades))

    def map(self, values: Any) -> Any:
        """Return the RGBA colours (0 to 1) of labels, an array of one more axis of 4."""
        shades: NDArray[np.float32] = self._shades[np.take(self._table, values, mode="clip")]
        if self.use_selection:
            shades = np.where(np.asarray(values == self.selection)[..., None], shades, 0)
        return shades

    def _shade(self, label: int) -> NDArray[np.float32]:
        return np.array(self._shades[self._table[min(label, len(self._table) - 1)]])


def class_hex(number: int, palette: PaletteName) -> str:
    """Colour of a class for style sheets."""
    r, g, b = PALETTES[palette][NucleusClass(number)]
    return f"#{r:02x}{g:02x}{b:02x}"
