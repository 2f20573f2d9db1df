"""Two nuclei that touch, taken for one region: where shape and probability see a neck between them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from napari_monusac.masks._grow import components

#: Smallest marker that is parted from another one, px, and how far apart two summits lie at the least, px.
_SMALLEST_PX, _APART_PX = 25, 3


def parted(
    labels: NDArray[np.int32], count: int, inside: NDArray[np.float32], part: float, rim_px: int
) -> tuple[int, NDArray[np.int32]]:
    """Part regions in which two nuclei touch; highest label and labels, int32 (y, x), what is parted under new numbers.

    Shape and probability decide together. Each pixel of a region has a height, its distance to the region's edge times
    the probability of *inside*; two summits are two nuclei where the saddle between them lies below `part` of the lesser
    one. A waist alone parts no bean, and a dim bridge alone no large nucleus, unless it is deep: the two factors multiply.

    Parameters
    ----------
    labels : int32 (y, x)
        Regions of *inside*, each one or several nuclei; 0 = none.
    count : int
        The highest label.
    inside : float32 (y, x)
        Probability of *inside*.
    part : float
        0 parts nothing, 1 whatever has two summits.
    rim_px : int
        How much of a nucleus lies around its region: it is added to the distance, or small nuclei would have waists.
    """
    if not part or not count:
        return count, labels
    height = _heights(inside, labels > 0, rim_px)
    number, summits = _summits(height)
    owner = np.zeros(number + 1, np.intp)
    owner[summits.ravel()] = labels.ravel()
    several = np.bincount(owner[1:], minlength=count + 1) >= 2
    several[0] = False
    if not several.any():
        return count, labels
    where = several[labels]
    basins = watershed(-height, np.where(where, summits, 0), mask=where, connectivity=2)
    piece = _merged(basins, height, number, part)
    own = np.unique(piece[np.unique(basins)])
    fresh = np.zeros(number + 1, np.int32)
    fresh[own] = np.where(own > 0, np.cumsum(own > 0) + count, 0)
    highest = count + int((own > 0).sum())
    return highest, np.where(where, fresh[piece[basins]], labels).astype(np.int32)


def _heights(inside: NDArray[np.float32], mask: NDArray[np.bool_], rim_px: int) -> NDArray[np.float32]:
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.where(mask, (distance + np.float32(rim_px)) * inside, 0), np.float32)


def _summits(height: NDArray[np.float32]) -> tuple[int, NDArray[np.int32]]:
    """Pixels that are the highest around, by number; a plateau is one summit."""
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _APART_PX + 1,) * 2)
    smooth = cv2.GaussianBlur(height, (0, 0), 1.0)
    return components((smooth >= cv2.dilate(smooth, ball)) & (height > 0))


def _merged(basins: NDArray[np.int32], height: NDArray[np.float32], number: int, part: float) -> NDArray[np.int32]:
    """For each basin the one that stands for its nucleus: from the highest saddle down, what is one is joined."""
    pairs, saddles = _saddles(basins, height, number)
    summit = np.zeros(number + 1, np.float32)
    np.maximum.at(summit, basins.ravel(), height.ravel())
    area = np.bincount(basins.ravel(), minlength=number + 1)
    parent = list(range(number + 1))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for k in np.argsort(-saddles, kind="stable"):
        a, b = root(int(pairs[k, 0])), root(int(pairs[k, 1]))
        if a == b:
            continue
        one = saddles[k] >= part * min(summit[a], summit[b])
        if one or min(area[a], area[b]) < _SMALLEST_PX:
            parent[b] = a
            summit[a], area[a] = max(summit[a], summit[b]), area[a] + area[b]
    return np.array([root(k) for k in range(number + 1)], np.int32)


def _saddles(
    basins: NDArray[np.int32], height: NDArray[np.float32], number: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pairs of basins that touch, int64 (n, 2), and the highest way from one to the other, float32 (n,)."""
    codes, lows = [], []
    views = (np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1, :-1], np.s_[1:, 1:]), (
        np.s_[:-1, 1:], np.s_[1:, :-1],
    )  # fmt: skip
    for here, there in views:
        a, b = basins[here], basins[there]
        y, x = np.nonzero((a != b) & (a > 0) & (b > 0))
        one, other = a[y, x].astype(np.int64), b[y, x].astype(np.int64)
        codes.append(np.minimum(one, other) * (number + 1) + np.maximum(one, other))
        lows.append(np.minimum(height[here][y, x], height[there][y, x]))
    pairs, at = np.unique(np.concatenate(codes), return_inverse=True)
    saddles = np.zeros(len(pairs), np.float32)
    np.maximum.at(saddles, at, np.concatenate(lows))
    return np.stack([pairs // (number + 1), pairs % (number + 1)], axis=1), saddles
