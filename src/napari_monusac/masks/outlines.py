"""Outlines of nuclei as thin maps for the screen: solid or dashed, with a halo that keeps them readable on tissue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass

#: Value of the halo's pixels in an outline map. No class has it.
HALO = 254
_DASH_PX = 4


def outline_map(
    instances: NDArray[Any],
    classes: Mapping[int, int],
    *,
    style: Literal["solid", "dashed"] = "solid",
    width_px: int = 2,
    halo_px: int = 1,
) -> NDArray[np.uint8]:
    """Draw the rim of every nucleus with its class number.

    Parameters
    ----------
    instances : integers (y, x)
        Instance map, 0 is background.
    classes : mapping of int to int
        Class number by label; a label that is not in it is drawn as unclassified.
    style : {"solid", "dashed"}
        Truth solid, prediction dashed: told apart without colour.
    width_px : int
        Width of the line, inside the nucleus.
    halo_px : int
        Width of the dark rim around the line; 0 for none.

    Returns
    -------
    uint8 (y, x)
        0 where nothing is drawn, the class number on lines, `HALO` beside them.
    """
    labels = np.ascontiguousarray(instances, np.int32)
    lut = np.full(int(labels.max(initial=0)) + 1, int(NucleusClass.UNCLASSIFIED), np.uint8)
    lut[0] = 0
    for label, number in classes.items():
        if 0 < label < len(lut):
            lut[label] = number
    as_float = labels.astype(np.float32) if labels.max(initial=0) < 2**24 else labels.astype(np.float64)
    kernel = np.ones((3, 3), np.uint8)
    # a pixel is on the rim where its neighbourhood holds another label, within width_px
    low = cv2.erode(as_float, kernel, iterations=width_px, borderType=cv2.BORDER_REPLICATE)
    high = cv2.dilate(as_float, kernel, iterations=width_px, borderType=cv2.BORDER_REPLICATE)
    rim = (labels > 0) & ((low != as_float) | (high != as_float))
    if style == "dashed":
        # a chequered pattern cuts lines of every direction; unequal sides, or a diagonal could run along one colour
        height, width = labels.shape
        rim &= (np.arange(height)[:, None] // (_DASH_PX + 1) + np.arange(width) // _DASH_PX) % 2 == 0
    drawn = np.where(rim, lut[labels], 0).astype(np.uint8)
    if halo_px:
        near = cv2.dilate(rim.astype(np.uint8), kernel, iterations=halo_px) > 0
        drawn[near & ~rim] = HALO
    return drawn
