"""Counts and densities: nuclei per class, per mm2 and as ratios, of a crop, a region, a patient, a folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.draw import polygon2mask

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import ShapeError
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.text import cell

if TYPE_CHECKING:
    import pandas as pd

#: Ratios of counts: name, classes above the line, classes below it.
RATIOS: tuple[tuple[str, tuple[NucleusClass, ...], tuple[NucleusClass, ...]], ...] = (
    ("lymphocytes_per_epithelial", (NucleusClass.LYMPHOCYTE,), (NucleusClass.EPITHELIAL,)),
    ("neutrophils_per_lymphocyte", (NucleusClass.NEUTROPHIL,), (NucleusClass.LYMPHOCYTE,)),
    ("macrophages_per_epithelial", (NucleusClass.MACROPHAGE,), (NucleusClass.EPITHELIAL,)),
    ("immune_fraction", (NucleusClass.LYMPHOCYTE, NucleusClass.NEUTROPHIL, NucleusClass.MACROPHAGE), CLASSES),
)
_ALL = (*CLASSES, NucleusClass.UNCLASSIFIED)


@dataclass(frozen=True, slots=True)
class Counts:
    """Nuclei of one area.

    Attributes
    ----------
    name, patient : str
        Of the crop or region, and whose it is.
    numbers : tuple of int
        Epithelial, lymphocyte, neutrophil, macrophage, unclassified.
    area_mm2 : float or None
        Area that was looked at; None where the scale is unknown.
    """

    name: str
    patient: str
    numbers: tuple[int, ...]
    area_mm2: float | None = None

    @property
    def total(self) -> int:
        """All nuclei, unclassified ones included."""
        return sum(self.numbers)

    def of(self, kind: NucleusClass) -> int:
        """Number of nuclei of a class."""
        return self.numbers[_ALL.index(kind)]

    def per_mm2(self, kind: NucleusClass | None = None) -> float:
        """Nuclei of a class, or all of them, per mm2; NaN where the scale is unknown."""
        number = self.total if kind is None else self.of(kind)
        return number / self.area_mm2 if self.area_mm2 else float("nan")

    def percent(self, kind: NucleusClass | None = None) -> float:
        """Nuclei of a class in percent of all, unclassified ones included; NaN where there are none."""
        number = self.total if kind is None else self.of(kind)
        return 100 * number / self.total if self.total else float("nan")

    def ratio(self, name: str) -> float:
        """One of `RATIOS`; NaN where nothing stands below the line."""
        above, below = next((a, b) for n, a, b in RATIOS if n == name)
        divisor = sum(self.of(k) for k in below)
        return sum(self.of(k) for k in above) / divisor if divisor else float("nan")

    def plus(self, other: Counts, name: str, patient: str = "") -> Counts:
        """Both areas as one; its area is unknown as soon as one of them is."""
        numbers = tuple(a + b for a, b in zip(self.numbers, other.numbers, strict=True))
        known = self.area_mm2 is not None and other.area_mm2 is not None
        area = (self.area_mm2 or 0.0) + (other.area_mm2 or 0.0) if known else None
        return Counts(name, patient, numbers, area)


def count_nuclei(
    table: pd.DataFrame,
    shape: tuple[int, int],
    um_per_px: float | None,
    *,
    region: NDArray[np.bool_] | None = None,
    name: str = "",
    patient: str = "",
) -> Counts:
    """Count the nuclei of a map, or those whose centroid lies in a region.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a nucleus, with ``class_id``, ``centroid_y`` and ``centroid_x`` (px), as in `Nuclei.table`.
    shape : (height, width)
        Of the map, px.
    um_per_px : float or None
        Scale of the map.
    region : bool (y, x), optional
        Count only here; its area is the area that counts.
    name, patient : str
        Handed on.

    Raises
    ------
    ShapeError
        The region has another shape.
    """
    ids = table["class_id"].to_numpy(np.intp)
    pixels = shape[0] * shape[1]
    if region is not None:
        if region.shape != tuple(shape):
            raise ShapeError(f"region {region.shape}, map {tuple(shape)}", "draw the region on the map's own image")
        rows = np.clip(np.rint(table["centroid_y"].to_numpy(float)).astype(np.intp), 0, shape[0] - 1)
        columns = np.clip(np.rint(table["centroid_x"].to_numpy(float)).astype(np.intp), 0, shape[1] - 1)
        ids, pixels = ids[region[rows, columns]], int(region.sum())
    found = np.bincount(ids, minlength=256)
    numbers = tuple(int(found[int(k)]) for k in _ALL)
    return Counts(name, patient, numbers, pixels * um_per_px**2 * 1e-6 if um_per_px else None)


def count_store(store: str | Path, *, name: str = "", patient: str = "") -> Counts:
    """Count the nuclei of a stored prediction.

    Parameters
    ----------
    store : str or Path
        The ``.zarr`` folder.
    name, patient : str
        Handed on.

    Raises
    ------
    StoreError
        It cannot be read, or its nuclei are not segmented yet.
    """
    from napari_monusac.io.predictions.lazy import open_lazily

    opened = open_lazily(store)
    return count_nuclei(opened.nuclei, opened.shape, opened.info.um_per_px, name=name, patient=patient)


def region_mask(vertices: ArrayLike, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A free-hand outline as a mask.

    Parameters
    ----------
    vertices : float (n, 2)
        (y, x) in px of the map; may reach past it.
    shape : (height, width)
        Of the map, px.

    Raises
    ------
    ShapeError
        Fewer than three vertices.
    """
    outline = np.asarray(vertices, float)
    if outline.ndim != 2 or outline.shape[1] != 2 or len(outline) < 3:
        raise ShapeError(f"an outline of shape {outline.shape}", "draw a region of three points or more")
    return np.asarray(polygon2mask(shape, outline), bool)


