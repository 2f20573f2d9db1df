"""QuPath's GeoJSON, in and out.

Form: QuPath's ``GsonTools`` (0.4 and later): a FeatureCollection of Features with ``id`` (a UUID), ``geometry``, and
``properties.objectType``, ``.classification {name, color}``, ``.measurements {name: number}``. RFC 7946: closed rings.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from napari_monusac.core.classes import AMBIGUOUS_COLOR, PALETTES, PaletteName
from napari_monusac.core.errors import AnnotationError
from napari_monusac.core.geometry import Outline, bridged, closed
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.bounds import DEFAULT_BOUNDS, Bounds, too_many
from napari_monusac.io.jsonfile import load_json, numbers, save_json, xy_pairs

ObjectType = Literal["annotation", "detection"]
_NAMESPACE = uuid.UUID("6e1ac3c4-6f0e-4c5b-9a39-5d0f4b6f6d75")


def write_geojson(
    annotation: Annotation,
    path: str | Path,
    *,
    origin_px: tuple[float, float] = (0, 0),
    object_type: ObjectType = "annotation",
    palette: PaletteName = "imagescope",
) -> tuple[Nucleus, ...]:
    """Write a FeatureCollection that QuPath opens (File > Import objects from file), whole or not at all.

    Parameters
    ----------
    annotation : Annotation
        One Feature a region, in file order.
    path : str or Path
        The file; replaced if it exists.
    origin_px : (float, float)
        (y, x) of the crop's first pixel in its parent slide, added to all coordinates (`Slide.origin_px`).
    object_type : {"annotation", "detection"}
        Annotations can be edited one by one in QuPath; detections stay fast in tens of thousands.
    palette : {"imagescope", "colour-blind"}
        Colours of the classes.

    Returns
    -------
    tuple of Nucleus
        Regions of fewer than three vertices, which GeoJSON cannot hold: left out.

    Raises
    ------
    AnnotationError
        A coordinate is not finite, or the disk refuses.

    Notes
    -----
    Coordinates are those of the XML: whole numbers are pixel centres as the challenge draws them. QuPath takes them for
    pixel corners, as it does with every ImageScope outline.
    """
    drawable = [r for r in annotation.regions if len(r.vertices) >= 3]
    features = [_feature(r, k, origin_px, object_type, palette) for k, r in enumerate(drawable)]
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if annotation.um_per_px is not None:
        collection["umPerPx"] = annotation.um_per_px
    save_json(Path(path), collection)
    return annotation.degenerate


def _feature(
    region: Nucleus, index: int, origin: tuple[float, float], kind: str, palette: PaletteName
) -> dict[str, Any]:
    outline = closed(region.vertices + origin)
    properties: dict[str, Any] = {"objectType": kind}
    if region.label:
        properties["classification"] = {"name": region.label, "color": list(_color(region, palette))}
    if region.confidence is not None:
        properties["measurements"] = {"confidence": region.confidence}
    name = f"{index}:{region.label}:".encode(errors="surrogatepass") + outline.tobytes()
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, name.hex())),
        "geometry": {"type": "Polygon", "coordinates": [xy_pairs(outline)]},
        "properties": properties,
    }


def _color(region: Nucleus, palette: PaletteName) -> tuple[int, int, int]:
    return AMBIGUOUS_COLOR if region.is_ambiguous else PALETTES[palette][region.nucleus_class]


def read_geojson(
    path: str | Path, *, origin_px: tuple[float, float] = (0, 0), bounds: Bounds = DEFAULT_BOUNDS
) -> Annotation:
    """Read GeoJSON as QuPath writes it: a FeatureCollection, a list of Features, or one Feature.

    Parameters
    ----------
    path : str or Path
        The file.
    origin_px : (float, float)
        (y, x) of the crop in the slide that the coordinates belong to; taken off.
    bounds : Bounds
        What the file may ask for.

    Returns
    -------
    Annotation
        Polygons and MultiPolygons; holes and parts are joined to one outline by ways of no width. Of QuPath's cells the
        nucleus is taken. Child objects follow their parents.

    Raises
    ------
    AnnotationError
        The file cannot be read, is no GeoJSON, or holds geometries that are no areas (points, lines).
    HostileFileError
        It goes beyond `bounds`.
    """
    path = Path(path)
    return parse_geojson(load_json(path, bounds), path, origin_px=origin_px, bounds=bounds)


def parse_geojson(
    content: Any, path: Path, *, origin_px: tuple[float, float] = (0, 0), bounds: Bounds = DEFAULT_BOUNDS
) -> Annotation:
    """As `read_geojson`, from JSON that was loaded already."""
    regions: list[Nucleus] = []
    vertices = 0
    for feature, where in _features(content, path, bounds):
        region = _region(feature, path, where, origin_px, bounds)
        vertices += len(region.vertices)
        regions.append(region)
        if len(regions) > bounds.max_regions:
            raise too_many(path, "regions", bounds.max_regions)
        if vertices > bounds.max_vertices:
            raise too_many(path, "vertices", bounds.max_vertices)
    size = content.get("umPerPx") if isinstance(content, dict) else None
    usable = float(size) if isinstance(size, int | float) and 0 < size < 1e6 else None
    return Annotation(tuple(regions), um_per_px=usable, source=path)


def _features(content: Any, path: Path, bounds: Bounds) -> Iterator[tuple[dict[str, Any], str]]:
    """Each Feature and where it stands, parents before their children."""
    top = content.get("features") if isinstance(content, dict) and "features" in content else content
    if isinstance(top, dict) and top.get("type") == "Feature":
        top = [top]
    if not isinstance(top, list):
        raise AnnotationError(path, "no GeoJSON FeatureCollection", "export it from QuPath as FeatureCollection")
    waiting = [(feature, f"feature {k + 1}", 1) for k, feature in reversed(list(enumerate(top)))]
    while waiting:
        feature, where, depth = waiting.pop()
        if not isinstance(feature, dict) or not isinstance(feature.get("properties") or {}, dict):
            raise AnnotationError(path, f"{where} is no GeoJSON Feature", "export it again")
        yield feature, where
        properties = feature.get("properties") or {}
        children = properties.get("childObjects", properties.get("children"))
        if isinstance(children, list):
            if depth >= bounds.max_depth:
                raise too_many(path, "levels of child objects", bounds.max_depth)
            inner = [(child, f"{where}, child {k + 1}", depth + 1) for k, child in enumerate(children)]
            waiting += reversed(inner)


def _region(feature: dict[str, Any], path: Path, where: str, origin: tuple[float, float], bounds: Bounds) -> Nucleus:
    properties = feature.get("properties") or {}
    geometry = feature.get("nucleusGeometry") or feature.get("geometry")
    rings = _rings(geometry, path, where, bounds)
    outline = bridged(rings) if len(rings) > 1 else rings[0]
    label = _label(properties.get("classification"), path, where)
    # QuPath up to 0.2 has the type as the Feature's id
    kind = str(properties.get("objectType") or properties.get("object_type") or feature.get("id") or "")
    confidence = _confidence(properties.get("measurements"))
    return Nucleus(outline - origin, label, confidence=confidence, object_type=kind)


def _rings(geometry: Any, path: Path, where: str, bounds: Bounds) -> list[Outline]:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    coordinates = geometry.get("coordinates") if isinstance(geometry, dict) else None
    if kind == "Polygon":
        coordinates = [coordinates]
    elif kind != "MultiPolygon":
        raise AnnotationError(path, f"{where}: geometry {str(kind)[:40]} is no area", "export polygons only")
    if not isinstance(coordinates, list) or not all(isinstance(part, list) and part for part in coordinates):
        raise AnnotationError(path, f"{where}: the polygon has no coordinates", "export it again")
    rings = [numbers(ring, path, where, bounds) for part in coordinates for ring in part]
    if not rings or any(ring.ndim != 2 or ring.shape[1] not in (2, 3) for ring in rings):
        raise AnnotationError(path, f"{where}: the coordinates are no list of (x, y)", "export it again")
    return [ring[:, 1::-1].copy() for ring in rings]


def _label(classification: Any, path: Path, where: str) -> str:
    """The class name: a string, or an object with ``name`` or (QuPath 0.5, derived classes) ``names``."""
    if isinstance(classification, dict):
        names = classification.get("names")
        if isinstance(names, list) and all(isinstance(n, str) for n in names):
            return ": ".join(names)
        classification = classification.get("name")
    if classification is None:
        return ""
    if not isinstance(classification, str):
        raise AnnotationError(path, f"{where}: the classification is no name", "export it again")
    return classification


def _confidence(measurements: Any) -> float | None:
    """Our measurement ``confidence``, in QuPath's form of 0.4 (object) or before (list of name and value)."""
    if isinstance(measurements, list):
        measurements = {m.get("name"): m.get("value") for m in measurements if isinstance(m, dict)}
    value = measurements.get("confidence") if isinstance(measurements, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)
