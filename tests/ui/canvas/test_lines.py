"""Lines as strips of triangles: right for each nucleus, changed in parts. No window."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import disk

from napari_monusac.masks.contours import contours_of
from napari_monusac.ui.canvas.lines import VERTEX, Strips, packed, strip_of


@pytest.fixture
def labels():
    made = np.zeros((120, 120), np.int32)
    for k, (y, x) in enumerate([(20, 20), (20, 60), (60, 20), (60, 60), (90, 90)], start=1):
        made[disk((y, x), 6 + 2 * k, shape=made.shape)] = k
    made[58:62, 58:62] = 0
    return made


def colors_of(lines):
    return packed(np.array([[k / 10, 0, 0, 1] for k in lines.labels]).reshape(-1, 4))


def triangles(strips, color):
    """The corners of a strip's triangles that have an area once the line has a width, of one colour."""
    v, c = strips.vertices, strips.colors
    at = v["a_at"][:, :2] + v["a_line"][:, 2:] * np.stack([-v["a_at"][:, 3], v["a_at"][:, 2]], 1)
    three = np.stack([at[:-2], at[1:-1], at[2:]], 1)
    a, b = three[:, 1] - three[:, 0], three[:, 2] - three[:, 0]
    full = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) > 1e-6
    assert not full[np.ptp(np.stack([c[:-2], c[1:-1], c[2:]], 1), axis=1) > 0].any(), "none joins two nuclei"
    return three[full & (c[:-2] == color)]


def held(strips, labels):
    """What is drawn of each nucleus is its line, at any place of the arrays."""
    lines = contours_of(labels)
    expected = Strips()
    expected.fill(lines, colors_of(lines))
    assert set(strips.labels.tolist()) == set(lines.labels.tolist())
    for label in set(lines.labels.tolist()):
        color = packed(np.array([[label / 10, 0, 0, 1]]))[0]
        mine, theirs = triangles(strips, color), triangles(expected, color)
        assert len(mine) == len(theirs) > 0
        assert np.allclose(np.sort(mine.reshape(len(mine), -1), 0), np.sort(theirs.reshape(len(theirs), -1), 0))


def test_a_strip_closes_each_line_and_knows_how_long_it_is(labels):
    lines = contours_of(labels)
    vertices, starts = strip_of(lines)
    assert vertices.dtype == VERTEX
    for (_, ring), start, stop in zip(lines, starts[:-1], starts[1:], strict=True):
        part = vertices[start:stop]
        closed = np.concatenate([ring, ring[:1]])
        length = np.hypot(*np.diff(closed, axis=0).T)
        assert np.allclose(part["a_at"][1:-1:2, :2], closed[:, ::-1])
        assert np.allclose(part["a_line"][1:-1:2, 0], np.concatenate([[0], np.cumsum(length)]), atol=1e-3)
        assert np.allclose(part["a_line"][:, 1], length.sum(), atol=1e-3)
        assert np.allclose(np.hypot(*part["a_at"][:, 2:].T), 1, atol=1e-5)
        assert part["a_line"][:, 2].tolist() == [1, *[1, -1] * len(closed), -1]


def test_a_changed_nucleus_is_changed_alone(labels):
    lines, strips = contours_of(labels), Strips()
    strips.fill(lines, colors_of(lines))
    before = strips.vertices.copy()
    labels[88:92, 60:100] = 5
    new = contours_of(labels, [(5, (0, 0, 120, 120))])
    parts = strips.replace({5}, new, colors_of(new))
    held(strips, labels)
    untouched = np.ones(len(before), bool)
    for start, stop in parts:
        untouched[start:stop] = False
    assert (strips.vertices[untouched] == before[untouched]).all()
    assert untouched.mean() > 0.5


def test_many_edits_later_it_is_as_if_made_anew(labels):
    rng, strips = np.random.default_rng(2), Strips()
    lines = contours_of(labels)
    strips.fill(lines, colors_of(lines))
    kept = others = 0
    for step in range(120):
        label = int(rng.integers(1, 9))
        area = disk(rng.uniform(10, 110, 2), rng.uniform(2, 16), shape=labels.shape)
        touched = {*np.unique(labels[area]).tolist(), label} - {0}
        labels[area] = label if step % 3 else 0
        new = contours_of(labels, [(k, (0, 0, 120, 120)) for k in touched])
        parts = strips.replace(touched, new, colors_of(new))
        kept, others = kept + (parts is not None), others + (parts is None)
    assert kept > others > 0, "there is room for most, and was none for some"
    held(strips, labels)


def test_other_colours_change_no_vertex(labels):
    lines, strips = contours_of(labels), Strips()
    strips.fill(lines, colors_of(lines))
    before, colors = strips.vertices.copy(), strips.colors.copy()
    ids = strips.labels
    new = packed(np.array([[k / 10, 0, k == 3, 1] for k in ids.tolist()], float))
    start, stop = strips.recolor(ids, new)
    assert (strips.vertices == before).all()
    changed = np.flatnonzero(strips.colors != colors)
    assert (changed[0], changed[-1] + 1) == (start, stop)
    assert strips.recolor(ids, new) is None


def test_colours_are_packed_byte_by_byte_and_clear_ones_are_not_drawn():
    got = packed(np.array([[1, 0, 0, 1], [0, 1, 0.2, 0.4], [1, 1, 1, 0]]))
    assert got.tolist() == [255, 255 * 256 + 51 * 65536, -1]
