"""COCO instance segmentation, in and out (https://cocodataset.org/#format-data).

Polygons are in pixel corners (`napari_monusac.io.annotations.corners`). The polygons of one object are a union; there are no holes
among them, so a mask with holes is written as run lengths.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import numpy as np

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, NucleusClass
from napari_monusac.core.errors import AnnotationError, HostileFileError, ShapeError
from napari_monusac.core.geometry import Outline, bridged, outline_area
from napari_monusac.core.nuclei import Annotation, Nucleus, SourceObject
from napari_monusac.io.annotations.bounds import DEFAULT_BOUNDS, Bounds, too_many
from napari_monusac.io.annotations.class_names import take_inherited_names
from napari_monusac.io.annotations.corners import centre_outline, corner_parts, filled
from napari_monusac.io.annotations.interest import with_regions_of_interest
from napari_monusac.io.annotations.jsonfile import confidence_in, load_json, numbers, save_json, xy_pairs

#: Categories that every file of ours has, so that numbers mean the same in all of them.
CATEGORIES: Mapping[int, str] = {
    **{int(c): c.label for c in CLASSES},
    5: NucleusClass.UNCLASSIFIED.label,
    6: AMBIGUOUS,
}
#: Version 1.0 put pixel centres into the file.
_INFO = {"description": "napari-monusac", "version": "2.0"}


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One image of a COCO file.

    Attributes
    ----------
    file_name : str
        Name of the image as the file has it.
    shape : (int, int)
        Height and width in px.
    annotation : Annotation
        Its regions in file order.
    """

    file_name: str
    shape: tuple[int, int]
    annotation: Annotation


def write_coco(images: Sequence[CocoImage], path: str | Path) -> tuple[Nucleus, ...]:
    """Write a COCO file of one or more images, whole or not at all.

    Parameters
    ----------
    images : sequence of CocoImage
        Regions become polygons (masks with holes run lengths); ``score`` is their confidence; ``ignore`` is 1 for
        Ambiguous regions. Of a single image that was read from COCO all that was not edited stays as it was.
    path : str or Path
        The file; replaced if it exists.

    Returns
    -------
    tuple of Nucleus
        What COCO cannot hold and what was not read from it: regions of fewer than three vertices, marks. Left out.

    Raises
    ------
    AnnotationError
        A coordinate is not finite, or the disk refuses.
    """
    path = Path(path)
    kept = json.loads(images[0].annotation.members or b"{}") if len(images) == 1 else {}
    kept = kept if isinstance(kept, dict) and kept.get("format") == "coco" else {}
    categories = _Categories(kept.get("categories") or [])
    writer = _Writer(categories, len(images) == 1)
    for image_id, image in enumerate(images, 1):
        writer.add(image, kept.get("image", {}).get("id", image_id), path)
    content = kept.get("members", {"licenses": []}) | {
        "info": _INFO if not kept or _is_of_before(kept) else kept["info"],
        "categories": categories.entries,
        "images": [
            kept.get("image", {}) | _image(i, kept.get("image", {}).get("id", k)) for k, i in enumerate(images, 1)
        ],
        "annotations": [*writer.entries, *kept.get("orphans", [])],
    }
    save_json(path, content, allow_nan=True)
    return tuple(writer.left_out)


def write_coco_annotation(annotation: Annotation, path: str | Path) -> tuple[Nucleus, ...]:
    """Write an annotation that was read from a COCO file of one image into such a file.

    Raises
    ------
    AnnotationError
        It was not, a coordinate is not finite, or the disk refuses.
    """
    kept = json.loads(annotation.members or b"{}")
    if not is_of_coco(annotation):
        raise AnnotationError(path, "not written: the annotation was not read from COCO", "use write_coco")
    image = kept["image"]
    return write_coco([CocoImage(image["file_name"], (image["height"], image["width"]), annotation)], path)


def is_of_coco(annotation: Annotation) -> bool:
    """Whether an annotation was read from COCO."""
    members = json.loads(annotation.members or b"{}")
    return isinstance(members, dict) and members.get("format") == "coco"


def _category_name(region: Nucleus) -> str:
    if region.is_ambiguous:
        return AMBIGUOUS
    known = NucleusClass.from_label(region.label)
    return region.label.strip() if known is None else known.label


