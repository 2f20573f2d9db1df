"""Synthetic H&E tissue at 40x with exact truth: architecture, cells, stains, picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import ShapeError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.synth.cells import CELL_RADIUS_UM, Cell, place, shape_cell
from napari_monusac.synth.noise import Float32s, StainColours, blur, fibres, smooth_noise
from napari_monusac.synth.outlines import ambiguous_regions, as_annotation, visible_nuclei
from napari_monusac.synth.paint import paint_cell, paint_red_cells

#: Smallest side that can be made, px.
MINIMUM_SIDE = 16


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticTissue:
    """A picture and everything that is true about it.

    Attributes
    ----------
    image : uint8 (y, x, 3)
        RGB.
    annotation : Annotation
        Outlines in ImageScope's layer order (epithelial, lymphocyte, neutrophil, macrophage).
    instances : int32 (y, x)
        0 = background; number k is ``annotation.nuclei[k - 1]``.
    classes : uint8 (n,)
        `NucleusClass` of instance k at index k - 1.
    um_per_px : float
        Micrometres per pixel.
    """

    image: NDArray[np.uint8]
    annotation: Annotation
    instances: NDArray[np.int32]
    classes: NDArray[np.uint8]
    um_per_px: float

    @property
    def semantic(self) -> NDArray[np.uint8]:
        """Class of each pixel, uint8 (y, x)."""
        return np.concatenate([np.zeros(1, np.uint8), self.classes])[self.instances]


@dataclass(frozen=True, slots=True, eq=False)
class _Architecture:
    """What kind of tissue stands where; float32 (y, x) each, 0 to 1."""

    nest: Float32s
    lumen: Float32s
    cleft: Float32s
    inflamed: Float32s
    bleeding: Float32s


def synthesize(
    shape: tuple[int, int] = (512, 512),
    seed: int = 0,
    *,
    patient_seed: int | None = None,
    um_per_px: float = 0.25,
    density: float = 1.0,
    ambiguous: int = 0,
) -> SyntheticTissue:
    """Make a crop of H&E tissue: nests and glands of epithelium, fibrous stroma, inflammation, red blood cells.

    Parameters
    ----------
    shape : tuple of int
        (y, x) in px.
    seed : int
        Everything that chance decides; the same seed gives the same bytes.
    patient_seed : int, optional
        Seed of the stain; crops of one patient share it. By default `seed`.
    um_per_px : float
        Micrometres per pixel; sizes follow.
    density : float
        Nuclei relative to the usual number.
    ambiguous : int
        How many Ambiguous regions the annotation has, as MoNuSAC's test files do.

    Returns
    -------
    SyntheticTissue
        Picture and truth. The truth is what `skimage.draw.polygon` makes of the outlines, later over earlier.

    Raises
    ------
    ShapeError
        A side is under 16 px, or `um_per_px` or `density` is not positive.
    """
    if min(shape) < MINIMUM_SIDE:
        raise ShapeError(f"shape {shape} is too small for tissue", f"give sides of {MINIMUM_SIDE} px or more")
    if um_per_px <= 0 or density < 0:
        raise ShapeError(f"um_per_px = {um_per_px}, density = {density}", "give positive numbers")
    rng = np.random.default_rng([seed, 1])
    pad = int(np.ceil(1.8 * CELL_RADIUS_UM[NucleusClass.MACROPHAGE][0] / um_per_px)) + 4
    padded = (shape[0] + 2 * pad, shape[1] + 2 * pad)
    plan = _architecture(rng, padded, um_per_px)
    cells = _cells(rng, plan, um_per_px, density)
    stains = _ground(rng, plan, cells, um_per_px)
    _paint_all(rng, stains, plan, cells, um_per_px)
    stain = StainColours.of_patient(np.random.default_rng([seed if patient_seed is None else patient_seed, 2]))
    picture = stain.image(rng, stains[:, pad:-pad, pad:-pad], blur_px=0.2 / um_per_px)
    nuclei = visible_nuclei(cells, pad, shape)
    annotation = as_annotation(nuclei + ambiguous_regions(rng, shape, ambiguous, um_per_px), um_per_px)
    instances = np.zeros(shape, np.int32)
    for number, nucleus in enumerate(annotation.nuclei, 1):
        instances[polygon(nucleus.vertices[:, 0], nucleus.vertices[:, 1], shape)] = number
    classes = np.array([n.nucleus_class for n in annotation.nuclei], np.uint8)
    return SyntheticTissue(picture, annotation, instances, classes, um_per_px)


def _soft(field: Float32s, threshold: float, width: float) -> Float32s:
    return np.asarray(1 / (1 + np.exp(np.clip((threshold - field) / width, -30, 30))), np.float32)


def _architecture(rng: np.random.Generator, shape: tuple[int, int], um_per_px: float) -> _Architecture:
    px = 1 / um_per_px
    # Two scales make nests with lobed edges; the sum decides nest, its heights are the lumina of glands.
    field = smooth_noise(rng, shape, 60 * px) + 0.35 * smooth_noise(rng, shape, 22 * px)
    nest = _soft(field, rng.uniform(-0.25, 0.15), 0.05)
    lumen = _soft(field, rng.uniform(1.55, 1.9), 0.04)
    edge = np.exp(-(((field - 0.0) / 0.10) ** 2)).astype(np.float32)
    cleft = edge * _soft(smooth_noise(rng, shape, 25 * px), 1.15, 0.12)
    cleft = np.maximum(cleft, _soft(np.abs(fibres(rng, shape, 3.0 * px, 20 * px)), 2.55, 0.08) * (1 - nest))
    inflamed = _soft(smooth_noise(rng, shape, 35 * px), 0.3, 0.25)
    bleeding = _soft(smooth_noise(rng, shape, 24 * px), 1.25, 0.06) * (1 - nest)
    return _Architecture(nest, lumen, cleft.astype(np.float32), inflamed, bleeding)


def _cells(rng: np.random.Generator, plan: _Architecture, um_per_px: float, density: float) -> list[Cell]:
    solid = (1 - plan.lumen) * (1 - plan.cleft)
    stroma = (1 - plan.nest) * solid
    # Nuclei of glands line the lumen: more of them just outside it.
    lining = blur(plan.lumen, 5 / um_per_px)
    likelihoods = {
        NucleusClass.EPITHELIAL: plan.nest * solid * (1 + 4 * lining),
        NucleusClass.LYMPHOCYTE: (0.06 + stroma) * (0.04 + plan.inflamed) * solid,
        NucleusClass.NEUTROPHIL: (0.03 + stroma) * (0.3 + plan.bleeding + plan.inflamed) * solid,
        NucleusClass.MACROPHAGE: (stroma + 0.3 * plan.lumen) * (1.02 - plan.inflamed),
    }
    um2 = um_per_px**2
    area = {
        "nest": float((plan.nest * solid).sum()) * um2,
        "stroma": float(stroma.sum()) * um2,
        "inflamed": float((stroma * plan.inflamed).sum()) * um2,
    }
    wanted = {
        NucleusClass.EPITHELIAL: area["nest"] / 95.0,
        NucleusClass.LYMPHOCYTE: area["inflamed"] / 55.0 + area["stroma"] / 700.0,
        NucleusClass.NEUTROPHIL: area["stroma"] / 800.0 + 1.0,
        NucleusClass.MACROPHAGE: area["stroma"] / 1300.0 + 1.0,
    }
    counts = {kind: int(rng.poisson(density * n)) for kind, n in wanted.items()}
    return [shape_cell(rng, *found) for found in place(rng, likelihoods, counts, um_per_px)]


def _ground(rng: np.random.Generator, plan: _Architecture, cells: list[Cell], um_per_px: float) -> Float32s:
    """Everything but nuclei: amounts of haematoxylin, eosin, red cells; float32 (3, y, x)."""
    shape, px = plan.nest.shape, 1 / um_per_px
    strands = fibres(rng, shape, 1.0 * px, 14 * px)
    bundles = fibres(rng, shape, 3.2 * px, 30 * px)
    grain = smooth_noise(rng, shape, 0.7 * px)
    patches = smooth_noise(rng, shape, 18 * px)
    eosin_stroma = 0.58 + 0.10 * strands + 0.11 * bundles + 0.07 * patches + 0.03 * grain
    # Spindle nuclei that lie out of focus: a breath of blue along the fibres, too faint to be outlined.
    spindle = _soft(fibres(rng, shape, 2.0 * px, 9 * px), 2.3, 0.12)
    blue_stroma = 0.05 + 0.20 * spindle + 0.02 * np.maximum(strands, 0)
    border = _cell_borders(cells, shape, um_per_px)
    eosin_nest = 0.52 + 0.07 * patches + 0.06 * grain - 0.20 * border
    blue_nest = 0.20 + 0.04 * smooth_noise(rng, shape, 5 * px) + 0.03 * grain - 0.10 * border
    eosin = eosin_stroma + plan.nest * (eosin_nest - eosin_stroma)
    blue = blue_stroma + plan.nest * (blue_nest - blue_stroma)
    solid = (1 - plan.lumen) * (1 - plan.cleft)
    brush = plan.lumen * (1 - plan.lumen) * 1.2
    red = np.zeros(shape, np.float32)
    stains = np.stack([np.maximum(blue, 0.0) * solid, np.maximum(eosin, 0.03) * solid + 0.02 + brush, red])
    return np.asarray(stains, np.float32)


def _cell_borders(cells: list[Cell], shape: tuple[int, ...], um_per_px: float) -> Float32s:
    """Pale lines half-way between neighbouring epithelial nuclei, 0 to 1."""
    seeds = np.full(shape, 255, np.uint8)
    for cell in cells:
        if cell.kind is NucleusClass.EPITHELIAL:
            seeds[round(cell.center[0]), round(cell.center[1])] = 0
    if seeds.all():
        return np.zeros(shape, np.float32)
    _, owner = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    edges = np.zeros(shape, np.float32)
    edges[:, 1:] = owner[:, 1:] != owner[:, :-1]
    edges[1:] = np.maximum(edges[1:], owner[1:] != owner[:-1])
    return np.asarray(np.minimum(blur(edges, 0.3 / um_per_px) * 2.0, 1.0), np.float32)


def _paint_all(
    rng: np.random.Generator, stains: Float32s, plan: _Architecture, cells: list[Cell], um_per_px: float
) -> None:
    paint_red_cells(rng, stains, plan.bleeding, um_per_px)
    shape, px = plan.nest.shape, 1 / um_per_px
    fine, coarse = smooth_noise(rng, shape, 0.55 * px), smooth_noise(rng, shape, 1.3 * px)
    # In the order of the file, as the truth is drawn: what lies on top in the picture lies on top in the truth.
    for kind in CLASSES:
        for cell in cells:
            if cell.kind is kind:
                paint_cell(rng, stains, cell, fine, coarse, um_per_px)
