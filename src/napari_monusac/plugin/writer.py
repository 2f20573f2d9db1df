"""The npe2 writers of a nuclei layer: Aperio XML, QuPath's GeoJSON, a table, a label .tif with its scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import AnnotationError, SlideError
from napari_monusac.core.nuclei import Annotation, Nucleus

_NO_NUCLEI = {"semantic", "ternary", "ambiguous", "predicted semantic", "predicted ternary"}


def write_xml(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save a nuclei layer for ImageScope. Nuclei that were not edited keep vertices, ids and attributes to the letter.

    Raises
    ------
    AnnotationError
        The layer holds no nuclei (a semantic map, for example), or the disk refuses.
    """
    return _write_annotation(path, data, attributes)


def write_geojson(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save a nuclei layer for QuPath, in pixels of the crop.

    Raises
    ------
    AnnotationError
        The layer holds no nuclei (a semantic map, for example), or the disk refuses.
    """
    return _write_annotation(path, data, attributes)


def write_csv(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save a table with one row a nucleus: class, size, shape, position, haematoxylin.

    Raises
    ------
    AnnotationError
        The layer holds no nuclei, or the disk refuses.
    """
    from napari_monusac.io.tables import nuclei_table, write_table

    instances, about = _instances(path, data, attributes), _about(attributes)
    table = nuclei_table(
        instances,
        {k: int(v) for k, v in layer_classes(attributes).items()},
        confidence=_column(attributes, "confidence"),
        um_per_px=_um_per_px(attributes),
        image=_image(about, instances.shape),
    )
    write_table(table, path)
    return [path]


def write_tif(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save any labels layer as a label map, with its scale in the resolution tags.

    Raises
    ------
    AnnotationError
        The layer has more than two dimensions, or the disk refuses.
    """
    from napari_monusac.io.maskfiles import write_labels

    write_labels(_plane(path, data), path, _um_per_px(attributes))
    return [path]


def layer_annotation(path: str | Path, data: Any, attributes: dict[str, Any]) -> Annotation:
    """Turn a nuclei layer into an annotation.

    The layer's own file is read again, where it has one: nuclei with the same pixels and class stay as they are there,
    changed ones are outlined anew, deleted ones left out, new ones added; Ambiguous regions stay.

    Parameters
    ----------
    path : str or Path
        Where it will be written (for messages).
    data : integer (y, x)
        The labels.
    attributes : dict
        The layer's attributes; `features` (``index``, ``class``) and ``metadata["monusac"]`` are looked at.

    Raises
    ------
    AnnotationError
        The layer holds no nuclei.
    """
    instances, about = _instances(path, data, attributes), _about(attributes)
    classes = layer_classes(attributes)
    offset = np.asarray(about.get("offset_px") or (0, 0), np.float64)
    original = _original(about) if not offset.any() else Annotation()
    original = replace(original, um_per_px=original.um_per_px or _um_per_px(attributes))
    kept, todo = _unchanged(original, instances, classes)
    outlines = _outlined(instances, todo)
    confidence = _column(attributes, "confidence") or {}
    regions: list[Nucleus] = []
    number = 0
    for region in original.regions:
        if region.is_ambiguous or not region.is_drawn:
            regions.append(region)
            continue
        number += 1
        if number in kept:
            regions.append(region)
        elif number in outlines:
            label = classes.get(number, region.nucleus_class).label
            same = label.casefold() == region.label.casefold() or number not in classes
            changed = region if same else replace(region, label=label, layer=-1)
            regions.append(replace(changed, vertices=outlines[number], source=None, z=None, integral=True))
    for label_number, outline in outlines.items():
        if label_number > number:
            kind = classes.get(label_number, NucleusClass.UNCLASSIFIED)
            name = "" if kind is NucleusClass.UNCLASSIFIED else kind.label
            new = Nucleus(outline + offset, name, -1, integral=True, confidence=confidence.get(label_number))
            regions.append(new)
    return replace(original, regions=tuple(regions))


def layer_classes(attributes: Mapping[str, Any]) -> dict[int, NucleusClass]:
    """Class of each label, from the layer's features; labels without a known class are left out."""
    found: dict[int, NucleusClass] = {}
    for label, name in (_column(attributes, "class", number=False) or {}).items():
        kind = NucleusClass.from_label(str(name))
        if kind is not None and label > 0:
            found[label] = kind
    return found


def _write_annotation(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    from napari_monusac.io.annotations import write_annotation

    write_annotation(layer_annotation(path, data, attributes), path)
    return [path]


def _about(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return dict((attributes.get("metadata") or {}).get("monusac") or {})


def _plane(path: str | Path, data: Any) -> NDArray[np.integer]:
    plane: NDArray[np.integer] = np.asarray(data[0] if isinstance(data, list | tuple) else data)
    if plane.ndim != 2:
        raise AnnotationError(path, f"the layer has {plane.ndim} dimensions", "save a labels layer of (y, x)")
    return plane


def _instances(path: str | Path, data: Any, attributes: Mapping[str, Any]) -> NDArray[np.integer]:
    role = _about(attributes).get("role", "")
    if role in _NO_NUCLEI:
        raise AnnotationError(path, f"the layer {role!r} holds no single nuclei", "choose the nuclei layer, or .tif")
    return _plane(path, data)


def _um_per_px(attributes: Mapping[str, Any]) -> float | None:
    known = _about(attributes).get("um_per_px")
    if known:
        return float(known)
    units = [str(u) for u in attributes.get("units") or ()]
    if len(units) == 2 and all(u in ("um", "µm", "micrometer") for u in units):
        return float(attributes["scale"][-1])
    return None


def _column(attributes: Mapping[str, Any], name: str, number: bool = True) -> dict[int, Any] | None:
    features = attributes.get("features")
    if features is None or name not in features or "index" not in features:
        return None
    pairs = zip(features["index"], features[name], strict=True)
    return {int(k): float(v) if number else v for k, v in pairs if not (number and v != v)}


def _image(about: Mapping[str, Any], shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The crop's pixels, for stain; None where they are gone or of another size."""
    from napari_monusac.io.slides import open_slide

    try:
        with open_slide(about["image"], channel_order="bgr" if about.get("channels_swapped") else "rgb") as slide:
            y, x = about.get("offset_px") or (0, 0)
            return slide.read(y, x, shape[0], shape[1])
    except (KeyError, SlideError):
        return None


def _original(about: Mapping[str, Any]) -> Annotation:
    """The annotation that the layer was made from; an empty one for predictions, and where the file is gone."""
    from napari_monusac.io.annotations import read_annotation

    source = about.get("annotation")
    if about.get("role") != "nuclei" or not source or not Path(source).is_file():
        return Annotation()
    return read_annotation(source)


def _unchanged(
    original: Annotation, instances: NDArray[np.integer], classes: Mapping[int, NucleusClass]
) -> tuple[set[int], list[int]]:
    """Labels that stay as the file has them (those wholly hidden too), and those to outline."""
    present = {int(k) for k in np.unique(instances) if k > 0}
    nuclei = original.nuclei
    if not nuclei:
        return set(), sorted(present)
    from napari_monusac.masks.rasterize import label_maps

    before = label_maps(original, (int(instances.shape[0]), int(instances.shape[1]))).instances
    different = before != instances
    changed = {int(k) for k in np.unique(before[different])} | {int(k) for k in np.unique(instances[different])}
    changed |= {k for k, n in enumerate(nuclei, 1) if classes.get(k, n.nucleus_class) is not n.nucleus_class}
    return set(range(1, len(nuclei) + 1)) - changed, sorted(present & changed)


def _outlined(instances: NDArray[np.integer], labels: list[int]) -> Mapping[int, NDArray[np.float64]]:
    from napari_monusac.masks.polygons import polygons_from_instances

    return polygons_from_instances(instances, labels=labels, fragments=True).polygons if labels else {}
