from __future__ import annotations

import threading

import pytest

from napari_monusac.core.errors import TrainingError
from napari_monusac.ui.widgets.work import Task, error_line, seconds_left, spoken_duration


def outcome(qtbot, task):
    seen = []
    task.done.connect(lambda v: seen.append(("done", v)))
    task.failed.connect(lambda e: seen.append(("failed", e)))
    task.cancelled.connect(lambda: seen.append(("cancelled", None)))
    with qtbot.waitSignal(task.finished, timeout=10_000):
        task.start()
    return seen


def test_a_result_arrives_once_on_the_qt_thread(qtbot):
    threads = []
    task = Task(lambda report: threading.get_ident())
    task.done.connect(lambda _: threads.append(threading.get_ident()))
    seen = outcome(qtbot, task)
    assert len(seen) == 1
    assert seen[0][0] == "done"
    assert seen[0][1] != threading.get_ident()
    assert threads == [threading.get_ident()]


def test_an_error_of_ours_and_a_fault_both_arrive(qtbot):
    def ours(report):
        raise TrainingError("loss is NaN", "lower the learning rate")

    def fault(report):
        raise ZeroDivisionError("oops")

    assert error_line(outcome(qtbot, Task(ours))[0][1]) == "loss is NaN — lower the learning rate"
    assert "ZeroDivisionError" in error_line(outcome(qtbot, Task(fault))[0][1])


def test_stop_is_seen_at_the_next_report(qtbot):
    started = threading.Event()

    def endless(report):
        while True:
            report(None, "working")
            started.set()

    task = Task(endless)
    task.progressed.connect(lambda _: task.stop())
    assert outcome(qtbot, task) == [("cancelled", None)]
    assert started.is_set()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.2, "1 s"), (59, "59 s"), (61, "1 min"), (3599, "60 min"), (7800, "2 h 10 min")],
)
def test_durations_are_for_people(seconds, words):
    assert spoken_duration(seconds) in (words, words.replace("60 min", "1 h 00 min"))


def test_no_time_left_is_told_before_it_can_be_known():
    assert seconds_left(0.0, None) is None
    assert seconds_left(0.0, 0.001) is None
