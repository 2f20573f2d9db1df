"""The density of a class in a crop: by the centres of its pixels. No window."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.app.answers import Refused
from napari_monusac.app.density import density_of, spot_words
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.commands import Delete, SetClass
from napari_monusac.editing.session import EditingSession
from napari_monusac.scoring.metrics.hotspots import HotSpot

SHAPE = (200, 300)


def square(y, x, label):
    corners = [(y - 3, x - 3), (y - 3, x + 3), (y + 3, x + 3), (y + 3, x - 3)]
    return Nucleus(np.array(corners, float), label, 0, integral=True)


@pytest.fixture
def session():
    crowd = [square(50 + 10 * k, 60, "Lymphocyte") for k in range(4)]
    return EditingSession(
        Annotation((*crowd, square(150, 250, "Epithelial"), square(100, 150, "Ambiguous")), um_per_px=0.5), SHAPE
    )


def test_only_the_class_counts_and_edits_follow(session):
    made = density_of(session, 2, 20)()
    (spot,) = made.hot_spots()
    assert spot.number == 4
    assert abs(spot.y_px - 65) <= 25
    assert abs(spot.x_px - 60) <= 37
    assert spot.per_mm2 == pytest.approx(4 / (np.pi * 0.02**2), rel=0.3)
    assert {s.number for s in density_of(session, None, 20)().hot_spots()} == {4, 1}, "regions are no nuclei"
    session.do(SetClass(1, [1]))
    session.do(Delete([2]))
    assert density_of(session, 2, 20)().hot_spots()[0].number == 2


def test_without_a_crop_or_a_scale_it_says_so():
    assert density_of(None, None, 20) == Refused("Open a crop first (Slides).")
    answer = density_of(EditingSession(Annotation(()), SHAPE), None, 20)
    assert isinstance(answer, Refused)
    assert "scale" in answer.why


def test_words():
    assert spot_words(HotSpot(1, 2, 1, 99.6)) == "100 per mm²: 1 nucleus"
    assert spot_words(HotSpot(1, 2, 12, 1240.2)) == "1240 per mm²: 12 nuclei"
