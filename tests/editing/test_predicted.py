"""Accepting predicted nuclei."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_monusac.core.errors import SessionError, ShapeError
from napari_monusac.editing.commands import Accept, AcceptAll, AcceptInPlace, Reshape
from napari_monusac.editing.session import EditingSession

SHAPE = (96, 64)


@pytest.fixture
def session(overlapping):
    """Predicted: 1 = nucleus 3 again; 2 = free; 3 = a third over nucleus 4; 4 = free, uncertain; 6 = overlaps 2."""
    session = EditingSession(overlapping, SHAPE, author="anna")
    found = np.zeros(SHAPE, np.int32)
    found[51:69, 11:29] = 1
    found[84:94, 40:60] = 2
    found[60:80, 39:57] = 3
    found[2:8, 40:50] = 4
    found[84:94, 30:40] = 6
    table = pd.DataFrame(
        {
            "label": [1, 2, 3, 4, 6],
            "class": ["Epithelial", "Lymphocyte", "Macrophage", "Neutrophil", "Lymphocyte"],
            "class_id": [1, 2, 4, 3, 2],
            "confidence": [0.99, 0.9, 0.8, 0.3, np.nan],
        }
    )
    session.predicted.set(found, table)
    return session


def test_one_by_click(session):
    label = session.predicted.pick((89, 61))
    assert label == 2, "a click that slips by two pixels is still a click"
    assert session.predicted.pick((89, 63)) == 0
    change = session.do(Accept(label))
    (new,) = change.created
    row = session.rows[new]
    assert (row.provenance, row.class_provenance, row.class_id, row.confidence) == ("model", "model", 2, 0.9)
    assert row.author == "anna", "who accepted it"
    assert session.nuclei.facts(new).area_px == 200
    assert "confidence 0.90, found by the model" in str(session.nuclei.facts(new))
    with pytest.raises(SessionError, match="taken by nucleus"):
        session.do(Accept(label))
    session.do(Reshape("grow", [new]))
    assert session.rows[new].provenance == "human", "whose outline it is now"
    assert session.rows[new].class_provenance == "model"


def test_clipped_to_what_is_free(session):
    before = session.maps.instances.copy()
    assert session.predicted.covered(3) == pytest.approx(120 / 360)
    (new,) = session.do(Accept(3)).created
    assert np.array_equal(session.maps.instances[before > 0], before[before > 0])
    assert session.nuclei.facts(new).area_px == 240


def test_replace_takes_the_rivals_place(session):
    with pytest.raises(SessionError, match="taken by nucleus 3"):
        session.do(Accept(1))
    change = session.do(AcceptInPlace([1]))
    (new,) = change.created
    assert 3 not in session.rows
    assert 4 in session.rows
    assert session.nuclei.facts(new).area_px < 18 * 18, "4 keeps its pixels"
    session.undo()
    assert 3 in session.rows
    assert session.rows[3].intact


def test_all_above_a_confidence(session):
    assert session.predicted.candidates() == (2, 3, 4, 6)
    assert session.predicted.candidates(0.5) == (2, 3)
    change = session.do(AcceptAll(0.5))
    assert len(change.created) == 2
    assert session.history.state == 1, "one command"
    assert session.predicted.candidates(0.5) == ()
    assert session.do(AcceptAll(0.5)) is None
    session.undo()
    assert session.predicted.candidates(0.5) == (2, 3)


def test_all_of_a_region(session):
    assert session.predicted.candidates(0.0, [(0, 0), (0, 63), (20, 63), (20, 0)]) == (4,)
    change = session.do(AcceptAll(0.0, [(80, 20), (80, 63), (95, 63), (95, 20)]))
    assert {session.rows[k].class_id for k in change.created} == {2}
    assert len(change.created) == 2


def test_a_prediction_of_a_part_of_the_image(session):
    part = np.zeros((20, 20), np.int32)
    part[5:15, 5:15] = 1
    session.predicted.set(part, None, (70, 0))
    (new,) = session.do(Accept(1)).created
    assert session.maps.boxes[new] == (75, 5, 85, 15)
    assert session.rows[new].class_name == "Unclassified"
    with pytest.raises(ShapeError, match="does not fit the image"):
        session.predicted.set(part, None, (80, 0))
    session.predicted.set(None)
    with pytest.raises(SessionError, match="no predicted nucleus 1"):
        session.do(Accept(1))
