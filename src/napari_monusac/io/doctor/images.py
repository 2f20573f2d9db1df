"""The doctor on images: readable, channels, scale, tissue, a print of the pixels and of the stain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError
from napari_monusac.core.optical_density import density_of_levels
from napari_monusac.io.collection.collection import Collection
from napari_monusac.io.collection.crop import Crop
from napari_monusac.io.doctor.report import DoctorFinding, finding
from napari_monusac.io.slides.annotation_scale import annotation_um_per_px
from napari_monusac.io.slides.channels import channel_verdict
from napari_monusac.io.slides.formats import colours_sure
from napari_monusac.io.slides.slide import Slide, channel_sample, middle, open_slide

#: Images up to this size are decoded whole, to be sure that they can be.
_MEASURED_WHOLE_PX = 16 * 10**6
#: Two scales that differ by less say the same.
_SCALE_TOLERANCE = 0.02
_STAINED_OD_SUM = 0.45
_LEAST_STAINED = 0.02


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of one image by which the whole set is compared: size, scale, stain, a hash of its pixels.

    Attributes
    ----------
    shape : tuple of int
        Height and width, px.
    um_per_px : float or None
        Scale.
    pixels : str
        Hash of the size and the pixels (of the middle of a large slide), put right.
    stain : tuple of float or None
        Logarithm of the mean optical density, and the shares of red and blue in it; None for glass.
    """

    shape: tuple[int, int]
    um_per_px: float | None
    pixels: str
    stain: tuple[float, float, float] | None


def examine_image(collection: Collection, crop: Crop) -> tuple[list[DoctorFinding], ImageFacts | None]:
    """Open a crop's image and look at its pixels.

    Returns
    -------
    findings, facts
        No facts where the image cannot be read.
    """
    try:
        with open_slide(crop.image, channel_order="rgb", annotation=crop.annotation) as slide:
            pixels = _pixels(slide)
            if not slide.colours_sure:
                collection.keep_verdict(crop, channel_verdict(middle(pixels)))
            found = _scale(crop, slide)
            shape, um_per_px = slide.shape, slide.um_per_px
    except SlideError as error:
        message = str(error).removeprefix(f"{crop.image}: ")
        return [finding("unreadable-image", message, crop)], None
    swapped = collection.channels_swapped(crop)
    found += _channels(collection, crop, swapped) + _siblings(crop, shape)
    stain, share = stain_print(pixels[..., ::-1] if swapped else pixels)
    if share < _LEAST_STAINED:
        found.append(finding("little-tissue", f"{100 * share:.1f} % of the pixels are stained", crop))
    content = hashlib.sha256(repr(shape).encode())
    content.update(np.ascontiguousarray(pixels[..., ::-1] if swapped else pixels).data)
    return found, ImageFacts(shape, um_per_px, content.hexdigest(), stain)


def _pixels(slide: Slide) -> NDArray[np.uint8]:
    height, width = slide.shape
    return slide.read(0, 0, height, width) if height * width <= _MEASURED_WHOLE_PX else channel_sample(slide)


def _channels(collection: Collection, crop: Crop, swapped: bool) -> list[DoctorFinding]:
    if colours_sure(crop.image):
        return []
    verdict = collection.verdict(crop)
    score = verdict.score
    group = [c for c in collection.of_patient(crop.patient) if not colours_sure(c.image)]
    sure = "its own stain says so" if verdict.sure else f"most of the patient's {len(group)} crops say so"
    found = []
    if swapped:
        found.append(finding("swapped-channels", f"red and blue are swapped ({sure}; score {score:+.2f})", crop))
    if score and not verdict.is_he:
        message = (
            "its colours are not those of haematoxylin and eosin: they do not tell whether red and blue are swapped"
        )
        found.append(finding("unsure-channels", message, crop))
    elif score and not verdict.sure and len(group) < 2:
        taken = "swapped" if swapped else "right"
        message = f"the stain hardly tells the order of the channels (score {score:+.2f}); taken as {taken}"
        found.append(finding("unsure-channels", message, crop))
    return found


def _siblings(crop: Crop, shape: tuple[int, int]) -> list[DoctorFinding]:
    """Look at the images of the same name that are not used: another size, or swapped channels."""
    found = []
    for path in crop.others:
        try:
            with open_slide(path, channel_order="rgb") as slide:
                if slide.shape != shape:
                    sizes = f"{slide.shape[1]} x {slide.shape[0]} px, {crop.image.name} has {shape[1]} x {shape[0]} px"
                    found.append(
                        finding("size-mismatch", f"{path.name} has {sizes}", crop, path=path, severity="warning")
                    )
                if not slide.colours_sure and channel_verdict(channel_sample(slide)).swapped:
                    message = f"{path.name} has red and blue swapped; {crop.image.name} is used"
                    found.append(finding("swapped-sibling", message, crop, path=path))
        except SlideError as error:
            message = f"{path.name} is not used, and {error.problem.removeprefix(f'{path}: ')}"
            found.append(finding("unreadable-image", message, crop, path=path, severity="info"))
    return found


def _scale(crop: Crop, slide: Slide) -> list[DoctorFinding]:
    stored = slide.um_per_px if slide.scale_stated else None
    noted = annotation_um_per_px(crop.annotation) if crop.annotation is not None else None
    if slide.scale.guessed:
        return [finding("guessed-um-per-px", slide.scale.notes[-1], crop)]
    if not slide.scale.is_square:
        return [finding("unequal-um-per-px", slide.scale.notes[-1], crop)]
    if slide.um_per_px is None and noted is None:
        return [finding("missing-um-per-px", "neither image nor annotation say how many um a pixel has", crop)]
    if stored is not None and noted is not None and abs(stored - noted) > _SCALE_TOLERANCE * stored:
        message = f"the image says {stored:g} um/px, the annotation {noted:g}"
        return [finding("contradicting-um-per-px", message, crop)]
    if (
        stored is not None
        and noted is None
        and crop.annotation is not None
        and crop.annotation.suffix.lower() == ".xml"
    ):
        return [finding("missing-scale-in-xml", f"only the image says it: {stored:g} um/px", crop)]
    return []


def stain_print(image: NDArray[np.uint8]) -> tuple[tuple[float, float, float] | None, float]:
    """Sum up the stain of an RGB image.

    Parameters
    ----------
    image : uint8 (y, x, 3)
        RGB, put right.

    Returns
    -------
    print : tuple of float or None
        Logarithm of the mean optical density, shares of red and of blue in it; None where nothing is stained.
    share : float
        Share of stained pixels.
    """
    pixels = image.reshape(-1, 3)
    density = density_of_levels(256.0).astype(np.float32)[pixels[:: max(1, len(pixels) // 200_000)]]
    total = density.sum(1)
    stained = total > _STAINED_OD_SUM
    share = float(stained.mean()) if len(stained) else 0.0
    if stained.sum() < 100:
        return None, share
    red, _, blue = density[stained].mean(0) / total[stained].mean()
    return (float(np.log(total[stained].mean())), float(red), float(blue)), share
