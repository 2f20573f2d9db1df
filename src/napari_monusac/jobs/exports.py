"""Nuclei out of stored predictions, annotation files and collections, into the formats of other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import FileProblem
from napari_monusac.core.files import whole_stem
from napari_monusac.core.nuclei import Annotation, Nucleus

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop


@dataclass(frozen=True, slots=True, eq=False)
class Exportable:
    """The nuclei of one image, as outlines and as maps, in px of that image.

    Attributes
    ----------
    name, patient : str
        Names of the crop and its patient.
    annotation : Annotation
        Outlines (y, x).
    instances : int32 (y, x)
        Number k is ``annotation.nuclei[k - 1]``.
    shape : tuple of int
        Height and width of the image.
    um_per_px : float or None
        Micrometres per pixel.
    origin_px : tuple of int or None
        (y, x) of the crop in its parent slide.
    ignore : bool (y, x) or None
        Ambiguous regions.
    maps : mapping
        More maps to write as .tif: semantic, ternary.
    pixels : callable or None
        Returns the image, uint8 (y, x, 3).
    """

    name: str
    patient: str
    annotation: Annotation
    instances: NDArray[np.int32]
    shape: tuple[int, int]
    um_per_px: float | None = None
    origin_px: tuple[int, int] | None = None
    ignore: NDArray[np.bool_] | None = None
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    pixels: Callable[[], NDArray[np.uint8]] | None = None

    @property
    def classes(self) -> dict[int, int]:
        """Class number by instance."""
        return {k: int(n.nucleus_class) for k, n in enumerate(self.annotation.nuclei, 1)}

    @property
    def confidence(self) -> dict[int, float]:
        """Confidence by instance, where it is known."""
        return {k: n.confidence for k, n in enumerate(self.annotation.nuclei, 1) if n.confidence is not None}


def exportables(source: str | Path) -> Iterator[Exportable]:
    """Read what `source` holds, one image at a time.

    Parameters
    ----------
    source : str or Path
        A stored prediction (``.zarr``), a folder of them, an annotation file, or a folder of labelled crops.

    Raises
    ------
    FileProblem
        It is none of these, or holds nothing.
    MonusacError
        A file is damaged.
    """
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.slides.ome_zarr import is_image_store

    source = Path(source)
    if not source.exists():
        raise FileProblem(source, "does not exist", "check the path")
    if source.suffix == ".zarr" and not is_image_store(source):
        yield from_prediction(source)
        return
    if source.is_file() or source.suffix == ".zarr":
        collection = open_collection(source.parent)
        crop = collection.find(source)
        yield from_annotation_file(source) if crop is None else from_crop(collection, crop)
        return
    stored = sorted(
        p for p in source.rglob("*.zarr") if not p.parent.name.endswith(".partial") and not is_image_store(p)
    )
    if stored:
        yield from map(from_prediction, stored)
        return
    collection = open_collection(source)
    if not collection.labelled:
        raise FileProblem(source, "holds no prediction and no annotated crop", "give what predict --out wrote")
    yield from (from_crop(collection, crop) for crop in collection.labelled)


def from_crop(collection: Collection, crop: Crop) -> Exportable:
    """Make an exportable of a crop's truth.

    Raises
    ------
    MonusacError
        Image or annotation is damaged.
    """
    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.masks.ternary import ternary_map

    annotation = collection.annotation(crop)
    with collection.open(crop) as slide:
        shape, um_per_px, origin = slide.shape, slide.um_per_px or annotation.um_per_px, slide.origin_px

    def pixels() -> NDArray[np.uint8]:
        with collection.open(crop) as again:
            return again.read(0, 0, *again.shape)

    maps = label_maps(annotation, shape)
    more = {"semantic": maps.semantic, "ternary": ternary_map(maps.instances)}
    ignore = maps.ignore if maps.ignore.any() else None
    name = crop.name.replace("/", "_")
    return Exportable(name, crop.patient, annotation, maps.instances, shape, um_per_px, origin, ignore, more, pixels)


def from_annotation_file(path: Path) -> Exportable:
    """Make an exportable of an annotation without an image: the maps reach as far as its outlines.

    Raises
    ------
    AnnotationError
        The file is damaged.
    """
    from napari_monusac.io.annotations.files import read_annotation
    from napari_monusac.io.collection.organs import patient_barcode
    from napari_monusac.masks.rasterize import label_maps

    annotation = read_annotation(path)
    corners = [r.vertices.max(0) for r in annotation.regions if len(r.vertices)]
    height, width = (np.ceil(np.max(corners, 0)).astype(int) + 1).tolist() if corners else (1, 1)
    shape = (max(1, height), max(1, width))
    maps = label_maps(annotation, shape)
    name = whole_stem(path)
    patient = patient_barcode(name) or name
    ignore = maps.ignore if maps.ignore.any() else None
    more = {"semantic": maps.semantic}
    return Exportable(name, patient, annotation, maps.instances, shape, annotation.um_per_px, None, ignore, more)


def from_prediction(path: Path) -> Exportable:
    """Make an exportable of a stored prediction; its nuclei are segmented first where that was not done.

    Raises
    ------
    StoreError
        It is missing, foreign or damaged, or its image has become another one.
    """
    from napari_monusac.io.collection.organs import patient_barcode
    from napari_monusac.io.predictions.open import info_of, open_prediction

    info = info_of(path)
    image = _crop_of(info.image if info is not None else "")
    shape = origin_px = pixels = None
    if image is None:
        found = open_prediction(path)
    else:
        collection, crop = image
        with collection.open(crop) as slide:
            found = open_prediction(path, slide, um_per_px=slide.um_per_px)
            shape, origin_px, pixels = slide.shape, slide.origin_px, partial(_pixels, collection, crop)
    y, x, height, width = found.region
    shape = shape or (y + height, x + width)

    def placed(values: NDArray[Any]) -> NDArray[Any]:
        whole = np.zeros(shape, values.dtype)
        whole[found.region.slices] = values
        return whole

    um_per_px = found.nuclei.um_per_px
    labels, numbered = _numbered(placed(found.instances))
    annotation = _outlined(numbered, labels, found.classes, found.confidence, um_per_px)
    maps = {"semantic": found.semantic, "ternary": found.ternary}
    name = path.name.removesuffix(".zarr").removesuffix(".ome")
    patient = patient_barcode(name) or name
    return Exportable(
        name, patient, annotation, numbered, shape, um_per_px, origin_px, None,
        {kind: placed(values) for kind, values in maps.items() if values is not None}, pixels,
    )  # fmt: skip


def _crop_of(image: str) -> tuple[Collection, Crop] | None:
    """The crop that a prediction was made of, if its file is where it was then."""
    from napari_monusac.io.collection.collection import open_collection

    if not image or not Path(image).exists():
        return None
    collection = open_collection(Path(image).parent)
    crop = collection.find(image)
    return None if crop is None else (collection, crop)


def _pixels(collection: Collection, crop: Crop) -> NDArray[np.uint8]:
    with collection.open(crop) as slide:
        return slide.read(0, 0, *slide.shape)


def _numbered(instances: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Labels that occur, and the map renumbered 1..n in their order."""
    labels, inverse = np.unique(instances, return_inverse=True)
    inverse = inverse.reshape(instances.shape)
    if labels.size == 0 or labels[0] != 0:
        return labels, (inverse + 1).astype(np.int32)
    return labels[1:], inverse.astype(np.int32)


