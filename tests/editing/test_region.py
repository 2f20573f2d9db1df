"""A part of a slide is edited: everything outside it stays to the letter, edges included."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lxml import etree
from skimage.draw import polygon

from napari_monusac.core.nuclei import Annotation, Layer, Nucleus
from napari_monusac.editing.commands import Accept, Delete, DrawPolygon, Reshape, SetClass
from napari_monusac.editing.nuclei.frame import OtherRegion
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.annotations.files import read_annotation, write_annotation

OFFSET, SHAPE = (40_000, 30_000), (200, 300)


def square(y, x, side=20.0):
    return np.array([(y, x), (y, x + side), (y + side, x + side), (y + side, x)]) + 0.123


def nucleus(y, x, label="Epithelial", side=20.0):
    return Nucleus(square(y, x, side), label, 0 if label == "Epithelial" else 1)


#: Far away; inside; across the upper edge; across the left edge; far away again.
PLACES = ((12.3, 45.6), (40_050, 30_050), (39_990, 30_100), (40_100, 29_990), (90_000, 70_000.7))


@pytest.fixture
def slide(tmp_path):
    """An annotation of a huge slide."""
    path = tmp_path / "slide.xml"
    layers = (Layer("Epithelial"), Layer("Lymphocyte"))
    kinds = ("Epithelial", "Epithelial", "Lymphocyte", "Epithelial", "Lymphocyte")
    regions = tuple(nucleus(y, x, kind) for (y, x), kind in zip(PLACES, kinds, strict=True))
    write_annotation(Annotation(regions=regions, layers=layers), path)
    return path


def opened(slide, **how):
    return EditingSession.open(slide, SHAPE, offset_px=OFFSET, author="A", **how)


def regions_of(path):
    """Each region's vertices as the file spells them, in file order."""
    found = etree.parse(path).iter("Region")
    return [tuple((v.get("X"), v.get("Y")) for v in region.iter("Vertex")) for region in found]


def pixels(vertices):
    """Pixels of an outline, by scikit-image, in the whole slide."""
    low = np.floor(vertices.min(0)).astype(int) - 2
    y, x = polygon(*(vertices - low).T)
    return {(int(a), int(b)) for a, b in np.stack([y, x], 1) + low}


def at(session, y, x):
    """The nucleus at a pixel of the slide."""
    return int(session.maps.instances[y - OFFSET[0], x - OFFSET[1]])


def test_it_sees_what_reaches_into_it_and_where(slide):
    session = opened(slide)
    assert len(session.rows) == 3
    assert session.shape == SHAPE
    for y, x in ((40_060, 30_060), (40_005, 30_110), (40_110, 30_005)):
        assert at(session, y, x) > 0
    assert np.unique(session.maps.instances).size == 4


def test_edits_leave_everything_else_to_the_letter(slide):
    before = regions_of(slide)
    session = opened(slide)
    session.do(Delete([at(session, 40_060, 30_060)]))
    session.selection.current_class = 1
    session.do(DrawPolygon(square(150, 200, 12.0)))
    session.save()
    after = regions_of(slide)
    assert [r for r in after if r in before] == [before[0], *before[2:]]
    assert before[1] not in after
    assert len(after) == 5
    new = next(r for r in read_annotation(slide).regions if abs(r.vertices[:, 0].mean() - 40_156) < 3)
    assert pixels(new.vertices) == {(y + OFFSET[0], x + OFFSET[1]) for y, x in pixels(square(150, 200, 12.0))}


def test_a_nucleus_on_the_edge_keeps_what_lies_outside(slide):
    session = opened(slide)
    label = at(session, 40_005, 30_110)
    whole = pixels(session.nuclei.source.regions[session.nuclei.row(label).source].vertices)
    session.do(Reshape("grow", [label]))
    grown = {(int(y) + OFFSET[0], int(x) + OFFSET[1]) for y, x in np.argwhere(session.maps.instances == label)}
    session.save()
    outline = next(r for r in read_annotation(slide).regions if abs(r.vertices[:, 1].mean() - 30_110) < 3)
    assert pixels(outline.vertices) == {p for p in whole if p[0] < OFFSET[0]} | grown


