"""The npe2 writers of a nuclei layer: Aperio XML, QuPath's GeoJSON, a table, a label .tif with its scale."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import AnnotationError, SlideError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.masks.rasterize import MAX_PIXELS

#: Micrometres in the units of length that napari's layers have.
_UM = {
    "um": 1.0, "\u00b5m": 1.0, "micrometer": 1.0, "micron": 1.0, "nm": 1e-3, "nanometer": 1e-3, "mm": 1e3,
    "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6, "inch": 25_400.0,
}  # fmt: skip
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
    """Save a table with one row a nucleus: class, size, shape, position in the image, haematoxylin.

    Raises
    ------
    AnnotationError
        The layer holds no nuclei, or the disk refuses.
    """
    from napari_monusac.io.tables import nuclei_table, write_table

    instances, about = _instances(path, data, attributes), _about(attributes)
    offset = _offset_px(attributes)
    table = nuclei_table(
        instances,
        {k: int(v) for k, v in layer_classes(attributes).items()},
        confidence=_column(attributes, "confidence"),
        um_per_px=_um_per_px(path, attributes),
        image=_image(about, instances.shape),
    )
    table["centroid_y"] += offset[0]
    table["centroid_x"] += offset[1]
    write_table(table, path)
    return [path]


def write_tif(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save any labels layer as a label map, with its scale in the resolution tags, its place in the position tags.

    Raises
    ------
    AnnotationError
        The layer has more than two dimensions or is too large, or the disk refuses.
    """
    from napari_monusac.io.predictions.maskfiles import write_labels

    y, x = _offset_px(attributes).tolist()
    write_labels(_plane(path, data, attributes), path, _um_per_px(path, attributes), (y, x))
    if y or x:
        warnings.warn(
            f"{path}: is a part of the image that begins at ({x:g}, {y:g}) px; the file's tags say so, but most programs "
            "show it at (0, 0)",
            stacklevel=2,
        )
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
    classes, offset = layer_classes(attributes), _offset_px(attributes)
    original = _original(about)
    original = replace(original, um_per_px=original.um_per_px or _um_per_px(path, attributes))
    local = original
    if offset.any():
        local = replace(original, regions=tuple(r.moved(-offset[0], -offset[1]) for r in original.regions))
    kept, todo = _unchanged(local, instances, classes)
    outlines = {k: outline + offset for k, outline in _outlined(instances, todo).items()}
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
            outline = _with_what_lies_outside(region, outlines[number], instances == number, offset)
            regions.append(_edited(region, outline, classes.get(number)))
    regions += [_new(k, outlines[k], attributes) for k in outlines if k > number]
    return replace(original, regions=tuple(regions))


def _edited(region: Nucleus, outline: NDArray[np.float64], kind: NucleusClass | None) -> Nucleus:
    if kind is not None and kind is not region.nucleus_class:
        region = replace(region, label=kind.label, layer=-1)
    return replace(region, vertices=outline, source=None, z=None, integral=True)


def _new(label: int, outline: NDArray[np.float64], attributes: Mapping[str, Any]) -> Nucleus:
    """A nucleus that no file had; a class name that we do not know stays as it is."""
    said = str((_column(attributes, "class", number=False) or {}).get(label, "")).strip()
    kind = NucleusClass.from_label(said)
    name = said if kind is None else "" if kind is NucleusClass.UNCLASSIFIED else kind.label
    confidence = (_column(attributes, "confidence") or {}).get(label)
    return Nucleus(outline, name, -1, integral=True, confidence=confidence)


