"""One row a nucleus: class, confidence, size, shape and stain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.color import hed_from_rgb
from skimage.measure import regionprops_table

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import AnnotationError, ShapeError
from napari_monusac.core.files import atomic_write
from napari_monusac.core.optical_density import LN_10, density_of_levels
from napari_monusac.core.text import cell
from napari_monusac.masks.lookup import majority_classes

#: Columns of `nuclei_table`, in order.
COLUMNS = (
    "label", "class", "class_id", "confidence", "centroid_y", "centroid_x", "area_px", "area_um2", "perimeter_px",
    "perimeter_um", "major_axis_px", "major_axis_um", "minor_axis_px", "minor_axis_um", "eccentricity", "solidity",
    "mean_haematoxylin_od",
)  # fmt: skip
_PROPERTIES = {
    "label": "label", "centroid-0": "centroid_y", "centroid-1": "centroid_x", "area": "area_px",
    "perimeter": "perimeter_px", "axis_major_length": "major_axis_px", "axis_minor_length": "minor_axis_px",
    "eccentricity": "eccentricity", "solidity": "solidity",
}  # fmt: skip


def nuclei_table(
    instances: NDArray[np.integer],
    classes: Mapping[int, int] | NDArray[np.uint8],
    *,
    confidence: Mapping[int, float] | None = None,
    um_per_px: float | None = None,
    image: NDArray[np.uint8] | None = None,
) -> pd.DataFrame:
    """Measure each nucleus of an instance map.

    Parameters
    ----------
    instances : integer (y, x)
        0 background, any positive value a nucleus.
    classes : mapping of label to class, or uint8 (y, x)
        `NucleusClass` of each label; or a semantic map, of which each nucleus takes its most frequent class.
        Labels without a class are `UNCLASSIFIED`.
    confidence : mapping of label to float, optional
        0 to 1.
    um_per_px : float, optional
        Micrometres per px; without it the columns in um are empty.
    image : uint8 (y, x, 3), optional
        RGB image for ``mean_haematoxylin_od``.

    Returns
    -------
    DataFrame
        `COLUMNS`, one row a label, in rising order. Shapes as `skimage.measure.regionprops` defines them; lengths
        in px and in um. ``mean_haematoxylin_od``: mean optical density (base 10, white = 255) of haematoxylin after
        colour deconvolution with the vectors of Ruifrok and Johnston (Anal Quant Cytol Histol 23, 2001).

    Raises
    ------
    ShapeError
        The maps differ in shape, or `instances` is no (y, x) map of whole numbers, or holds one below 0.
    """
    if instances.ndim != 2 or not np.issubdtype(instances.dtype, np.integer):
        raise ShapeError(
            f"instances are {instances.dtype} of shape {instances.shape}", "pass a (y, x) map of whole numbers"
        )
    names = (
        "label",
        "centroid",
        "area",
        "perimeter",
        "axis_major_length",
        "axis_minor_length",
        "eccentricity",
        "solidity",
    )
    labels = np.unique(instances)
    if labels[:1].any() and labels[0] < 0:
        raise ShapeError(f"labels run from {labels[0]} to {labels[-1]}", "0 is background, nuclei are numbered above")
    labels = labels[labels > 0]
    # skimage needs a list as long as the largest label, which may be 7e10: it gets 1 to n
    numbered = np.where(instances > 0, np.searchsorted(labels, instances) + 1, 0)
    measured = pd.DataFrame(regionprops_table(numbered, properties=names)).rename(columns=_PROPERTIES)
    measured["label"] = labels
    ids = _class_ids(instances, classes, labels)
    measured["class_id"] = ids
    measured["class"] = [NucleusClass(i).label for i in ids]
    measured["confidence"] = [np.nan if confidence is None else confidence.get(k, np.nan) for k in labels.tolist()]
    um = np.nan if um_per_px is None else um_per_px
    measured["area_um2"] = measured["area_px"] * um**2
    for name in ("perimeter", "major_axis", "minor_axis"):
        measured[f"{name}_um"] = measured[f"{name}_px"] * um
    measured["mean_haematoxylin_od"] = np.nan if image is None else _mean_haematoxylin(instances, image, labels)
    return measured[list(COLUMNS)]


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV (UTF-8, decimal points), whole or not at all.

    Raises
    ------
    AnnotationError
        The disk refuses.
    """
    path = Path(path)
    try:
        with atomic_write(path) as temporary:
            table.map(cell).to_csv(temporary, index=False, lineterminator="\n", float_format="%.6g")
    except OSError as error:
        raise AnnotationError(path, f"cannot be written: {error.strerror}", "choose another folder") from error


def haematoxylin_od(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Optical density of haematoxylin of each pixel (base 10).

    Parameters
    ----------
    rgb : uint8 (..., 3)
        Colours; 0 counts as 1, for its density would be infinite.
    """
    density = density_of_levels(255.0, offset=0.0)[rgb] / LN_10
    result: NDArray[np.float64] = density @ hed_from_rgb[:, 0]
    return result


def _mean_haematoxylin(
    instances: NDArray[np.integer], image: NDArray[np.uint8], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    if image.shape != (*instances.shape, 3):
        raise ShapeError(
            f"image {image.shape} and instances {instances.shape} do not fit", "pass an RGB image (y, x, 3)"
        )
    inside = instances > 0
    row = np.searchsorted(labels, instances[inside])
    sums = np.bincount(row, weights=haematoxylin_od(image[inside]), minlength=len(labels))
    return sums / np.maximum(np.bincount(row, minlength=len(labels)), 1)


def _class_ids(
    instances: NDArray[np.integer], classes: Mapping[int, int] | NDArray[np.uint8], labels: NDArray[np.integer]
) -> list[int]:
    unknown = int(NucleusClass.UNCLASSIFIED)
    if isinstance(classes, Mapping):
        return [int(classes.get(k, unknown)) for k in labels.tolist()]
    if classes.shape != instances.shape:
        raise ShapeError(
            f"semantic {classes.shape} and instances {instances.shape} do not fit", "pass two maps of one image"
        )
    found = majority_classes(classes, instances)
    return [found.get(k, unknown) for k in labels.tolist()]
