"""Random fields and images of the stains: the building blocks of synthetic tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Float32s = NDArray[np.float32]


def blur(field: NDArray[Any], sigma_px: float) -> Float32s:
    """Gaussian blur, float32 of the same shape; `sigma_px` may be as small as one likes."""
    return np.asarray(cv2.GaussianBlur(field.astype(np.float32, copy=False), (0, 0), max(sigma_px, 0.05)), np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> Float32s:
    """Gaussian noise whose features are about `scale_px` wide, with mean 0 and deviation 1.

    Coarse fields are drawn on a coarse grid and enlarged, so the cost does not grow with the scale.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    shape : tuple of int
        (y, x) of the field.
    scale_px : float
        Width of a feature, px.

    Returns
    -------
    float32 (y, x)
        The field.
    """
    step = max(1.0, scale_px / 3.0)
    coarse = tuple(int(np.ceil(n / step)) + 3 for n in shape)
    field = rng.standard_normal(coarse, dtype=np.float32)
    field = blur(field, max(scale_px / step / 2.0, 0.3))
    if step > 1.0:
        large = (int(np.ceil(coarse[1] * step)), int(np.ceil(coarse[0] * step)))
        field = np.asarray(cv2.resize(field, large, interpolation=cv2.INTER_CUBIC), np.float32)
    field = field[: shape[0], : shape[1]]
    # The deviation of so few independent values would change from crop to crop; a floor keeps tiny fields calm.
    return np.asarray((field - field.mean()) / max(float(field.std()), 0.05), np.float32)


def fibres(rng: np.random.Generator, shape: tuple[int, int], width_px: float, length_px: float) -> Float32s:
    """Wavy strands: noise stretched along one direction, then bent by a slow flow.

    Returns
    -------
    float32 (y, x)
        Mean 0, deviation about 1; ridges are the strands.
    """
    height, width = shape
    margin = int(length_px)
    field = rng.standard_normal((height + 2 * margin, width + 2 * margin), dtype=np.float32)
    field = np.asarray(cv2.GaussianBlur(field, (0, 0), sigmaX=length_px / 2.5, sigmaY=width_px / 2.0), np.float32)
    field = (field - field.mean()) / field.std()
    angle = rng.uniform(0, np.pi)
    turned = cv2.getRotationMatrix2D((field.shape[1] / 2, field.shape[0] / 2), float(np.degrees(angle)), 1.0)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    amplitude = 0.35 * length_px
    ys += amplitude * smooth_noise(rng, shape, 2.2 * length_px) + margin
    xs += amplitude * smooth_noise(rng, shape, 2.2 * length_px) + margin
    map_x = (turned[0, 0] * xs + turned[0, 1] * ys + turned[0, 2]).astype(np.float32)
    map_y = (turned[1, 0] * xs + turned[1, 1] * ys + turned[1, 2]).astype(np.float32)
    return np.asarray(cv2.remap(field, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class StainColours:
    """How one laboratory's section looks: optical density per unit of stain, and the lamp.

    Attributes
    ----------
    vectors : float32 (3, 3)
        Rows haematoxylin, eosin, red blood cells; columns the optical density in red, green, blue.
    strength : float32 (3,)
        Amount of each.
    white : float32 (3,)
        Colour of glass without tissue, 0 to 255.
    """

    vectors: Float32s
    strength: Float32s
    white: Float32s

    @classmethod
    def of_patient(cls, rng: np.random.Generator) -> StainColours:
        """Draw a patient's stain around the mean of TCGA sections (vectors after Ruifrok and Johnston 2001)."""
        vectors = np.array([[0.61, 0.75, 0.27], [0.17, 0.90, 0.41], [0.10, 0.76, 0.64]], np.float32)
        vectors += rng.normal(0, 0.025, (3, 3)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        strength = np.array([rng.uniform(0.85, 1.2), rng.uniform(0.75, 1.3), 1.0], np.float32)
        white = rng.uniform(238, 250) + rng.normal(0, 2.0, 3)
        return cls(vectors, strength, white.astype(np.float32))

    def image(self, rng: np.random.Generator, stains: Float32s, blur_px: float) -> NDArray[np.uint8]:
        """Photograph stain amounts (3, y, x): Beer-Lambert absorption, optics, sensor noise.

        Returns
        -------
        uint8 (y, x, 3)
            RGB.
        """
        mixing = (self.vectors * self.strength[:, None]).T
        density = np.asarray(cv2.transform(np.ascontiguousarray(np.moveaxis(stains, 0, 2)), mixing), np.float32)
        light = np.exp(-density, out=density) * self.white
        light = blur(light, blur_px)
        noise = rng.standard_normal((*light.shape[:2], 1), dtype=np.float32) * 1.8
        noise = noise + rng.standard_normal(light.shape, dtype=np.float32) * 1.1
        return np.clip(np.rint(light + noise), 0, 255).astype(np.uint8)
