"""Background work without a window: one outcome each, stops, and who is told of what."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from napari_monusac.app.work import Latest, Pace, Task, Work, error_line, spoken_duration
from napari_monusac.core.errors import TrainingError


@pytest.fixture
def work():
    return Work()


def heard_of(task):
    heard = []
    task.done.connect(lambda v: heard.append(("done", v)))
    task.failed.connect(lambda e: heard.append(("failed", e)))
    task.cancelled.connect(lambda: heard.append(("cancelled", None)))
    task.finished.connect(lambda: heard.append(("finished", None)))
    return heard


def test_a_result_arrives_once_in_the_windows_thread(work):
    threads = []
    task = work.task(lambda _: threading.get_ident(), None)
    task.done.connect(lambda _: threads.append(threading.get_ident()))
    heard = heard_of(task)
    assert not task.running
    assert task.start().running
    work.wait(10)
    assert not task.running
    assert [kind for kind, _ in heard] == ["done", "finished"]
    assert heard[0][1] != threading.get_ident()
    assert threads == [threading.get_ident()]


def test_an_error_of_ours_and_a_fault_both_arrive(work):
    def ours(_):
        raise TrainingError("loss is NaN", "lower the learning rate")

    def fault(_):
        raise ZeroDivisionError("oops")

    heard = [heard_of(work.task(f, None).start()) for f in (ours, fault)]
    work.wait(10)
    assert [[kind for kind, _ in h] for h in heard] == [["failed", "finished"]] * 2
    assert error_line(heard[0][0][1]) == "loss is NaN — lower the learning rate"
    assert error_line(heard[1][0][1]).startswith("ZeroDivisionError: oops — this is a fault in napari-monusac")


def test_stop_is_seen_at_the_next_report(work):
    def endless(report):
        while True:
            report(None, "working")

    task = work.task(endless, None)
    said = []
    task.progressed.connect(lambda progress: (said.append(progress.message), task.stop()))
    heard = heard_of(task)
    task.start()
    work.wait(10)
    assert said[0] == "working"
    assert [kind for kind, _ in heard] == ["cancelled", "finished"]


def test_a_listener_that_fails_keeps_nobody_from_the_end(work):
    def bad(_):
        raise KeyError("a listener's fault")

    task = work.task(lambda _: 1, None)
    task.done.connect(bad)
    heard = heard_of(task)
    task.start()
    with pytest.raises(Exception, match="KeyError"):
        work.wait(10)
    assert ("finished", None) in heard
    assert not work.running


def test_another_windows_work_goes_on():
    mine, other = Work(), Work()
    go_on, seen = threading.Event(), []

    def wait(report):
        while not go_on.wait(0.01):
            report()
        return "through"

    tasks = [w.task(wait, None).start() for w in (mine, other)]
    heard = [heard_of(t) for t in tasks]
    other.ended.connect(seen.append)
    mine.close()
    mine.wait(10)
    assert heard[0] == [], "nobody is told: the window is gone"
    assert mine.task(wait, None).start().running is False, "nothing is begun any more"
    assert other.running == (tasks[1],)
    go_on.set()
    other.wait(10)
    assert [kind for kind, _ in heard[1]] == ["done", "finished"]
    assert seen == [tasks[1]]


def test_what_nobody_waits_for_stops(work):
    """A panel that was closed: its task stops, and what hears of it is not called; those of others go on."""
    gone, go_on = set(), threading.Event()
    work.is_there = lambda owner: owner not in gone

    def wait(report):
        while not go_on.wait(0.01):
            report()
        return "through"

    lost, kept = work.task(wait, "a panel").start(), work.task(wait, "the Studio").start()
    heard = [heard_of(lost), heard_of(kept)]
    gone.add("a panel")
    assert lost.stopping
    assert not kept.stopping
    while lost.running:
        work._inbox.get(timeout=10)()
    go_on.set()
    work.wait(10)
    assert heard[0] == []
    assert [kind for kind, _ in heard[1]] == ["done", "finished"]


def test_an_ended_task_keeps_neither_what_it_made_nor_those_who_waited(work):
    class Made:
        pass

    class Panel:
        def __init__(self):
            self.got = None

    made, panel = Made(), Panel()
    task = work.task(lambda _, made=made: made, panel)
    task.done.connect(lambda value, panel=panel: setattr(panel, "got", value))
    task.start()
    work.wait(10)
    assert panel.got is made
    left = weakref.ref(made), weakref.ref(panel)
    del made, panel
    gc.collect()
    assert [ref() for ref in left] == [None, None]
    assert isinstance(task, Task)


def test_of_what_is_asked_for_meanwhile_only_the_last_is_done(work):
    latest, first_may_end, done = Latest(work, None), threading.Event(), []
    latest.done.connect(done.append)
    latest.ask(lambda: first_may_end.wait(10) and "first")
    for name in ("second", "third", "last"):
        latest.ask(lambda name=name: name)
    first_may_end.set()
    work.wait(10)
    assert done == ["first", "last"]
    latest.ask(lambda: "forgotten")
    latest.forget()
    work.wait(10)
    assert done == ["first", "last"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.2, "1 s"),
        (59, "59 s"),
        (61, "1 min"),
        (3540, "59 min"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_are_for_people(seconds, words):
    assert spoken_duration(seconds) == words


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    from napari_monusac.app import work as module

    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_no_time_left_is_told_before_it_can_be_known(clock):
    pace = Pace()
    assert pace.seconds_left(None) is None
    assert pace.seconds_left(0.0) is None
    assert pace.seconds_left(0.001) is None
    clock[0] += 1
    assert pace.seconds_left(0.002) is None, "too little is done"


def test_time_left_is_counted_from_the_first_unit_of_work(clock):
    """65 s of preparation, then 100 tiles of 1 s each: after the second there are 98 s to go, not an hour."""
    pace = Pace()
    for _ in range(65):
        assert pace.seconds_left(None) is None
        clock[0] += 1
    for tile in range(1, 100):
        clock[0] += 1
        left = pace.seconds_left(tile / 100)
        assert left == (None if tile == 1 else pytest.approx(100 - tile))


def test_a_second_part_of_the_work_has_a_pace_of_its_own(clock):
    pace = Pace()
    for done in (0.5, 1.0):
        clock[0] += 1
        pace.seconds_left(done)
    clock[0] += 10
    assert pace.seconds_left(0.1) is None
    clock[0] += 10
    assert pace.seconds_left(0.2) == pytest.approx(80)


def test_a_task_tells_the_time_left(work):
    told = []

    def function(report):
        report._throttle_s = 0
        report(None, "preparing")
        for part in (0.2, 0.4):
            time.sleep(0.05)
            report(part, "working")

    task = work.task(function, None)
    task.progressed.connect(lambda progress: told.append((progress.message, progress.seconds_left)))
    task.start()
    work.wait()
    (_, first), (_, second), (_, third) = told
    assert (first, second) == (None, None)
    assert 0.1 < third < 5
