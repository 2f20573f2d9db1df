"""Colours of the ternary map."""

from __future__ import annotations

from typing import Any

from napari.utils.colormaps import DirectLabelColormap

from napari_monusac.core.classes import TERNARY_COLORS


def ternary_colormap() -> DirectLabelColormap:
    """Colours of the ternary map: inside calm, boundary bright."""
    colors: dict[int | None, Any] = {int(k): (*(v / 255 for v in rgb), 1.0) for k, rgb in TERNARY_COLORS.items()}
    return DirectLabelColormap(color_dict={0: "transparent", None: "transparent", **colors})
