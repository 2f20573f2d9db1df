"""Stain of H&E images: estimated as haematoxylin and eosin, normalised to a common reference, or varied. numpy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.optical_density import density_of_levels

#: Optical density of haematoxylin and eosin (rows: stain, columns: R, G, B), the reference of Macenko's published code.
REFERENCE_STAINS: NDArray[np.float64] = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
#: 99th percentile of both concentrations in that reference.
REFERENCE_CONCENTRATIONS: NDArray[np.float64] = np.array([1.9705, 1.0308])
#: Level of clear glass: what densities are measured from.
BRIGHTEST = 240.0
_CLEAR_OD = 0.15
_MIN_PIXELS = 100
_SAMPLE = 200_000


def optical_density(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ``-ln((I + 1) / 240)`` of an RGB image, float32 of the same shape."""
    return np.asarray(density_of_levels(BRIGHTEST).astype(np.float32)[image])


def estimate_stains(image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Estimate the stain vectors of an image.

    Parameters
    ----------
    image : uint8 (y, x, 3)
        RGB.

    Returns
    -------
    stains : float64 (2, 3)
        Unit vectors of optical density, haematoxylin first.
    strongest : float64 (2,)
        99th percentile of each stain's concentration.

    None where too little is stained to tell.

    References
    ----------
    Macenko et al. 2009, "A method for normalizing histology slides for quantitative analysis".
    """
    od = optical_density(image).reshape(-1, 3)
    od = od[:: max(1, len(od) // _SAMPLE)].astype(np.float64)
    tissue = od[(od >= _CLEAR_OD).all(1)]
    if len(tissue) < _MIN_PIXELS:
        return None
    _, vectors = np.linalg.eigh(np.cov(tissue.T))
    plane = vectors[:, 1:]
    plane = plane * np.where(plane.sum(0) < 0, -1, 1)  # point into the positive octant
    angles = np.arctan2(tissue @ plane[:, 0], tissue @ plane[:, 1])
    low, high = np.percentile(angles, (1, 99))
    first, second = (plane @ np.array([np.sin(a), np.cos(a)]) for a in (low, high))
    # Haematoxylin absorbs more red than eosin does.
    pair = [first, second] if first[0] > second[0] else [second, first]
    stains: NDArray[np.float64] = np.array(pair, np.float64)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    if not np.isfinite(stains).all() or np.linalg.cond(stains) > 50:
        return None
    concentrations = tissue @ np.linalg.pinv(stains)
    strongest = np.asarray(np.percentile(concentrations, 99, axis=0), np.float64)
    return (stains, strongest) if (strongest > 1e-3).all() else None


def stain_strength(image: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Mean concentration of haematoxylin and of eosin (of the reference) over the stained pixels, float64 (2,).

    None where nothing is stained.
    """
    od = optical_density(image).reshape(-1, 3)
    od = od[:: max(1, len(od) // _SAMPLE)]
    tissue = od[(od >= _CLEAR_OD).all(1)].astype(np.float64)
    return np.asarray((tissue @ np.linalg.pinv(REFERENCE_STAINS)).mean(0), np.float64) if len(tissue) else None


def _rendered(od: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(BRIGHTEST * np.exp(-od) - 1 + 0.5, 0, 255), np.uint8)


def stain_change(sample: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Matrix that brings optical densities to the reference stains, float32 (3, 3); None where too little is stained.

    Parameters
    ----------
    sample : uint8 (y, x, 3)
        RGB pixels of the image; training and prediction choose them alike (`napari_monusac.infer.tiling.stain_sample`).
    """
    found = estimate_stains(sample)
    if found is None:
        return None
    stains, strongest = found
    change = np.linalg.pinv(stains) @ np.diag(REFERENCE_CONCENTRATIONS / strongest) @ REFERENCE_STAINS
    return np.asarray(change, np.float32)


def with_stain_changed(image: NDArray[np.uint8], change: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Render an RGB image, uint8 (y, x, 3), with its optical densities multiplied by a matrix."""
    return _rendered(optical_density(image).reshape(-1, 3) @ change).reshape(image.shape)


class StainVariation(NamedTuple):
    """How the amounts of haematoxylin and eosin are varied: optical densities ``od + od @ change + shift``.

    Attributes
    ----------
    change : float32 (3, 3)
    shift : float32 (3,)
    """

    change: NDArray[np.float32]
    shift: NDArray[np.float32]


def stain_variation(rng: np.random.Generator, strength: float = 0.15) -> StainVariation:
    """Draw a variation of both stains.

    Parameters
    ----------
    rng : numpy Generator
    strength : float
        Each concentration becomes ``a c + b`` with a in 1 +- strength and b in +- strength / 3. What the two stains do
        not explain is kept as it is.

    References
    ----------
    Tellez et al. 2018, "Whole-slide mitosis detection in H&E breast histology", with the reference stains.
    """
    inverse = np.linalg.pinv(REFERENCE_STAINS)
    scale = rng.uniform(1 - strength, 1 + strength, 2)
    shift = rng.uniform(-strength, strength, 2) / 3
    change = inverse @ np.diag(scale - 1) @ REFERENCE_STAINS
    return StainVariation(change.astype(np.float32), (shift @ REFERENCE_STAINS).astype(np.float32))


def augment_stain(image: NDArray[np.uint8], rng: np.random.Generator, strength: float = 0.15) -> NDArray[np.uint8]:
    """Vary the amounts of haematoxylin and eosin in an RGB image, uint8 (y, x, 3); see `stain_variation`."""
    change, shift = stain_variation(rng, strength)
    od = optical_density(image).reshape(-1, 3)
    return _rendered(od + od @ change + shift).reshape(image.shape)
