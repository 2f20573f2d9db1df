"""COCO instance segmentation, in and out (https://cocodataset.org/#format-data)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, NucleusClass
from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.geometry import Outline, bridged, outline_area
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.bounds import DEFAULT_BOUNDS, Bounds, too_many
from napari_monusac.io.jsonfile import load_json, numbers, save_json, xy_pairs

#: Categories that every file of ours has, so that numbers mean the same in all of them.
CATEGORIES: Mapping[int, str] = {
    **{int(c): c.label for c in CLASSES},
    5: NucleusClass.UNCLASSIFIED.label,
    6: AMBIGUOUS,
}


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
        Regions become polygons; ``score`` is their confidence; ``ignore`` is 1 for Ambiguous regions.
    path : str or Path
        The file; replaced if it exists.

    Returns
    -------
    tuple of Nucleus
        Regions of fewer than three vertices, which COCO cannot hold: left out.

    Raises
    ------
    AnnotationError
        A coordinate is not finite, or the disk refuses.
    """
    path = Path(path)
    categories = _categories(images)
    numbers_of = {name.casefold(): number for number, name in categories.items()}
    entries: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, 1):
        for region in image.annotation.regions:
            if len(region.vertices) >= 3:
                category = numbers_of[_category_name(region).casefold()]
                entries.append(_entry(region, len(entries) + 1, image_id, category))
    content = {
        "info": {"description": "napari-monusac", "version": "1.0"},
        "licenses": [],
        "categories": [{"id": k, "name": name, "supercategory": "nucleus"} for k, name in categories.items()],
        "images": [_image(image, k) for k, image in enumerate(images, 1)],
        "annotations": entries,
    }
    save_json(path, content)
    return tuple(region for image in images for region in image.annotation.degenerate)


def _category_name(region: Nucleus) -> str:
    if region.is_ambiguous:
        return AMBIGUOUS
    known = NucleusClass.from_label(region.label)
    return region.label.strip() if known is None else known.label


def _categories(images: Sequence[CocoImage]) -> dict[int, str]:
    """Ours, and one more for each class name that we do not know."""
    categories = dict(CATEGORIES)
    names = {name.casefold() for name in categories.values()}
    for image in images:
        for region in image.annotation.regions:
            name = _category_name(region)
            if name.casefold() not in names:
                names.add(name.casefold())
                categories[max(categories) + 1] = name
    return categories


def _entry(region: Nucleus, number: int, image_id: int, category_id: int) -> dict[str, Any]:
    y0, x0 = region.vertices.min(0).tolist()
    y1, x1 = region.vertices.max(0).tolist()
    entry = {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": [[value for pair in xy_pairs(region.vertices) for value in pair]],
        "area": outline_area(region.vertices),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "ignore": int(region.is_ambiguous),
    }
    return entry if region.confidence is None else entry | {"score": region.confidence}


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
        In the order of the file. Parts of one object, and holes of its mask, are joined to one outline.

    Raises
    ------
    AnnotationError
        The file cannot be read or is no COCO file, or an annotation names an image or category that is not there.
    HostileFileError
        It goes beyond `bounds`, or an image name leads out of its folder.
    """
    path = Path(path)
    return parse_coco(load_json(path, bounds), path, bounds)


def is_coco(content: Any) -> bool:
    """Whether loaded JSON looks like COCO."""
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content


def parse_coco(content: Any, path: Path, bounds: Bounds = DEFAULT_BOUNDS) -> tuple[CocoImage, ...]:
    """As `read_coco`, from JSON that was loaded already."""
    if not is_coco(content):
        raise AnnotationError(path, "no COCO file: images and annotations are missing", "export it again")
    images = {_id(e, path, "image"): e for e in _entries(content, "images", path)}
    names = {_id(e, path, "category"): _name(e, "name", path) for e in _entries(content, "categories", path)}
    regions: dict[Any, list[Nucleus]] = defaultdict(list)
    entries = _entries(content, "annotations", path)
    if len(entries) > bounds.max_regions:
        raise too_many(path, "annotations", bounds.max_regions)
    vertices = 0
    for k, entry in enumerate(entries, 1):
        where = f"annotation {k}"
        image, category = entry.get("image_id"), entry.get("category_id")
        if not _hashable(image) or image not in images:
            raise AnnotationError(
                path, f"{where} belongs to image {str(image)[:40]}, which is not there", "export it again"
            )
        if not _hashable(category) or category not in names:
            raise AnnotationError(path, f"{where} has the unknown category {str(category)[:40]}", "export it again")
        outline = _outline(entry.get("segmentation"), _shape(images[image], path), path, where, bounds)
        vertices += len(outline)
        if vertices > bounds.max_vertices:
            raise too_many(path, "vertices", bounds.max_vertices)
        regions[image].append(Nucleus(outline, names[category], confidence=_score(entry.get("score"))))
    return tuple(_coco_image(e, regions[k], path) for k, e in images.items())


def _coco_image(entry: dict[str, Any], regions: list[Nucleus], path: Path) -> CocoImage:
    name = _name(entry, "file_name", path)
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if not name or "\0" in name or ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise HostileFileError(path, f"image name {name[:80]!r} leads out of its folder", "use plain file names")
    size = entry.get("um_per_px")
    usable = float(size) if isinstance(size, int | float) and 0 < size < 1e6 else None
    return CocoImage(name, _shape(entry, path), Annotation(tuple(regions), um_per_px=usable, source=path))


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


def _name(entry: dict[str, Any], key: str, path: Path) -> str:
    name = entry.get(key)
    if not isinstance(name, str):
        raise AnnotationError(path, f"{key} is missing or no text", "export it again")
    return name


def _shape(image: dict[str, Any], path: Path) -> tuple[int, int]:
    height, width = image.get("height"), image.get("width")
    if not isinstance(height, int) or not isinstance(width, int) or not (0 < height < 1e7 and 0 < width < 1e7):
        raise AnnotationError(path, f"an image has the size {str(height)[:20]} x {str(width)[:20]}", "export it again")
    return height, width


def _score(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if usable else None


def _outline(segmentation: Any, shape: tuple[int, int], path: Path, where: str, bounds: Bounds) -> Outline:
    if isinstance(segmentation, dict):
        # brings OpenCV along, which reading an XML file does not need
        from napari_monusac.io.rle import outline_of_rle

        return outline_of_rle(segmentation, shape, path, where)
    if not isinstance(segmentation, list) or not segmentation:
        raise AnnotationError(path, f"{where} has no segmentation", "export it with polygons or masks")
    rings = []
    for part in segmentation:
        flat = numbers(part, path, where, bounds)
        if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2:
            raise AnnotationError(path, f"{where}: a polygon is no list of x, y, x, y ...", "export it again")
        rings.append(np.ascontiguousarray(flat.reshape(-1, 2)[:, ::-1]))
    return bridged(rings) if len(rings) > 1 else rings[0]
