"""Outlines of the nuclei of a labels layer: smooth lines of one width at every zoom, as QuPath draws them.

They are no layer of their own: they hang below the picture of the labels, lie where it lies, and are hidden with it. They
follow the layer's events: other data in the background, an edit where it was, colours, opacity.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
from napari.layers import Labels
from napari.utils.events import disconnect_events
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_monusac.app.work import Task, Work
from napari_monusac.core.boxes import Box, window
from napari_monusac.masks.contours import Contours, contours_of
from napari_monusac.ui.canvas.canvas import plain
from napari_monusac.ui.canvas.colors import ClassColormap
from napari_monusac.ui.canvas.lines import PackedColors, StripLines, Strips, packed
from napari_monusac.ui.canvas.napari_private import has_pictures, picture_of
from napari_monusac.ui.canvas.styles import TRUTH, LineStyle

#: Width of napari's own outlines, where there can be none of ours, px of the image.
FALLBACK_PX = 2
#: Maps up to this size are followed at once, larger ones in the background; those beyond the other are not compared with
#: what they were when napari says that all of the layer may have changed.
_DIRECT_PX, _COMPARED_PX = 300_000, 16_000_000
#: Rows of a map that are compared as one.
_BAND_PX = 64


class LayerOutlines:
    """Draws the outlines of one layer, and keeps them as its labels are.

    Parameters
    ----------
    layer : Labels
        Two-dimensional, one resolution.
    lines : StripLines
        What draws them: a child of the layer's picture.
    style : LineStyle
        How.
    work : Work
        For large maps.
    """

    def __init__(self, layer: Labels, lines: Any, style: LineStyle, work: Work) -> None:
        self.layer, self.lines, self._work = layer, lines, work
        self._strips = Strips()
        self._places = _Places({})
        self._data: NDArray[Any] | None = None
        self._seals: list[int] = []
        self._task: Task | None = None
        self._changed: list[Box] = []
        events = layer.events
        events.set_data.connect(self._follow_all)
        events.labels_update.connect(self._follow_part)
        events.opacity.connect(self._follow_opacity)
        events.selected_label.connect(self._follow_selected)
        for event in (events.colormap, events.show_selected_label):
            event.connect(self._follow_colors)
        self.style, self.clip = style, (-np.inf, np.inf)
        self._follow_opacity()
        self._follow_all()

    @property
    def style(self) -> LineStyle:
        """How the lines are drawn."""
        return self._style

    @style.setter
    def style(self, style: LineStyle) -> None:
        self._style = style
        self.lines.set_style(style)

    @property
    def clip(self) -> tuple[float, float]:
        """The columns between which lines are drawn, px of the layer."""
        return self._clip

    @clip.setter
    def clip(self, clip: tuple[float, float]) -> None:
        self._clip = clip
        self.lines.set_clip(*clip)

    @property
    def ready(self) -> bool:
        """Whether what is drawn is what the layer holds (a large map is followed in the background)."""
        return self._task is None and self._data is self.layer.data

    @property
    def labels(self) -> NDArray[np.int64]:
        """The nuclei that have an outline now."""
        return self._strips.labels

    def close(self) -> None:
        """Draw nothing any more."""
        disconnect_events(self.layer.events, self)
        self._stop()
        self.lines.parent = None

    # -- following the layer

    def _follow_all(self, _: object = None) -> None:
        """All of the layer may be another: mostly it is not."""
        data = self.layer.data
        if data is self._data:
            self._compare()
            return
        self._stop()
        self._data, self._changed = data, []
        if data.size <= _DIRECT_PX:
            self._take(contours_of(data), _seals(data))
            return
        self._take(_NOTHING, [])  # not those of the former crop, meanwhile
        self._task = task = self._work.task(lambda _: (contours_of(data), _seals(data)), self)
        task.done.connect(lambda made: self._ended(task, *made))
        task.start()

    def _ended(self, task: Task, lines: Contours, seals: list[int]) -> None:
        if self._task is not task:
            return
        self._task = None
        self._take(lines, seals)
        changed, self._changed = self._changed, []
        for box in changed:
            self._draw_anew(box)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _take(self, lines: Contours, seals: list[int]) -> None:
        self._places, self._seals = _Places(lines.boxes()), seals
        self._strips.fill(lines, self._colors(lines.labels))
        self.lines.show(self._strips)

    def _compare(self) -> None:
        """Draw the rows anew that were changed and not told of (napari's own undo)."""
        data = self._data
        if data is None or self._task is not None or data.size > _COMPARED_PX:
            return
        now = _seals(data)
        changed = [k for k, (old, new) in enumerate(zip(self._seals, now, strict=True)) if old != new]
        self._seals = now
        for k in changed:
            self._draw_anew((k * _BAND_PX, 0, min(data.shape[0], (k + 1) * _BAND_PX), data.shape[1]))

    def _follow_part(self, event: Any) -> None:
        """Span of the layer was drawn upon."""
        (y, x), (height, across) = event.offset[-2:], event.data.shape[-2:]
        box = (int(y), int(x), int(y + height), int(x + across))
        if self._task is not None:
            self._changed.append(box)
        elif self._data is self.layer.data:
            self._draw_anew(box)

    def _draw_anew(self, box: Box) -> None:
        data = self._data
        if data is None:
            return
        for k in range(box[0] // _BAND_PX, -(-min(box[2], data.shape[0]) // _BAND_PX)):
            self._seals[k] = _seal(data, k)
        cut = data[window(box)]
        now = np.unique(cut)
        touched = self._places.meeting(box)
        labels = {*touched, *now[now > 0].tolist()}
        boxes = [(k, _hull(box, self._places.of(k))) for k in labels]
        lines = contours_of(data, boxes)
        self._places.put(labels, lines.boxes())
        self.lines.show(self._strips, self._strips.replace(labels, lines, self._colors(lines.labels)))

    def _follow_opacity(self, _: object = None) -> None:
        self.lines.set_strength(self.layer.opacity)

    def _follow_selected(self, _: object = None) -> None:
        if self.layer.show_selected_label:
            self._follow_colors()

    def _follow_colors(self, _: object = None) -> None:
        labels = self.labels
        part = self._strips.recolor(labels, self._colors(labels))
        if part is not None:
            self.lines.show_colors(self._strips, [part])

    def _colors(self, labels: NDArray[np.int64]) -> PackedColors:
        layer = self.layer
        colors = np.array(layer.colormap.map(labels.astype(np.int32)), np.float32).reshape(-1, 4)
        if layer.show_selected_label:
            colors[labels != layer.selected_label] = 0
        return packed(colors)


_NOTHING = Contours(np.zeros((0, 2), np.float32), np.zeros(1, np.int64), np.zeros(0, np.int64))


class _Places:
    """Where nuclei lie, to find those of an edit among tens of thousands."""

    def __init__(self, boxes: dict[int, Box]) -> None:
        self._labels = np.fromiter(boxes, np.int64, len(boxes))
        self._boxes = np.array([*boxes.values()], np.int64).reshape(-1, 4)
        self._row = {label: row for row, label in enumerate(boxes)}

    def of(self, label: int) -> Box | None:
        """Return the box of a nucleus, None of one that is not known."""
        row = self._row.get(label)
        if row is None or self._boxes[row, 2] == 0:
            return None
        top, left, bottom, right = self._boxes[row].tolist()
        return top, left, bottom, right

    def meeting(self, box: Box) -> list[int]:
        """Return the nuclei whose boxes overlap another."""
        b = self._boxes
        return list(self._labels[(b[:, 0] < box[2]) & (b[:, 2] > box[0]) & (b[:, 1] < box[3]) & (b[:, 3] > box[1])])

    def put(self, labels: set[int], boxes: dict[int, Box]) -> None:
        """Take other boxes of some nuclei; those without one are gone."""
        new = [label for label in labels if label not in self._row and label in boxes]
        self._row |= {label: len(self._labels) + k for k, label in enumerate(new)}
        self._labels = np.concatenate([self._labels, np.array(new, np.int64)])
        self._boxes = np.concatenate([self._boxes, np.zeros((len(new), 4), np.int64)])
        for label in labels:
            if label in self._row:
                self._boxes[self._row[label]] = boxes.get(label, (0, 0, 0, 0))


def _hull(box: Box, other: Box | None) -> Box:
    if other is None:
        return box
    return min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3])