def pooled(counts: Iterable[Counts], by: Literal["patient", "all"]) -> list[Counts]:
    """Areas put together: one for each patient, or one of all."""
    sums: dict[str, Counts] = {}
    for one in counts:
        key = one.patient if by == "patient" else "all"
        patient = one.patient if by == "patient" else ""
        sums[key] = (
            sums[key].plus(one, key, patient) if key in sums else Counts(key, patient, one.numbers, one.area_mm2)
        )
    return list(sums.values())


def density_table(counts: Iterable[Counts], *, summary: bool = True) -> pd.DataFrame:
    """Counts, densities and ratios as a table.

    Parameters
    ----------
    counts : iterable of Counts
        One row each.
    summary : bool
        Add a row for each patient with more than one area, and one for all.

    Returns
    -------
    pandas.DataFrame
        ``level`` ("area", "patient", "all"), ``name, patient, area_mm2, total, CLASS`` (counts), ``total_per_mm2,
        CLASS_per_mm2, CLASS_percent`` (of all nuclei) and the ratios of `RATIOS`. NaN where a value is undefined.
    """
    import pandas as pd

    areas = list(counts)
    rows = [("area", c) for c in areas]
    if summary:
        several = [p for p in dict.fromkeys(c.patient for c in areas) if sum(c.patient == p for c in areas) > 1]
        rows += [("patient", c) for c in pooled(areas, "patient") if c.patient in several]
        rows += [("all", c) for c in pooled(areas, "all")]
    names = {k: k.label.lower() for k in _ALL}
    return pd.DataFrame(
        [
            {
                "level": level,
                "name": c.name,
                "patient": c.patient,
                "area_mm2": float("nan") if c.area_mm2 is None else c.area_mm2,
                "total": c.total,
                **{names[k]: c.of(k) for k in _ALL},
                "total_per_mm2": c.per_mm2(),
                **{f"{names[k]}_per_mm2": c.per_mm2(k) for k in _ALL},
                **{f"{names[k]}_percent": c.percent(k) for k in _ALL},
                **{ratio: c.ratio(ratio) for ratio, _, _ in RATIOS},
            }
            for level, c in rows
        ]
    )


def write_density_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table of `density_table` as CSV (UTF-8, six significant digits, empty where undefined).

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path = Path(path)
    atomic_write_text(path, table.map(cell).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return path
