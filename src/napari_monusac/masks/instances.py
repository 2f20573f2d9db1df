"""Nuclei from the two heads: markers from *inside*, grown to the true edge; one row of facts a nucleus."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASS_THRESHOLD
from napari_monusac.core.errors import ShapeError
from napari_monusac.core.fitted import PART_THRESHOLD
from napari_monusac.core.prediction import Nuclei
from napari_monusac.masks._grow import CROSS, components, fill_holes, grow
from napari_monusac.masks._parting import parted
from napari_monusac.masks.facts import nucleus_table
from napari_monusac.masks.uncertainty import Probabilities, channel, nucleus_probability, ternary_nucleus_probability


def instances_from_maps(
    semantic: Probabilities | None,
    ternary: Probabilities,
    *,
    boundary_width: int = 3,
    um_per_px: float | None = None,
    inside_threshold: float = 0.5,
    nucleus_threshold: float = 0.5,
    peak_threshold: float | None = None,
    part_threshold: float = PART_THRESHOLD,
    agreement_threshold: float = 0.0,
    smoothing_px: float = 1.0,
    min_area_um2: float = 0.0,
    min_area_px: float = 0.0,
    min_confidence: float = 0.0,
    class_threshold: float = CLASS_THRESHOLD,
    class_temperature: float = 1.0,
    offset_px: tuple[int, int] = (0, 0),
) -> Nuclei:
    """Segment the nuclei that the two heads of a network see.

    Connected regions of *inside* are the markers. They grow, all at the same speed, over the pixels where both heads
    together see a nucleus: the semantic head at its word, the ternary head with the (w - 1)/2 px cut back that a
    boundary of w px reaches outside. Nuclei so small that their inside vanished become markers of their own.

    Parameters
    ----------
    semantic : (5, y, x) or None
        Probabilities of background and the four classes, float in 0 to 1 or uint8 in 0 to 255. None: the ternary map
        alone gives the nuclei, all unclassified.
    ternary : (3, y, x)
        Probabilities of background, inside, boundary.
    boundary_width : int
        Width of the boundary in px that the network was trained with (odd).
    um_per_px : float, optional
        Micrometres per pixel; needed for areas in um2.
    inside_threshold, nucleus_threshold : float
        Probability in 0 to 1 above which a pixel is inside (a marker) and belongs to a nucleus (its extent).
    peak_threshold : float
        A nucleus is kept if its surest pixel is one with at least this probability, so that uncertain specks are not.
        By default 0.2 above `nucleus_threshold`.
    part_threshold : float
        How deep the neck between two touching nuclei must be to part them: below this share of the lesser one, by shape
        and probability of *inside* together (0 parts nothing; see `napari_monusac.masks._parting.parted`). Up to 0.7 no
        nucleus of MoNuSAC's truth is cut.
    agreement_threshold : float
        A nucleus is kept if the semantic head sees at least this much of it (``p_semantic``): what the ternary head alone
        takes for a nucleus is often stroma. 0 keeps all.
    smoothing_px : float
        Sigma of the Gaussian that keeps specks of noise from becoming markers; 0 for none.
    min_area_um2, min_area_px : float
        Smaller nuclei are left out. The defaults leave out none. um2 needs `um_per_px`.
    min_confidence : float
        Nuclei of less confidence are left out.
    class_threshold : float
        A nucleus that the ternary head sees while the semantic head is less sure than this of any (``p_semantic``, 0 to
        1) is unclassified: a class would be read off noise.
    class_temperature : float
        Each class probability p of a nucleus becomes p^(1/T), and they are brought back to a sum of 1: above 1 the classes
        come out less sure. The most probable one stays so.
    offset_px : tuple of int
        (y, x) of the maps in their image, handed on.

    Returns
    -------
    Nuclei
        Instance map and table.

    Raises
    ------
    ShapeError
        The maps do not fit each other, or a value is out of its range.
    """
    _check(semantic, ternary, boundary_width, min_area_um2, um_per_px)
    _check_thresholds(
        inside_threshold=inside_threshold, nucleus_threshold=nucleus_threshold, peak_threshold=peak_threshold,
        part_threshold=part_threshold, agreement_threshold=agreement_threshold, min_confidence=min_confidence,
        class_threshold=class_threshold,
    )  # fmt: skip
    if not smoothing_px >= 0:
        raise ShapeError(f"smoothing_px = {smoothing_px}", "use 0 px (none) or more")
    if not class_temperature > 0:
        raise ShapeError(f"class_temperature = {class_temperature}", "use a number above 0; 1 changes nothing")
    labels = segment(
        semantic,
        ternary,
        boundary_width=boundary_width,
        inside_threshold=inside_threshold,
        nucleus_threshold=nucleus_threshold,
        part_threshold=part_threshold,
        smoothing_px=smoothing_px,
    )
    smallest = max(min_area_px, min_area_um2 / um_per_px**2 if um_per_px else 0.0)
    peak = min(nucleus_threshold + 0.2, 0.95) if peak_threshold is None else peak_threshold
    labels, table = nucleus_table(
        labels,
        semantic,
        ternary,
        boundary_width,
        um_per_px,
        smallest_px=smallest,
        least_confidence=min_confidence,
        least_peak=peak,
        least_agreement=agreement_threshold if semantic is not None else 0.0,
        class_threshold=class_threshold,
        temperature=class_temperature,
    )
    return Nuclei(labels, table, um_per_px, offset_px)


def segment(
    semantic: Probabilities | None,
    ternary: Probabilities,
    *,
    boundary_width: int,
    inside_threshold: float,
    nucleus_threshold: float,
    part_threshold: float,
    smoothing_px: float,
) -> NDArray[np.int32]:
    """The instance map of `instances_from_maps`, int32 (y, x), before anything is left out; numbers may have gaps."""
    inside = channel(ternary, 1)
    if smoothing_px > 0:
        blurred = cv2.GaussianBlur(inside, (0, 0), smoothing_px, borderType=cv2.BORDER_REFLECT_101)
        inside = np.asarray(blurred, np.float32)
    reach = (boundary_width + 1) // 2
    count, labels = components(inside > inside_threshold)
    count, labels = parted(labels, count, inside, part_threshold, reach)
    extent = _extent(semantic, ternary, labels, count, boundary_width, nucleus_threshold) | (inside > inside_threshold)
    grown = grow(labels, extent, reach + 2)
    grown = _rescue(grown, extent, count, reach)
    return fill_holes(grow(grown, extent))


def _extent(
    semantic: Probabilities | None,
    ternary: Probabilities,
    labels: NDArray[np.int32],
    count: int,
    boundary_width: int,
    threshold: float,
) -> NDArray[np.bool_]:
    """Where nuclei are, bool (y, x): by both heads; by the ternary head around markers that the semantic one denies."""
    by_ternary = ternary_nucleus_probability(ternary, boundary_width)
    if semantic is None:
        return by_ternary > threshold
    by_semantic = nucleus_probability(semantic)
    extent = (by_semantic + by_ternary) * np.float32(0.5) > threshold
    if count:
        area = np.bincount(labels.ravel(), minlength=count + 1)
        support = np.bincount(labels.ravel(), by_semantic.ravel(), minlength=count + 1) / np.maximum(area, 1)
        denied = support < threshold
        denied[0] = False
        if denied.any():
            alone = np.where(denied[labels], labels, 0)
            extent |= grow(alone, by_ternary > threshold, (boundary_width + 1) // 2 + 1) > 0
    return extent


def _rescue(grown: NDArray[np.int32], extent: NDArray[np.bool_], count: int, reach: int) -> NDArray[np.int32]:
    """Give nuclei whose inside vanished a label of their own.

    What no marker reached is such a nucleus if it touches no other one, or if it is too thick to be a tip of one.
    """
    left = extent & (grown == 0)
    if not left.any():
        return grown
    number, pieces = components(left, connectivity=4)
    core = cv2.erode(
        left.view(np.uint8), CROSS, iterations=max(2, reach), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    beside = cv2.dilate((grown > 0).view(np.uint8), CROSS)
    own = np.ones(number + 1, bool)
    own[pieces[beside > 0]] = False
    own[pieces[core > 0]] = True
    own[0] = False
    fresh = np.where(own, np.arange(number + 1) + count, 0).astype(np.int32)
    return np.where(grown > 0, grown, fresh[pieces])


def _check_thresholds(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 <= value <= 1:
            raise ShapeError(f"{name} = {value}", "use a probability, 0 to 1")


def _check(
    semantic: Probabilities | None,
    ternary: Probabilities,
    boundary_width: int,
    min_area_um2: float,
    um_per_px: float | None,
) -> None:
    if ternary.ndim != 3 or ternary.shape[0] != 3:
        raise ShapeError(f"ternary has shape {ternary.shape}", "pass probabilities (3, y, x), channels first")
    if semantic is not None and (semantic.ndim != 3 or semantic.shape != (5, *ternary.shape[1:])):
        raise ShapeError(
            f"semantic has shape {semantic.shape}, ternary {ternary.shape}", "pass (5, y, x) and (3, y, x) maps"
        )
    if boundary_width < 1 or boundary_width % 2 == 0:
        raise ShapeError(f"boundary_width = {boundary_width}", "use an odd number of px: 1, 3, 5 or 7")
    if um_per_px is not None and not um_per_px > 0:
        raise ShapeError(f"um_per_px = {um_per_px}", "pass a positive number, or None where the scale is unknown")
    if min_area_um2 > 0 and um_per_px is None:
        raise ShapeError(f"min_area_um2 = {min_area_um2} without a scale", "pass um_per_px, or use min_area_px")