def annotation_of(
    instances: NDArray[np.int32], classes: Mapping[int, int], um_per_px: float | None = None
) -> Annotation:
    """Outline the nuclei of an instance map, in the order of their numbers.

    Parameters
    ----------
    instances : int32 (y, x)
        The map.
    classes : mapping
        Class number by nucleus; others are unclassified.
    um_per_px : float, optional
        Scale.
    """
    labels, numbered = _numbered(instances)
    return _outlined(numbered, labels, classes, {}, um_per_px)


def _outlined(
    instances: NDArray[np.int32],
    labels: NDArray[Any],
    classes: Mapping[int, int],
    confidence: Mapping[int, float],
    um_per_px: float | None,
) -> Annotation:
    from napari_monusac.masks.polygons import polygons_from_instances

    outlines = polygons_from_instances(instances, fragments=True).polygons
    regions = []
    for number, label in enumerate(labels.tolist(), 1):
        kind = NucleusClass(classes.get(label, int(NucleusClass.UNCLASSIFIED)))
        name = "" if kind is NucleusClass.UNCLASSIFIED else kind.label
        regions.append(Nucleus(outlines[number], name, confidence=confidence.get(label), integral=True))
    return Annotation(tuple(regions), um_per_px=um_per_px)


def shifted(item: Exportable) -> Annotation:
    """The outlines in px of the parent slide.

    Raises
    ------
    FileProblem
        The image does not say where in its slide it lies.
    """
    if item.origin_px is None:
        raise FileProblem(item.name, "does not say where in its slide it lies", "leave --parent out")
    y, x = item.origin_px
    return replace(item.annotation, regions=tuple(r.moved(y, x) for r in item.annotation.regions))
