"""The npe2 reader: slides, crops with their annotation, folders of them, and predictions that were stored."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_monusac.core.files import whole_suffix
from napari_monusac.io.collection.folders import is_collection, partners
from napari_monusac.io.collection.pairing import is_annotation_name
from napari_monusac.io.slides.dicom import dicom_header
from napari_monusac.io.slides.formats import is_image_name, is_slide_name
from napari_monusac.io.slides.ome_zarr import is_image_store

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop
    from napari_monusac.plugin.layers import LayerData

PathOrPaths = str | Sequence[str]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """Return `read` for what is ours, None for all else (napari's own reader also claims .tif).

    Ours are: a slide (of any scanner; a DICOM file of one; an OME-Zarr image that is red, green and blue); an ImageScope
    XML or a GeoJSON with its image; a .tif, .png or .jpg with such an annotation; a folder that holds slides, or crops
    with annotations; a stored prediction (``.zarr``). Image and annotation lie
    side by side, or in ``Tissue Images/`` and ``Annotations/``.

    Parameters
    ----------
    path : str or list of str
        What was dropped or opened. A list of several files is not ours.
    """
    one = _one_path(path)
    return read if one is not None and _is_ours(one) else None


def read(path: PathOrPaths) -> list[LayerData]:
    """Open a file or folder as layers; of a folder its first crop, with the folder's path in the layers' metadata.

    Raises
    ------
    MonusacError
        The file is damaged or missing, or the folder holds no crop; one line says which.
    """
    from napari_monusac.plugin.layers import crop_layers

    one = _one_path(path)
    if one is None:
        from napari_monusac.core.errors import CollectionError

        raise CollectionError(str(path), "is more than one file", "open them one by one, or open their folder")
    if one.suffix == ".zarr" and not is_image_store(one):
        from napari_monusac.plugin.stored import stored_layers

        return stored_layers(one)
    collection, crop = _collection_and_crop(one)
    slide = collection.open(crop)
    annotation = collection.annotation(crop) if crop.annotation is not None else None
    layers = crop_layers(slide, annotation, crop, collection_root=collection.root)
    if isinstance(layers[0][0], np.ndarray):
        slide.close()  # nothing is left to be read
    return layers


def _one_path(path: PathOrPaths) -> Path | None:
    if isinstance(path, str | Path):
        return Path(path)
    return Path(path[0]) if len(path) == 1 else None


def _is_ours(path: Path) -> bool:
    suffix = path.suffix.lower()
    if path.is_dir():
        from napari_monusac.io.predictions.prediction_store import is_store

        return is_store(path) or is_image_store(path) if suffix == ".zarr" else is_collection(path)
    if suffix == ".dcm":
        header = dicom_header(path)
        return header is not None and header.is_whole_slide
    if is_slide_name(path):
        return True
    if not (is_annotation_name(path) or is_image_name(path)) or not path.is_file():
        return False
    pair = partners(path)
    return pair is not None and any(_is_annotation(p) for p in pair.annotations)


def _is_annotation(path: Path) -> bool:
    """Whether a file begins as an ImageScope XML or as GeoJSON does (other programs write .xml, too)."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            head = file.read(4096)
    except (OSError, EOFError, zlib.error):
        return False
    if whole_suffix(path).lower().startswith(".geojson"):
        return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")
    return any("<Annotations".encode(code) in head for code in ("utf-8", "utf-16-le", "utf-16-be"))


def _collection_and_crop(path: Path) -> tuple[Collection, Crop]:
    from napari_monusac.core.errors import CollectionError
    from napari_monusac.io.collection.collection import open_collection

    if path.is_dir() and path.suffix.lower() != ".zarr":
        collection = open_collection(path)
        first = next(iter(collection.labelled or collection.crops), None)
        if first is None:
            raise CollectionError(path, "holds annotations but no image", "put the images beside the .xml files")
        return collection, first
    if not path.exists():
        raise CollectionError(path, "does not exist", "check the path")
    pair = partners(path)
    apart = pair is not None and any(p.parent != path.parent for p in (*pair.images, *pair.annotations))
    collection = open_collection(path.parent.parent, deepest=1) if apart else open_collection(path.parent, deepest=0)
    crop = collection.find(path)
    if crop is None:
        have = "images" if is_annotation_name(path) else "readable files"
        raise CollectionError(
            path, f"has no {have} beside it", "put image and annotation of the same name side by side"
        )
    if path in crop.others:
        crop = collection.with_image(crop, path)
    return collection, crop
