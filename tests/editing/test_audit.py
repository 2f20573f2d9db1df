"""The audit finds what was put in, and its mends mend it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.core.errors import SessionError, ShapeError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.audit import audit, mend_of
from napari_monusac.editing.commands import Delete, DrawBrush, DrawPolygon, EraseBrush, ErasePolygon
from napari_monusac.editing.session import EditingSession
from napari_monusac.masks.ternary import ternary_map, update_ternary

SHAPE = (200, 200)


def disc(y, x, r, label="Epithelial"):
    a = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return Nucleus(np.rint(np.stack([y + r * np.sin(a), x + r * np.cos(a)], 1)), label, 0, integral=True)


@pytest.fixture
def session():
    """Nine good nuclei on a grid."""
    return EditingSession(Annotation(tuple(disc(30 + 55 * (k // 3), 30 + 55 * (k % 3), 11) for k in range(9))), SHAPE)


def kinds(session, **given):
    return [(f.kind, f.ids[0]) for f in audit(session.nuclei.snapshot(), **given)]


def test_good_nuclei_are_left_alone(session):
    assert audit(session.nuclei.snapshot()) == []


def test_each_fault_is_found_and_mended(session):
    session.do(DrawPolygon(disc(30, 49, 10).vertices, into=1))  # a clump
    session.do(ErasePolygon(disc(30, 85, 4).vertices))  # a hole in 2
    session.do(EraseBrush([(60, 140), (28, 141), (10, 139)], 4))  # 3 in two pieces
    session.do(DrawBrush([(57, 57)], 3))  # a sliver far from all, 10
    session.do(DrawBrush([(96, 85), (97, 85), (98, 85)], 2))  # a sliver at the edge of 5, 11
    found = audit(session.nuclei.snapshot())
    assert {(f.kind, f.ids[0]) for f in found} == {
        ("clump", 1), ("hole", 2), ("fragments", 3), ("sliver", 10), ("sliver", 11)
    }  # fmt: skip
    assert all(f.explanation.endswith(".") for f in found)
    actions = {f.ids: f.action for f in found}
    assert actions[(10,)] == "delete"
    assert actions[(11, 5)] == "merge"
    for f in found:
        box = session.maps.boxes[f.ids[0]]
        assert f.box == box
        state = session.history.state
        assert session.do(mend_of(f)) is not None
        assert session.history.state > state, "a mend is a command"
    assert audit(session.nuclei.snapshot()) == []
    for _ in found:
        session.undo()
    assert {f.ids for f in audit(session.nuclei.snapshot())} == {f.ids for f in found}


def test_within_a_box(session):
    session.do(DrawBrush([(57, 57)], 3))
    session.do(DrawBrush([(190, 190)], 3))
    assert kinds(session, within=(0, 0, 100, 100)) == [("sliver", 10)]


def test_a_broken_boundary_is_found_and_rebuilt(session):
    ternary = session.maps.ternary
    assert np.array_equal(ternary, ternary_map(session.maps.instances))
    ternary[28:33, 17:22] = 1
    (found,) = audit(session.nuclei.snapshot())
    assert (found.kind, found.ids) == ("broken boundary", (1,))
    heard = []
    session.listen(heard.append)
    assert session.do(mend_of(found)).kind == "boundary"
    assert heard[0].box is not None
    assert audit(session.nuclei.snapshot()) == []
    other = ternary_map(session.maps.instances)
    other[85, :] = 0
    found = audit(session.nuclei.snapshot(), other)
    assert {f.kind for f in found} == {"broken boundary"}
    for f in found:
        update_ternary(other, session.maps.instances, f.box, 3)
    assert audit(session.nuclei.snapshot(), other) == []
    with pytest.raises(ShapeError, match="do not fit"):
        audit(session.nuclei.snapshot(), other[1:])


def test_a_mend_that_comes_too_late(session):
    session.do(DrawBrush([(57, 57)], 3))
    (found,) = audit(session.nuclei.snapshot())
    session.do(Delete([10]))
    with pytest.raises(SessionError, match="no nucleus 10"):
        session.do(mend_of(found))


def test_an_empty_crop():
    assert audit(EditingSession(Annotation(), (20, 20)).nuclei.snapshot()) == []
