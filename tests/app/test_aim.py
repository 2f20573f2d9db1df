"""The one rule for what a key acts on."""

from __future__ import annotations

import pytest

from napari_monusac.app.aim import Aim, Meant, Why


def everywhere(_):
    return True


def nowhere(_):
    return False


@pytest.fixture
def aim():
    made = Aim()
    made.moved(0)
    return made


def test_the_selection_comes_first_also_over_what_the_pointer_is_on(aim):
    aim.moved(9)
    assert aim.meant({3}, 9, everywhere) == Meant((3,), Why.SELECTED, 1)
    assert aim.meant({5, 3, 4}, 9, everywhere).ids == (3, 4, 5)


def test_a_selection_out_of_view_is_left_alone(aim):
    assert aim.meant({3, 4}, 0, nowhere) == Meant((), Why.NOTHING, 2)
    assert aim.meant({3, 4}, 9, nowhere) == Meant((9,), Why.POINTER, 2)
    assert aim.meant({3, 4}, 9, lambda k: k == 4) == Meant((4,), Why.SELECTED, 2)


def test_with_nothing_selected_the_pointer_means_what_it_is_on(aim):
    assert aim.meant((), 9, everywhere) == Meant((9,), Why.POINTER)
    assert aim.meant((), 0, everywhere) == Meant((), Why.NOTHING)


def test_what_was_just_drawn_is_meant_once_the_pointer_has_left_it(aim):
    aim.drew([7])
    assert aim.meant((), 7, everywhere) == Meant((), Why.DRAWN)
    aim.moved(7)  # a hand is never quite still
    assert aim.meant((), 7, everywhere).ids == ()
    aim.moved(0)
    aim.moved(7)
    assert aim.meant((), 7, everywhere).ids == (7,)
    assert aim.drawn_last == 7


def test_a_neighbour_of_what_was_just_drawn_is_meant_at_once(aim):
    aim.drew([7])
    aim.moved(2)
    assert aim.meant((), 2, everywhere).ids == (2,)


def test_what_was_just_drawn_is_meant_once_it_is_selected(aim):
    aim.drew([7])
    assert aim.meant({7}, 7, everywhere).ids == (7,)


def test_the_pointer_does_not_count_after_a_step_until_it_moves(aim):
    aim.rested()
    assert aim.meant((), 9, everywhere).ids == (), "the one that was stepped to is deleted: the next key spares another"
    aim.moved(9)
    assert aim.meant((), 9, everywhere).ids == (9,)


def test_another_crop_has_no_nucleus_drawn_last(aim):
    aim.drew([7])
    aim.forget()
    assert aim.drawn_last == 0


@pytest.mark.parametrize(
    ("meant", "under", "line"),
    [
        (Meant((3,), Why.SELECTED, 1), 0, "1 selected: nucleus 3"),
        (Meant((3, 4, 5), Why.SELECTED, 3), 3, "3 selected"),
        (Meant((3,), Why.SELECTED, 3), 0, "3 selected, 1 in view: keys act on that one"),
        (Meant((3, 4), Why.SELECTED, 3), 0, "3 selected, 2 in view: keys act on those"),
        (Meant((9,), Why.POINTER), 9, "nucleus 9"),
        (Meant((9,), Why.POINTER, 2), 9, "nucleus 9. 2 selected, out of view"),
        (Meant((), Why.DRAWN), 7, "Just drawn: nucleus 7. A click selects it for keys"),
        (Meant((), Why.NOTHING, 1), 0, "1 selected, out of view: keys leave it alone"),
        (Meant((), Why.NOTHING), 0, ""),
    ],
)
def test_the_top_line_says_what_is_meant(meant, under, line):
    assert meant.line(lambda k: f"nucleus {k}", under) == line
