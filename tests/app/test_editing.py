"""Editing as state, without a window: what is told, what waits, what is refused with a line."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest

from napari_monusac.app.editing import Editing, Question
from napari_monusac.app.facts import Fact
from napari_monusac.app.place import place_of
from napari_monusac.app.work import Work
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.core.prediction import Nuclei, Prediction
from napari_monusac.editing.commands import Delete, DrawPolygon, Select, SetClass, Undo
from napari_monusac.editing.session import EditingSession

SHAPE = (40, 60)


def square(top, left, side=8):
    bottom, right = top + side - 1, left + side - 1
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return Nucleus(np.array(corners, float), "Epithelial", 0, integral=True)


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def editing(work):
    return Editing(work)


@pytest.fixture
def session():
    return EditingSession(Annotation((square(4, 4), square(20, 30))), SHAPE, author="anna")


def listen(editing):
    heard = []
    events = [fact.event for fact in vars(Editing).values() if isinstance(fact, Fact)]
    for event in (*events, "said", "changed"):
        getattr(editing, event).connect(lambda *value, event=event: heard.append((event, *value)))
    return heard


def test_each_fact_has_one_event_of_its_own():
    events = {name: fact.event for name, fact in vars(Editing).items() if isinstance(fact, Fact)}
    assert set(events) == {
        "place", "opening", "astray", "session", "tool", "current_class", "selected", "unsaved", "busy", "question", "min_confidence"
    }  # fmt: skip
    assert len(set(events.values())) == len(events)


def test_without_a_crop_a_command_is_refused_with_a_line(editing):
    heard = listen(editing)
    assert not editing.do(Delete([1]))
    assert heard == [("said", "Open a crop first (Slides).", "hint")]


def test_a_command_goes_to_the_session_and_its_facts_follow(editing, session):
    editing.take(session)
    heard = listen(editing)
    assert editing.do(Select([2]))
    assert editing.selected == {2}
    assert not editing.unsaved, "a selection is no edit"
    seen = []
    assert editing.do(SetClass(3), seen.append)
    assert session.rows[2].class_id == 3
    assert [change.name for change in seen] == ["class"]
    assert editing.unsaved
    assert editing.do(SetClass(3), seen.append), "it can be done"
    assert len(seen) == 1, "and changes nothing"
    assert editing.do(Undo())
    assert not editing.unsaved
    assert [e[0] for e in heard if e[0] not in ("said", "changed")] == [
        "selected_changed", "unsaved_changed", "unsaved_changed"
    ]  # fmt: skip
    assert [e[1].kind for e in heard if e[0] == "changed"] == ["selection", "edit", "undo"]
    editing.do(Delete([2]))
    assert editing.selected == frozenset(), "what is gone is not selected"


def test_what_cannot_be_done_is_one_line_and_changes_nothing(editing, session):
    editing.take(session)
    before = session.nuclei.snapshot()
    heard = listen(editing)
    assert not editing.do(DrawPolygon([(5, 5), (5, 8), (8, 8)]))
    ((event, words, kind),) = heard
    assert (event, kind) == ("said", "warning")
    assert "nothing is free under this stroke" in words
    assert np.array_equal(session.maps.instances, before.instances)


def test_paint_is_handed_over_before_a_command(editing, session):
    """Whoever holds what napari painted hears of each command before it is done, and of work that needs the session."""
    editing.take(session)
    seen = []
    editing.acting.connect(lambda: seen.append(session.history.state))
    editing.do(Delete([1]))
    assert seen == [0]
    task = editing.exclusively(lambda s: s.history.state, editing)
    assert seen == [0, session.history.state]
    assert task is not None


def test_commands_wait_while_the_session_is_saved_and_come_in_order(editing, session, work, tmp_path):
    editing.take(session)
    editing.do(Delete([1]))
    go, heard = threading.Event(), listen(editing)

    def saving(own):
        go.wait(10)
        return own.save(tmp_path / "copy.xml")

    task = editing.exclusively(saving, editing)
    assert editing.busy
    assert editing.exclusively(saving, editing) is None, "one at a time"
    task.start()
    assert editing.do(SetClass(2, [2]))
    assert editing.do(SetClass(4, [2]))
    assert session.rows[2].class_id == 1, "not yet"
    assert [e[0] for e in heard] == ["busy_changed"]
    go.set()
    work.wait()
    assert not editing.busy
    assert session.rows[2].class_id == 4
    assert [edit.name for edit in session.history.done] == ["delete", "class", "class"]


def test_a_saving_in_a_thread_is_told_of_in_the_window_s_thread(editing, work, tmp_path):
    path = tmp_path / "crop.xml"
    session = EditingSession.open(path, SHAPE)
    editing.take(session)
    editing.do(DrawPolygon([(4, 4), (4, 12), (12, 12), (12, 4)]))
    where = []
    editing.changed.connect(lambda change: where.append((change.kind, threading.get_ident())))
    assert editing.unsaved
    editing.exclusively(lambda s: s.save(), editing).start()
    work.wait()
    assert where == [("saved", threading.get_ident())]
    assert not editing.unsaved
    session.close()


def test_leaving_drops_what_waits_and_another_crop_begins_anew(editing, session, work):
    editing.take(session)
    editing.do(Select([1]))
    editing.do(Delete([2]))
    editing.current_class = 4
    assert session.selection.current_class == 4
    go = threading.Event()
    editing.exclusively(lambda _: go.wait(10), editing).start()
    editing.do(Delete([1]))
    assert editing.leave() is session
    assert (editing.session, editing.selected, editing.unsaved) == (None, frozenset(), False)
    other = EditingSession(Annotation((square(4, 4),)), SHAPE)
    editing.take(other)
    assert editing.current_class == 1
    go.set()
    work.wait()
    assert set(other.rows) == {1}, "what was meant for the former crop is not done to this one"
    assert set(session.rows) == {1}


def test_a_prediction_is_handed_over_once_and_one_that_does_not_fit_is_refused(editing, session):
    editing.take(session)
    heard = listen(editing)
    assert not editing.ready_prediction(None)
    assert "Predict" in heard[-1][1]
    instances = np.zeros((10, 10), np.int32)
    instances[2:6, 2:6] = 1
    semantic, ternary = np.zeros((5, 10, 10), np.float32), np.zeros((3, 10, 10), np.float32)
    semantic[0] = ternary[0] = 1
    made = (
        Prediction(semantic, ternary, um_per_px=0.25, offset_px=(25, 5)),
        Nuclei(instances, pd.DataFrame({"label": [1]}), 0.25),
    )
    assert editing.ready_prediction(made)
    assert session.predicted.found[1].stamp.box == (27, 7, 31, 11)
    first = session.predicted.found
    assert editing.ready_prediction(made)
    assert session.predicted.found is first
    editing.place = place_of({"image": "slide.svs", "offset_px": (100, 0)}, SHAPE, 0.25)
    assert not editing.ready_prediction((made[0], made[1])), "of a huge slide the middle is shown: it counts from there"
    assert heard[-1][0] == "said"
    assert "does not fit" in heard[-1][1]


def test_a_question_is_a_fact_and_is_taken_back(editing):
    heard = listen(editing)
    question = Question("Save?", (("Yes", lambda: None),))
    editing.question = question
    editing.question = None
    editing.question = None
    assert heard == [("question_changed", question), ("question_changed", None)]


def test_it_needs_no_window():
    code = (
        "import sys; from napari_monusac.app.studio import StudioModel; StudioModel().editing.tool = 'brush';"
        "print(sorted({'napari', 'qtpy', 'torch', 'PyQt6'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
