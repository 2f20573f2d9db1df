"""Closed lines of one width on the screen, with a halo and dashes: one drawing for tens of thousands, changed in parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vispy.gloo import VertexBuffer
from vispy.scene.visuals import create_visual_node
from vispy.visuals import Visual
from vispy.visuals.transforms import MatrixTransform

from napari_monusac.masks.contours import Contours
from napari_monusac.ui.canvas.styles import LineStyle

#: A corner of the strip of triangles that a line is: where, its direction, how far along of how long, which side.
VERTEX = np.dtype([("a_at", np.float32, 4), ("a_line", np.float32, 3)])
_ROOM = 1024
#: Colours as the graphics card gets them, see `packed`; a line that is not drawn.
PackedColors = NDArray[np.float32]
_CLEAR = -1.0
#: From one place in the arrays to another.
Span = tuple[int, int]

_VERTEX_SHADER = """
attribute vec4 a_at;
attribute vec3 a_line;
attribute float a_color;  // red, green, blue as bytes of a whole number
uniform vec2 u_origin;  // of the image's px on the screen, and where the sides of one lie
uniform vec2 u_right;
uniform vec2 u_down;
uniform vec2 u_corner;  // the same of the screen's px in what is drawn
uniform vec4 u_sides;
uniform float u_half;
uniform float u_period;
varying vec3 v_color;
varying float v_across;
varying float v_along;
varying float v_period;
varying float v_x;

void main() {
    if (a_color < 0.) {
        gl_Position = vec4(2., 2., 2., 1.);  // of a class that is hidden
        return;
    }
    vec2 along = u_right * a_at.z + u_down * a_at.w;
    float scale = length(along);  // px of the screen for a px of the image
    along /= max(scale, 1e-9);
    v_across = a_line.z * (u_half + 1.);
    vec2 here = u_origin + u_right * a_at.x + u_down * a_at.y + vec2(-along.y, along.x) * v_across;
    gl_Position = vec4(u_corner + u_sides.xy * here.x + u_sides.zw * here.y, 0., 1.);
    v_along = a_line.x * scale;
    float whole = a_line.y * scale;
    v_period = whole / max(4., floor(whole / max(u_period, 1.) + 0.5));  // dashes meet where the line closes
    v_color = floor(mod(a_color / vec3(1., 256., 65536.), 256.)) / 255.;
    v_x = a_at.x;
}
"""

_FRAGMENT_SHADER = """
uniform float u_half;
uniform float u_dash;
uniform float u_halo;  // its width, px; 0: the line itself is drawn
uniform float u_strength;
uniform vec2 u_clip;
varying vec3 v_color;
varying float v_across;
varying float v_along;
varying float v_period;
varying float v_x;

