"""QuPath's GeoJSON, in and out.

Form: QuPath's ``GsonTools`` (0.4 and later): a FeatureCollection of Features with ``id`` (a UUID), ``geometry``, and
``properties.objectType``, ``.classification {name, color}``, ``.measurements {name: number}``. RFC 7946: closed rings.
Coordinates are in pixel corners (`napari_monusac.io.annotations.corners`).
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_monusac.core.classes import AMBIGUOUS_COLOR, PALETTES, NucleusClass
from napari_monusac.core.errors import AnnotationError, HostileFileError, ShapeError
from napari_monusac.core.geometry import Outline, closed
from napari_monusac.core.nuclei import Annotation, Nucleus, SourceObject
from napari_monusac.io.annotations.bounds import DEFAULT_BOUNDS, Bounds, too_many
from napari_monusac.io.annotations.corners import Rings, centre_outline, corner_parts, grouped, united
from napari_monusac.io.annotations.jsonfile import confidence_in, load_json, numbers, save_json, xy_pairs
from napari_monusac.io.scale import scale_number

ObjectType = Literal["annotation", "detection"]
_NAMESPACE = uuid.UUID("6e1ac3c4-6f0e-4c5b-9a39-5d0f4b6f6d75")
#: Where programs put the class, the likeliest first: QuPath, tiatoolbox, others.
_CLASS_MEMBERS = ("classification", "type", "class", "class_name", "label")
#: ``properties.metadata`` of a nucleus in several pieces (QuPath keeps it): else each piece would be a nucleus.
_ONE_NUCLEUS = ("nucleus", "one")
_NONE = np.empty((0, 2))


def write_geojson(
    annotation: Annotation,
    path: str | Path,
    *,
    origin_px: tuple[float, float] = (0, 0),
    object_type: ObjectType = "annotation",
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

    Returns
    -------
    tuple of Nucleus
        What GeoJSON cannot hold and what was not read from it: regions of fewer than three vertices, marks. Left out.

    Raises
    ------
    AnnotationError
        A coordinate is not finite, or the disk refuses.

    Notes
    -----
    Coordinates are pixel corners, as QuPath has them: an outline of whole numbers is written along the sides of its
    pixels, so that QuPath's area is their number; any other is moved by half a pixel (`corner_parts`). Objects that
    were read from GeoJSON and not edited are written as they were; of edited ones the geometry is new and all else
    (id, type, measurements, name, outline of the cell, what we do not know) stays.
    """
    path = Path(path)
    regions = [r for r in annotation.regions if _source(r) is not None or (r.role != "mark" and len(r.vertices) >= 3)]
    for region in regions:
        _refuse_no_number(region, path)
    writer = _Writer(origin_px, object_type)
    save_json(path, _document(annotation, writer.features(regions)), allow_nan=True)
    written = {id(r) for r in regions}
    return tuple(r for r in annotation.regions if id(r) not in written)


def _document(annotation: Annotation, features: list[dict[str, Any]]) -> Any:
    """The features in the frame that the file had: a list, or a collection with its other members."""
    frame = json.loads(annotation.members or b"{}")
    if isinstance(frame, list) and annotation.um_per_px is None:
        return features
    others = frame if isinstance(frame, dict) else {}
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": features} | others
    if annotation.um_per_px is not None:
        collection["umPerPx"] = annotation.um_per_px
    return collection


def _refuse_no_number(region: Nucleus, path: Path) -> None:
    if not np.isfinite(region.vertices).all():
        raise AnnotationError(path, "not written: an outline has a coordinate that is no number", "draw it again")
    if region.confidence is not None and not np.isfinite(region.confidence):
        raise AnnotationError(path, "not written: a confidence is no number", "correct it")


def _source(region: Nucleus) -> SourceObject | None:
    source = region.source_object
    return source if source is not None and source.kind == "geojson" else None


