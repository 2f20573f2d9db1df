"""Sessions are opened one after the other, and one that nobody takes is closed: its crop can be edited elsewhere."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_monusac.app.opening import SessionOpener, WantedSession
from napari_monusac.app.place import open_session, place_of
from napari_monusac.app.work import Work
from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.files import write_annotation

SQUARE = Nucleus(np.array([(4.0, 4.0), (4.0, 11.0), (11.0, 11.0), (11.0, 4.0)]), "Epithelial", 0, integral=True)


@pytest.fixture
def places(tmp_path):
    """Two crops."""
    for name in ("one", "two"):
        write_annotation(Annotation((SQUARE,)), tmp_path / f"{name}.xml")
    return [
        place_of({"image": str(tmp_path / f"{n}.svs"), "annotation": str(tmp_path / f"{n}.xml")}, (40, 60), 0.25)
        for n in ("one", "two")
    ]


class Taker:
    """Who wants sessions, and what it got."""

    def __init__(self):
        self.work = Work()
        self.got, self.lost, self.made = [], [], []
        self.opener = SessionOpener(self.work, self, lambda *got: self.got.append(got), lambda *e: self.lost.append(e))

    def wanted(self, place, prepare=lambda _: "prepared"):
        def keep(session):
            self.made.append(session)
            return prepare(session)

        return WantedSession(place, "anna", keep)


def is_free(place):
    """Whether nobody holds the crop: another window would be told."""
    session = open_session(place, "bert", "auto")
    free = not session.file.in_use
    session.close()
    return free


def test_a_session_comes_with_what_was_prepared(places):
    taker = Taker()
    taker.opener.ask(taker.wanted(places[0]))
    assert taker.opener.busy
    taker.work.wait()
    ((place, session, prepared),) = taker.got
    assert (place, prepared) == (places[0], "prepared")
    assert set(session.rows) == {1}
    assert not taker.opener.busy
    session.close()


def closed(session):
    """Whether a session takes no edits any more."""
    return session.file._closed


def test_of_two_that_are_asked_for_the_last_comes_and_the_first_is_closed(places):
    taker, begun, go = Taker(), threading.Event(), threading.Event()

    def slowly(_):
        begun.set()
        go.wait(20)

    taker.opener.ask(taker.wanted(places[0], slowly))
    assert begun.wait(20)
    taker.opener.ask(taker.wanted(places[1]))
    go.set()
    taker.work.wait()
    assert [place for place, *_ in taker.got] == [places[1]]
    assert [closed(session) for session in taker.made] == [True, False]
    taker.got[0][1].close()


def test_one_that_is_given_up_is_closed(places):
    taker = Taker()
    taker.opener.ask(taker.wanted(places[0]))
    taker.opener.ask(None)
    taker.work.wait()
    assert not taker.got
    assert all(closed(session) for session in taker.made)
    assert is_free(places[0])


def test_one_whose_taker_is_gone_is_closed(places):
    """A dock that is closed while its crop is being opened: nobody is told, and nothing stays open."""
    taker = Taker()
    taker.opener.ask(taker.wanted(places[0]))
    taker.work.is_there = lambda _: False
    taker.work.wait()
    assert not taker.got
    assert len(taker.made) == 1
    assert closed(taker.made[0])


def test_one_of_a_window_that_closes_is_closed(places):
    taker, begun, go = Taker(), threading.Event(), threading.Event()

    def slowly(_):
        begun.set()
        go.wait(20)

    taker.opener.ask(taker.wanted(places[0], slowly))
    assert begun.wait(20)
    taker.work.close()
    go.set()
    taker.work.wait()
    assert not taker.got
    assert closed(taker.made[0])


def test_one_that_cannot_be_prepared_is_closed_and_told(places):
    taker = Taker()

    def fails(_):
        raise SessionError("no", "yes")

    taker.opener.ask(taker.wanted(places[0], fails))
    taker.work.wait()
    ((place, error),) = taker.lost
    assert place is places[0]
    assert isinstance(error, SessionError)
    assert closed(taker.made[0])