def _with_what_lies_outside(
    region: Nucleus, outline: NDArray[np.float64], seen: NDArray[np.bool_], offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The outline of a nucleus that goes on outside a layer of a part of the image: there as it was."""
    from napari_monusac.editing.nuclei.frame import Frame, outline_beyond

    y, x = (int(v) for v in offset)
    frame = Frame((y, x), (int(seen.shape[0]), int(seen.shape[1])))
    if not offset.any() or not frame.reaches_out(region.vertices):
        return outline
    whole = outline_beyond(region.vertices, seen, frame)
    return outline if whole is None else whole


def layer_classes(attributes: Mapping[str, Any]) -> dict[int, NucleusClass]:
    """Class of each label, from the layer's features; labels without a known class are left out."""
    found: dict[int, NucleusClass] = {}
    for label, name in (_column(attributes, "class", number=False) or {}).items():
        kind = NucleusClass.from_label(str(name))
        if kind is not None and label > 0:
            found[label] = kind
    return found


def _write_annotation(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    from napari_monusac.io.annotations.files import what_is_left_out, write_annotation

    left_out = write_annotation(layer_annotation(path, data, attributes), path)
    if left_out:
        warnings.warn(f"{path}: {what_is_left_out(left_out)}, which this format cannot hold, left out", stacklevel=3)
    return [path]


def _about(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return dict((attributes.get("metadata") or {}).get("monusac") or {})


def _plane(path: str | Path, data: Any, attributes: Mapping[str, Any]) -> NDArray[np.integer]:
    """The labels; of a pyramid the largest level."""
    if attributes.get("multiscale") or isinstance(data, Sequence):
        data = data[0]
    shape = tuple(int(n) for n in np.shape(data))
    if len(shape) != 2:
        raise AnnotationError(path, f"the layer has {len(shape)} dimensions", "save a labels layer of (y, x)")
    if shape[0] * shape[1] > MAX_PIXELS:
        raise AnnotationError(
            path, f"the layer has {shape[0]} x {shape[1]} px, too many to outline at once", "use napari-monusac export"
        )
    plane: NDArray[np.integer] = np.asarray(data)
    return plane


def _instances(path: str | Path, data: Any, attributes: Mapping[str, Any]) -> NDArray[np.integer]:
    role = _about(attributes).get("role", "")
    if role in _NO_NUCLEI:
        raise AnnotationError(path, f"the layer {role!r} holds no single nuclei", "choose the nuclei layer, or .tif")
    return _plane(path, data, attributes)


def _offset_px(attributes: Mapping[str, Any]) -> NDArray[np.float64]:
    """(y, x) of the layer's first pixel in the image: what our metadata say, else where the layer was put."""
    known = _about(attributes).get("offset_px")
    if known is not None:
        return np.asarray(known, np.float64)
    place, scale = (attributes.get(name) for name in ("translate", "scale"))
    if place is None or scale is None or len(place) < 2 or len(scale) < 2:
        return np.zeros(2)
    offset = np.asarray(place, np.float64)[-2:] / np.asarray(scale, np.float64)[-2:]
    whole = np.rint(offset)
    return np.where(np.abs(offset - whole) < 1e-3, whole, offset)


def _um_per_px(path: str | Path, attributes: Mapping[str, Any]) -> float | None:
    """Micrometres per px: what our metadata say, else scale and units; None (and said) for sides that differ."""
    known = _about(attributes).get("um_per_px")
    if known:
        return float(known)
    scale = np.asarray(attributes.get("scale", ()), np.float64)
    um = [_UM.get(str(unit).replace("\u03bc", "\u00b5")) for unit in attributes.get("units") or ()][-2:]
    if len(um) != 2 or None in um or len(scale) < 2:
        return None
    affine = np.asarray(attributes.get("affine", np.eye(3)), np.float64)
    linear = affine[-3:-1, -3:-1] if affine.ndim == 2 and min(affine.shape) >= 3 else np.eye(2)
    sides = np.linalg.norm(np.array(um, np.float64)[:, None] * linear * scale[-2:], axis=0)
    if np.ptp(sides) <= 1e-3 * sides.max():
        return float(sides.mean())
    warnings.warn(
        f"{path}: pixels of {sides[0]:g} x {sides[1]:g} µm have unequal sides: saved without a scale", stacklevel=2
    )
    return None


def _column(attributes: Mapping[str, Any], name: str, number: bool = True) -> dict[int, Any] | None:
    features = attributes.get("features")
    if features is None or name not in features or "index" not in features:
        return None
    pairs = zip(features["index"], features[name], strict=True)
    return {int(k): float(v) if number else v for k, v in pairs if not (number and v != v)}


def _image(about: Mapping[str, Any], shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The crop's pixels, for stain; None where they are gone or of another size."""
    from napari_monusac.io.slides.slide import open_slide

    try:
        with open_slide(about["image"], channel_order="bgr" if about.get("channels_swapped") else "rgb") as slide:
            y, x = about.get("offset_px") or (0, 0)
            return slide.read(y, x, shape[0], shape[1])
    except (KeyError, SlideError):
        return None


def _original(about: Mapping[str, Any]) -> Annotation:
    """The annotation that the layer was made from; an empty one for predictions, and where the file is gone."""
    from napari_monusac.io.annotations.files import read_annotation

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