@dataclass(slots=True)
class _Writer:
    """Regions -> Features, child objects in their parents."""

    origin: tuple[float, float]
    object_type: ObjectType
    _top: list[dict[str, Any]] = field(default_factory=list)
    _placed: dict[tuple[int, ...], dict[str, Any]] = field(default_factory=dict)

    def features(self, regions: list[Nucleus]) -> list[dict[str, Any]]:
        whole = _whole_objects(regions) if self.origin == (0, 0) else set()
        for index, region in enumerate(regions):
            source = _source(region)
            if source is None:
                self._top.append(self._new(region, index))
            elif source.place not in whole:
                self._put(self._kept(region, source), source)
            elif source.place not in self._placed:
                self._put(json.loads(source.text), source)
        return self._top

    def _put(self, feature: dict[str, Any], source: SourceObject) -> None:
        parent = self._placed.get(source.place[:-1])
        self._placed.setdefault(source.place, feature)
        if parent is None:
            self._top.append(feature)
        else:
            _members(parent, "properties").setdefault("childObjects", []).append(feature)

    def _new(self, region: Nucleus, index: int) -> dict[str, Any]:
        geometry = _geometry(region, self.origin)
        properties: dict[str, Any] = {"objectType": self.object_type}
        if region.label:
            properties["classification"] = self._classification(region)
        if region.confidence is not None:
            properties["measurements"] = {"confidence": region.confidence}
        name = f"corners:{index}:{region.label}:{geometry['coordinates']}".encode(errors="surrogatepass")
        feature = {"type": "Feature", "id": str(uuid.uuid5(_NAMESPACE, name.hex())), "geometry": geometry}
        return _as_one_nucleus(feature | {"properties": properties})

    def _kept(self, region: Nucleus, source: SourceObject) -> dict[str, Any]:
        """The object as it was, with what was changed."""
        feature: dict[str, Any] = json.loads(source.text)
        properties = _members(feature, "properties")
        if source.part:
            digested = f"part:{source.place}:{source.part}:{feature.get('id')}".encode(errors="surrogatepass")
            feature["id"] = str(uuid.uuid5(_NAMESPACE, digested.hex()))
        if region.label != (_label(properties) or ""):
            for name in _CLASS_MEMBERS:
                properties.pop(name, None)
            if region.label:
                properties["classification"] = self._classification(region)
        if region.confidence != confidence_in(properties):
            _set_confidence(properties, region.confidence)
        if len(region.vertices) >= 3 and (
            source.parts > 1 or source.of is not region.vertices or self.origin != (0, 0)
        ):
            key = "nucleusGeometry" if feature.get("nucleusGeometry") else "geometry"
            old = feature.get(key)
            others = {k: v for k, v in old.items() if k != "isEllipse"} if isinstance(old, dict) else {}
            feature[key] = others | _geometry(region, self.origin)
            if key == "geometry":
                _as_one_nucleus(feature)
        return feature

    def _classification(self, region: Nucleus) -> dict[str, Any]:
        color = AMBIGUOUS_COLOR if region.is_ambiguous else PALETTES["imagescope"][region.nucleus_class]
        return {"name": region.label, "color": list(color)}


def _whole_objects(regions: list[Nucleus]) -> set[tuple[int, ...]]:
    """Places of objects of which every nucleus is there and unchanged: they are written to the letter."""
    seen: Counter[tuple[int, ...]] = Counter()
    parts: dict[tuple[int, ...], int] = {}
    for region in regions:
        source = _source(region)
        if source is not None and source.of is region.vertices:
            properties = json.loads(source.text).get("properties") or {}
            if region.label == (_label(properties) or "") and region.confidence == confidence_in(properties):
                seen[source.place] += 1
                parts[source.place] = source.parts
    return {place for place, number in seen.items() if number == parts[place]}


def _geometry(region: Nucleus, origin: tuple[float, float]) -> dict[str, Any]:
    parts = [[xy_pairs(closed(ring + origin)) for ring in part] for part in corner_parts(region.vertices)]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _as_one_nucleus(feature: dict[str, Any]) -> dict[str, Any]:
    """Say of a nucleus in several pieces that it is one; of any other nothing."""
    properties = _members(feature, "properties")
    key, value = _ONE_NUCLEUS
    if feature["geometry"]["type"] == "MultiPolygon":
        _members(properties, "metadata")[key] = value
    elif isinstance(properties.get("metadata"), dict):
        properties["metadata"].pop(key, None)
    return feature


