"""Masks of a crop of a collection as files: instances, semantic, ternary (and ambiguous) .tif."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import IGNORE_INDEX
from napari_monusac.core.errors import CollectionError

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop


def write_crop_masks(
    collection: Collection, crop: Crop, out: str | Path, *, boundary_width: int = 3, within_regions: bool = False
) -> dict[str, Any]:
    """Write the masks of one labelled crop into ``out/<patient>/<crop>_<what>.tif``.

    Parameters
    ----------
    collection : Collection
        The collection that the crop belongs to.
    crop : Crop
        A crop with an annotation.
    out : str or Path
        Folder for the masks; made when missing. It must not lie among the crops.
    boundary_width : int
        Width of the boundary in the ternary map: odd, px.
    within_regions : bool
        Leave out all that lies outside the regions of interest, as Ambiguous regions are.

    Returns
    -------
    dict
        ``crop``, ``patient``, ``files`` (what -> path), ``nuclei`` (number in the masks by class name), ``left_out``
        (number that is not, by reason), ``notes`` (what the reader of the annotation says), ``overlap_px``, ``shape``. instances: numbered in file order. semantic: 255 for
        nuclei without a class. ternary: 0 background, 1 inside, 2 boundary. ambiguous: 255 in Ambiguous regions and
        where `within_regions` leaves out; written only where there is any.

    Raises
    ------
    CollectionError
        The crop has no annotation.
    SlideError, AnnotationError
        A file is damaged, or the disk refuses.
    RecipeError
        The boundary width is not an odd number.
    """
    from napari_monusac.io.predictions.maskfiles import write_masks
    from napari_monusac.masks.left_out import drawn_nuclei, left_out
    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.masks.ternary import ternary_map

    if crop.annotation is None:
        raise CollectionError(crop.image, "has no annotation", "put its .xml beside it, or predict it")
    annotation = collection.annotation(crop)
    with collection.open(crop) as slide:
        shape, um_per_px = slide.shape, slide.um_per_px
    maps = label_maps(annotation, shape, within_regions=within_regions)
    content: dict[str, NDArray[Any]] = {
        "instances": maps.instances,
        "semantic": maps.semantic,
        "ternary": ternary_map(maps.instances, boundary_width=boundary_width),
    }
    if maps.ignore.any():
        content["ambiguous"] = np.where(maps.ignore, np.uint8(IGNORE_INDEX), np.uint8(0))
    files = write_masks(Path(out) / crop.patient, crop.name.replace("/", "_"), content, um_per_px)
    drawn = drawn_nuclei(maps, len(annotation.nuclei))
    nuclei = Counter(n.nucleus_class.label for n, seen in zip(annotation.nuclei, drawn, strict=True) if seen)
    return {
        "crop": crop.name,
        "patient": crop.patient,
        "files": files,
        "nuclei": dict(nuclei),
        "left_out": left_out(annotation, maps).counts(),
        "notes": list(annotation.notes),
        "overlap_px": maps.overlap_px,
        "shape": shape,
    }
