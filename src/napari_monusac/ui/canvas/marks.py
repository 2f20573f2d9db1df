"""Marks on the canvas: selected nuclei, a suggested cut, a stroke, a frame around a nucleus. Black and white dashes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from napari.layers import Layer
from numpy.typing import ArrayLike, NDArray

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.napari_private import held_back
from napari_monusac.ui.canvas.styles import ERROR, SELECTION

if TYPE_CHECKING:
    from napari_monusac.masks.strokes import Stamp

MARKS_ROLE = "marks"
_DARK, _LIGHT = (0.05, 0.05, 0.08, 1.0), (1.0, 1.0, 1.0, 1.0)
#: No more dashes than these a set: outlines of very many nuclei are drawn with longer ones.
_MOST = 1500
#: Dashes of a frame's side: always as many, so that a moved frame keeps its colours.
_OF_A_SIDE = 8

Path = NDArray[np.float64]
#: Cuts paths into dashes (start and step of each, (n, 2, 2)) of about this length, px.
DashCut = Callable[[Sequence[Path], float], NDArray[np.float64]]


class Marks:
    """One Vectors layer of dashed lines, made when there is something to draw. If the user deletes it, it stays away.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are drawn.
    like : Layer
        The layer whose pixels the lines are given in.
    role : str
        Its name, and what it is to us.
    cut : callable
        Cuts lines into dashes: `dashes`, which are as long on the screen at each zoom, or `eighths`.
    """

    def __init__(self, viewer: Any, like: Layer, role: str = MARKS_ROLE, cut: DashCut | None = None) -> None:
        self.viewer, self._like, self._role = viewer, like, role
        self._cut = dashes if cut is None else cut
        self._style = SELECTION if self._cut is dashes else ERROR
        self._sets: dict[str, list[Path]] = {}
        self._layer: Any = None
        self._deleted = False
        viewer.scene.camera.events.zoom.connect(self._zoomed)

    def close(self) -> None:
        """Take the layer away."""
        self.viewer.scene.camera.events.zoom.disconnect(self._zoomed)
        if self._layer is not None and self._layer in self.viewer.layers:
            self.viewer.layers.remove(self._layer)
        self._layer = None

    def show(self, what: str, paths: Iterable[ArrayLike]) -> None:
        """Show one set of lines ("selection", "stroke", "cut"), each (n, 2) points (y, x) in px; empty: none."""
        found = [p for p in (np.asarray(p, np.float64).reshape(-1, 2) for p in paths) if len(p) > 1]
        if found or self._sets.get(what):
            self._sets[what] = found
            self._draw()

    def _zoomed(self, _: object = None) -> None:
        """Dashes are drawn anew where their length follows the zoom; else they get another width, if that is seen."""
        layer = self._layer
        if not any(self._sets.values()):
            return
        if self._cut is dashes:
            self._draw()
        elif layer is not None and layer in self.viewer.layers:
            width = self._screen_px(self._style.width_px)
            if abs(width - layer.edge_width) > 0.02 * width:
                with layer.events.thumbnail.blocker():
                    layer.edge_width = width

    def _draw(self) -> None:
        layer = self._ready()
        if layer is None:
            return
        # each set has dashes of its own: the long edge of a region does not make those of a nucleus coarse
        dash = self._screen_px(self._style.dash_px)
        drawn = [self._cut(group, max(dash, _length(group) / _MOST)) for group in self._sets.values() if group]
        segments = np.concatenate([np.zeros((0, 2, 2)), *drawn])
        others = len(segments) != len(layer.data)
        # drawn once, and not for each of the three; the layer list needs no thumbnail of it
        with held_back(layer), layer.events.edge_color.blocker(), layer.events.edge_width.blocker():
            layer.edge_width = self._screen_px(self._style.width_px)
            layer.data = segments
            if others and len(segments):
                layer.edge_color = np.resize([_DARK, _LIGHT], (len(segments), 4))
        layer.refresh(thumbnail=False)

    def _screen_px(self, length: float) -> float:
        """What is this long on the screen, px, in px of the image."""
        return length / max(1e-6, float(self.viewer.scene.camera.zoom) * float(self._like.scale[-1]))

    def _ready(self) -> Any:
        """The layer, or None where it was deleted or has nothing to lie on."""
        if self._layer is not None and self._layer not in self.viewer.layers:
            self._layer, self._deleted = None, True
        if self._deleted or self._like not in self.viewer.layers:
            return None
        if self._layer is None:
            active = self.viewer.layers.selection.active
            about = {**self._like.metadata.get("monusac", {}), "role": self._role}
            made = self.viewer.add_vectors(
                np.zeros((0, 2, 2)), name=self._role, vector_style="line", edge_width=1.0, opacity=1.0,
                metadata={"monusac": about}, **canvas.placing(self._like),
            )  # fmt: skip
            # a plugin's viewer hands out a proxy
            self._layer = canvas.plain(made)
            self.viewer.layers.selection.active = active
        return self._layer


def _length(paths: Sequence[Path]) -> float:
    return sum(float(np.hypot(*np.diff(p, axis=0).T).sum()) for p in paths)


def dashes(paths: Sequence[Path], dash: float) -> NDArray[np.float64]:
    """DashCut paths into dashes of about this length: start and step (y, x) of each, (n, 2, 2)."""
    return _segments([_resampled(path, dash) for path in paths])


def eighths(paths: Sequence[Path], _: float = 0) -> NDArray[np.float64]:
    """DashCut each straight part of a path into eight dashes: start and step (y, x) of each, (n, 2, 2)."""
    along = np.arange(_OF_A_SIDE)[:, None] / _OF_A_SIDE
    return _segments([np.concatenate([*(a + (b - a) * along for a, b in pairwise(path)), path[-1:]]) for path in paths])


def _segments(lines: Sequence[Path]) -> NDArray[np.float64]:
    parts = [np.stack([points[:-1], np.diff(points, axis=0)], axis=1) for points in lines]
    return np.concatenate([np.zeros((0, 2, 2)), *parts])


def frame_of(box: Sequence[float], margin: float = 0.0) -> Path:
    """The closed line around a box (y0, x0, y1, x1), with room between."""
    y0, x0, y1, x1 = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    return np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0), (y0, x0)])


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