def _members(holder: dict[str, Any], key: str) -> dict[str, Any]:
    """The object at `key`, made where there is none."""
    if not isinstance(holder.get(key), dict):
        holder[key] = {}
    found: dict[str, Any] = holder[key]
    return found


def _set_confidence(properties: dict[str, Any], value: float | None) -> None:
    measurements = properties.get("measurements")
    if isinstance(measurements, list):
        measurements = [m for m in measurements if not (isinstance(m, dict) and m.get("name") == "confidence")]
        properties["measurements"] = measurements + ([] if value is None else [{"name": "confidence", "value": value}])
    elif value is not None:
        _members(properties, "measurements")["confidence"] = value
    elif isinstance(measurements, dict):
        measurements.pop("confidence", None)


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
        In pixel centres; holes are joined to their outline by ways of no width. Of QuPath's cells the nucleus is taken;
        child objects follow their parents. A MultiPolygon is several nuclei, one a part (CellViT writes the nuclei of a
        class so), unless it is a cell or says that it is one nucleus; parts along the sides of pixels that meet in
        corners are one (QuPath's brush). What is no area (points, lines, empty or damaged geometries) is kept as a mark, and `Annotation.notes` counts it.

    Raises
    ------
    AnnotationError
        The file cannot be read, is no GeoJSON, or holds objects of which none is an area.
    HostileFileError
        It goes beyond `bounds`.
    """
    path = Path(path)
    return parse_geojson(load_json(path, bounds), path, origin_px=origin_px, bounds=bounds)


def parse_geojson(
    content: Any, path: Path, *, origin_px: tuple[float, float] = (0, 0), bounds: Bounds = DEFAULT_BOUNDS
) -> Annotation:
    """Read an annotation from GeoJSON that was loaded already; see `read_geojson`."""
    reader = _Reader(path, origin_px, bounds)
    for feature, where, place in _features(content, path, bounds):
        reader.take(feature, where, place)
    return reader.annotation(content)


def _features(content: Any, path: Path, bounds: Bounds) -> Iterator[tuple[dict[str, Any], str, tuple[int, ...]]]:
    """Each Feature, where it stands in words, and its place; parents before their children."""
    top = content.get("features") if isinstance(content, dict) and "features" in content else content
    if isinstance(top, dict) and top.get("type") == "Feature":
        top = [top]
    if not isinstance(top, list):
        raise AnnotationError(path, "no GeoJSON FeatureCollection", "export it from QuPath as FeatureCollection")
    waiting: list[tuple[Any, str, tuple[int, ...]]] = [
        (feature, f"feature {k + 1}", (k,)) for k, feature in reversed(list(enumerate(top)))
    ]
    while waiting:
        feature, where, place = waiting.pop()
        if not isinstance(feature, dict) or not isinstance(feature.get("properties") or {}, dict):
            raise AnnotationError(path, f"{where} is no GeoJSON Feature", "export it again")
        yield feature, where, place
        children = _children(feature)
        if children:
            if len(place) >= bounds.max_depth:
                raise too_many(path, "levels of child objects", bounds.max_depth)
            inner = [(child, f"{where}, child {k + 1}", (*place, k)) for k, child in enumerate(children)]
            waiting += reversed(inner)


def _children(feature: Mapping[str, Any]) -> list[Any]:
    properties = feature.get("properties") or {}
    children = properties.get("childObjects", properties.get("children"))
    return children if isinstance(children, list) else []


@dataclass(slots=True)
class _Reader:
    """Features -> regions; what is no area is counted."""

    path: Path
    origin: tuple[float, float]
    bounds: Bounds
    _regions: list[Nucleus] = field(default_factory=list)
    _vertices: int = 0
    _objects: int = 0
    _reasons: Counter[str] = field(default_factory=Counter)
    _several: list[int] = field(default_factory=list)
    _without_name: int = 0
    _class_problem: AnnotationError | None = None
    _first_problem: AnnotationError | None = None

    def take(self, feature: dict[str, Any], where: str, place: tuple[int, ...]) -> None:
        self._objects += 1
        properties = feature.get("properties") or {}
        legacy = _is_of_before(feature, place)
        try:
            outlines = self._outlines(feature, where, legacy)
            label = _label(properties)
            if label is None:
                self._class_problem = AnnotationError(
                    self.path, f"{where}: the classification is no name", "export it again"
                )
                self._without_name += 1
        except HostileFileError:
            raise
        except AnnotationError as problem:
            self._first_problem = self._first_problem or problem
            self._reasons[_reason(feature)] += 1
            outlines, label = [], ""
        label = label or ""
        if len(outlines) > 1:
            self._several.append(len(outlines))
        text = _text(feature)
        role: Literal["nucleus", "mark"] = "nucleus" if outlines else "mark"
        # QuPath up to 0.2 has the type as the id of the Feature
        said = properties.get("objectType") or properties.get("object_type") or feature.get("id")
        object_type = str(said or "")
        confidence = confidence_in(properties)
        for part, outline in enumerate(outlines or [_NONE]):
            # an outline that was written in pixel centres is written anew: else it would be taken for pixel corners
            source = SourceObject(text, _NONE if legacy else outline, place, part, max(1, len(outlines)))
            self._add(
                Nucleus(outline, label, confidence=confidence, role=role, object_type=object_type, source_object=source)
            )

    def _add(self, region: Nucleus) -> None:
        self._regions.append(region)
        self._vertices += len(region.vertices)
        if len(self._regions) > self.bounds.max_regions:
            raise too_many(self.path, "regions", self.bounds.max_regions)
        if self._vertices > self.bounds.max_vertices:
            raise too_many(self.path, "vertices", self.bounds.max_vertices)

    def _outlines(self, feature: dict[str, Any], where: str, legacy: bool) -> list[Outline]:
        """The nuclei of one object, pixel centres."""
        parts = _parts(feature.get("nucleusGeometry") or feature.get("geometry"), self.path, where, self.bounds)
        if legacy:
            return [united(parts) - self.origin]
        try:
            groups = [parts] if _is_one_nucleus(feature) else grouped(parts)
            return [centre_outline(group) - self.origin for group in groups]
        except ShapeError as error:
            raise HostileFileError(self.path, f"{where}: {error.problem}", error.mend) from error

    def annotation(self, content: Any) -> Annotation:
        """What was read, once the file has ended."""
        if self._first_problem is not None and not any(r.role == "nucleus" for r in self._regions):
            raise self._first_problem
        if self._class_problem is not None and self._without_name == self._objects - self._reasons.total():
            raise self._class_problem  # of no nucleus in the file can the class be read
        size = content.get("umPerPx") if isinstance(content, dict) else None
        number = scale_number(str(size)) if isinstance(size, int | float | str) else None
        usable = number if number is not None and number < 1e6 else None
        members: Any = [] if isinstance(content, list) else {}
        if isinstance(content, dict) and "features" in content:
            members = {k: v for k, v in content.items() if k not in ("features", "umPerPx")}
        return Annotation(
            tuple(self._regions), um_per_px=usable, source=self.path, members=json.dumps(members).encode(),
            notes=self._notes(),
        )  # fmt: skip

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._reasons:
            number, said = self._reasons.total(), ", ".join(f"{n} {what}" for what, n in self._reasons.items())
            notes.append(f"{number} of {self._objects} objects are kept but are no nuclei: {said}")
        if self._several:
            notes.append(f"{len(self._several)} objects of several outlines are read as {sum(self._several)} nuclei")
        if self._without_name:
            notes.append(f"{self._without_name} objects have a class that is no name: they are read without a class")
        return tuple(notes)


def _reason(feature: Mapping[str, Any]) -> str:
    """Why an object is no nucleus, for people."""
    geometry = feature.get("nucleusGeometry") or feature.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(kind, str):
        return "without a geometry"
    if kind not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        return kind[:40]
    return "without coordinates" if not dict(geometry or {}).get("coordinates") else "with a damaged outline"


def _text(feature: dict[str, Any]) -> bytes:
    """The object without its child objects, which are regions of their own."""
    if _children(feature):
        properties = {k: v for k, v in feature["properties"].items() if k not in ("childObjects", "children")}
        feature = feature | {"properties": properties}
    return json.dumps(feature, separators=(",", ":")).encode()


def _is_one_nucleus(feature: Mapping[str, Any]) -> bool:
    """Whether an object of several parts is one nucleus: a cell (QuPath has one nucleus in it), or it says so."""
    properties = feature.get("properties") or {}
    metadata = properties.get("metadata")
    said = metadata.get(_ONE_NUCLEUS[0]) if isinstance(metadata, dict) else None
    return bool(feature.get("nucleusGeometry")) or properties.get("objectType") == "cell" or said == _ONE_NUCLEUS[1]


def _is_of_before(feature: Mapping[str, Any], place: tuple[int, ...]) -> bool:
    """Whether our version 0.1 wrote this object, which put pixel centres into the file: its id holds their digest."""
    name, geometry = feature.get("id"), feature.get("geometry")
    if not isinstance(name, str) or len(name) != 36 or name[14] != "5" or not isinstance(geometry, dict):
        return False
    try:
        (ring,) = geometry["coordinates"]
        outline = np.ascontiguousarray(np.array(ring, np.float64)[:, ::-1])
        label = _label(feature.get("properties") or {})
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return False
    digested = f"{place[0]}:{label}:".encode(errors="surrogatepass") + outline.tobytes()
    return name == str(uuid.uuid5(_NAMESPACE, digested.hex()))


def _parts(geometry: Any, path: Path, where: str, bounds: Bounds) -> list[Rings]:
    """The parts of an area, pixel corners; closed or open as the file has them."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection":
        inner = geometry.get("geometries")
        areas = [g for g in inner if _is_area(g)] if isinstance(inner, list) else []
        if areas:
            return [part for area in areas for part in _parts(area, path, where, bounds)]
    coordinates = geometry.get("coordinates") if isinstance(geometry, dict) else None
    if kind == "Polygon":
        coordinates = [coordinates]
    elif kind != "MultiPolygon":
        raise AnnotationError(path, f"{where}: geometry {str(kind)[:40]} is no area", "export polygons only")
    if not isinstance(coordinates, list) or not coordinates or not all(isinstance(p, list) and p for p in coordinates):
        raise AnnotationError(path, f"{where}: the polygon has no coordinates", "export it again")
    parts = [[numbers(ring, path, where, bounds) for ring in part] for part in coordinates]
    if any(ring.ndim != 2 or ring.shape[1] not in (2, 3) for part in parts for ring in part):
        raise AnnotationError(path, f"{where}: the coordinates are no list of (x, y)", "export it again")
    return [[ring[:, 1::-1].copy() for ring in part] for part in parts]


def _is_area(geometry: Any) -> bool:
    return isinstance(geometry, dict) and geometry.get("type") in ("Polygon", "MultiPolygon")


def _label(properties: Mapping[str, Any]) -> str | None:
    """The class name: a string, or an object with ``name`` or (QuPath 0.5, derived classes) ``names``.

    Where programs say no class, an object's own name is taken if it is one of the classes. None where the class is
    something else than a name.
    """
    for member in _CLASS_MEMBERS:
        label = _class_name(properties.get(member), numbered=member != "classification")
        if label != "":
            return label
    name = properties.get("name")
    named = NucleusClass.from_label(name) if isinstance(name, str) else None
    return str(name) if named not in (None, NucleusClass.UNCLASSIFIED) else ""


def _class_name(said: Any, *, numbered: bool) -> str | None:
    if isinstance(said, dict):
        names = said.get("names")
        if isinstance(names, list) and names and all(isinstance(n, str) for n in names):
            return ": ".join(names)
        said = said.get("name")
    if said is None or isinstance(said, str):
        return said or ""
    return str(said) if numbered and isinstance(said, int) and not isinstance(said, bool) else None