void main() {
    if (v_x < u_clip.x || v_x > u_clip.y)
        discard;
    float cover = clamp(u_half + 0.5 - abs(v_across), 0., 1.);
    if (u_dash < 1.) {
        float at = mod(v_along, v_period);
        float dash = u_dash * v_period;
        float outside = min(max(at - dash, 0.), v_period - at);
        if (at > dash)
            cover *= clamp(u_halo + 0.5 - outside, 0., 1.);
    }
    vec3 color = v_color;
    if (u_halo > 0.) {
        float light = dot(v_color, vec3(0.2126, 0.7152, 0.0722));
        color = light > 0.5 ? vec3(0.05, 0.05, 0.08) : vec3(1.);
    }
    gl_FragColor = vec4(color, cover * u_strength);
}
"""


def packed(colors: NDArray[Any]) -> PackedColors:
    """Return colours (RGBA, 0 to 1, (n, 4)) as one number each: red, green, blue in its bytes; clear ones are negative."""
    parts = np.round(255 * np.asarray(colors, np.float64)[:, :3]) @ (1, 256, 65536)
    return np.where(np.asarray(colors)[:, 3] > 0, parts, _CLEAR).astype(np.float32)


@dataclass(slots=True)
class _Slot:
    """Where the lines of one nucleus are in the arrays, and their colour."""

    start: int
    room: int
    color: float


class Strips:
    """Lines of nuclei as one strip of triangles; those of a nucleus are replaced where they are. No graphics card here.

    Attributes
    ----------
    vertices : array of `VERTEX`
        The strip; unused places are all zero, and draw nothing.
    colors : float32 (n,)
        Of each vertex, `packed`.
    """

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self._end = 0
        self.vertices = np.zeros(_ROOM, VERTEX)
        self.colors: PackedColors = np.zeros(_ROOM, np.float32)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The nuclei that have lines."""
        return np.fromiter(self._slots, np.int64, len(self._slots))

    def fill(self, lines: Contours, colors: PackedColors) -> None:
        """Take other lines; one colour a line, `packed`."""
        self._slots, self._end = {}, 0
        vertices, found = _by_nucleus(lines, colors)
        self._make_room(len(vertices))
        self.vertices[: len(vertices)] = vertices
        for label, (start, stop, color) in found.items():
            self.colors[start:stop] = color
            self._slots[label] = _Slot(start, stop - start, color)
        self._end = len(vertices)

    def replace(self, labels: Iterable[int], lines: Contours, colors: PackedColors) -> list[Span] | None:
        """Take other lines of some nuclei; none any more of those that `lines` has not.

        Returns
        -------
        list of (start, stop) or None
            The parts of the arrays that changed; None: all of them, there was no room.
        """
        vertices, found = _by_nucleus(lines, colors)
        others = self._end + len(vertices) > len(self.vertices)
        if others:
            self._make_room(len(vertices))
        changed = []
        for label in {*labels, *found}:
            slot = self._slots.get(label)
            start, stop, color = found.get(label, (0, 0, _CLEAR))
            count = stop - start
            if slot is not None:
                self._write(slot, self.vertices[:0], _CLEAR)
                changed.append((slot.start, slot.start + slot.room))
            if not count:
                self._slots.pop(label, None)
                continue
            if slot is None or slot.room < count:
                slot = self._slots[label] = _Slot(self._end, count, color)
                self._end += count
                changed.append((slot.start, self._end))
            self._write(slot, vertices[start:stop], color)
        return None if others else changed

    def recolor(self, labels: NDArray[np.int64], colors: PackedColors) -> Span | None:
        """Take other colours, one a nucleus; returns the part of the arrays that changed, None for nothing."""
        low, high = len(self.colors), 0
        for label, color in zip(labels.tolist(), colors.tolist(), strict=True):
            slot = self._slots[label]
            if slot.color != color:
                slot.color = color
                self.colors[slot.start : slot.start + slot.room] = color
                low, high = min(low, slot.start), max(high, slot.start + slot.room)
        return (low, high) if low < high else None

    def _write(self, slot: _Slot, vertices: NDArray[Any], color: float) -> None:
        end = slot.start + len(vertices)
        self.vertices[slot.start : end] = vertices
        self.vertices[end : slot.start + slot.room] = 0
        self.colors[slot.start : slot.start + slot.room] = color
        slot.color = color

    def _make_room(self, more: int) -> None:
        """Take larger arrays, in which what is used lies side by side."""
        used = sum(slot.room for slot in self._slots.values())
        room = used + more + max(_ROOM, (used + more) // 4)
        vertices, colors, end = np.zeros(room, VERTEX), np.zeros(room, np.float32), 0
        for slot in self._slots.values():
            now, then = slice(end, end + slot.room), slice(slot.start, slot.start + slot.room)
            vertices[now], colors[now] = self.vertices[then], self.colors[then]
            slot.start, end = end, end + slot.room
        self.vertices, self.colors, self._end = vertices, colors, end


def _by_nucleus(lines: Contours, colors: PackedColors) -> tuple[NDArray[Any], dict[int, tuple[int, int, float]]]:
    """The strip of lines; where in it each nucleus is (its lines lie side by side), with its colour."""
    vertices, starts = strip_of(lines)
    found: dict[int, tuple[int, int, float]] = {}
    for label, start, stop, color in zip(
        lines.labels.tolist(), starts[:-1].tolist(), starts[1:].tolist(), colors.tolist(), strict=True
    ):
        found[label] = (found[label][0] if label in found else start, stop, color)
    return vertices, found


def strip_of(lines: Contours) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the strip of triangles of closed lines, and where in it each begins (and the last ends).

    Every point has two vertices, one for each side; the first and the last of a line are there twice, so that no triangle
    joins it with the next.
    """
    points, first = lines.points, lines.starts[:-1]
    n = np.diff(lines.starts)
    starts = np.concatenate([[0], np.cumsum(2 * n + 4)]).astype(np.int64)
    if not len(points):
        return np.zeros(0, VERTEX), starts
    line = np.repeat(np.arange(len(n)), n)
    place = np.arange(len(points)) - first[line]
    after, before = first[line] + (place + 1) % n[line], first[line] + (place - 1) % n[line]
    length = np.hypot(*(points[after] - points).T)
    tangent = points[after] - points[before]
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-6)[:, None]
    along = np.cumsum(length, dtype=np.float64) - length
    whole = np.add.reduceat(length.astype(np.float64), first)
    of = np.repeat(np.arange(len(n)), 2 * n + 4)
    corner = np.clip(np.arange(int(starts[-1])) - starts[of] - 1, 0, 2 * n[of] + 1)
    turn = corner // 2  # the point, once more after the last
    at = first[of] + turn % n[of]
    vertices = np.zeros(len(of), VERTEX)
    vertices["a_at"][:, :2], vertices["a_at"][:, 2:] = points[at, ::-1], tangent[at, ::-1]
    vertices["a_line"][:, 0] = np.where(turn == n[of], whole[of], along[at] - along[first[of]])
    vertices["a_line"][:, 1] = whole[of]
    vertices["a_line"][:, 2] = 1 - 2 * (corner % 2)
    return vertices, starts


class _LinesVisual(Visual):
    """Draws `Strips`: first all halos, then all lines, so that no halo covers a line."""

    def __init__(self) -> None:
        super().__init__(_VERTEX_SHADER, _FRAGMENT_SHADER)
        self._draw_mode = "triangle_strip"
        self.set_gl_state(
            "translucent", depth_test=False, cull_face=False, blend=True,
            blend_func=("src_alpha", "one_minus_src_alpha", "one", "one"),
        )  # fmt: skip
        self._vertices, self._colors = VertexBuffer(np.zeros(3, VERTEX)), VertexBuffer(np.zeros(3, np.float32))
        self._bind()
        self._style = LineStyle()
        self._opacity_of_lines = 1.0
        self.set_clip(-np.inf, np.inf)
        #: whoever hands it its lines; it lives as long as they are shown
        self.drawn_by: Any = None
        self.freeze()

    def _bind(self) -> None:
        self.shared_program.bind(self._vertices)
        self.shared_program["a_color"] = self._colors

    def set_style(self, style: LineStyle) -> None:
        """Draw lines like this."""
        self._style = style
        self.update()

    def set_strength(self, opacity: float) -> None:
        """Draw lines so strongly, 0 to 1."""
        self._opacity_of_lines = opacity
        self.update()

    def set_clip(self, left: float, right: float) -> None:
        """Draw what lies between these columns, px of the image."""
        self.shared_program["u_clip"] = tuple(float(np.clip(x, -1e9, 1e9)) for x in (left, right))
        self.update()

    def show(self, strips: Strips, parts: list[Span] | None = None) -> None:
        """Hand lines to the graphics card: some parts, or all of them."""
        if parts is None or self._vertices.size != len(strips.vertices):
            self._vertices, self._colors = VertexBuffer(strips.vertices), VertexBuffer(strips.colors)
            self._bind()
        else:
            for start, stop in parts:
                self._vertices.set_subdata(strips.vertices[start:stop], start)
            self.show_colors(strips, parts)
        self.update()

    def show_colors(self, strips: Strips, parts: list[Span]) -> None:
        """Hand the colours of some parts to the graphics card."""
        for start, stop in parts:
            self._colors.set_subdata(strips.colors[start:stop], start)
        self.update()

    def _prepare_transforms(self, view: Any) -> None:
        """What vispy would put into the shader is a dozen matrices a vertex; `draw` sums them up."""

    def draw(self) -> None:
        """Draw halos, then lines."""
        style, program = self._style, self.shared_program
        origin, right, down = _frame(self.get_transform("visual", "canvas"))
        corner, x, y = _frame(self.get_transform("canvas", "render"))
        program["u_origin"], program["u_right"], program["u_down"] = origin, right, down
        program["u_corner"], program["u_sides"] = corner, (*x, *y)
        scale = abs(right[0] * down[1] - right[1] * down[0]) ** 0.5  # px of the screen for a px of the image
        period = style.dash_px + style.gap_px
        program["u_period"], program["u_dash"] = period, style.dash_px / period if style.gap_px else 1.0
        # where nuclei are a few px large, lines of full width and their halos would cover them
        width = style.width_px * min(1.0, max(0.35, 4 * scale))
        halo = 0.7 * min(1.0, max(0.0, 8 * scale - 1)) if style.halo_px else 0.0
        for rim, strength in ((style.halo_px, halo), (0.0, 1.0)):
            if strength > 0:
                program["u_halo"], program["u_half"] = rim, width / 2 + rim
                program["u_strength"] = strength * self._opacity_of_lines
                super().draw()


def _frame(transform: Any) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Where (0, 0) lies after a transform of the plane, and the steps that (1, 0) and (0, 1) become."""
    origin, right, down = (transform.map([x, y, 0, 1])[:2] for x, y in ((0, 0), (1, 0), (0, 1)))
    return tuple(origin), tuple(right - origin), tuple(down - origin)


class StripLines(create_visual_node(_LinesVisual)):  # type: ignore[misc]
    """`Strips` below the picture of a layer."""

    def place(self) -> None:
        """Lie on the layer's pixels: the first one's centre is (0, 0), as napari has it for what hangs below a picture."""
        self.transform = MatrixTransform()
        self.transform.translate((0.5, 0.5))
