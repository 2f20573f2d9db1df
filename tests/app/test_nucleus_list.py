"""The list of nuclei: what it finds and in which order, by areas that the test counts itself. No window."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.app.editing import Editing
from napari_monusac.app.nucleus_list import By, NucleusList
from napari_monusac.app.work import Work
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.commands import Delete, DrawPolygon, EraseBrush, SetClass, SetNote
from napari_monusac.editing.session import EditingSession

SHAPE = (80, 120)


def square(top, left, side, label):
    low, high = (top, left), (top + side - 1, left + side - 1)
    corners = [low, (low[0], high[1]), high, (high[0], low[1])]
    return Nucleus(np.array(corners, float), label, 0, integral=True)


@pytest.fixture
def editing():
    nuclei = (
        square(4, 4, 10, "Epithelial"), square(4, 30, 20, "Lymphocyte"), square(40, 4, 6, "Lymphocyte"),
        square(45, 65, 8, "Macrophage"), square(40, 60, 30, "Ambiguous"),
    )  # fmt: skip
    made = Editing(Work())
    made.take(EditingSession(Annotation(nuclei, um_per_px=0.5), SHAPE, author="Dr. Ánna"))
    return made


@pytest.fixture
def nuclei(editing):
    made = NucleusList(editing)
    editing.changed.connect(made.follow)
    return made


def ids(found):
    return [one.id for one in found]


def true_areas(session):
    planes = {"nuclei": session.maps.instances, "ambiguous": session.maps.ambiguous}
    return {k: int((planes[row.plane] == k).sum()) for k, row in session.rows.items()}


def test_areas_are_those_of_the_pixels_and_follow_every_edit(editing, nuclei):
    def held():
        assert {one.id: one.area_px for one in nuclei.all()} == true_areas(editing.session)
        assert all(one.area == one.area_px * 0.25 for one in nuclei.all())

    held()
    assert {one.id: one.area_px for one in nuclei.all()} == {1: 100, 2: 400, 3: 36, 4: 64, 5: 900}
    editing.do(EraseBrush([(5, 5)], 4))
    editing.do(DrawPolygon([(60, 5), (60, 20), (75, 20), (75, 5)]))
    held()
    editing.do(SetClass(5, [2]))
    editing.do(Delete([3]))
    held()
    for _ in range(3):
        editing.session.undo()
        held()
    editing.session.redo()
    held()
    editing.leave()
    assert nuclei.all() == []
    editing.take(EditingSession(Annotation((square(4, 4, 9, ""),)), SHAPE))
    (one,) = nuclei.all()
    assert (one.area_px, one.area) == (81, 81.0), "px where the scale is unknown"


def test_a_search_is_words_and_bounds(editing, nuclei):
    editing.do(SetNote("mitosis? ask Bo", [3]))

    def found(query):
        nuclei.query = query
        return ids(nuclei.shown())

    assert found("") == [1, 2, 3, 4, 5]
    assert found("lymph") == [2, 3]
    assert found("LYMPH Mitosis") == [3]
    assert found("by hand") == []  # a note leaves who drew it
    assert found("file") == [1, 2, 3, 4, 5]
    assert found("ánna") == [3]
    assert found(">25") == [2, 5]
    assert found("area<20") == [3, 4]
    assert found(">8 <26") == [1, 3, 4]
    assert found("lymph <50,5") == [3]
    assert found("conf<0.9") == []
    assert found("nothing such") == []


def test_an_order_holds_both_ways_and_what_says_nothing_comes_last(editing, nuclei):
    editing.do(SetNote("b", [5]))
    editing.do(SetNote("A", [2]))

    def order(by, *, backwards=False):
        nuclei.order = by, backwards
        return ids(nuclei.shown())

    assert order(By.NUMBER, backwards=True) == [5, 4, 3, 2, 1]
    assert order(By.CLASS) == [5, 1, 2, 3, 4]
    assert order(By.AREA) == [3, 4, 1, 2, 5]
    assert order(By.AREA, backwards=True) == [5, 2, 1, 4, 3]
    assert order(By.NOTE)[:2] == [2, 5]
    assert order(By.NOTE, backwards=True)[:2] == [5, 2]
    sure = {1: 0.9, 3: 0.2}
    rows = editing.session.nuclei.rows
    editing.session.nuclei.set_rows({k: rows[k].model_copy(update={"confidence": v}) for k, v in sure.items()})
    assert order(By.CONFIDENCE)[:2] == [3, 1]
    assert order(By.CONFIDENCE, backwards=True)[:2] == [1, 3]
    nuclei.query = "conf>0.5"
    assert ids(nuclei.shown()) == [1]


def test_those_like_one(nuclei):
    assert nuclei.like(2, "class") == [2, 3]
    assert nuclei.like(1, "smaller") == [1, 3, 4]
    assert nuclei.like(1, "larger") == [1, 2]
    assert nuclei.like(5, "larger") == [5]
    assert nuclei.like(99, "class") == []


def test_setting_query_and_order_tells_once(nuclei):
    heard = []
    nuclei.query_changed.connect(heard.append)
    nuclei.order_changed.connect(heard.append)
    nuclei.query = "lymph"
    nuclei.query = "lymph"
    nuclei.order = By.AREA, True
    assert heard == ["lymph", (By.AREA, True)]
