"""The doctor on outlines: degenerate, tiny, huge, crossing, out of bounds, twice, heavily overlapping, no nuclei."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.geometry import outline_area, self_crossing
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.aperio_shapes import is_boxed
from napari_monusac.io.collection.crop import Crop
from napari_monusac.io.doctor.report import DoctorFinding, Severity, finding

Shapes = NDArray[np.object_]

#: Smaller nuclei are reported. MoNuSAC's smallest have about 2.6 um².
TINY_UM2 = 2.0
_TINY_PX2 = 32.0
#: Larger nuclei are reported: they may be regions. MoNuSAC's largest macrophage has 1139 um².
HUGE_UM2 = 2000.0
_HUGE_PX2 = 32000.0
#: Loops and holes of a crossing outline that matter, px².
_CROSSING_PX2 = 5.0
#: Share of the smaller nucleus under the other one.
_HEAVY_OVERLAP = 0.3
#: Intersection over union from which two outlines are the same nucleus.
_SAME = 0.8
#: Share of nuclei with their middle outside of the image from which the annotation is another image's.
_MISPLACED_SHARE = 0.1


def examine_nuclei(
    crop: Crop, annotation: Annotation, shape: tuple[int, int] | None, um_per_px: float | None
) -> list[DoctorFinding]:
    """Look at every region of an annotation.

    Parameters
    ----------
    crop : Crop
        Whose annotation it is.
    annotation : Annotation
        The regions.
    shape : tuple of int or None
        Height and width of the image in px; None where there is none to compare with.
    um_per_px : float or None
        Scale, for sizes.

    Returns
    -------
    list of DoctorFinding
        One a nucleus where a person should look, one an image for what is harmless.
    """
    found = _classes(crop, annotation) + _no_nuclei(crop, annotation, um_per_px)
    nuclei = [(k, r) for k, r in enumerate(annotation.regions) if r.role == "nucleus" and not r.is_ambiguous]
    drawable = []
    for k, region in nuclei:
        if _has_three_points(region.vertices):
            drawable.append((k, region))
        else:
            message = f"{_called(k, region)} has {len(region.vertices)} vertices, fewer than three of them different"
            found.append(finding("degenerate-region", message, crop, at=_middle(region), nuclei=(k,)))
    if not drawable:
        return found if nuclei else [*found, finding("no-nuclei", "the annotation holds no nucleus", crop)]
    misplaced = shape is not None and _is_misplaced(drawable, shape)
    if shape is not None and misplaced:
        found.append(_misplaced(crop, drawable, shape))
    elif shape is not None:
        found += _bounds(crop, drawable, shape)
    return found + _shapes(crop, drawable, um_per_px)


def _classes(crop: Crop, annotation: Annotation) -> list[DoctorFinding]:
    found = []
    unknown = annotation.unknown_labels
    for name, number in unknown.items():
        found.append(finding("unknown-class", f"{number} nuclei are called {name!r}, which is no class", crop))
    unclassified = [
        k for k, r in enumerate(annotation.regions)
        if r.role == "nucleus" and not r.is_ambiguous and r.label not in unknown
        and r.nucleus_class is NucleusClass.UNCLASSIFIED
    ]  # fmt: skip
    if unclassified:
        message = f"{len(unclassified)} nuclei have no class"
        found.append(finding("unclassified-nuclei", message, crop, nuclei=tuple(unclassified)))
    negative = tuple(k for k, r in enumerate(annotation.regions) if dict(r.attributes).get("NegativeROA") == "1")
    if negative:
        message = f"{len(negative)} regions are marked NegativeROA"
        found.append(
            finding("negative-region", message, crop, nuclei=negative, at=_middle(annotation.regions[negative[0]]))
        )
    return found


def _no_nuclei(crop: Crop, annotation: Annotation, um_per_px: float | None) -> list[DoctorFinding]:
    """What is no nucleus or was not drawn as an outline: said, so that nobody looks for it in the maps."""
    found = []
    for k, region in enumerate(annotation.regions):
        if region.role == "region":
            name = f" {region.label.strip()!r}" if region.label.strip() else ""
            message = f"region{name} {region.region_id or k + 1} of {_size(region, um_per_px)} lies around nuclei"
            found.append(finding("region-of-interest", message, crop, at=_middle(region), nuclei=(k,)))
    marks = tuple(k for k, r in enumerate(annotation.regions) if r.role == "mark")
    if marks:
        message = f"{len(marks)} shapes are no areas (arrows, rulers, points, unknown types)"
        found.append(finding("not-an-area", message, crop, nuclei=marks, at=_middle(annotation.regions[marks[0]])))
    boxed = tuple(k for k, r in enumerate(annotation.regions) if is_boxed(r))
    if boxed:
        message = f"{len(boxed)} ellipses and rectangles stand in the file as two corners"
        found.append(finding("boxed-shape", message, crop, nuclei=boxed, at=_middle(annotation.regions[boxed[0]])))
    return found


def _size(region: Nucleus, um_per_px: float | None) -> str:
    area = outline_area(region.vertices)
    return f"{area:.0f} px²" + (f" ({area * um_per_px**2:.0f} um²)" if um_per_px else "")


def _has_three_points(vertices: NDArray[np.float64]) -> bool:
    points: set[tuple[float, float]] = set()
    for y, x in vertices.tolist():
        points.add((y, x))
        if len(points) == 3:
            return True
    return False


def _called(k: int, region: Nucleus) -> str:
    """Name a region as ImageScope shows it."""
    known = NucleusClass.from_label(region.label)
    what = region.label if known is None else known.label.lower()
    return f"{what} nucleus {region.region_id or k + 1}"


def _middle(region: Nucleus) -> tuple[float, float] | None:
    if not len(region.vertices):
        return None
    y, x = region.vertices.mean(0)
    return float(y), float(x)


def _is_misplaced(drawable: list[tuple[int, Nucleus]], shape: tuple[int, int]) -> bool:
    middles = np.array([_middle(r) for _, r in drawable])
    outside = ((middles < -0.5) | (middles > np.array(shape) - 0.5)).any(1)
    return bool(outside.mean() > _MISPLACED_SHARE and outside.sum() > 1)


def _misplaced(crop: Crop, drawable: list[tuple[int, Nucleus]], shape: tuple[int, int]) -> DoctorFinding:
    points = np.concatenate([r.vertices for _, r in drawable])
    (top, left), (bottom, right) = points.min(0), points.max(0)
    reach = f"nuclei reach from x {left:.0f}, y {top:.0f} to x {right:.0f}, y {bottom:.0f}"
    return finding("size-mismatch", f"{reach}; the image has {shape[1]} x {shape[0]} px", crop)


def _bounds(crop: Crop, drawable: list[tuple[int, Nucleus]], shape: tuple[int, int]) -> list[DoctorFinding]:
    """Compare with the centres of the border pixels, 0 and n - 1: what lies beyond draws nothing."""
    found = []
    limit = np.array(shape) - 1.0
    for k, region in drawable:
        low, high = region.vertices.min(0), region.vertices.max(0)
        if (high < 0).any() or (low > limit).any():
            message = f"{_called(k, region)} lies outside of the image"
            found.append(finding("outside-the-image", message, crop, at=_middle(region), nuclei=(k,)))
        elif (low < 0).any() or (high > limit).any():
            beyond = float(max(-low.min(), (high - limit).max()))
            message = f"{_called(k, region)} reaches {beyond:.1f} px past the border pixels"
            found.append(finding("out-of-bounds", message, crop, at=_middle(region), nuclei=(k,)))
    return found


def polygons_of(regions: list[Nucleus]) -> Shapes:
    """Shapely polygons (x, y) of regions with three vertices or more, as they are drawn: closed, crossings kept."""
    lengths = [len(r.vertices) for r in regions]
    points = np.concatenate([r.vertices[:, ::-1] for r in regions])
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(regions)), lengths))
    return np.asarray(shapely.polygons(rings), object)


def _shapes(crop: Crop, drawable: list[tuple[int, Nucleus]], um_per_px: float | None) -> list[DoctorFinding]:
    numbers = [k for k, _ in drawable]
    regions = [r for _, r in drawable]
    drawn = polygons_of(regions)
    valid = shapely.is_valid(drawn)
    whole = drawn.copy()
    whole[~valid] = shapely.make_valid(drawn[~valid])
    areas = shapely.area(whole)
    found: list[DoctorFinding] = []
    slight: dict[str, list[int]] = {"self-crossing": [], "self-touching": []}
    tiny = TINY_UM2 / um_per_px**2 if um_per_px else _TINY_PX2
    huge = HUGE_UM2 / um_per_px**2 if um_per_px else _HUGE_PX2
    for i in np.flatnonzero(areas > huge):
        message = f"{_called(numbers[i], regions[i])} has {_size(regions[i], um_per_px)}"
        found.append(finding("huge-nucleus", message, crop, at=_middle(regions[i]), nuclei=(numbers[i],)))
    for i in np.flatnonzero((areas < tiny) | ~valid):
        k, called, at = numbers[i], _called(numbers[i], regions[i]), _middle(regions[i])
        if areas[i] < 0.5:
            found.append(finding("zero-area", f"{called} has no area", crop, at=at, nuclei=(k,)))
            continue
        if areas[i] < tiny:
            size = f"{areas[i]:.0f} px²" + (f" ({areas[i] * um_per_px**2:.1f} um²)" if um_per_px else "")
            found.append(finding("tiny-nucleus", f"{called} has {size}", crop, at=at, nuclei=(k,)))
        if not valid[i]:
            stray, spot = _stray_px2(whole[i]), self_crossing(regions[i].vertices)
            if stray >= _CROSSING_PX2:
                message = f"{called} crosses itself: {stray:.0f} px² fall off or become holes"
                found.append(finding("self-crossing", message, crop, at=spot or at, nuclei=(k,)))
            else:
                slight["self-touching" if spot is None else "self-crossing"].append(k)
    for code, some in slight.items():
        if some:
            verb = "cross" if code == "self-crossing" else "touch"
            message = f"{len(some)} outlines {verb} themselves, each by less than {_CROSSING_PX2:.0f} px²"
            first = _middle(regions[numbers.index(some[0])])
            found.append(finding(code, message, crop, at=first, nuclei=tuple(some), severity="info"))
    return found + _pairs(crop, numbers, regions, whole, areas)


def _stray_px2(shape: Any) -> float:
    """Area of a repaired outline's loops beside its largest part, and of its holes."""
    parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"]
    if not parts:
        return 0.0
    areas = [p.area for p in parts]
    holes = sum(shapely.Polygon(ring).area for p in parts for ring in p.interiors)
    return float(sum(areas) - max(areas) + holes)


