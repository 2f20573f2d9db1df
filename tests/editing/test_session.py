"""Commands, undo, hidden pixels, selection, classes, paint: in memory."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.core.errors import SessionError, ShapeError
from napari_monusac.editing.session import EditingSession
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map

SHAPE = (96, 64)


@pytest.fixture
def session(overlapping):
    return EditingSession(overlapping, SHAPE, author="anna")


def consistent(session):
    """Whatever was done: the derived maps, boxes and counts are those of the two maps and the rows."""
    maps, rows = session.maps, session.rows
    assert np.array_equal(maps.ternary, ternary_map(maps.instances, maps.boundary_width))
    semantic = np.zeros(session.shape, np.uint8)
    for k, row in rows.items():
        if row.plane == "nuclei":
            semantic[maps.instances == k] = row.class_id
    assert np.array_equal(maps.semantic, semantic)
    seen = (set(np.unique(maps.instances).tolist()) | set(np.unique(maps.ambiguous).tolist())) - {0}
    assert seen <= rows.keys()
    assert maps.boxes.keys() == seen
    for k, box in maps.boxes.items():
        y, x = np.nonzero(maps.plane(rows[k].plane) == k)
        assert box == (y.min(), x.min(), y.max() + 1, x.max() + 1)
        assert not (maps.plane("ambiguous" if rows[k].plane == "nuclei" else "nuclei") == k).any()
    assert sum(session.counts().values()) == len(rows)


def test_it_opens_as_the_challenge_draws(session, overlapping):
    expected = label_maps(overlapping, SHAPE)
    assert np.array_equal(session.maps.instances, expected.instances)
    assert np.array_equal(session.maps.semantic, expected.semantic)
    assert np.array_equal(session.maps.ambiguous > 0, expected.ignore)
    assert session.counts() == {1: 3, 2: 1, 5: 1}
    assert not session.unsaved
    assert not session.can_undo
    consistent(session)


def test_hidden_pixels_come_back_when_the_upper_nucleus_goes(session):
    assert session.facts(1).area_px == 200
    session.delete([2])
    assert session.facts(1).area_px == 400
    assert session.rows[1].intact, "nobody touched it"
    assert session.counts()[1] == 2
    consistent(session)
    session.undo()
    assert session.facts(1).area_px == 200
    consistent(session)


def test_pixels_of_a_touched_nucleus_do_not_come_back(session):
    session.shrink([1])
    assert not session.rows[1].intact
    session.delete([2])
    assert session.facts(1).area_px < 200
    consistent(session)


def test_rubbing_out_one_nucleus_shows_what_is_below_rubbing_out_all_does_not(session):
    session.erase_brush([(25, 15), (25, 25)], 4, ids=[2])
    assert (session.maps.instances[25, 15:26] == 1).all()
    assert session.rows[1].intact
    session.undo()
    session.erase_brush([(25, 15), (25, 25)], 4)
    assert not session.maps.instances[25, 15:26].any()
    assert not session.rows[1].intact, "its hidden pixels were rubbed out as well"
    session.delete([2])
    assert not session.maps.instances[25, 15:26].any()
    consistent(session)


def test_a_nucleus_without_pixels_is_gone(session):
    session.draw_polygon([(8, 8), (8, 32), (42, 32), (42, 8)], over="all")
    assert {1, 2}.isdisjoint(session.rows)
    new = max(session.rows)
    assert session.rows[new].provenance == "human"
    assert session.rows[new].author == "anna"
    session.undo()
    assert {1, 2} <= session.rows.keys()
    assert session.rows[1].provenance == "file"
    consistent(session)


def test_draw_extend_and_class_of_new_nuclei(session):
    session.current_class = "Macrophage"
    change = session.draw_brush([(85, 10), (85, 30)], 7)
    (new,) = change.created
    assert session.rows[new].class_name == "Macrophage"
    assert change.kind == "edit"
    assert change.name == "brush"
    top, _, bottom, _ = change.box
    assert top <= 81
    assert bottom >= 89
    area = session.facts(new).area_px
    session.draw_brush([(85, 30), (85, 50)], 7, into=new)
    assert session.facts(new).area_px > area
    session.draw_polygon([(5, 40), (5, 60), (20, 60), (20, 40)], class_=5)
    assert session.counts()[5] == 2
    with pytest.raises(SessionError, match="nothing is free"):
        session.draw_brush([(55, 15)], 3)
    with pytest.raises(SessionError, match="no nucleus 99"):
        session.draw_brush([(55, 15)], 3, into=99)
    consistent(session)


def test_split_and_merge_carry_class_and_numbers(session):
    session.set_class(2, [3])
    change = session.split([(58, 2), (58, 40)])
    (new,) = change.created
    assert session.rows[new].class_id == 2
    assert session.rows[new].provenance == "human"
    consistent(session)
    session.merge([(54, 12), (66, 12)])
    assert new not in session.rows
    consistent(session)
    session.undo()
    session.merge(ids=[new, 3])
    assert 3 not in session.rows
    assert session.rows[new].class_id == 2
    consistent(session)


def test_next_id_is_never_used_twice(session):
    first = session.draw_brush([(85, 10)], 5).created[0]
    session.undo()
    second = session.draw_brush([(85, 10)], 5).created[0]
    assert second == first + 1


def test_class_keeps_the_outline_the_files_own(session, overlapping):
    session.set_class(4, [2])
    assert session.rows[2].intact
    assert session.rows[2].class_provenance == "human"
    assert session.rows[2].provenance == "file"
    assert session.set_class(4, [2]) is None, "nothing to do is no command"
    (moved,) = [r for r in session.annotation().regions if r.label == "Macrophage"]
    assert moved.vertices is overlapping.regions[1].vertices
    consistent(session)


def test_ambiguous_and_back(session):
    session.set_class(5, [2])
    assert not (session.maps.instances == 2).any()
    assert (session.maps.instances[20:30, 10:30] == 1).all(), "what it hid shows"
    assert session.facts(2).area_px == 400
    assert session.rows[2].plane == "ambiguous"
    consistent(session)
    session.set_class("Lymphocyte", [2])
    assert session.facts(2).area_px == 200, "as a nucleus again it takes free pixels only"
    consistent(session)
    session.undo()
    session.undo()
    assert session.facts(2).area_px == 400
    consistent(session)
    with pytest.raises(SessionError, match="no class"):
        session.set_class(7, [2])


def test_shape_tools_and_selection(session):
    with pytest.raises(SessionError, match="no nucleus is chosen"):
        session.grow()
    heard = []
    stop = session.listen(heard.append)
    assert session.select_box((45, 0, 96, 64)) == {3, 4}
    assert session.select_lasso([(0, 0), (0, 63), (44, 63), (44, 0)], mode="add") == {1, 2, 3, 4}
    assert session.select([1], mode="toggle") == {2, 3, 4}
    assert [c.kind for c in heard] == ["selection"] * 3
    session.grow()
    session.shrink()
    session.smooth()
    consistent(session)
    session.delete()
    assert session.selected == frozenset()
    session.undo()
    assert session.selected == {2, 3, 4}, "a nucleus that comes back is selected again"
    stop()
    count = len(heard)
    session.undo()
    assert len(heard) == count


def test_pick_by_click_with_tolerance(session):
    assert session.pick((15, 15)) == 1
    assert session.pick((15, 31)) == 1
    assert session.pick((15, 35)) == 0
    assert session.pick((47, 7)) == 5, "an Ambiguous region where no nucleus is near"
    assert str(session.facts(3)).startswith("Epithelial 3, ")
    assert "um2, from the file" in str(session.facts(3))
    with pytest.raises(SessionError, match="no nucleus 77"):
        session.facts(77)


def test_paint_from_outside_is_adopted(session):
    box = (80, 0, 96, 20)
    view = session.maps.instances[80:96, 0:20]
    before = view.copy()
    new = session.next_id
    view[4:9, 4:12] = new
    change = session.adopt(box, before, view.copy())
    assert change.created == (new,)
    assert session.facts(new).area_px == 40
    consistent(session)
    session.undo()
    assert not view.any()
    consistent(session)
    session.redo()
    assert np.count_nonzero(view == new) == 40


def test_naparis_paint_events_are_adopted(session):
    """napari reports a stroke as several pieces, each with the values before it."""
    frame, new = session.maps.instances, session.next_id
    start = frame.copy()
    pieces = []
    for rows, columns in [(slice(84, 88), slice(2, 8)), (slice(86, 90), slice(5, 12)), (slice(52, 54), slice(8, 14))]:
        index = tuple(i.ravel() for i in np.mgrid[rows, columns])
        pieces.append((index, frame[index].copy(), new))
        frame[index] = new
    painted = frame.copy()
    session.adopt_strokes(pieces)
    assert np.array_equal(frame, painted)
    consistent(session)
    session.undo()
    assert np.array_equal(frame, start)
    assert session.adopt_strokes([]) is None


def test_paint_that_cannot_be_adopted_leaves_the_map_as_it_was(session):
    frame = session.maps.instances
    start = frame.copy()
    for wrong, error in [(5, SessionError), (-1, SessionError)]:
        before = frame[80:90, 0:10].copy()
        frame[80:90, 0:10] = wrong
        with pytest.raises(error):
            session.adopt((80, 0, 90, 10), before, frame[80:90, 0:10].copy())
        frame[80:90, 0:10] = before
    with pytest.raises(ShapeError):
        session.adopt((80, 0, 90, 10), start[80:89, 0:10], start[80:90, 0:10])
    assert np.array_equal(frame, start)


def test_suggested_split_is_shown_before_it_is_done(session):
    session.draw_brush([(88, 10)], 12)
    (left,) = {max(session.rows)}
    session.draw_brush([(88, 20)], 12, into=left)
    change = session.suggested_split(left)
    state = session.state
    assert change is not None
    assert session.state == state
    done = session.split_as_suggested(left)
    assert set(done.created) == {new for new, _ in change.parents}
    with pytest.raises(SessionError, match="no neck"):
        session.split_as_suggested(3)
    consistent(session)


def test_note_boundary_width_and_features(session):
    session.set_note("odd nucleolus", [3])
    assert session.rows[3].note == "odd nucleolus"
    assert "note: odd" in str(session.facts(3))
    heard = []
    session.listen(heard.append)
    session.set_boundary_width(1)
    assert heard[-1].kind == "boundary"
    consistent(session)
    session.delete([4])
    consistent(session)
    table = session.features()
    assert list(table["index"]) == [1, 2, 3]
    assert table.loc[table["index"] == 3, "note"].item() == "odd nucleolus"
    assert list(session.features("ambiguous")["class"]) == ["Ambiguous"]


def test_nothing_to_undo_or_redo(session):
    with pytest.raises(SessionError, match="nothing to undo"):
        session.undo()
    with pytest.raises(SessionError, match="nothing to redo"):
        session.redo()
    session.delete([1])
    assert session.undo_name == "delete"
    session.undo()
    assert session.redo_name == "delete"
    session.delete([2])
    assert not session.can_redo, "a new edit ends what could be redone"


def test_random_edits_and_back(stress):
    """Every 50 edits all derived maps are checked; then every edit is undone, and redone."""
    shape = (224, 224)
    session = EditingSession(stress.make_annotation(shape, 40, seed=3), shape, author="anna")
    first = EditingSession(stress.make_annotation(shape, 40, seed=3), shape)
    rng = np.random.default_rng(5)
    made = 0
    while made < 400:
        made += bool(stress.random_edit(session, rng))
        if made % 50 == 0:
            consistent(session)
    last = {n: getattr(session.maps, n).copy() for n in ("instances", "ambiguous", "semantic", "ternary")}
    rows = dict(session.rows)
    while session.can_undo:
        session.undo()
    assert session.same_as(first)
    consistent(session)
    while session.can_redo:
        session.redo()
    assert dict(session.rows) == rows
    assert all(np.array_equal(getattr(session.maps, n), a) for n, a in last.items())
