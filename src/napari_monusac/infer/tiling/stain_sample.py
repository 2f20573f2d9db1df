"""The stain of an image as training and prediction both measure it: on the same pixels, by the same estimator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.infer.tiling.glass import is_glass
from napari_monusac.infer.tiling.source import Source
from napari_monusac.infer.tiling.stain import stain_change, stain_strength, with_stain_changed

#: Standard deviations of the training crops beyond which a stain is called unusual.
UNUSUAL = 3.0
#: A few crops may be too alike: their standard deviation counts as this part of the mean at least.
_LEAST_SPREAD = 0.1
_PATCH_PX = 256
_PATCHES = 16


def sample_pixels(source: Source) -> NDArray[np.uint8]:
    """Up to 16 patches of 256 px with tissue, spread evenly over the image: uint8 (n x 256, 256, 3)."""
    height, width = (min(n, _PATCH_PX) for n in source.shape)
    steps = [min(8, -(-n // _PATCH_PX)) for n in source.shape]
    ys, xs = (
        np.linspace(0, n - m, k).astype(int) for n, m, k in zip(source.shape, (height, width), steps, strict=True)
    )
    places = [(int(y), int(x)) for y in ys for x in xs]
    order = np.random.default_rng(0).permutation(len(places))
    patches: list[NDArray[np.uint8]] = []
    for k in order:
        patch = source.read(places[k][0], places[k][1], height, width)
        if not is_glass(patch):
            patches.append(patch)
        if len(patches) == _PATCHES:
            break
    return np.concatenate(patches) if patches else np.zeros((0, width, 3), np.uint8)


#: Channels of a grey image differ by less (compression), in all but so many pixels of the tissue.
_GREY_LEVELS, _COLOURED = 6, 0.01
#: Pixels as bright as this are glass, which has no colour in any image; so many others are needed to tell.
_GLASS, _ENOUGH = 215, 100
GREY_NOTE = (
    "the image is grey, the model was trained on H&E in colour: classes and edges may be wrong — predict the colour image, "
    "or check each nucleus"
)


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether the tissue in some pixels (y, x, 3) has no colour; False where there is too little to tell."""
    tissue = pixels[pixels.min(axis=-1) < _GLASS]
    return len(tissue) >= _ENOUGH and bool((np.ptp(tissue, axis=-1) > _GREY_LEVELS).mean() < _COLOURED)


def stain_note(pixels: NDArray[np.uint8], training: Any) -> str:
    """A sentence where the stain is far from that of the training crops, else an empty string.

    Parameters
    ----------
    pixels : uint8 (y, x, 3)
        A sample of the image.
    training : mapping or None
        ``{"mean": (haematoxylin, eosin), "std": (haematoxylin, eosin)}`` over the training crops, from the checkpoint.
    """
    if not isinstance(training, Mapping) or not {"mean", "std"} <= training.keys():
        return ""
    found = stain_strength(pixels)
    if found is None:
        return ""
    mean, std = (np.asarray(training[k], np.float64) for k in ("mean", "std"))
    far = (found - mean) / np.maximum(std, _LEAST_SPREAD * mean)
    k = int(np.abs(far).argmax())
    if abs(far[k]) <= UNUSUAL:
        return ""
    name, how = ("haematoxylin", "eosin")[k], "stronger" if far[k] > 0 else "weaker"
    return (
        f"unusual stain: {name} is {how} than in the training crops "
        f"({found[k]:.2f} against {mean[k]:.2f} ± {std[k]:.2f}): check the result with care"
    )


def normalised(source: Source, sample: NDArray[np.uint8]) -> Source:
    """The source in the reference stains, every tile by one matrix; unchanged where the sample tells too little."""
    change = stain_change(sample)
    if change is None:
        return source

    def read(y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        return with_stain_changed(source.read(y, x, height, width), change)

    return replace(source, read=read)