class _Categories:
    """Those of the file, or ours; and one more for each class name that is not there."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        ours = [{"id": k, "name": name, "supercategory": "nucleus"} for k, name in CATEGORIES.items()]
        self.entries = entries or ours
        self._numbers = {str(e["name"]).strip().casefold(): e["id"] for e in self.entries}

    def number(self, region: Nucleus) -> Any:
        for name in (region.label, _category_name(region)):
            if name.strip().casefold() in self._numbers:
                return self._numbers[name.strip().casefold()]
        number = 1 + max((e["id"] for e in self.entries if isinstance(e["id"], int)), default=0)
        name = _category_name(region)
        self.entries.append({"id": number, "name": name, "supercategory": "nucleus"})
        self._numbers[name.casefold()] = number
        return number


def _source(region: Nucleus) -> SourceObject | None:
    source = region.source_object
    return source if source is not None and source.kind == "coco" else None


class _Writer:
    """Regions -> entries, numbered; those of a single file keep their numbers."""

    def __init__(self, categories: _Categories, keep_numbers: bool) -> None:
        self.categories, self.keep_numbers = categories, keep_numbers
        self.entries: list[dict[str, Any]] = []
        self.left_out: list[Nucleus] = []
        self._used: set[Any] = set()
        self._next = 1

    def add(self, image: CocoImage, image_id: Any, path: Path) -> None:
        olds = [json.loads(s.text) if (s := _source(r)) is not None else {} for r in image.annotation.regions]
        if self.keep_numbers:
            self._next = 1 + max((o["id"] for o in olds if isinstance(o.get("id"), int)), default=0)
        for region, old in zip(image.annotation.regions, olds, strict=True):
            if old or (region.role != "mark" and len(region.vertices) >= 3):
                self.entries.append(self._entry(region, old, image, path) | {"image_id": image_id})
            else:
                self.left_out.append(region)

    def _number(self, old: Any) -> Any:
        if self.keep_numbers and isinstance(old, int | str) and old not in self._used:
            self._used.add(old)
            return old
        self._next += 1
        return self._next - 1

    def _entry(self, region: Nucleus, old: dict[str, Any], image: CocoImage, path: Path) -> dict[str, Any]:
        entry = old | {"id": self._number(old.get("id"))}
        unchanged = old and not region.label  # a category that is not there stays so
        # the numbers of categories are those of the file: in one of several images they are ours
        if not self.keep_numbers or (len(region.vertices) >= 3 and not unchanged):
            entry["category_id"] = self.categories.number(region)
        if len(region.vertices) < 3:
            return entry
        source = _source(region)
        if source is None or source.of is not region.vertices:
            if not np.isfinite(region.vertices).all():
                raise AnnotationError(
                    path, "not written: an outline has a coordinate that is no number", "draw it again"
                )
            entry |= _shape_of(region, image.shape)
        if not old or "ignore" in old:
            entry["ignore"] = int(region.is_ambiguous)
        entry.setdefault("iscrowd", 0)
        if region.confidence != confidence_in(old):
            entry["score"] = region.confidence
        return entry


def _shape_of(region: Nucleus, shape: tuple[int, int]) -> dict[str, Any]:
    """Segmentation, area and box of an outline, pixel corners."""
    parts = corner_parts(region.vertices)
    corners = np.concatenate([part[0] for part in parts])
    (y0, x0), (y1, x1) = corners.min(0).tolist(), corners.max(0).tolist()
    area = sum(outline_area(part[0]) - sum(outline_area(hole) for hole in part[1:]) for part in parts)
    segmentation: Any = [
        [value for pair in xy_pairs(_open(bridged(part))) for value in pair] for part in parts if len(part[0]) >= 3
    ]
    whole = (region.vertices == np.rint(region.vertices)).all()
    if whole and any(len(part) > 1 for part in parts) and min(y0, x0) >= 0 and y1 <= shape[0] and x1 <= shape[1]:
        # brings OpenCV along, which reading an XML file does not need
        from napari_monusac.io.annotations.rle import rle_of_mask

        segmentation = rle_of_mask(filled(region.vertices - (y0, x0)), (int(y0), int(x0)), shape)
    return {"segmentation": segmentation, "area": area, "bbox": [x0, y0, x1 - x0, y1 - y0]}


def _open(ring: Outline) -> Outline:
    return ring[:-1] if len(ring) > 3 and np.array_equal(ring[0], ring[-1]) else ring


def _image(image: CocoImage, number: int) -> dict[str, Any]:
    entry = {"id": number, "file_name": image.file_name, "height": image.shape[0], "width": image.shape[1]}
    um_per_px = image.annotation.um_per_px
    return entry if um_per_px is None else entry | {"um_per_px": um_per_px}


def read_coco(path: str | Path, bounds: Bounds = DEFAULT_BOUNDS) -> tuple[CocoImage, ...]:
    """Read a COCO file: polygons, and masks as run lengths (plain or compressed).

    Parameters
    ----------
    path : str or Path
        The file.
    bounds : Bounds
        What the file may ask for.

    Returns
    -------
    tuple of CocoImage
        In the order of the file, pixel centres. The polygons of one object, and holes of its mask, are joined to one
        outline. Objects without a mask (a box alone, an empty one, a line) are kept as marks, those of categories that are
        not there are nuclei without a class; `Annotation.notes` counts them, and those of images that are not there. Outlines around nuclei that are
        none themselves have the role of a region of interest (`io.annotations.interest`).

    Raises
    ------
    AnnotationError
        The file cannot be read or is no COCO file, or holds objects of which none can be read.
    HostileFileError
        It goes beyond `bounds`, or an image name leads out of its folder.
    """
    path = Path(path)
    take_inherited_names()
    images = parse_coco(load_json(path, bounds), path, bounds)
    return tuple(replace(i, annotation=with_regions_of_interest(i.annotation)) for i in images)


def is_coco(content: Any) -> bool:
    """Whether loaded JSON looks like COCO."""
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content


def parse_coco(content: Any, path: Path, bounds: Bounds = DEFAULT_BOUNDS) -> tuple[CocoImage, ...]:
    """Read the images of COCO JSON that was loaded already; see `read_coco`."""
    if not is_coco(content):
        raise AnnotationError(path, "no COCO file: images and annotations are missing", "export it again")
    images = {_key(_id(e, path, "image")): e for e in _entries(content, "images", path)}
    names = {_key(_id(e, path, "category")): _name(e, "name", path) for e in _entries(content, "categories", path)}
    entries = _entries(content, "annotations", path)
    if len(entries) > bounds.max_regions:
        raise too_many(path, "annotations", bounds.max_regions)
    reader = _Reader(path, bounds, names, _is_of_before(content))
    regions: dict[Any, list[Nucleus]] = defaultdict(list)
    orphans = []
    for k, entry in enumerate(entries):
        image = _key(entry.get("image_id"))
        if image not in images:
            orphans.append(entry)
            continue
        regions[image].append(reader.region(entry, k, _shape(images[image], path)))
    if orphans and not any(regions.values()):
        raise AnnotationError(
            path, f"all {len(orphans)} objects belong to images that are not there", "export it again"
        )
    reader.refuse_nothing()
    lost = (f"{len(orphans)} of {len(entries)} objects belong to images that are not there",) if orphans else ()
    return tuple(
        _coco_image(entry, tuple(regions[k]), path, _members(content, entry, orphans), (*reader.notes(k), *lost))
        for k, entry in images.items()
    )


class _Reader:
    """Entries -> regions; what has no mask is counted."""

    def __init__(self, path: Path, bounds: Bounds, names: Mapping[Any, str], before: bool) -> None:
        self.path, self.bounds, self.names, self.before = path, bounds, names, before
        self._vertices = 0
        self._read = 0
        self._problem: AnnotationError | None = None
        self._reasons: dict[Any, Counter[str]] = defaultdict(Counter)
        self._without_category: Counter[Any] = Counter()
        self._class_problem: AnnotationError | None = None

    def region(self, entry: dict[str, Any], index: int, shape: tuple[int, int]) -> Nucleus:
        where, image = f"annotation {index + 1}", _key(entry.get("image_id"))
        outline, label = np.empty((0, 2)), self.names.get(_key(entry.get("category_id")), "")
        try:
            outline = self._outline(entry.get("segmentation"), shape, where)
            self._read += 1
            if not label:
                said = f"{where} has the unknown category {str(entry.get('category_id'))[:40]}"
                self._class_problem = AnnotationError(self.path, said, "export it again")
                self._without_category[image] += 1
        except HostileFileError:
            raise
        except AnnotationError as problem:
            self._problem = self._problem or problem
            self._reasons[image][_reason(entry)] += 1
        self._vertices += len(outline)
        if self._vertices > self.bounds.max_vertices:
            raise too_many(self.path, "vertices", self.bounds.max_vertices)
        text = json.dumps(entry, separators=(",", ":")).encode()
        source = SourceObject(text, np.empty((0, 2)) if self.before else outline, (index,), kind="coco")
        role: Literal["nucleus", "mark"] = "nucleus" if len(outline) else "mark"
        return Nucleus(outline, label, confidence=confidence_in(entry), role=role, source_object=source)

    def _outline(self, segmentation: Any, shape: tuple[int, int], where: str) -> Outline:
        if isinstance(segmentation, dict):
            # brings OpenCV along, which reading an XML file does not need
            from napari_monusac.io.annotations.rle import outline_of_rle

            return outline_of_rle(segmentation, shape, self.path, where)
        if isinstance(segmentation, list) and all(isinstance(v, int | float) for v in segmentation):
            segmentation = [segmentation] if segmentation else []  # one polygon, without the list around it
        if not isinstance(segmentation, list) or not segmentation:
            raise AnnotationError(self.path, f"{where} has no segmentation", "export it with polygons or masks")
        parts = []
        for part in segmentation:
            flat = numbers(part, self.path, where, self.bounds)
            if flat.ndim == 1 and len(flat) >= 6 and len(flat) % 2 == 0:
                parts.append([np.ascontiguousarray(flat.reshape(-1, 2)[:, ::-1])])
        if not parts:
            raise AnnotationError(self.path, f"{where}: a polygon is no list of x, y, x, y ...", "export it again")
        if self.before:
            return parts[0][0]
        try:
            return centre_outline(parts)
        except ShapeError as error:
            raise HostileFileError(self.path, f"{where}: {error.problem}", error.mend) from error

    def refuse_nothing(self) -> None:
        """Refuse a file of which no object, or no class of any, can be read."""
        if self._problem is not None and not self._read:
            raise self._problem
        if self._class_problem is not None and self._without_category.total() == self._read:
            raise self._class_problem  # of no nucleus in the file is the class there

    def notes(self, image: Any) -> tuple[str, ...]:
        reasons = self._reasons[image]
        said = ", ".join(f"{n} {what}" for what, n in reasons.items())
        notes = [f"{reasons.total()} objects are kept but are no nuclei: {said}"] if reasons else []
        if self._without_category[image]:
            notes.append(f"{self._without_category[image]} nuclei are of a category that is not there: without a class")
        return tuple(notes)


def _reason(entry: Mapping[str, Any]) -> str:
    """Why an object is no nucleus, for people."""
    segmentation = entry.get("segmentation")
    if not segmentation:
        return "without a mask (a box alone)" if entry.get("bbox") else "without a mask"
    return "with an empty or damaged mask" if isinstance(segmentation, dict) else "with a damaged polygon"


def _is_of_before(content: Mapping[str, Any]) -> bool:
    """Whether our version 0.1 wrote the file, which put pixel centres into it."""
    info = content.get("info")
    return isinstance(info, dict) and (info.get("description"), info.get("version")) == ("napari-monusac", "1.0")


def _members(content: dict[str, Any], image: dict[str, Any], orphans: list[dict[str, Any]]) -> bytes:
    """What else the file holds, as far as it belongs to one image."""
    others = {k: v for k, v in content.items() if k not in ("info", "categories", "images", "annotations")}
    info = content.get("info")
    return json.dumps(
        {
            "format": "coco", "info": info if isinstance(info, dict) else {}, "members": others, "image": image,
            "categories": content.get("categories", []), "orphans": orphans,
        }
    ).encode()  # fmt: skip


def _coco_image(
    entry: dict[str, Any], regions: tuple[Nucleus, ...], path: Path, members: bytes, notes: tuple[str, ...]
) -> CocoImage:
    name = _name(entry, "file_name", path)
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if not name or "\0" in name or ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise HostileFileError(path, f"image name {name[:80]!r} leads out of its folder", "use plain file names")
    size = entry.get("um_per_px")
    usable = float(size) if isinstance(size, int | float) and 0 < size < 1e6 else None
    annotation = Annotation(regions, um_per_px=usable, source=path, members=members, notes=notes)
    return CocoImage(name, _shape(entry, path), annotation)


def _entries(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    entries = content.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise AnnotationError(path, f"{key} is no list of objects", "export it again")
    return entries


def _id(entry: dict[str, Any], path: Path, what: str) -> Any:
    number = entry.get("id")
    if number is None or not _hashable(number):
        raise AnnotationError(path, f"an {what} has no id", "export it again")
    return number


def _hashable(value: Any) -> bool:
    return isinstance(value, int | str)


def _key(number: Any) -> Any:
    """An id as ids are compared: 1, 1.0 and "1" are one; None where it is none."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    if isinstance(number, str) and number.isascii() and number.isdecimal() and str(int(number[:18])) == number:
        return int(number)
    return number if _hashable(number) else None


def _name(entry: dict[str, Any], key: str, path: Path) -> str:
    name = entry.get(key)
    if not isinstance(name, str):
        raise AnnotationError(path, f"{key} is missing or no text", "export it again")
    return name


def _shape(image: dict[str, Any], path: Path) -> tuple[int, int]:
    height, width = (_key(image.get(name)) for name in ("height", "width"))
    if not isinstance(height, int) or not isinstance(width, int) or not (0 < height < 1e7 and 0 < width < 1e7):
        raise AnnotationError(path, f"an image has the size {str(height)[:20]} x {str(width)[:20]}", "export it again")
    return height, width
