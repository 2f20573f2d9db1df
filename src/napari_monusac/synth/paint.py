"""Painting single cells into the maps of stain amounts, each inside its own small box."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.synth.cells import Cell
from napari_monusac.synth.noise import Float32s, blur

#: Rows and columns of the maps that a cell is painted in.
Window = tuple[slice, slice]


def _box(cell: Cell, margin: int, shape: tuple[int, ...]) -> Window:
    low = np.maximum(np.floor(cell.outline.min(0)) - margin, 0)
    high = np.minimum(np.ceil(cell.outline.max(0)) + margin + 1, shape[-2:])
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def _filled(outline: NDArray[np.float64], box: Window) -> NDArray[np.uint8]:
    mask = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), np.uint8)
    points = outline[:, ::-1] - np.array([box[1].start, box[0].start])
    cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 1, shift=4)
    return mask


def _discs(parts: tuple[tuple[float, float, float], ...], box: Window, soft_px: float) -> Float32s:
    """Discs with soft rims, 0 to 1."""
    ys = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None]
    xs = np.arange(box[1].start, box[1].stop, dtype=np.float32)[None]
    out = np.zeros((ys.size, xs.size), np.float32)
    for y, x, radius in parts:
        distance = np.sqrt((ys - y) ** 2 + (xs - x) ** 2)
        np.maximum(out, np.clip(0.5 + (radius - distance) / (2 * soft_px), 0, 1), out=out)
    return out


def paint_cell(
    rng: np.random.Generator, stains: Float32s, cell: Cell, fine: Float32s, coarse: Float32s, um_per_px: float
) -> None:
    """Paint one cell over what is there, in place.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance (how dark this cell is).
    stains : float32 (3, y, x)
        Amounts of haematoxylin, eosin and red; changed.
    cell : Cell
        What to paint.
    fine, coarse : float32 (y, x)
        Noise for chromatin and cytoplasm.
    um_per_px : float
        Micrometres per pixel.
    """
    px = 1 / um_per_px
    box = _box(cell, int(np.ceil(1.6 * px)), stains.shape)
    mask = _filled(cell.outline, box)
    depth = np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 3), np.float32)
    cover = blur(mask, 0.18 * px)
    noise = (fine[box], coarse[box])
    if cell.kind is NucleusClass.MACROPHAGE:
        _macrophage(rng, stains, cell, box, depth, cover, noise, px)
        return
    _cytoplasm_halo(stains, cell, box, mask, px)
    blue = {
        NucleusClass.EPITHELIAL: _vesicular,
        NucleusClass.LYMPHOCYTE: _dense,
        NucleusClass.NEUTROPHIL: _lobed,
    }[cell.kind](rng, cell, box, depth, noise, px)
    _lay_over(stains, box, cover, blue, eosin=0.34)


def _lay_over(stains: Float32s, box: Window, cover: Float32s, blue: Float32s, eosin: float) -> None:
    """Nuclei are translucent: the darker of two that overlap shows through."""
    below = stains[0][box]
    stains[0][box] = below + cover * (np.maximum(blue, 0.75 * below) - below)
    stains[1][box] += cover * (eosin - stains[1][box])
    stains[2][box] *= 1 - 0.8 * cover


def _vesicular(
    rng: np.random.Generator, cell: Cell, box: Window, depth: Float32s, noise: tuple[Float32s, Float32s], px: float
) -> Float32s:
    """Epithelial: open chromatin, a dark membrane, clumps, nucleoli."""
    darkness = rng.uniform(0.8, 1.5)
    rim = np.exp(-(((depth - 0.25 * px) / (0.35 * px)) ** 2))
    clumps = np.clip(noise[1] - 0.5, 0, 1.5)
    nucleoli = _discs(cell.parts, box, 0.12 * px)
    blue = 0.62 + 0.46 * rim + 0.42 * clumps + 0.14 * noise[0] + 0.6 * nucleoli
    return np.asarray(darkness * blue, np.float32)


def _dense(
    rng: np.random.Generator, cell: Cell, box: Window, depth: Float32s, noise: tuple[Float32s, Float32s], px: float
) -> Float32s:
    """Lymphocyte: small, dark, a few blocks of chromatin."""
    del cell, box
    rim = np.exp(-(((depth - 0.3 * px) / (0.4 * px)) ** 2))
    return np.asarray(rng.uniform(1.35, 1.75) * (0.93 + 0.16 * noise[1] + 0.05 * noise[0] + 0.12 * rim), np.float32)


def _lobed(
    rng: np.random.Generator, cell: Cell, box: Window, depth: Float32s, noise: tuple[Float32s, Float32s], px: float
) -> Float32s:
    """Neutrophil: dense lobes, paler threads between them."""
    del depth
    lobes = _discs(cell.parts, box, 0.2 * px)
    return np.asarray(rng.uniform(1.5, 1.85) * (0.72 + 0.28 * lobes + 0.06 * noise[1]), np.float32)


def _cytoplasm_halo(stains: Float32s, cell: Cell, box: Window, mask: NDArray[np.uint8], px: float) -> None:
    """What surrounds the nucleus: a pink body round a neutrophil, a pale gap round a lymphocyte."""
    if cell.kind is NucleusClass.NEUTROPHIL:
        y, x = cell.center
        body = _discs(((y, x, 1.35 * cell.radius),), box, 0.3 * px)
        stains[1][box] += 0.9 * body * (0.50 - stains[1][box])
        stains[0][box] *= 1 - 0.7 * body
    elif cell.kind is NucleusClass.LYMPHOCYTE:
        size = 2 * int(0.7 * px) + 1
        wide = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
        gap = blur(wide, 0.25 * px)
        stains[1][box] *= 1 - 0.45 * gap


def _macrophage(
    rng: np.random.Generator,
    stains: Float32s,
    cell: Cell,
    box: Window,
    depth: Float32s,
    cover: Float32s,
    noise: tuple[Float32s, Float32s],
    px: float,
) -> None:
    """The whole cell: pale foam with a thin membrane, and a bean-shaped nucleus off the middle."""
    membrane = np.exp(-((depth / (0.4 * px)) ** 2))
    foam = np.clip(noise[1] + 0.3, -0.9, 1.2)
    eosin = 0.26 + 0.07 * foam + 0.05 * noise[0] + 0.22 * membrane
    blue = 0.09 + 0.05 * foam + 0.05 * membrane
    stains[0][box] += cover * (blue - stains[0][box])
    stains[1][box] += cover * (eosin - stains[1][box])
    stains[2][box] *= 1 - cover
    (y, x, radius), turn = cell.parts[0], rng.uniform(0, 2 * np.pi)
    step = 0.35 * radius
    dy, dx = step * np.sin(turn), step * np.cos(turn)
    bean = _discs(((y + dy, x + dx, radius * 0.85), (y - dy, x - dx, radius * 0.85)), box, 0.2 * px)
    dent = _discs(((y + 2.2 * dx, x - 2.2 * dy, radius * 0.45),), box, 0.3 * px)
    bean *= 1 - 0.8 * dent
    edge = bean * (1 - blur(bean, 0.5 * px))
    chromatin = rng.uniform(0.85, 1.1) * (0.78 + 0.9 * edge + 0.22 * np.clip(noise[1], -0.5, 1.2) + 0.08 * noise[0])
    _lay_over(stains, box, bean * cover, chromatin.astype(np.float32), eosin=0.2)


def paint_red_cells(rng: np.random.Generator, stains: Float32s, where: Float32s, um_per_px: float) -> None:
    """Fill bleeding spots with red blood cells, in place: discs of 6 um, paler in the middle, packed.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    stains : float32 (3, y, x)
        Amounts of haematoxylin, eosin and red; changed.
    where : float32 (y, x)
        How likely a spot is bleeding, 0 to 1.
    um_per_px : float
        Micrometres per pixel.
    """
    height, width = where.shape
    step = 5.2 / um_per_px
    ys, xs = np.mgrid[0:height:step, 0:width:step]
    ys = (ys + rng.uniform(-0.3, 0.3, ys.shape) * step).ravel()
    xs = (xs + rng.uniform(-0.3, 0.3, xs.shape) * step).ravel()
    chance = where[np.clip(ys.astype(int), 0, height - 1), np.clip(xs.astype(int), 0, width - 1)]
    # A few stray cells in the capillaries of any section, so that every crop has something red.
    hit = rng.uniform(size=chance.size) < np.maximum(0.92 * chance, 0.006)
    radius = 3.0 / um_per_px
    for y, x in zip(ys[hit], xs[hit], strict=True):
        r = radius * rng.uniform(0.85, 1.12)
        box = (
            slice(max(int(y - r) - 2, 0), min(int(y + r) + 3, height)),
            slice(max(int(x - r) - 2, 0), min(int(x + r) + 3, width)),
        )
        if box[0].start >= box[0].stop or box[1].start >= box[1].stop:
            continue
        disc = _discs(((y, x, r),), box, 0.15 / um_per_px)
        dimple = _discs(((y, x, 0.45 * r),), box, 0.25 * r)
        stains[0][box] *= 1 - disc
        stains[1][box] += disc * (0.12 - stains[1][box])
        stains[2][box] = np.maximum(stains[2][box], disc * rng.uniform(0.75, 1.0) * (1 - 0.3 * dimple))
