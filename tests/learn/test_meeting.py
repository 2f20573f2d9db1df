"""How the processes of a run hear of each other's failures, on a store in memory."""

from __future__ import annotations

import threading
import time

import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def meetings(monkeypatch):
    """Make the meetings of several ranks of one run, as if each were a process of its own."""
    from torch.distributed import HashStore

    from napari_monusac.learn import meeting

    store = HashStore()
    monkeypatch.setattr(meeting, "_shared_store", lambda: store)
    monkeypatch.setattr(meeting, "_POLL_S", 0.01)

    def make(count: int = 2):
        made = []
        for rank in range(count):
            monkeypatch.setattr(meeting, "_RUNS", iter([7]))
            made.append(meeting.Meeting(rank, count))
        return made

    return make


def test_all_wait_for_the_last(meetings):
    ranks, order = meetings(3), []
    threads = [threading.Thread(target=lambda r=r: (r.meet(), order.append("met"))) for r in ranks[:2]]
    for t in threads:
        t.start()
    time.sleep(0.1)
    assert order == []
    ranks[2].meet()
    for t in threads:
        t.join(5)
    assert order == ["met", "met"]


def test_one_that_does_not_come_is_named(meetings, monkeypatch):
    from napari_monusac.learn import meeting

    monkeypatch.setattr(meeting, "_MEET_S", 0.1)
    with pytest.raises(meeting.RankFailedError, match="rank 1 did not come"):
        meetings()[0].meet()


def test_a_failure_before_the_meeting_reaches_who_waits(meetings):
    from napari_monusac.learn.meeting import RankFailedError

    first, second, third = meetings(3)
    teller = threading.Thread(target=second.tell, args=("no data here",))
    teller.start()
    with pytest.raises(RankFailedError, match="rank 1 failed: no data here"):
        first.meet()
    third.failure()
    start = time.monotonic()
    teller.join(10)
    assert time.monotonic() - start < 2, "it does not linger once all have heard"
    first.tell("because of the other")
    start = time.monotonic()
    third.tell("at the same time")
    assert time.monotonic() - start < 2, "who is not the first to fail waits for nobody"
    assert second.failure() == first.failure() == "rank 1 failed: no data here"


@pytest.mark.parametrize("in_time", [True, False])
def test_a_process_that_waits_for_a_failed_one_is_freed(meetings, monkeypatch, in_time):
    from napari_monusac.learn import meeting

    freed = threading.Event()
    monkeypatch.setattr(meeting, "_abort", freed.set)
    monkeypatch.setattr(meeting, "_GRACE_S", 5.0 if in_time else 0.05)
    first, second = meetings()
    first.watch()
    second.tell("out of paper")
    assert first.failure() == "rank 1 failed: out of paper"
    if in_time:
        first.end()
        assert not freed.is_set(), "it ended by itself"
    else:
        assert freed.wait(5)
    first.end()


def test_nothing_is_aborted_where_nobody_failed(meetings, monkeypatch):
    from napari_monusac.learn import meeting

    monkeypatch.setattr(meeting, "_abort", lambda: pytest.fail("aborted"))
    first, _ = meetings()
    first.watch()
    time.sleep(0.1)
    first.end()
    assert first.failure() == ""
