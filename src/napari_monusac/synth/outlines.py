"""The truth of synthetic tissue: outlines inside the crop, as an ImageScope file would have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, LINE_COLORS
from napari_monusac.core.nuclei import Annotation, Layer, Nucleus
from napari_monusac.synth.cells import Cell

NamedOutlines = list[tuple[str, NDArray[np.float64]]]


def visible_nuclei(cells: list[Cell], pad: int, shape: tuple[int, int]) -> NamedOutlines:
    """Outlines inside the crop, in the order of the classes; what lies outside is cut off."""
    found = []
    for kind in CLASSES:
        for cell in cells:
            if cell.kind is not kind:
                continue
            vertices = _clipped(np.rint(cell.outline) - pad, shape)
            if vertices is None:
                continue
            # A nucleus that hardly reaches into the crop: no annotator would outline it.
            visible = polygon(vertices[:, 0], vertices[:, 1], shape)[0].size
            if visible >= 0.15 * np.pi * cell.radius**2:
                found.append((kind.label, vertices))
    return found


def _clipped(outline: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64] | None:
    """The part of an outline inside the crop, on whole pixels, a simple polygon; None where nothing is left."""
    import shapely

    limit = np.array(shape) - 1
    area = shapely.Polygon(outline)
    if (outline < 0).any() or (outline > limit).any():
        area = area.buffer(0).intersection(shapely.box(0, 0, *limit.tolist()))
    # Rounding can make an outline touch or cross itself; cutting gives corners between pixels.
    for _ in range(3):
        pieces = [g for g in shapely.get_parts(area if area.is_valid else area.buffer(0)) if g.geom_type == "Polygon"]
        if not pieces:
            return None
        ring = np.rint(np.asarray(max(pieces, key=lambda g: g.area).exterior.coords)[:-1])
        ring = ring[np.any(ring != np.roll(ring, 1, 0), axis=1)]
        if len(ring) < 3:
            return None
        area = shapely.Polygon(ring)
        if area.is_valid:
            return np.asarray(ring, np.float64)
    return None


def ambiguous_regions(rng: np.random.Generator, shape: tuple[int, int], number: int, um_per_px: float) -> NamedOutlines:
    """Draw boxes that an annotator left undecided: `number` of them, 8 to 16 um wide."""
    regions = []
    for _ in range(number):
        side = np.minimum(rng.uniform(8, 16, 2) / um_per_px, np.array(shape) / 3)
        y, x = rng.uniform(0, np.array(shape) - side)
        corners = np.array([[y, x], [y, x + side[1]], [y + side[0], x + side[1]], [y + side[0], x]])
        regions.append((AMBIGUOUS, np.floor(corners)))
    return regions


_HEADERS = (("9999", "Region"), ("9997", "Length"), ("9996", "Area"), ("9998", "Text"), ("1", "Description"))


def as_annotation(outlines: NamedOutlines, um_per_px: float) -> Annotation:
    """Return the outlines as ImageScope stores them: all four layers, those without a region included."""
    labels = [c.label for c in CLASSES]
    if any(label == AMBIGUOUS for label, _ in outlines):
        labels.append(AMBIGUOUS)
    headers = tuple((("Id", i), ("Name", n), ("ColumnWidth", "-1")) for i, n in _HEADERS)
    layers = tuple(
        Layer(
            label,
            (("Id", str(i)), ("Name", ""), ("ReadOnly", "0"), ("NameReadOnly", "0"), ("LineColorReadOnly", "0"),
             ("Incremental", "0"), ("Type", "4"), ("LineColor", str(LINE_COLORS[label])), ("Visible", "1"),
             ("Selected", "0"), ("MarkupImagePath", ""), ("MacroName", "")),
            (("Name", label), ("Id", "0"), ("Value", "")),
            headers,
        )
        for i, label in enumerate(labels, 1)
    )  # fmt: skip
    regions = []
    for layer, label in enumerate(labels):
        for number, (_, vertices) in enumerate((o for o in outlines if o[0] == label), 1):
            regions.append(_region(vertices, label, layer, number, um_per_px))
    return Annotation(tuple(regions), layers, um_per_px, (("MicronsPerPixel", f"{um_per_px:.6f}"),))


def _region(vertices: NDArray[np.float64], label: str, layer: int, number: int, um_per_px: float) -> Nucleus:
    after = np.roll(vertices, -1, 0)
    length = float(np.hypot(*(after - vertices).T).sum())
    area = abs(float((vertices[:, 1] * after[:, 0] - after[:, 1] * vertices[:, 0]).sum())) / 2
    attributes = (
        ("Id", str(number)), ("Type", "0"), ("Zoom", "1"), ("Selected", "0"), ("ImageLocation", ""),
        ("ImageFocus", "-1"),
        ("Length", f"{length:.1f}"), ("Area", f"{area:.1f}"), ("LengthMicrons", f"{length * um_per_px:.1f}"),
        ("AreaMicrons", f"{area * um_per_px**2:.1f}"), ("Text", ""), ("NegativeROA", "0"), ("InputRegionId", "0"),
        ("Analyze", "1"), ("DisplayId", str(number)),
    )  # fmt: skip
    closed = np.concatenate([vertices, vertices[:1]])
    return Nucleus(closed, label, layer, attributes, z=("0",) * len(closed), integral=True)
