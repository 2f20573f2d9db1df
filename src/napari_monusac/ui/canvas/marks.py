"""Marks on the canvas: the selected nuclei, a suggested cut, the stroke that is being drawn. Black and white dashes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from napari.layers import Labels
from numpy.typing import ArrayLike, NDArray

from napari_monusac.ui.canvas.dashed_layer import DARK, LIGHT, LINE_PX, DashedLayer

if TYPE_CHECKING:
    from napari_monusac.masks.strokes import Stamp

MARKS_ROLE = "marks"
#: Length of a dash on the screen, px.
_DASH_PX = 6.0
#: No more dashes than these a set: outlines of very many nuclei are drawn with longer ones.
_MOST = 1500

Path = NDArray[np.float64]


class Marks(DashedLayer):
    """One Vectors layer over the nuclei. If the user deletes it, there are no marks until the next crop.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are drawn.
    like : Labels
        The layer whose pixels the marks are given in.
    """

    def __init__(self, viewer: Any, like: Labels) -> None:
        self._sets: dict[str, list[Path]] = {}
        super().__init__(viewer, like, MARKS_ROLE, self._zoomed)

    def show(self, what: str, paths: Iterable[ArrayLike]) -> None:
        """Show one set of lines ("selection", "stroke", "cut"), each (n, 2) points (y, x) in px; empty: none."""
        found = [p for p in (np.asarray(p, np.float64).reshape(-1, 2) for p in paths) if len(p) > 1]
        if found or self._sets.get(what):
            self._sets[what] = found
            self._draw()

    @property
    def dash_px(self) -> float:
        """Length of a dash in image px at the present zoom."""
        return self._screen_px(_DASH_PX)

    def _zoomed(self, _: object = None) -> None:
        if any(self._sets.values()):
            self._draw()

    def _draw(self) -> None:
        layer = self._ready()
        if layer is None:
            return
        # each set has dashes of its own: the long edge of a region does not make those of a nucleus coarse
        drawn = [dashes(group, max(self.dash_px, _length(group) / _MOST)) for group in self._sets.values()]
        segments = np.concatenate([np.zeros((0, 2, 2)), *(one for one, _ in drawn)])
        colors = np.concatenate([np.zeros((0, 4)), *(one for _, one in drawn)])
        width = self._screen_px(LINE_PX)
        with layer.events.edge_color.blocker(), layer.events.edge_width.blocker():
            layer.edge_width = width
        layer.data = segments
        if len(segments):
            layer.edge_color = colors


def _length(paths: Sequence[Path]) -> float:
    return sum(float(np.hypot(*np.diff(p, axis=0).T).sum()) for p in paths)


def dashes(paths: Sequence[Path], dash: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut paths into dashes: start and step of each (n, 2, 2), and its colour (n, 4), dark and light in turn."""
    starts, steps, turns = [], [], []
    for path in paths:
        points = _resampled(path, dash)
        starts.append(points[:-1])
        steps.append(np.diff(points, axis=0))
        turns.append(np.arange(len(points) - 1) % 2)
    if not starts:
        return np.zeros((0, 2, 2)), np.zeros((0, 4))
    segments = np.stack([np.concatenate(starts), np.concatenate(steps)], axis=1)
    return segments, np.where(np.concatenate(turns)[:, None] == 1, LIGHT, DARK)


def _resampled(path: Path, step: float) -> Path:
    """Return points along a path, about `step` px apart, both ends included."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    count = max(1, int(np.ceil(along[-1] / step)))
    at = np.linspace(0, along[-1], count + 1)
    return np.stack([np.interp(at, along, path[:, 0]), np.interp(at, along, path[:, 1])], axis=1)


def outlines_of(stamps: Iterable[Stamp]) -> list[Path]:
    """Return the closed outlines (y, x) of nuclei, just outside their pixels."""
    found = []
    for stamp in stamps:
        if not stamp.area_px:
            continue
        # twice the size, so that the line runs along the edge of the pixels and not through their centres
        large = np.pad(np.kron(stamp.mask, np.ones((2, 2), np.uint8)).astype(np.uint8), 1)
        contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            points = contour[:, 0, ::-1].astype(np.float64)
            points = np.concatenate([points, points[:1]])
            found.append((points - 1.5) / 2 + np.array(stamp.box[:2]))
    return found


def around(path: ArrayLike, distance_px: float) -> Path:
    """Return a ring around an outline (y, x), so far from it as seen from its middle."""
    points = np.asarray(path, np.float64)
    from_middle = points - points.mean(axis=0)
    length = np.maximum(np.hypot(*from_middle.T), 1e-6)[:, None]
    return np.asarray(points + from_middle / length * distance_px, np.float64)


def boundary_of(labels: NDArray[Any]) -> list[Path]:
    """Return the lines between the nuclei of a small map (a suggested cut), one a pair that touches, (y, x) in its px."""
    down = (labels[1:] != labels[:-1]) & (labels[1:] > 0) & (labels[:-1] > 0)
    across = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    y0, x0 = np.nonzero(down)
    y1, x1 = np.nonzero(across)
    points = np.concatenate([np.stack([y0 + 0.5, x0], 1), np.stack([y1, x1 + 0.5], 1)]).astype(np.float64)
    pairs = np.concatenate(
        [
            np.stack([labels[:-1][down], labels[1:][down]], 1),
            np.stack([labels[:, :-1][across], labels[:, 1:][across]], 1),
        ]
    )
    pairs.sort(axis=1)
    return [_line(points[(pairs == pair).all(1)]) for pair in np.unique(pairs, axis=0)] if len(points) else []


def _line(points: Path) -> Path:
    """Order the points of a cut along it, and lengthen it by half a pixel: a single one is a line too."""
    middle = points.mean(axis=0)
    along = np.linalg.svd(points - middle)[2][0] if len(points) > 1 else np.array([0.0, 1.0])
    ordered = points[np.argsort((points - middle) @ along)]
    return np.concatenate([ordered[:1] - 0.5 * along, ordered, ordered[-1:] + 0.5 * along])
