"""Annotation -> label maps, as the challenge draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import HostileFileError, ShapeError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.masks.scanline import box_areas, fill_polygons

#: Largest map that is drawn: beyond it the int32 map alone takes more than 4 GiB.
MAX_PIXELS = 1 << 30
#: Bounding boxes that are painted at most, in px: the work that a hostile file can ask for (about half a minute).
MAX_PAINTED_PX = 1 << 32


@dataclass(frozen=True, slots=True)
class Overlap:
    """Pixels that a later nucleus took from an earlier one.

    Attributes
    ----------
    earlier, later : int
        Instance numbers; `later` > `earlier`.
    pixels : int
        How many pixels of `earlier` were overwritten by `later`.
    """

    earlier: int
    later: int
    pixels: int


@dataclass(frozen=True, slots=True, eq=False)
class LabelMaps:
    """What an annotation says about each pixel.

    Attributes
    ----------
    instances : int32 (y, x)
        0 background, k where ``annotation.nuclei[k - 1]`` lies; a later nucleus lies over an earlier one.
    semantic : uint8 (y, x)
        `NucleusClass` of that nucleus; 255 for nuclei of unknown class.
    ignore : bool (y, x)
        Ambiguous regions, and where that was asked for what lies outside all regions of interest. Nuclei under them
        stay in the other two maps.
    overlaps : tuple of Overlap
        Pairs of nuclei of which the later took pixels from the earlier, in the order of their numbers.
    """

    instances: NDArray[np.int32]
    semantic: NDArray[np.uint8]
    ignore: NDArray[np.bool_]
    overlaps: tuple[Overlap, ...] = ()

    @property
    def overlap_px(self) -> int:
        """Number of times that a pixel was overwritten."""
        return sum(o.pixels for o in self.overlaps)


def label_maps(annotation: Annotation, shape: tuple[int, int], *, within_regions: bool = False) -> LabelMaps:
    """Draw an annotation: `skimage.draw.polygon` per region in file order, a later region over an earlier one.

    Parameters
    ----------
    annotation : Annotation
        Regions of fewer than three vertices are not drawn, nor regions of interest; those partly or wholly outside are
        clipped.
    shape : (int, int)
        Height and width in px.
    within_regions : bool
        Take the regions of interest for the border of what was annotated: all outside of them is ignored. An
        annotation without any was annotated everywhere.

    Returns
    -------
    LabelMaps
        Instances are numbered 1..n in file order, one number a nucleus (``annotation.nuclei``), hidden ones included.

    Raises
    ------
    ShapeError
        `shape` is not two positive integers, or larger than `MAX_PIXELS`.
    HostileFileError
        The regions cover the image so many times over that drawing them would take minutes.

    Notes
    -----
    Definition: Verma et al., MoNuSAC2020, ``n-ary_mask_generation.ipynb`` (one numbering over all classes).
    """
    shape = _checked_shape(shape)
    nuclei, ambiguous = annotation.nuclei, annotation.ambiguous
    borders = annotation.regions_of_interest if within_regions else ()
    _refuse_endless(annotation, [*nuclei, *ambiguous, *borders], shape)
    instances = np.zeros(shape, np.int32)
    semantic = np.zeros(shape, np.uint8)
    ignore = np.full(shape, bool(borders), np.bool_)
    classes = np.array([n.nucleus_class for n in nuclei], np.uint8)
    flat, flat_semantic, lost = instances.reshape(-1), semantic.reshape(-1), Counter[tuple[int, int]]()
    for pixels, polygon in fill_polygons([n.vertices for n in nuclei], shape):
        _paint(flat, pixels, polygon + np.int32(1), lost)
        flat_semantic[pixels] = classes[polygon]
    for pixels, _ in fill_polygons([r.vertices for r in borders], shape):
        ignore.reshape(-1)[pixels] = False
    for pixels, _ in fill_polygons([n.vertices for n in ambiguous], shape):
        ignore.reshape(-1)[pixels] = True
    overlaps = tuple(Overlap(a, b, count) for (a, b), count in sorted(lost.items()))
    return LabelMaps(instances, semantic, ignore, overlaps)


def _paint(flat: NDArray[np.int32], pixels: NDArray[np.int64], labels: NDArray[np.int32],
           lost: Counter[tuple[int, int]]) -> None:  # fmt: skip
    """Write rising `labels` into `flat`; count in `lost` who took how many pixels from whom."""
    before = flat[pixels]
    # NumPy gives a repeated index the last value: a later polygon lies over an earlier one
    flat[pixels] = labels
    hidden, older = flat[pixels] != labels, before > 0
    if not (hidden.any() or older.any()):
        return
    contested = np.unique(pixels[hidden | older])
    owners = np.concatenate([before[older], labels[hidden], flat[contested]]).astype(np.int64)
    where = np.concatenate([pixels[older], pixels[hidden], contested])
    # every owner of a pixel once, in file order (numbers rise); neighbours in this list are takings
    where, owners = np.unique(np.stack([where, owners]), axis=1)
    same = where[1:] == where[:-1]
    pairs, counts = np.unique(np.stack([owners[:-1][same], owners[1:][same]]), axis=1, return_counts=True)
    for a, b, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        lost[a, b] += count


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise ShapeError(f"shape {shape!r} is not (height, width) in px", "pass the height and width of the image")
    height, width = (int(n) for n in shape)
    if height * width > MAX_PIXELS:
        raise ShapeError(
            f"label maps of {height} x {width} px would take {height * width * 6 / 2**30:.0f} GiB",
            f"draw a part of the slide, at most {MAX_PIXELS} px",
        )
    return height, width


def _refuse_endless(annotation: Annotation, regions: Sequence[Nucleus], shape: tuple[int, int]) -> None:
    cost = box_areas([r.vertices for r in regions], shape)
    if cost > MAX_PAINTED_PX:
        raise HostileFileError(
            annotation.source or "annotation",
            f"{len(regions)} regions cover {cost} px of a {shape[0]} x {shape[1]} px image",
            "check the outlines: they lie over each other hundreds of times",
        )