def overlapping_pairs(shapes: Shapes) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pairs i < j of shapes that overlap, and the area that they share."""
    i, j = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    i, j = i[i < j], j[i < j]
    shared = np.asarray(shapely.area(shapely.intersection(shapes[i], shapes[j])), np.float64)
    return i[shared > 0], j[shared > 0], shared[shared > 0]


def _pairs(
    crop: Crop, numbers: list[int], regions: list[Nucleus], shapes: Shapes, areas: NDArray[np.float64]
) -> list[DoctorFinding]:
    found = []
    for i, j, shared in zip(*overlapping_pairs(shapes), strict=True):
        smaller, union = min(areas[i], areas[j]), areas[i] + areas[j] - shared
        earlier, later = _called(numbers[i], regions[i]), _called(numbers[j], regions[j])
        at, nuclei = _middle(regions[j]), (numbers[i], numbers[j])
        if shared > _SAME * union:
            same_class = regions[i].label == regions[j].label
            message = f"{later} repeats {earlier}" + ("" if same_class else ", with another class")
            severity: Severity = "warning" if same_class else "error"
            found.append(finding("duplicate-nucleus", message, crop, at=at, nuclei=nuclei, severity=severity))
        elif shared > _HEAVY_OVERLAP * smaller:
            message = f"{later} and {earlier} share {100 * shared / smaller:.0f} % of the smaller"
            found.append(finding("heavy-overlap", message, crop, at=at, nuclei=nuclei))
    return found