def _seal(data: NDArray[Any], band: int) -> int:
    return crc32(np.ascontiguousarray(data[band * _BAND_PX : (band + 1) * _BAND_PX]).data)


def _seals(data: NDArray[Any]) -> list[int]:
    """A number for each band of rows, which is another one when they change."""
    return [_seal(data, k) for k in range(-(-data.shape[0] // _BAND_PX))]


# ---------------------------------------------------------------------- on a viewer's layers


def outlines_on(viewer: Any, layer: Any) -> LayerOutlines | None:
    """Return what draws the outlines of a layer; None where nothing does."""
    for child in getattr(picture_of(plain(viewer), plain(layer)), "children", ()):
        if isinstance(child, StripLines):
            found: LayerOutlines | None = child.drawn_by
            return found
    return None


def outline(viewer: Any, layer: Any, work: Work, style: LineStyle = TRUTH) -> None:
    """See that a layer's nuclei have outlines of a style; where that cannot be, napari's own.

    Parameters
    ----------
    viewer : napari.Viewer or napari.qt.QtViewer
        Whose canvas.
    layer : Labels
        Of nuclei or regions; its picture may come a moment later. Others than flat arrays have napari's outlines.
    work : Work
        For large maps.
    style : LineStyle
        How they are drawn.
    """
    layer = plain(layer)
    if not has_pictures(plain(viewer)) or layer.multiscale or not isinstance(layer.data, np.ndarray) or layer.ndim != 2:
        _fall_back(layer)
    elif not _outline(viewer, layer, work, style):
        QTimer.singleShot(0, partial(_once_it_is_there, viewer, layer, work, style))
    elif layer.contour:
        layer.contour = 0


def _outline(viewer: Any, layer: Labels, work: Work, style: LineStyle) -> bool:
    found = outlines_on(viewer, layer)
    if found is not None:
        found.style = style
        return True
    picture = picture_of(plain(viewer), layer)
    if picture is None:
        return False
    lines = StripLines(parent=picture)
    lines.place()
    lines.drawn_by = LayerOutlines(layer, lines, style, work)
    return True


def _once_it_is_there(viewer: Any, layer: Labels, work: Work, style: LineStyle) -> None:
    """A layer that comes in is told of before napari has made its picture."""
    if outlines_on(viewer, layer) is not None:
        return  # meanwhile somebody else has
    if _outline(viewer, layer, work, style):
        if layer.contour:
            layer.contour = 0
    elif layer in getattr(viewer, "layers", ()):
        _fall_back(layer)


def _fall_back(layer: Labels) -> None:
    if isinstance(layer.colormap, ClassColormap):
        layer.colormap.stand_alone()
    if layer.contour != FALLBACK_PX:
        layer.contour = FALLBACK_PX


def outline_no_more(viewer: Any, layer: Any) -> None:
    """Take the outlines of a layer away: it shows another map."""
    found = outlines_on(viewer, layer)
    if found is not None:
        found.close()


def clip_outlines(viewer: Any, layer: Any, left: float, right: float) -> None:
    """Draw only what lies between two columns of a layer, px."""
    found = outlines_on(viewer, layer)
    if found is not None:
        found.clip = (left, right)
