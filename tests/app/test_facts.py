from __future__ import annotations

import gc
import operator
import weakref

import pytest
from psygnal import Signal

from napari_monusac.app.facts import Fact, never


class Lamp:
    lit_changed = Signal(object)
    flashed = Signal(object)
    bulb_changed = Signal(object)

    lit: Fact[bool] = Fact("lit_changed", False, operator.eq)
    flash: Fact[int] = Fact("flashed", 0, never)
    bulb: Fact[list[int] | None] = Fact("bulb_changed", None)


@pytest.fixture
def lamp():
    return Lamp()


def told(signal):
    heard: list[object] = []
    signal.connect(heard.append)
    return heard


def test_setting_is_the_event_and_the_value_holds_when_it_is_told(lamp):
    seen = []
    lamp.lit_changed.connect(lambda value: seen.append((value, lamp.lit)))
    lamp.lit = True
    lamp.lit = True
    lamp.lit = False
    assert seen == [(True, True), (False, False)]


def test_what_is_news_is_said_by_the_field(lamp):
    flashes, bulbs = told(lamp.flashed), told(lamp.bulb_changed)
    lamp.flash = 1
    lamp.flash = 1
    assert flashes == [1, 1]
    first, second = [1], [1]
    lamp.bulb = first
    lamp.bulb = first
    lamp.bulb = second  # equal, but another
    lamp.bulb = None
    assert [b is first or b is second or b is None for b in bulbs] == [True] * 3
    assert bulbs[1] is second


def test_each_owner_has_its_own_value(lamp):
    other = Lamp()
    heard = told(other.lit_changed)
    lamp.lit = True
    assert (lamp.lit, other.lit, heard) == (True, False, [])
    assert isinstance(Lamp.lit, Fact)


def test_an_owner_dies_with_what_hears_it_even_through_a_lambda():
    """`psygnal.SignalGroupDescriptor` would keep both: the reason why there is `Fact`."""

    class Panel:
        def __init__(self, lamp):
            self.lamp, self.text = lamp, ""
            lamp.lit_changed.connect(lambda on: setattr(self, "text", str(on)))

    lamp = Lamp()
    panel = Panel(lamp)
    lamp.lit = True
    assert panel.text == "True"
    left = weakref.ref(lamp), weakref.ref(panel)
    del lamp, panel
    gc.collect()
    assert [ref() for ref in left] == [None, None]
