"""The shapes of ImageScope and HALO: what a Region's ``Type`` makes of its vertices."""

from __future__ import annotations

import math

import numpy as np

from napari_monusac.core.geometry import Outline
from napari_monusac.core.nuclei import Nucleus, Role

#: Types by number (ImageScope) and by word (HALO). Numbers above 2 are arrows, rulers and points.
_OUTLINES = {"", "0", "polygon", "freehand"}
#: Nobody draws a nucleus as one, unless all of them are.
RECTANGLES = {"1", "rectangle"}
_ELLIPSES = {"2", "ellipse", "circle"}
#: An ellipse is drawn so finely that no edge leaves the curve by more than this, px.
_SAG_PX = 0.02
_CORNERS = (32, 1024)


def shape_of(kind: str, vertices: Outline) -> tuple[Outline, Role]:
    """Return the outline that a Region means, and whether it is an area.

    Parameters
    ----------
    kind : str
        The Region's ``Type``: 0 an outline, 1 a rectangle, 2 an ellipse, or the same in words.
    vertices : float64 (n, 2)
        Its vertices, (y, x) px. Rectangles and ellipses may have two: opposite corners of their box.

    Returns
    -------
    vertices : float64 (n, 2)
        As they came, or the closed outline of a rectangle or ellipse that its box stands for.
    role : {"nucleus", "mark"}
        "mark" for what is no area (arrow, ruler, point) and for types that nobody knows; such a shape is kept as it
        is. An outline that returns to its first vertex is an area whatever its type says.
    """
    kind = kind.strip().casefold()
    if kind in _OUTLINES:
        return vertices, "nucleus"
    if kind in RECTANGLES or kind in _ELLIPSES:
        box = _box(vertices, of_corners=kind in _ELLIPSES)
        if box is None:
            return vertices, "nucleus"
        return (_ellipse(*box) if kind in _ELLIPSES else _rectangle(*box)), "nucleus"
    returns = len(vertices) > 3 and bool((vertices[0] == vertices[-1]).all())
    return vertices, "nucleus" if returns else "mark"


def is_plain_outline(kind: str) -> bool:
    """Whether a ``Type`` says that the vertices are the outline."""
    return kind.strip().casefold() in _OUTLINES


def is_boxed(region: Nucleus) -> bool:
    """Whether a region's file has the corners of a box where we have the outline of a rectangle or an ellipse."""
    text = region.source_text
    return text is not None and region.role == "nucleus" and 0 < text.count(b"<V") != len(region.vertices)


def _box(vertices: Outline, *, of_corners: bool) -> tuple[Outline, Outline] | None:
    """Return the lower and upper corner of the box that two vertices (or an upright box's corners) span, if any."""
    corners = np.unique(vertices, axis=0)
    low, high = (vertices.min(0), vertices.max(0)) if len(vertices) else (np.zeros(2), np.zeros(2))
    if not (high > low).all():
        return None
    upright = len(corners) == 4 and bool(((corners == low) | (corners == high)).all())
    return (low, high) if len(vertices) == 2 or (of_corners and upright) else None


def _rectangle(low: Outline, high: Outline) -> Outline:
    (top, left), (bottom, right) = low, high
    return _frozen(np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)]))


def _ellipse(low: Outline, high: Outline) -> Outline:
    """A closed polygon whose area is pi a b to a float's digits: its vertices lie as far outside as its edges inside."""
    middle, axes = (low + high) / 2, (high - low) / 2
    turn = 2 * math.acos(max(0.0, 1 - _SAG_PX / float(axes.max())))
    n = 4 * math.ceil(min(max(2 * math.pi / max(turn, 1e-9), _CORNERS[0]), _CORNERS[1]) / 4)
    angle = 2 * np.pi * np.arange(n + 1) / n
    angle[-1] = 0.0
    # the polygon through points of the curve has n/2 sin(2 pi / n) a b
    wider = math.sqrt(2 * math.pi / n / math.sin(2 * math.pi / n))
    return _frozen(middle + axes * wider * np.stack([np.sin(angle), np.cos(angle)], axis=1))


def _frozen(vertices: Outline) -> Outline:
    vertices.setflags(write=False)
    return vertices
