"""Masks of the crops of a collection as files: instances, semantic, ternary (and ambiguous) .tif."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import IGNORE_INDEX
from napari_monusac.core.errors import Cancelled, CollectionError, MonusacError
from napari_monusac.io.outputs import NamesApart, refuse_inside
from napari_monusac.masks.left_out import LeftOut

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection, Crop


@dataclass(frozen=True, slots=True)
class FolderMasks:
    """What was written of a folder.

    Attributes
    ----------
    crops : list of dict
        See `write_crop_masks`.
    problems : list of (crop, MonusacError)
        Crops that could not be written, and why.
    """

    crops: list[dict[str, Any]] = field(default_factory=list)
    problems: list[tuple[str, MonusacError]] = field(default_factory=list)

    @property
    def nuclei(self) -> int:
        """Nuclei in the masks."""
        return sum(sum(crop["nuclei"].values()) for crop in self.crops)

    @property
    def left_out(self) -> LeftOut:
        """What the annotations hold that the masks do not show."""
        return LeftOut.sum(LeftOut(**crop["left_out"]) for crop in self.crops)


def write_folder_masks(
    collection: Collection,
    out: str | Path,
    *,
    boundary_width: int = 3,
    within_regions: bool = False,
    progress: Callable[[int, int, str], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FolderMasks:
    """Write the masks of every labelled crop; one that fails is told and the rest go on.

    Parameters
    ----------
    collection, out, boundary_width, within_regions
        See `write_crop_masks`.
    progress : callable, optional
        Called with (done, total, crop) before each crop, and once at the end.
    should_stop : callable, optional
        Asked before each crop.

    Raises
    ------
    CollectionError
        No crop is labelled, or `out` lies among the crops.
    Cancelled
        `should_stop` said so; what is written stays.
    """
    out, todo = Path(out), collection.labelled
    refuse_inside(out, collection.root, "masks")
    if not todo:
        raise CollectionError(collection.root, "holds no annotated crop", "put the .xml files beside the images")
    out.mkdir(parents=True, exist_ok=True)
    names, found = NamesApart(out), FolderMasks()
    for done, crop in enumerate(todo):
        if should_stop is not None and should_stop():
            raise Cancelled(f"{done} of {len(todo)} crops are written to {out}")
        if progress is not None:
            progress(done, len(todo), crop.name)
        try:
            names.take(crop.name)
            found.crops.append(
                write_crop_masks(collection, crop, out, boundary_width=boundary_width, within_regions=within_regions)
            )
        except MonusacError as error:
            found.problems.append((crop.name, error))
    if progress is not None:
        progress(len(todo), len(todo), "")
    return found


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
