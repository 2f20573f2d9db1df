"""Where the nuclei of synthetic tissue lie, and the outline of each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.synth.noise import Float32s

#: Mean radius in um (of the whole cell for a macrophage) and its relative spread; areas as MoNuSAC's at 0.25 um/px.
CELL_RADIUS_UM: dict[NucleusClass, tuple[float, float]] = {
    NucleusClass.EPITHELIAL: (3.3, 0.16),
    NucleusClass.LYMPHOCYTE: (2.25, 0.10),
    NucleusClass.NEUTROPHIL: (3.1, 0.09),
    NucleusClass.MACROPHAGE: (6.2, 0.14),
}
#: Share of the sum of radii that two centres keep apart: under 1, neighbours may overlap a little.
_SPACING = {
    NucleusClass.EPITHELIAL: 0.92,
    NucleusClass.LYMPHOCYTE: 0.93,
    NucleusClass.NEUTROPHIL: 1.0,
    NucleusClass.MACROPHAGE: 1.12,
}


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One cell: its class, place and outline.

    Attributes
    ----------
    kind : NucleusClass
        The class.
    center : tuple of float
        (y, x) px.
    radius : float
        Mean radius, px.
    outline : float64 (n, 2)
        Closed polygon, (y, x) px, without repeating the first vertex. The truth rounds it to whole pixels.
    parts : tuple of float (y, x, radius)
        Lobes of a neutrophil, the nucleus of a macrophage, nucleoli of an epithelial nucleus.
    """

    kind: NucleusClass
    center: tuple[float, float]
    radius: float
    outline: NDArray[np.float64]
    parts: tuple[tuple[float, float, float], ...]


def place(
    rng: np.random.Generator,
    likelihoods: dict[NucleusClass, Float32s],
    counts: dict[NucleusClass, int],
    um_per_px: float,
) -> list[tuple[NucleusClass, float, float, float]]:
    """Place cells at random, big ones first: each where its class is likely and no other cell lies.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    likelihoods : dict of float32 (y, x)
        Relative chance of a centre at each pixel, by class.
    counts : dict of int
        How many of each class to try for; fewer find a place in crowded tissue.
    um_per_px : float
        Micrometres per pixel.

    Returns
    -------
    list of (class, y, x, radius)
        Centres and mean radii, px, in the order in which they found a place.
    """
    total = sum(counts.values())
    ys, xs, rs, spaces = (np.zeros(total, np.float32) for _ in range(4))
    placed: list[tuple[NucleusClass, float, float, float]] = []
    for kind in sorted(counts, key=lambda k: -CELL_RADIUS_UM[k][0]):
        likelihood = likelihoods[kind]
        cumulative = np.cumsum(likelihood.ravel(), dtype=np.float64)
        if counts[kind] == 0 or cumulative[-1] <= 0:
            continue
        tries = 6 * counts[kind]
        flat = np.searchsorted(cumulative, rng.uniform(0, cumulative[-1], tries))
        y_all, x_all = np.unravel_index(np.minimum(flat, likelihood.size - 1), likelihood.shape)
        mean, spread = CELL_RADIUS_UM[kind]
        radii = mean / um_per_px * np.clip(rng.normal(1, spread, tries), 0.7, 1.5)
        wanted = len(placed) + counts[kind]
        for y, x, r in zip(y_all, x_all, radii, strict=True):
            n = len(placed)
            reach = (rs[:n] + r) * np.maximum(spaces[:n], _SPACING[kind])
            if ((ys[:n] - y) ** 2 + (xs[:n] - x) ** 2 < reach**2).any():
                continue
            ys[n], xs[n], rs[n], spaces[n] = y, x, r, _SPACING[kind]
            placed.append((kind, float(y), float(x), float(r)))
            if len(placed) == wanted:
                break
    return placed


def shape_cell(rng: np.random.Generator, kind: NucleusClass, y: float, x: float, radius: float) -> Cell:
    """Give a placed cell its outline and its parts."""
    if kind is NucleusClass.NEUTROPHIL:
        return _neutrophil(rng, y, x, radius)
    elongation = {NucleusClass.EPITHELIAL: 0.30, NucleusClass.LYMPHOCYTE: 0.08, NucleusClass.MACROPHAGE: 0.22}[kind]
    waves = {NucleusClass.EPITHELIAL: 0.035, NucleusClass.LYMPHOCYTE: 0.02, NucleusClass.MACROPHAGE: 0.032}[kind]
    outline = _oval(rng, y, x, radius, elongation, waves)
    parts: list[tuple[float, float, float]] = []
    if kind is NucleusClass.EPITHELIAL:
        for _ in range(int(rng.integers(0, 3))):
            angle, distance = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0, 0.45)
            parts.append((y + distance * np.sin(angle), x + distance * np.cos(angle), radius * rng.uniform(0.11, 0.18)))
    elif kind is NucleusClass.MACROPHAGE:
        angle, distance = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.25, 0.45)
        parts.append((y + distance * np.sin(angle), x + distance * np.cos(angle), radius * rng.uniform(0.33, 0.42)))
    return Cell(kind, (y, x), radius, outline, tuple(parts))


def _oval(
    rng: np.random.Generator, y: float, x: float, radius: float, elongation: float, waves: float
) -> NDArray[np.float64]:
    n = max(16, int(2 * np.pi * radius / 1.5))
    theta = np.linspace(0, 2 * np.pi, n, endpoint=False)
    stretch = np.sqrt(1 + abs(rng.normal(0, elongation)) + elongation)
    ripple = np.ones(n)
    for order in (2, 3, 4, 5):
        ripple += rng.normal(0, waves) * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
    along, across = radius * stretch * ripple * np.cos(theta), radius / stretch * ripple * np.sin(theta)
    turn = rng.uniform(0, np.pi)
    ys = y + along * np.sin(turn) + across * np.cos(turn)
    xs = x + along * np.cos(turn) - across * np.sin(turn)
    return np.stack([ys, xs], 1)


def _neutrophil(rng: np.random.Generator, y: float, x: float, radius: float) -> Cell:
    """Two to four lobes on an arc, joined by a thin thread; the outline runs round all of them."""
    lobes = int(rng.integers(2, 5))
    turn, bend = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.9)
    angles = turn + np.linspace(-bend, bend, lobes)
    lobe = radius * {2: 0.58, 3: 0.50, 4: 0.43}[lobes]
    ly = y + 0.62 * radius * np.sin(angles) + rng.normal(0, 0.05 * radius, lobes)
    lx = x + 0.62 * radius * np.cos(angles) + rng.normal(0, 0.05 * radius, lobes)
    sizes = lobe * rng.uniform(0.85, 1.12, lobes)
    top, left = int(np.floor(y - 2 * radius)) - 2, int(np.floor(x - 2 * radius)) - 2
    side = int(4 * radius) + 6
    canvas = np.zeros((side, side), np.uint8)
    points = np.rint(np.stack([lx - left, ly - top], 1)).astype(np.int32)
    for point, size in zip(points, sizes, strict=True):
        cv2.circle(canvas, tuple(int(v) for v in point), round(float(size)), 1, -1)
    cv2.polylines(canvas, [points.reshape(-1, 1, 2)], isClosed=False, color=1, thickness=max(2, round(0.4 * radius)))
    contours, _ = cv2.findContours(canvas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)[:, 0, ::-1]
    parts = tuple((float(a), float(b), float(s)) for a, b, s in zip(ly, lx, sizes, strict=True))
    outline = contour + np.array([top, left], np.int32)
    return Cell(NucleusClass.NEUTROPHIL, (y, x), radius, outline.astype(np.float64), parts)
