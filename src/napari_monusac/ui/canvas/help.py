"""What napari's own line at the foot of the window says of our layers: our keys while they hold, class and area of a nucleus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels, Layer

from napari_monusac.ui.canvas import canvas

#: Layers whose help is ours: whose, our words, napari's words.
_HELD: WeakKeyDictionary[Layer, tuple[object, str, str]] = WeakKeyDictionary()


def show_help(viewer: Any, owner: object, layers: Iterable[Layer], words: str) -> None:
    """Let layers tell our keys; napari writes its own anew at each change of tool, so ours are put back after it."""
    for proxy in layers:
        layer = getattr(proxy, "__wrapped__", proxy)  # a plugin's viewer hands out proxies
        held = _HELD.get(layer)
        if held is None:
            layer.events.help.connect(_put_back)
        _HELD[layer] = (owner, words, layer.help if held is None else held[2])
        layer.help = words
    _tell(viewer)


def give_help_back(viewer: Any, owner: object) -> None:
    """The words of napari again, unless another panel has put its own there meanwhile."""
    for layer, (whose, _, theirs) in list(_HELD.items()):
        if whose is owner:
            del _HELD[layer]
            layer.events.help.disconnect(_put_back)
            layer.help = theirs
    _tell(viewer)


def _put_back(event: Any) -> None:
    layer = event.source
    held = _HELD.get(layer)
    if held is not None and layer.help != held[1]:
        _HELD[layer] = (*held[:2], layer.help)
        layer.help = held[1]


def _tell(viewer: Any) -> None:
    active = viewer.layers.selection.active
    if active is not None and canvas.role(active):
        viewer.help = active.help


def plain_status(layer: Labels, area_px: Callable[[int], int] | None = None) -> None:
    """Say class and area of the nucleus under the pointer in napari's status line, not every column of its table.

    Parameters
    ----------
    layer : Labels
        Nuclei with the features ``index`` and ``class``.
    area_px : callable, optional
        Pixels of a label, where the table does not say.
    """

    def status(position: Any = None, *, value: Any = None, **how: Any) -> dict[str, str]:
        # what napari says of every layer, without the table that it adds for labels
        if value is None and position is not None:
            value = layer.get_value(position, **how)
        found: dict[str, str] = super(Labels, layer).get_status(position, value=value, **how)
        label = value[1] if isinstance(value, tuple) else value  # of a pyramid: (level, label)
        words = words_of(layer, int(label), area_px) if label else ""
        if words:
            found["coordinates"] += f"; {words}"
            found["value"] += f"; {words}"
        return found

    setattr(layer, "get_status", status)  # noqa: B010 - napari's public method, of this one layer


def words_of(layer: Labels, label: int, area_px: Callable[[int], int] | None = None) -> str:
    """Class and area of a nucleus: "Lymphocyte, 31 µm²"; empty for one that the table does not know."""
    table = layer.features
    if "index" not in table or "class" not in table:
        return ""
    at = np.flatnonzero(table["index"].to_numpy() == label)
    if not at.size:
        return ""
    row = table.iloc[int(at[0])]
    um = canvas.um_per_px(layer)
    pixels = area_px(label) if area_px is not None else row.get("area_px")
    words = [str(row["class"])]
    if pixels and um is not None:
        words.append(f"{float(pixels) * um * um:.0f} µm²")
    elif pixels:
        words.append(f"{int(pixels)} px")
    return ", ".join(words)
