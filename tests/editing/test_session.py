"""Commands, undo, hidden pixels, selection, classes, paint: in memory."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest

from napari_monusac.core.errors import SessionError, ShapeError
from napari_monusac.editing import commands
from napari_monusac.editing.commands import (
    Accept,
    AcceptAll,
    AcceptInPlace,
    AcceptMany,
    AdoptPaint,
    Delete,
    DrawBrush,
    DrawPolygon,
    DrawStamp,
    EraseBrush,
    ErasePolygon,
    Fill,
    Merge,
    Move,
    Redo,
    Reshape,
    Select,
    SelectWithin,
    Separate,
    SetClass,
    SetNote,
    SplitAsSuggested,
    SplitByStroke,
    Undo,
    suggested_split,
)  # fmt: skip
from napari_monusac.editing.session import EditingSession
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.strokes import Stamp
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
    assert sum(session.nuclei.counts().values()) == len(rows)


def test_it_opens_as_the_challenge_draws(session, overlapping):
    expected = label_maps(overlapping, SHAPE)
    assert np.array_equal(session.maps.instances, expected.instances)
    assert np.array_equal(session.maps.semantic, expected.semantic)
    assert np.array_equal(session.maps.ambiguous > 0, expected.ignore)
    assert session.nuclei.counts() == {1: 3, 2: 1, 5: 1}
    assert not session.unsaved
    assert not session.history.can_undo
    consistent(session)


def test_hidden_pixels_come_back_when_the_upper_nucleus_goes(session):
    assert session.nuclei.facts(1).area_px == 200
    session.do(Delete([2]))
    assert session.nuclei.facts(1).area_px == 400
    assert session.rows[1].intact, "nobody touched it"
    assert session.nuclei.counts()[1] == 2
    consistent(session)
    session.undo()
    assert session.nuclei.facts(1).area_px == 200
    consistent(session)


def test_pixels_of_a_touched_nucleus_do_not_come_back(session):
    session.do(Reshape("shrink", [1]))
    assert not session.rows[1].intact
    session.do(Delete([2]))
    assert session.nuclei.facts(1).area_px < 200
    consistent(session)


def test_rubbing_out_one_nucleus_shows_what_is_below_rubbing_out_all_does_not(session):
    session.do(EraseBrush([(25, 15), (25, 25)], 4, ids=[2]))
    assert (session.maps.instances[25, 15:26] == 1).all()
    assert session.rows[1].intact
    session.undo()
    session.do(EraseBrush([(25, 15), (25, 25)], 4))
    assert not session.maps.instances[25, 15:26].any()
    assert not session.rows[1].intact, "its hidden pixels were rubbed out as well"
    session.do(Delete([2]))
    assert not session.maps.instances[25, 15:26].any()
    consistent(session)


def test_a_nucleus_without_pixels_is_gone(session):
    session.do(DrawPolygon([(8, 8), (8, 32), (42, 32), (42, 8)], over="all"))
    assert {1, 2}.isdisjoint(session.rows)
    new = max(session.rows)
    assert session.rows[new].provenance == "human"
    assert session.rows[new].author == "anna"
    session.undo()
    assert {1, 2} <= session.rows.keys()
    assert session.rows[1].provenance == "file"
    consistent(session)


def test_draw_extend_and_class_of_new_nuclei(session):
    session.selection.current_class = "Macrophage"
    change = session.do(DrawBrush([(85, 10), (85, 30)], 7))
    (new,) = change.created
    assert session.rows[new].class_name == "Macrophage"
    assert change.kind == "edit"
    assert change.name == "brush"
    top, _, bottom, _ = change.box
    assert top <= 81
    assert bottom >= 89
    area = session.nuclei.facts(new).area_px
    session.do(DrawBrush([(85, 30), (85, 50)], 7, into=new))
    assert session.nuclei.facts(new).area_px > area
    session.do(DrawPolygon([(5, 40), (5, 60), (20, 60), (20, 40)], class_=5))
    assert session.nuclei.counts()[5] == 2
    with pytest.raises(SessionError, match="nothing is free"):
        session.do(DrawBrush([(55, 15)], 3))
    height, width = session.shape
    beside = [(-30, -30), (-30, -10), (-10, -10), (-10, -30)]
    below = [(height + 5, 5), (height + 5, 20), (height + 20, 20)]
    for outside in (beside, below, [(5, width + 9), (9, width + 9), (9, width + 30)]):
        with pytest.raises(SessionError, match="covers nothing of the image"):
            session.do(DrawPolygon(outside))
    with pytest.raises(SessionError, match="no nucleus 99"):
        session.do(DrawBrush([(55, 15)], 3, into=99))
    consistent(session)


def test_pixels_that_a_tool_found_are_drawn_as_a_stroke_is(session):
    mask = np.ones((6, 8), bool)
    mask[0, 0] = False
    change = session.do(DrawStamp(Stamp((82, 10, 88, 18), mask), class_="Neutrophil"))
    (new,) = change.created
    assert session.rows[new].class_name == "Neutrophil"
    assert session.rows[new].provenance == "human"
    assert np.array_equal(session.maps.instances[82:88, 10:18] == new, mask)
    session.do(DrawStamp(Stamp((82, 18, 88, 20), np.ones((6, 2), bool)), into=new))
    assert session.nuclei.facts(new).area_px == mask.sum() + 12
    with pytest.raises(SessionError, match="nothing is free"):
        session.do(DrawStamp(Stamp((55, 12, 58, 16), np.ones((3, 4), bool))))
    session.do(DrawStamp(Stamp((55, 12, 58, 16), np.ones((3, 4), bool)), over="all"))
    consistent(session)
    for _ in range(3):
        session.undo()
    assert new not in session.rows
    consistent(session)


def test_split_and_merge_carry_class_and_numbers(session):
    session.do(SetClass(2, [3]))
    change = session.do(SplitByStroke([(58, 2), (58, 40)]))
    (new,) = change.created
    assert session.rows[new].class_id == 2
    assert session.rows[new].provenance == "human"
    consistent(session)
    session.do(Merge([(54, 12), (66, 12)]))
    assert new not in session.rows
    consistent(session)
    session.undo()
    session.do(Merge(ids=[new, 3]))
    assert 3 not in session.rows
    assert session.rows[new].class_id == 2
    consistent(session)


def test_next_id_is_never_used_twice(session):
    first = session.do(DrawBrush([(85, 10)], 5)).created[0]
    session.undo()
    second = session.do(DrawBrush([(85, 10)], 5)).created[0]
    assert second == first + 1


def test_class_keeps_the_outline_the_files_own(session, overlapping):
    session.do(SetClass(4, [2]))
    assert session.rows[2].intact
    assert session.rows[2].class_provenance == "human"
    assert session.rows[2].provenance == "file"
    assert session.do(SetClass(4, [2])) is None, "nothing to do is no command"
    (moved,) = [r for r in session.annotation().regions if r.label == "Macrophage"]
    assert moved.vertices is overlapping.regions[1].vertices
    consistent(session)


def test_ambiguous_and_back(session):
    session.do(SetClass(5, [2]))
    assert not (session.maps.instances == 2).any()
    assert (session.maps.instances[20:30, 10:30] == 1).all(), "what it hid shows"
    assert session.nuclei.facts(2).area_px == 400
    assert session.rows[2].plane == "ambiguous"
    consistent(session)
    session.do(SetClass("Lymphocyte", [2]))
    assert session.nuclei.facts(2).area_px == 200, "as a nucleus again it takes free pixels only"
    consistent(session)
    session.undo()
    session.undo()
    assert session.nuclei.facts(2).area_px == 400
    consistent(session)
    with pytest.raises(SessionError, match="no class"):
        session.do(SetClass(7, [2]))


def test_shape_tools_and_selection(session):
    with pytest.raises(SessionError, match="no nucleus is chosen"):
        session.do(Reshape("grow"))
    heard = []
    stop = session.listen(heard.append)
    session.do(SelectWithin([(45, 0), (45, 63), (95, 63), (95, 0)]))
    assert session.selection.ids == {3, 4}
    session.do(SelectWithin([(0, 0), (0, 63), (44, 63), (44, 0)], mode="add"))
    assert session.selection.ids == {1, 2, 3, 4}
    change = session.do(Select([1], mode="toggle"))
    assert session.selection.ids == {2, 3, 4}
    assert change.ids == {1}, "what came or went"
    assert session.do(Select([2, 3, 4])) is None
    with pytest.raises(SessionError, match="no nucleus 99"):
        session.do(Select([99]))
    assert [c.kind for c in heard] == ["selection"] * 3
    session.do(Reshape("grow"))
    session.do(Reshape("shrink"))
    session.do(Reshape("smooth"))
    consistent(session)
    session.do(Delete())
    assert session.selection.ids == frozenset()
    session.undo()
    assert session.selection.ids == {2, 3, 4}, "a nucleus that comes back is selected again"
    stop()
    count = len(heard)
    session.undo()
    assert len(heard) == count


def test_nuclei_are_moved_and_cut_by_what_is_there(session):
    before = session.maps.instances == 3
    session.do(Move(0, 20, ids=[3]))  # away from the corner of 4, which lay over it
    rows, columns = np.nonzero(before)
    expected = np.zeros(SHAPE, bool)
    expected[rows, columns + 20] = True
    expected[session.maps.instances == 4] = False
    moved = session.maps.instances == 3
    assert not (moved & ~expected).any()
    assert moved.sum() > 0.9 * expected.sum()
    assert not session.rows[3].intact
    assert session.rows[3].provenance == "human"
    consistent(session)
    session.undo()
    assert np.array_equal(session.maps.instances == 3, before)
    consistent(session)
    session.do(Move(4, 3, ids=[1, 2]))  # two at a time keep their place to each other
    assert session.nuclei.facts(2).area_px == 400
    consistent(session)
    with pytest.raises(SessionError, match="outside"):
        session.do(Move(500, 0, ids=[2]))
    edge = session.do(Move(-38, 0, ids=[4]))
    assert edge.name == "move"
    consistent(session)


def test_a_nucleus_is_not_moved_onto_another(session):
    session.do(Delete([1]))
    session.do(DrawPolygon([(12, 12), (12, 16), (16, 16), (16, 12)]))
    new = max(session.rows)
    with pytest.raises(SessionError, match="nothing is free"):
        session.do(Move(14, 0, ids=[new]))
    consistent(session)


def test_pick_by_click_with_tolerance(session):
    assert session.nuclei.pick((15, 15)) == 1
    assert session.nuclei.pick((15, 31)) == 1
    assert session.nuclei.pick((15, 35)) == 0
    assert session.nuclei.pick((47, 7)) == 5, "an Ambiguous region where no nucleus is near"
    assert str(session.nuclei.facts(3)).startswith("Epithelial 3, ")
    assert "µm², from the file" in str(session.nuclei.facts(3))
    with pytest.raises(SessionError, match="no nucleus 77"):
        session.nuclei.facts(77)


def test_paint_from_outside_is_adopted(session):
    box = (80, 0, 96, 20)
    view = session.maps.instances[80:96, 0:20]
    before = view.copy()
    new = session.nuclei.next_id
    view[4:9, 4:12] = new
    change = session.do(AdoptPaint(box, before, view.copy()))
    assert change.created == (new,)
    assert session.nuclei.facts(new).area_px == 40
    consistent(session)
    session.undo()
    assert not view.any()
    consistent(session)
    session.redo()
    assert np.count_nonzero(view == new) == 40


def test_paint_that_cannot_be_adopted_leaves_the_map_as_it_was(session):
    frame = session.maps.instances
    start = frame.copy()
    for wrong, error in [(5, SessionError), (-1, SessionError)]:
        before = frame[80:90, 0:10].copy()
        frame[80:90, 0:10] = wrong
        with pytest.raises(error):
            session.do(AdoptPaint((80, 0, 90, 10), before, frame[80:90, 0:10].copy()))
        frame[80:90, 0:10] = before
    with pytest.raises(ShapeError):
        session.do(AdoptPaint((80, 0, 90, 10), start[80:89, 0:10], start[80:90, 0:10]))
    assert np.array_equal(frame, start)


def test_suggested_split_is_shown_before_it_is_done(session):
    session.do(DrawBrush([(88, 10)], 12))
    (left,) = {max(session.rows)}
    session.do(DrawBrush([(88, 20)], 12, into=left))
    change = suggested_split(session.nuclei, left)
    state = session.history.state
    assert change is not None
    assert session.history.state == state
    done = session.do(SplitAsSuggested(left))
    assert set(done.created) == {new for new, _ in change.parents}
    with pytest.raises(SessionError, match="no neck"):
        session.do(SplitAsSuggested(3))
    consistent(session)


def test_note_and_features(session):
    session.do(SetNote("odd nucleolus", [3]))
    assert session.rows[3].note == "odd nucleolus"
    assert "note: odd" in str(session.nuclei.facts(3))
    session.do(Delete([4]))
    consistent(session)
    table = session.nuclei.features()
    assert list(table["index"]) == [1, 2, 3]
    assert table.loc[table["index"] == 3, "note"].item() == "odd nucleolus"
    assert list(session.nuclei.features("ambiguous")["class"]) == ["Ambiguous"]


def test_nothing_to_undo_or_redo(session):
    assert session.do(Undo()) is None
    assert session.do(Redo()) is None
    with pytest.raises(SessionError, match="nothing to undo"):
        session.undo()
    with pytest.raises(SessionError, match="nothing to redo"):
        session.redo()
    session.do(Delete([1]))
    assert session.history.undo_name == "delete"
    session.undo()
    assert session.history.redo_name == "delete"
    session.do(Delete([2]))
    assert not session.history.can_redo, "a new edit ends what could be redone"


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
    while session.history.can_undo:
        session.undo()
    assert session.nuclei.same_as(first.nuclei)
    consistent(session)
    while session.history.can_redo:
        session.redo()
    assert dict(session.rows) == rows
    assert all(np.array_equal(getattr(session.maps, n), a) for n, a in last.items())


def test_a_command_that_is_refused_or_says_nothing_new_leaves_no_trace(session):
    """Planning changes nothing: not the maps, not the rows, not the numbers of records and of the next nucleus."""
    before = session.nuclei.snapshot()
    session.predicted.set(np.pad(np.ones((6, 6), np.int32), ((84, 6), (4, 54))))
    refused = (
        DrawPolygon([(55, 15), (55, 16), (56, 16)]), DrawBrush([(85, 10)], 3, into=99), SplitByStroke([(2, 2), (4, 4)]),
        SplitAsSuggested(3), Merge(ids=[1]), Delete([99]), SetClass(9, [1]), SetNote("x", [99]), Accept(7),
        AcceptInPlace([7]), AcceptMany([7]), Separate(99), Fill((25.0, 15.0), into=2), Reshape("grow", []),
    )  # fmt: skip
    for command in refused:
        with pytest.raises(SessionError):
            session.do(command)
    for command in (
        SetClass(1, [1]), AcceptAll(0.9), AcceptMany([]), AcceptInPlace([]), EraseBrush([(90, 60)], 3),
        ErasePolygon([(90, 60), (90, 62), (93, 62)]),
    ):  # fmt: skip
        assert session.do(command) is None, command
    assert session.file.records == 0
    assert session.nuclei.next_id == before.next_id
    assert dict(session.rows) == before.rows
    assert np.array_equal(session.maps.instances, before.instances)


def test_every_command_of_the_union_plans_and_everything_else_is_known():
    """The union is closed: whatever can be done is in it, and each command says what it would change."""
    defined = {
        one for one in vars(commands).values()
        if dataclasses.is_dataclass(one) and isinstance(one, type) and one.__module__ == commands.__name__
    }  # fmt: skip
    planning = set(get_args(commands.EditCommand))
    assert planning == {one for one in defined if hasattr(one, "plan")}
    assert set(get_args(commands.Command)) == defined
    assert len(planning) == 21


def test_a_nucleus_is_accepted_in_place_and_given_a_class_as_one_edit(session):
    """Review's key: the model's nucleus as a class of the reader's choice; one undo takes all of it back."""
    predicted = np.zeros(SHAPE, np.int32)
    predicted[50:60, 10:30], predicted[60:70, 10:24] = 1, 2
    session.predicted.set(predicted)
    before = session.nuclei.snapshot()
    change = session.do(AcceptInPlace([1, 2], class_=4))
    assert session.history.state == 1
    assert 3 not in session.rows
    for label, rows, columns in zip(
        change.created, (slice(50, 60), slice(60, 70)), (slice(10, 30), slice(10, 24)), strict=True
    ):
        assert (session.maps.instances[rows, columns] == label).all()
        row = session.rows[label]
        assert (row.class_id, row.provenance, row.class_provenance, row.author) == (4, "model", "human", "anna")
    consistent(session)
    session.undo()
    assert dict(session.rows) == before.rows
    assert np.array_equal(session.maps.instances, before.instances)