def test_drawing_over_all_that_is_seen_of_it_leaves_the_rest(slide):
    session = opened(slide)
    label = at(session, 40_005, 30_110)
    whole = pixels(session.nuclei.source.regions[session.nuclei.row(label).source].vertices)
    session.do(DrawPolygon(np.array([(0, 80), (0, 140), (40, 140), (40, 80)]), over="all"))
    assert label in session.rows
    session.save()
    outlines = [pixels(r.vertices) for r in read_annotation(slide).regions]
    assert {p for p in whole if p[0] < OFFSET[0]} in outlines
    again = opened(slide)
    session.do(Delete([label]))
    assert label not in session.rows
    again.close()


def test_a_part_at_the_corner_of_the_slide_is_a_part_too(slide):
    before = regions_of(slide)
    session = EditingSession.open(slide, (25, 60), offset_px=(0, 0), author="A")
    assert len(session.rows) == 1
    label = min(session.rows)
    whole = pixels(session.nuclei.source.regions[0].vertices)
    session.do(Reshape("shrink", [label]))
    session.save()
    after = regions_of(slide)
    assert after[1:] == before[1:]
    inside = {(int(y), int(x)) for y, x in np.argwhere(session.maps.instances == label)}
    found = pixels(read_annotation(slide).regions[0].vertices)
    assert found == {p for p in whole if p[0] >= 25 or p[1] >= 60} | inside


def test_undoing_everything_gives_the_file_back(slide):
    before = slide.read_bytes()
    session = opened(slide)
    session.do(Reshape("grow", [at(session, 40_060, 30_060)]))
    session.save()
    session.undo()
    session.save()
    assert slide.read_bytes() == before


def test_edits_come_back_in_their_own_part_and_another_part_says_where_they_are(slide):
    session = opened(slide)
    label = at(session, 40_060, 30_060)
    session.do(SetClass(4, [label]))
    session.close()
    with pytest.raises(OtherRegion) as told:
        EditingSession.open(slide, SHAPE, offset_px=(0, 0))
    assert told.value.frame.offset_px == OFFSET
    assert told.value.frame.shape == SHAPE
    with pytest.raises(OtherRegion):
        EditingSession.open(slide, SHAPE)
    back = opened(slide)
    assert back.restored.edits == 1
    assert back.nuclei.row(label).class_id == 4


def test_who_drew_what_outside_is_still_known(slide):
    first = opened(slide)
    first.do(
        SetClass(
            4,
            [at(first, 40_060, 30_060)],
        )
    )
    first.save()
    first.close()
    second = EditingSession.open(slide, (100, 100), offset_px=(0, 0), author="B")
    second.do(SetClass(3, [min(second.rows)]))
    second.save()
    second.close()
    third = opened(slide)
    assert third.nuclei.row(at(third, 40_060, 30_060)).author == "A"


def test_a_prediction_of_the_slide_is_cut_to_the_part(slide):
    session = opened(slide)
    predicted = np.zeros((1000, 1000), np.int32)
    predicted[10:30, 10:30] = 1  # lies outside
    predicted[600:620, 700:730] = 2
    table = pd.DataFrame({"label": [1, 2], "class_id": [1, 2], "confidence": [0.9, 0.9]})
    session.predicted.set(predicted, table, (OFFSET[0] - 500, OFFSET[1] - 500))
    assert set(session.predicted.found) == {2}
    session.do(Accept(2))
    assert at(session, OFFSET[0] + 110, OFFSET[1] + 215) > 0
    session.predicted.set(predicted[:50, :50], table, (0, 0))
    assert not session.predicted.found
