"""Annotation files in and out, whatever their format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_monusac.core.errors import AnnotationError
from napari_monusac.core.files import whole_suffix
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.aperio import read_aperio
from napari_monusac.io.annotations.aperio_write import write_aperio
from napari_monusac.io.annotations.bounds import DEFAULT_BOUNDS, Bounds
from napari_monusac.io.annotations.class_names import names_met, take_inherited_names
from napari_monusac.io.annotations.coco import is_coco, is_of_coco, parse_coco, write_coco_annotation
from napari_monusac.io.annotations.geojson import parse_geojson, write_geojson
from napari_monusac.io.annotations.interest import with_regions_of_interest
from napari_monusac.io.annotations.jsonfile import hovernet_nuclei, load_json

__all__ = ["DEFAULT_BOUNDS", "SUFFIXES", "Bounds", "read_annotation", "what_is_left_out", "write_annotation"]

#: Suffixes of files that `read_annotation` reads and `write_annotation` writes.
SUFFIXES = (".xml", ".annotations", ".geojson", ".json")
_XML = (".xml", ".annotations")
_MEND = "use .xml (Aperio ImageScope) or .geojson (QuPath)"


def read_annotation(path: str | Path, bounds: Bounds = DEFAULT_BOUNDS) -> Annotation:
    """Read the annotation of one image.

    Parameters
    ----------
    path : str or Path
        ``.xml`` (Aperio ImageScope), ``.annotations`` (HALO), ``.geojson`` or ``.json`` (QuPath's GeoJSON, or COCO of
        a single image), these two also packed (``.geojson.gz``).
    bounds : Bounds
        What the file may ask for before it is refused.

    Returns
    -------
    Annotation
        All regions in file order, as (y, x) level-0 pixels. An outline around nuclei that is none itself has the role
        of a region of interest (`io.interest`), whatever the format.

    Raises
    ------
    AnnotationError
        The suffix is unknown, or the file is missing, malformed or of another kind.
    HostileFileError
        It declares entities or goes beyond `bounds`.
    """
    path = Path(path)
    take_inherited_names()
    annotation = _read(path, bounds)
    names_met(r.label for r in annotation.regions)
    return with_regions_of_interest(annotation)


def _read(path: Path, bounds: Bounds) -> Annotation:
    suffix = whole_suffix(path).lower()
    if suffix in _XML:
        return read_aperio(path, bounds)
    if suffix.removesuffix(".gz") in (".geojson", ".json"):
        return _from_json(load_json(path, bounds), path, bounds)
    raise AnnotationError(path, f"{suffix or 'no suffix'} is no annotation format", _MEND)


def _from_json(content: Any, path: Path, bounds: Bounds) -> Annotation:
    program, mend = _other_program(content)
    if program:
        raise AnnotationError(path, f"is a file of {program}, which is not read as labels", mend)
    if not is_coco(content):
        return parse_geojson(content, path, bounds=bounds)
    images = parse_coco(content, path, bounds)
    if len(images) != 1:
        raise AnnotationError(
            path, f"a COCO file of {len(images)} images", "read it with napari_monusac.io.annotations.coco.read_coco"
        )
    return images[0].annotation


def _write_json(annotation: Annotation, path: Path) -> tuple[Nucleus, ...]:
    """COCO stays COCO; anything else is QuPath's."""
    return write_coco_annotation(annotation, path) if is_of_coco(annotation) else write_geojson(annotation, path)


def _other_program(content: Any) -> tuple[str, str]:
    """Which other program's JSON this is, and what to do; empty where it is none that is known."""
    nuclei = hovernet_nuclei(content)
    if nuclei is not None:
        mend = "it is a prediction: give its folder to evaluate --pred or to Review; as labels, export it as GeoJSON"
        return "HoVer-Net", mend if nuclei else "it holds no nucleus"
    if not isinstance(content, dict):
        return "", ""
    if "shapes" in content and "imagePath" in content:
        return "labelme", "export it as COCO"
    return "", ""


def what_is_left_out(regions: Sequence[Nucleus]) -> str:
    """Say in words what `write_annotation` left out.

    Parameters
    ----------
    regions : sequence of Nucleus
        What it returned.
    """
    shapes = sum(r.role == "mark" for r in regions)
    outlines = len(regions) - shapes
    said = []
    if shapes:
        said.append(f"{shapes} shape{'' if shapes == 1 else 's'} without an area (ruler, arrow, point, box alone)")
    if outlines:
        said.append(f"{outlines} outline{'' if outlines == 1 else 's'} of fewer than three vertices")
    return ", ".join(said)


def write_annotation(annotation: Annotation, path: str | Path, *, overwrite: bool = True) -> tuple[Nucleus, ...]:
    """Write the annotation of one image, whole or not at all.

    Parameters
    ----------
    annotation : Annotation
        What to write. Regions that were read from XML and not edited keep vertices, ids and attributes to the letter.
    path : str or Path
        ``.xml`` for Aperio ImageScope, ``.annotations`` for HALO, ``.geojson`` or ``.json`` for QuPath; ``.json`` of what
        was read from COCO is COCO; these two packed where ``.gz`` stands behind.
    overwrite : bool
        Replace the file if it exists.

    Returns
    -------
    tuple of Nucleus
        Regions that the format cannot hold and that were left out: GeoJSON and COCO have no arrows, rulers and outlines
        of fewer than three vertices of an ImageScope file, ImageScope no objects without an outline of a JSON file. What
        was read from the format itself is never left out.

    Raises
    ------
    AnnotationError
        The suffix is unknown, the file exists and must stay, or it cannot be written.
    """
    path = Path(path)
    writers: dict[str, Callable[[Annotation, Path], tuple[Nucleus, ...]]] = {
        **dict.fromkeys(_XML, write_aperio), ".geojson": write_geojson, ".json": _write_json,
        ".geojson.gz": write_geojson, ".json.gz": _write_json,
    }  # fmt: skip
    suffix = whole_suffix(path)
    writer = writers.get(suffix.lower())
    if writer is None:
        raise AnnotationError(path, f"{suffix or 'no suffix'} is no annotation format", _MEND)
    if path.exists() and not overwrite:
        raise AnnotationError(path, "exists already", "choose another name, or allow overwriting")
    return writer(annotation, path)
