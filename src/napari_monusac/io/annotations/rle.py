"""COCO's run-length masks <-> outlines. They are pixels: no half pixel lies between them and ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.geometry import Outline, bridged

#: Largest mask that is unpacked, in px.
MAX_MASK_PX = 1 << 28


def outline_of_rle(segmentation: dict[str, Any], shape: tuple[int, int], path: Path, where: str) -> Outline:
    """Outline of a mask, parts and holes joined, vertices at the centres of all border pixels.

    Parameters
    ----------
    segmentation : dict
        ``size`` [height, width] and ``counts``: runs of 0 and 1 in turn, down the columns, as a list of int or as
        COCO's compressed text.
    shape : (int, int)
        Height and width of the image in px.
    path, where
        For the message of an error.

    Raises
    ------
    AnnotationError
        The runs do not fit the image, or nothing is set.
    HostileFileError
        The mask is larger than `MAX_MASK_PX`.
    """
    if segmentation.get("size") != list(shape):
        raise AnnotationError(path, f"{where}: the mask's size is not the image's {list(shape)}", "export it again")
    if shape[0] * shape[1] > MAX_MASK_PX:
        raise HostileFileError(path, f"{where}: a mask of {shape[0]} x {shape[1]} px", "export polygons instead")
    runs = _runs(segmentation.get("counts"), path, where)
    if (runs < 0).any() or (runs > MAX_MASK_PX).any() or int(runs.sum()) != shape[0] * shape[1]:
        raise AnnotationError(path, f"{where}: the runs of the mask do not fill the image", "export it again")
    values = np.zeros(len(runs), np.uint8)
    values[1::2] = 1
    mask = np.repeat(values, runs).reshape(shape[1], shape[0]).T
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise AnnotationError(path, f"{where}: the mask is empty", "delete the object")
    cut = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    contours, _ = cv2.findContours(np.ascontiguousarray(cut), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corner = (rows[0] - 1.0, columns[0] - 1.0)
    rings = [np.asarray(c)[:, 0, ::-1].astype(np.float64) + corner for c in contours]
    outline = bridged(rings)
    # one or two pixels: a line of no width, drawn by its repeated vertices
    return np.concatenate([outline, np.repeat(outline[-1:], max(0, 4 - len(outline)), axis=0)])


def rle_of_mask(mask: NDArray[np.bool_], low: tuple[int, int], shape: tuple[int, int]) -> dict[str, Any]:
    """Write a mask as COCO's plain run lengths.

    Parameters
    ----------
    mask : bool (y, x)
        A part of the image.
    low : (int, int)
        (y, x) of its first pixel in the image.
    shape : (int, int)
        Height and width of the image in px.
    """
    rows, columns = np.nonzero(mask)
    flat = np.sort((columns + low[1]) * shape[0] + rows + low[0])
    first = np.flatnonzero(np.diff(flat, prepend=-2) != 1)
    last = np.append(first[1:], len(flat)) - 1
    ends = np.stack([flat[first], flat[last] + 1], axis=1).ravel()
    runs = np.diff(ends, prepend=0, append=shape[0] * shape[1])
    return {"size": list(shape), "counts": runs.tolist() if runs[-1] else runs[:-1].tolist()}


def _runs(counts: Any, path: Path, where: str) -> NDArray[np.int64]:
    if isinstance(counts, str):
        return _unpacked(counts, path, where)
    if isinstance(counts, list) and all(isinstance(c, int) and abs(c) <= MAX_MASK_PX for c in counts):
        return np.array(counts, np.int64)
    raise AnnotationError(path, f"{where}: the runs of the mask are no whole numbers", "export it again")


def _unpacked(text: str, path: Path, where: str) -> NDArray[np.int64]:
    """COCO's compressed runs: 5 bits a character, lowest first; from the fourth on, differences to the last but one.

    Source: cocoapi, ``maskApi.c``, ``rleFrString``.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise AnnotationError(path, f"{where}: the mask's text is damaged", "export it again")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        if abs(runs[-1]) > MAX_MASK_PX:
            raise AnnotationError(path, f"{where}: the mask's text is damaged", "export it again")
        value = shift = 0
    if shift:
        raise AnnotationError(path, f"{where}: the mask's text ends early", "export it again")
    return np.array(runs, np.int64)
